"""Linear classifiers and class-free measures against closed forms, SciPy and brute force."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from conftest import write_images
from scipy.optimize import minimize
from torch import nn

import gpuaug
from ssl_train import Settings, export, measures
from ssl_train.data import image_folder
from ssl_train.evaluate import main, plain_loaders
from ssl_train.train import train

Tensor = torch.Tensor


def clusters(count: int, spread: float) -> tuple[Tensor, Tensor]:
    """Three classes around the corners of a triangle, in double precision."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(count) % 3
    centres = torch.tensor([[0.0, 0, 0], [3, 0, 0], [0, 3, 0]], dtype=torch.float64)
    return centres[y] + spread * torch.randn(count, 3, generator=generator, dtype=torch.float64), y


def test_logistic_regression_reaches_the_minimum_that_scipy_finds() -> None:
    x, y = clusters(60, 1.5)
    design = np.c_[x.numpy(), np.ones(60)]

    def objective(flat: np.ndarray) -> float:
        w = flat.reshape(4, 3)
        logits = design @ w
        log_z = np.log(np.exp(logits).sum(axis=1))
        return float((log_z - logits[np.arange(60), y.numpy()]).mean() + 0.01 / 2 * (w[:-1] ** 2).sum())

    best = minimize(objective, np.zeros(12), tol=1e-12).fun
    found = objective(measures.fit_logistic(x, y, 3, 0.01).numpy().ravel())
    assert found == pytest.approx(best, rel=1e-6)


def test_classifiers_separate_what_is_separable_and_guess_what_is_not() -> None:
    train_set, test_set = clusters(90, 0.1), clusters(30, 0.1)
    assert measures.logistic(train_set, test_set)["accuracy"] == 1.0
    assert measures.linear_probe(train_set, test_set, epochs=20) == 1.0
    noise = (torch.randn(90, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64), train_set[1])
    assert measures.logistic(noise, test_set)["accuracy"] < 0.9


def test_ridge_is_the_minimum_and_the_same_in_both_forms() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(8, k, generator=generator, dtype=torch.float64) for k in (12, 2))
    for width in (3, 12):  # more and fewer images than features
        w = measures.fit_ridge(x[:, :width], y, 0.1).requires_grad_()
        loss = (x[:, :width] @ w[:-1] + w[-1] - y).square().sum(dim=1).mean() + 0.1 * w[:-1].square().sum()
        assert torch.autograd.grad(loss, w)[0].abs().max() < 1e-12


def test_ridge_finds_a_linear_relation_and_no_other() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 5, generator=generator, dtype=torch.float64)
    exact = x @ torch.randn(5, 2, generator=generator, dtype=torch.float64) + 3
    noise = torch.randn(300, 2, generator=generator, dtype=torch.float64)
    noisy = exact / exact.std(dim=0) + noise  # half of the variance is noise
    for y, expected, margin in ((exact, 1, 1e-9), (noisy, 0.5, 0.1), (noise, 0, 0.05)):
        found = measures.ridge((x[:200], y[:200]), (x[200:], y[200:]))
        assert found["r2"] == pytest.approx(expected, abs=margin)


@pytest.fixture(scope="module")
def loaders(tmp_path_factory: pytest.TempPathFactory) -> tuple[gpuaug.DataLoader, gpuaug.DataLoader]:
    root = write_images(tmp_path_factory.mktemp("colours"), {"train": 150, "test": 30})
    return plain_loaders(image_folder(root), 16)


def statistics(view: Tensor) -> Tensor:
    """Logarithms of each channel's mean and contrast: what brightness, contrast and saturation change almost linearly."""
    pixels = view * torch.tensor([0.229, 0.224, 0.225])[:, None, None] + torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    return torch.cat([pixels.mean(dim=(2, 3)), pixels.std(dim=(2, 3))], dim=1).clamp(min=1e-3).log()


def test_colours_are_predicted_from_features_that_hold_them(
    loaders: tuple[gpuaug.DataLoader, gpuaug.DataLoader],
) -> None:
    kept = measures.colour_prediction(statistics, *loaders)
    assert kept["r2"] > 0.3  # clipping and the order of the parts hide the rest
    assert measures.colour_prediction(statistics, *loaders) == kept
    assert measures.colour_prediction(statistics, *loaders, seed=1) != kept
    generator = torch.Generator().manual_seed(0)
    assert measures.colour_prediction(lambda view: torch.ones(len(view), 3), *loaders)["r2"] == pytest.approx(0, abs=0.05)
    noise = measures.colour_prediction(lambda view: torch.randn(len(view), 3, generator=generator), *loaders)
    assert noise["r2"] == pytest.approx(0, abs=0.1)


