"""A mistake of the user ends in one line that names it, with exit status 2 and no traceback."""

from __future__ import annotations

import math
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch
from test_train import arguments, weights

from ssl_train import Settings
from ssl_train import loaders as module
from ssl_train.__main__ import main
from ssl_train.data import open_data
from ssl_train.errors import UserError
from ssl_train.train import train

CASES = [
    ({"data": "no/such/folder"}, "--data no/such/folder: no such folder; give photos, cifar10, or a folder"),
    ({"method": "byolo"}, "--method byolo: unknown; choose from simclr, moco_v2"),
    ({"backbone": "resnet19"}, "--backbone resnet19: "),
    ({"optimizer": "adam"}, "--optimizer adam: unknown; choose from lars, adamw, sgd"),
    ({"policy": "simclr_cifer"}, "simclr_cifar"),
    ({"loss": "nt_xen"}, "--loss nt_xen: unknown; choose from nt_xent, info_nce"),
    ({"scaling": "cubic"}, "--scaling cubic: unknown; choose from linear, sqrt, none"),
    ({"momentum": 1.5}, r"--momentum 1.5: it must be in 0..1, or --momentum off"),
    ({"multi_crop": -1}, "--multi-crop -1: it must be at least 0"),
    ({"policy": "gaussian_noise", "multi_crop": 2}, "--multi-crop: the policy gaussian_noise has no RandomResizedCrop"),
    ({"projector_dim": 0}, "--projector-dim 0: with --projector-layers 2 it must be at least 1"),
    ({"method": "byol", "projector_layers": 0}, "--predictor on: it needs a projector before it"),
    ({"backbone": "vit_nano", "size": 30}, "--size 30: this backbone needs a multiple of its patch of 4 pixels"),
    ({"batch_size": 21}, "--batch-size 21: .* has only 20 training images"),
    ({"batch_size": 1}, "--batch-size 1: it must be at least 2"),
    ({"knn_k": 21}, "--knn-k 21: .* has only 20 training images"),
    ({"epochs": 0}, "--epochs 0: it must be at least 1"),
    ({"temperature": 0.0}, "--temperature 0.0: it must be above 0"),
    ({"learning_rate": -1.0}, "--learning-rate -1.0: it must be at least 0"),
    ({"learning_rate": math.nan}, "--learning-rate nan: it must be at least 0"),
    ({"warmup_epochs": 2.0}, "--warmup-epochs 2: it must be below --epochs 2"),
    ({"device": "cuda:99"}, "--device cuda:99: not available here"),
    ({"device": "gpu"}, "--device gpu: not available here"),
]


