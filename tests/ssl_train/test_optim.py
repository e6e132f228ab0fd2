"""LARS against its formula in NumPy and against timm's, and the values of the schedules."""

from __future__ import annotations

import numpy as np
import pytest
import timm.optim
import torch
from torch import nn

from ssl_train import METHODS, JointEmbedding
from ssl_train.optim import LARS, SCALING, groups, half_cosine, learning_rate, ramp


def test_lars_follows_its_formula_for_adapted_and_excluded_parameters() -> None:
    rng = np.random.default_rng(0)
    start = {"weight": rng.normal(size=(4, 3)), "bias": rng.normal(size=4)}
    gradients = [{name: rng.normal(size=w.shape) for name, w in start.items()} for _ in range(3)]
    lr, decay, momentum, trust = 0.3, 0.01, 0.9, 0.001

    layer = nn.Linear(3, 4).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(start["weight"]))
        layer.bias.copy_(torch.from_numpy(start["bias"]))
    optimizer = LARS(groups(layer, decay), lr)
    expected = {name: w.copy() for name, w in start.items()}
    velocity = {name: np.zeros_like(w) for name, w in start.items()}
    for step in gradients:
        layer.weight.grad, layer.bias.grad = torch.from_numpy(step["weight"]), torch.from_numpy(step["bias"])
        optimizer.step()
        g = step["weight"] + decay * expected["weight"]
        g = g * trust * np.linalg.norm(expected["weight"]) / np.linalg.norm(g)
        velocity["weight"] = momentum * velocity["weight"] + lr * g
        velocity["bias"] = momentum * velocity["bias"] + lr * step["bias"]
        for name in expected:
            expected[name] = expected[name] - velocity[name]
    np.testing.assert_allclose(layer.weight.detach().numpy(), expected["weight"], rtol=1e-12)
    np.testing.assert_allclose(layer.bias.detach().numpy(), expected["bias"], rtol=1e-12)


def test_lars_takes_the_ratio_one_where_a_norm_is_zero() -> None:
    zero = nn.Parameter(torch.zeros(2, 2))
    zero.grad = torch.ones(2, 2)
    still = nn.Parameter(torch.ones(2, 2))
    still.grad = torch.zeros(2, 2)
    LARS([zero, still], lr=0.5).step()
    assert torch.equal(zero, torch.full((2, 2), -0.5))
    assert torch.equal(still, torch.ones(2, 2))


def test_lars_skips_parameters_without_a_gradient() -> None:
    unused = nn.Parameter(torch.ones(2))
    LARS([unused], lr=1.0).step()
    assert torch.equal(unused, torch.ones(2))


def test_biases_and_normalisation_are_excluded_and_nothing_is_left_out() -> None:
    model = JointEmbedding("resnet18_quarter", 32, METHODS["simclr"].large.projector)
    decayed, excluded = groups(model, 0.1)
    assert (decayed["weight_decay"], excluded["weight_decay"], excluded["adapt"]) == (0.1, 0.0, False)
    kinds = {id(p): type(m) for m in model.modules() for p in m.parameters(recurse=False)}
    assert {kinds[id(p)] for p in decayed["params"]} == {nn.Conv2d, nn.Linear}
    assert {kinds[id(p)] for p in excluded["params"]} == {nn.BatchNorm1d, nn.BatchNorm2d}
    trained = sum(p.requires_grad for p in model.parameters())
    assert len(decayed["params"]) + len(excluded["params"]) == trained


def test_schedule_values() -> None:
    rates = [learning_rate(step, total=110, warmup=10, peak=2.0) for step in range(110)]
    assert rates[:11] == pytest.approx([0.2 * k for k in range(11)])
    assert rates[35] == pytest.approx(2.0 * (1 + np.sqrt(0.5)) / 2)
    assert rates[60] == pytest.approx(1.0)
    assert 0 < rates[109] < 0.001
    assert learning_rate(110, total=110, warmup=10, peak=2.0) == pytest.approx(0.0)
    assert learning_rate(0, total=5, warmup=0, peak=2.0) == 2.0


def test_lars_clipped_never_moves_a_layer_faster_than_its_gradient() -> None:
    """With clip the ratio is min(trust |w| / |g| / lr, 1): here 0.02 * 2 / 1 / 0.5 = 0.08, and 1 for a tiny gradient."""
    for size, ratio in ((1.0, 0.08), (1e-3, 1.0)):
        w = nn.Parameter(torch.tensor([[2.0, 0.0]]))
        w.grad = torch.tensor([[0.0, size]])
        LARS([w], lr=0.5, trust=0.02, clip=True).step()
        assert w.detach()[0, 1].item() == pytest.approx(-0.5 * ratio * size, rel=1e-5)


def test_other_schedules() -> None:
    assert [half_cosine(0.996, 1.0, k, 10) for k in (0, 5, 10)] == pytest.approx([0.996, 0.998, 1.0])
    assert [ramp(0.04, 0.07, k, 30) for k in (0, 10, 30, 99)] == pytest.approx([0.04, 0.05, 0.07, 0.07])
    assert ramp(0.04, 0.07, 0, 0) == 0.07
    assert [SCALING[kind](1024) for kind in ("linear", "sqrt", "none")] == [4, 2, 1]


def trained(optimizer: torch.optim.Optimizer, w: nn.Parameter, rates: list[float]) -> torch.Tensor:
    """The weight after a step at each of these rates, with gradients that are always the same ones."""
    generator = torch.Generator().manual_seed(0)
    for rate in rates:
        w.grad = torch.randn(w.shape, generator=generator, dtype=w.dtype)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    return w.detach()


@pytest.mark.parametrize("clip", [False, True])
def test_lars_is_timms_only_at_a_constant_rate_without_weight_decay(clip: bool) -> None:
    """Elsewhere the published recipes differ from it, see LARS's docstring: that is why the class is here."""

    def distance(rates: list[float], decay: float) -> float:
        ours, theirs = (nn.Parameter(torch.ones(5, 4, dtype=torch.float64)) for _ in range(2))
        a = trained(LARS([ours], 0.5, decay, trust=0.02, clip=clip), ours, rates)
        options = {"momentum": 0.9, "trust_coeff": 0.02, "trust_clip": clip, "always_adapt": True, "eps": 0}
        b = trained(timm.optim.Lars([theirs], 0.5, weight_decay=decay, **options), theirs, rates)
        return float((a - b).norm() / (a - 1).norm())

    assert distance([0.5] * 6, 0.0) < 1e-14
    assert distance([0.5] * 6, 1e-2) > 1e-4
    assert distance([0.1, 0.2, 0.3, 0.4, 0.5], 0.0) > 0.1


def test_torchs_schedulers_do_not_start_at_zero() -> None:
    with pytest.raises(ValueError, match="factor expected to be greater than 0"):
        torch.optim.lr_scheduler.LinearLR(torch.optim.SGD([nn.Parameter(torch.ones(1))], 1.0), start_factor=0.0)