def test_pairs_differ_by_their_jitter_alone(loaders: tuple[gpuaug.DataLoader, gpuaug.DataLoader]) -> None:
    """And what is to be predicted are the parameters of the draws that the seed and the images' indices give."""
    bank = loaders[1]
    raw, drawn = measures.jittered_pairs(lambda view: view, bank, seed=3)
    policy = gpuaug.Policy(gpuaug.View(16, gpuaug.Resize(16), gpuaug.CenterCrop(), measures.JITTER, gpuaug.Normalize()))
    draws = gpuaug.sample(gpuaug.Policy(bank.policy.views[0], policy.views[0]), range(60), seed=3)
    columns = draws.columns(1)
    for k, part in enumerate(("brightness", "contrast", "saturation")):
        np.testing.assert_allclose(drawn[:, k].exp(), columns[f"ColorJitter.{part}"], rtol=1e-6)
    np.testing.assert_allclose(drawn[:, 3], columns["ColorJitter.hue"])
    assert columns.get("ColorJitter.apply", np.ones(1, bool)).all()
    assert drawn.std(dim=0).min() > 0.05
    plain, _ = next(iter(bank))
    torch.testing.assert_close(raw[:60, : 3 * 16 * 16], plain.flatten(1))
    assert (raw[:, : 3 * 16 * 16] - raw[:, 3 * 16 * 16 :]).abs().amax(dim=1).min() > 0.01


def test_rankme_counts_directions() -> None:
    assert measures.rankme(torch.eye(6)) == pytest.approx(6, rel=1e-5)
    assert measures.rankme(torch.ones(50, 6)) == pytest.approx(1, rel=1e-4)
    values = np.array([3.0, 1.0])
    p = values / 4
    assert measures.rankme(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-5)


def test_alignment_and_uniformity_by_brute_force() -> None:
    x, y = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    a, b = (v / v.norm(dim=1, keepdim=True) for v in (x, y))
    assert measures.alignment(x, y) == pytest.approx(float((a - b).square().sum(dim=1).mean()))
    assert measures.alignment(x, 5 * x) == pytest.approx(0, abs=1e-12)
    pairs = [math.exp(-2 * float((a[i] - a[j]).square().sum())) for i in range(30) for j in range(i)]
    assert measures.uniformity(x) == pytest.approx(math.log(sum(pairs) / len(pairs)))
    assert measures.uniformity(torch.ones(10, 4)) == pytest.approx(0)
    big = torch.randn(1500, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert measures.uniformity(big) == pytest.approx(
        float(torch.pdist(big / big.norm(dim=1, keepdim=True)).square().mul(-2).exp().mean().log())
    )


def test_the_command_measures_a_run_once_and_the_export_loads_into_torchvision(
    tiny: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    s = replace(tiny, backbone="resnet18", epochs=1, eval_every=0)
    run = train(s, progress=False)
    assert main([str(run.folder), "--knn-k", "3", "--probe-epochs", "2", "--device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((run.folder / "evaluation.json").read_text())
    assert found["images"] == {"train": 20, "test": 6}
    for value in (found["knn"]["accuracy"], found["logistic"]["accuracy"], found["linear_probe"]["accuracy"]):
        assert 0 <= value <= 1
    assert 1 <= found["rankme"]["features"] <= 20
    (cache,) = run.folder.glob("features-*.pt")
    before = cache.stat().st_mtime_ns
    assert main([str(run.folder / "checkpoint.pt"), "--knn-k", "3", "--probe-epochs", "2", "--device", "cpu"]) == 0
    assert cache.stat().st_mtime_ns == before
    assert json.loads(capsys.readouterr().out)["knn"] == found["knn"]

    assert export.main([str(run.folder), "-o", str(tmp_path / "backbone.pt")]) == 0
    net = torchvision.models.resnet18()
    net.conv1, net.maxpool, net.fc = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity(), nn.Identity()
    net.load_state_dict(torch.load(tmp_path / "backbone.pt", weights_only=True))
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(net.eval()(x), run.model.eval().backbone(x))


def test_no_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert f"there is no run in {tmp_path}" in capsys.readouterr().err
    for folder in (tmp_path, tmp_path / "nope"):
        assert export.main([str(folder), "-o", str(tmp_path / "b.pt")]) == 2
        error = capsys.readouterr().err
        assert f"there is no run in {folder}; give a run's folder" in error
        assert "--" not in error
    assert main([str(tmp_path), "--device", "gpu"]) == 2
    assert "--device gpu: not available here" in capsys.readouterr().err