@pytest.mark.parametrize(("change", "message"), CASES, ids=[str(change) for change, _ in CASES])
def test_one_line_and_exit_code_2(
    tiny: Settings, change: dict[str, object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = replace(tiny, **change)  # type: ignore[arg-type]
    assert main(arguments(settings)) == 2
    error = capsys.readouterr().err
    assert error.startswith("ssl_train: ")
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not Path(tiny.out or "").exists()  # nothing has been begun


def test_folders_that_are_no_data_set(tiny: Settings, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no images in it; it needs files that end in .*\.jpg"):
        train(replace(tiny, data=str(tmp_path)), progress=False)
    (tmp_path / "val").mkdir()
    with pytest.raises(UserError, match=r"it has val/ but no train/"):
        open_data(str(tmp_path))
    (tmp_path / "train").mkdir()
    assert open_data(str(tmp_path)).test == str(tmp_path / "val")
    with pytest.raises(UserError, match=r"train: no images in it"):
        train(replace(tiny, data=str(tmp_path)), progress=False)


def test_a_broken_image_is_named(tiny: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "images"
    shutil.copytree(tiny.data, folder)
    (folder / "train" / "red" / "3.png").write_bytes(b"")
    assert main(arguments(replace(tiny, data=str(folder)))) == 2
    assert "3.png" in capsys.readouterr().err.splitlines()[-1]


def test_a_folder_that_cannot_be_written(tiny: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(arguments(replace(tiny, out=str(tmp_path / "file" / "run")))) == 2
    assert "file/run: cannot be written (Not a directory)" in capsys.readouterr().err


def test_a_disk_that_is_full_in_the_middle_leaves_the_checkpoint_before(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fsync = os.fsync
    left = [4 * 2]  # two for each file: the settings, draws.json, the first checkpoint, that of step 1

    def full(number: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        fsync(number)

    monkeypatch.setattr(os, "fsync", full)
    assert main(arguments(replace(tiny, eval_every=0, checkpoint_every=1))) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert tiny.out is not None
    assert torch.load(Path(tiny.out) / "checkpoint.pt", weights_only=True)["step"] == 1


def test_ctrl_c_before_the_first_checkpoint(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str, progress: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "open_data", interrupted)
    assert main(arguments(tiny)) == 130
    assert capsys.readouterr().err == "ssl_train: interrupted before the first checkpoint\n"


def test_ctrl_c_before_the_options_are_known_is_not_about_the_folder_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(argv: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "checkpoint.pt").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ssl_train.__main__.parse", interrupted)
    assert main([]) == 130
    assert capsys.readouterr().err == "ssl_train: interrupted before the first checkpoint\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--momentum x", "--momentum: x is not a number in 0..1, or off"),
        ("--queue-size None", "--queue-size"),
        ("--no-compile", "Unrecognized options: --no-compile"),
    ],
)
def test_a_word_that_is_no_value_is_refused_in_words(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words.split())
    error = capsys.readouterr().err
    assert message in error
    assert "NoneType" not in error


@pytest.mark.parametrize("method", ["simclr", "w_mse", "vicreg"])
def test_a_loss_that_is_not_finite_stops_and_the_checkpoint_is_good(
    tiny: Settings, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = replace(tiny, method=method, projector_hidden=16, projector_dim=8)
    assert main([*arguments(replace(tiny, optimizer="sgd", epochs=20, eval_every=0)), "--learning-rate", "1e30"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"(the loss|a weight) is .* step \d+: .*--learning-rate is 1e\+30.* of step \d+, is in", error)
    assert ("--projector-dim" in error, "squares" in error) == (method == "w_mse", method == "vicreg")
    assert all(torch.isfinite(w).all() for w in weights(tiny.out).values())


def test_a_second_run_does_not_overwrite_the_first(tiny: Settings) -> None:
    tiny = replace(tiny, epochs=1, eval_every=0)
    train(tiny, progress=False)
    with pytest.raises(UserError, match="there is a run in it; continue it with --resume, or choose another folder"):
        train(tiny, progress=False)


def test_a_run_cannot_be_resumed_as_another_one(tiny: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = replace(tiny, epochs=1, eval_every=0)
    assert tiny.out is not None
    assert main(["--resume", "--out", tiny.out]) == 2
    assert f"there is no run in {tiny.out}" in capsys.readouterr().err
    train(tiny, progress=False)
    assert main(["--resume", "--out", tiny.out, "--batch-size", "5"]) == 2
    assert "--batch-size 5: the run was started with 4" in capsys.readouterr().err
    assert main(["--resume", "--out", tiny.out, "--num-workers", "0"]) == 0
    (Path(tiny.out) / "settings.json").write_text('{"settings": {"colour": 1}}')
    assert main(["--resume", "--out", tiny.out]) == 2
    assert "options that this version lacks: colour" in capsys.readouterr().err


def test_cifar10_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GPUAUG_DATA", str(tmp_path))

    def offline(*given: object, **more: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", offline)
    with pytest.raises(UserError, match=r"could not be downloaded to .* pass that folder as --data"):
        open_data("cifar10")
    pixels = np.zeros((5, 32, 32, 3), np.uint8)
    monkeypatch.setattr("torchvision.datasets.CIFAR10", lambda *a, **k: SimpleNamespace(data=pixels, targets=[k["train"]] * 5))
    data = open_data("cifar10")
    assert data.train[0] is pixels
    assert (data.train[1][0], data.test[1][0]) == (True, False)
