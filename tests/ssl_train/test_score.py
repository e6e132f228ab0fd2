"""The reconstruction of ScoreCL, and the options of the democratizing paper: one negative, probes on layers, growing views."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_methods import small, trainer
from test_train import rows, same, weights
from torch import nn

import gpuaug
from ssl_train import Settings
from ssl_train.errors import UserError
from ssl_train.score import CLIP, SIGMA, denoising_loss, magnitude, pair_weights, strength, train_score
from ssl_train.train import train


def test_the_denoising_loss_is_one_for_no_score_and_zero_for_the_right_one() -> None:
    x = torch.zeros(2, 3, 8, 8)  # of a point at 0 the score is -x / sigma^2, so the network should give -x / sigma
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    nothing, right = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1, groups=3)
    for net, scale in ((nothing, 0.0), (right, -1 / SIGMA)):
        nn.init.constant_(net.weight, scale)
        nn.init.zeros_(net.bias)
    assert denoising_loss(nothing, x, noise).item() == pytest.approx(noise.square().mean().item())
    assert denoising_loss(right, x, noise).item() == pytest.approx(0, abs=1e-10)


def test_weights_have_mean_one_are_clipped_and_follow_the_difference() -> None:
    one, other = torch.tensor([1.0, 1.0, 1.0, 1.0]), torch.tensor([1.0, 2.0, 3.0, 3.0])
    torch.testing.assert_close(pair_weights(one, other), torch.tensor([0.0, 0.8, 1.6, 1.6]))
    many = torch.zeros(100)
    assert float(pair_weights(many, torch.eye(100)[0]).max()) == CLIP
    torch.testing.assert_close(pair_weights(many, many), torch.ones(100))


def test_strength_grows_with_the_jitter_and_ignores_what_was_not_applied() -> None:
    view = gpuaug.View(8, gpuaug.Resize((8, 8)), gpuaug.ColorJitter(0.8, 0.0, 0.0, 0.0, p=0.5), gpuaug.Normalize())
    draws = gpuaug.sample(gpuaug.Policy(view), range(200))
    columns = draws.columns(0)
    applied = columns["ColorJitter.apply"]
    found = strength(draws, 0)
    assert (found[~applied] == 0).all()
    distance = np.abs(columns["ColorJitter.brightness"] - 1)[applied]
    np.testing.assert_array_equal(np.argsort(found[applied]), np.argsort(distance))


@pytest.mark.parametrize("kind", ["score", "shuffled", "draws"])
def test_weighted_runs_repeat_themselves_and_differ_from_uniform_ones(tiny: Settings, kind: str) -> None:
    s = replace(small(tiny, "simclr"), weights=kind, score_epochs=1, eval_every=0, epochs=1, num_workers=0)
    for name in ("a", "b"):
        train(replace(s, out=f"{s.out}-{name}"), progress=False)
    assert same(weights(f"{s.out}-a"), weights(f"{s.out}-b"))
    train(replace(s, weights="uniform", out=f"{s.out}-c"), progress=False)
    assert rows(f"{s.out}-a")[0]["loss"] != rows(f"{s.out}-c")[0]["loss"]
    assert ("score" in torch.load(f"{s.out}-a/checkpoint.pt", weights_only=True)) == (kind != "draws")


def test_the_score_network_learns_and_stands_still_afterwards(tiny: Settings) -> None:
    made = trainer(replace(small(tiny, "simclr"), weights="score"))
    assert made.score is not None
    history = train_score(made.score, made.loaders.bank, 8, 0, torch.device("cpu"))
    assert history[-1] < history[0]
    before = [p.clone() for p in made.score.parameters()]
    views, labels = next(iter(made.loaders.views))
    made.update(views, labels)
    assert all(torch.equal(a, b) for a, b in zip(before, made.score.parameters(), strict=True))
    assert magnitude(made.score, views[0]).shape == (4,)


def test_what_does_not_go_together_is_named(tiny: Settings) -> None:
    with pytest.raises(UserError, match="--weights draws: the loss barlow_twins is not a mean over images"):
        trainer(replace(small(tiny, "barlow_twins"), weights="draws"))
    with pytest.raises(UserError, match=r"--negatives 1: it must be in 1\.\.3, with one of the losses nt_xent, info_nce"):
        trainer(replace(small(tiny, "byol"), negatives=1))
    with pytest.raises(UserError, match="--grow-from 40: it must be --size 96 less a multiple of 32"):
        trainer(replace(small(tiny, "simclr"), size=96, grow_from=40))


def test_one_negative_and_noise_alone(tiny: Settings) -> None:
    s = replace(small(tiny, "simclr"), negatives=1, policy="gaussian_noise", eval_every=1, epochs=1, probe="all")
    run = train(s, progress=False)
    assert rows(s.out)[1]["loss"] < 1.5  # about log 2: one candidate besides the partner
    assert len(run.probe[1]) == 3  # features, and two layers of the projector


def test_views_grow_in_steps_of_32_and_the_run_resumes(tiny: Settings) -> None:
    s = replace(small(tiny, "simclr"), size=64, grow_from=32, eval_every=0)
    made = trainer(s)
    assert [made.loaders.views.policy.at(epoch).views[0].size for epoch in (0, 1)] == [(32, 32), (64, 64)]
    assert [view.size for view in made.loaders.policy.views] == [(64, 64), (64, 64)]
    train(s, progress=False)
    again = train(replace(s, resume="always"), progress=False)
    assert same(weights(s.out), again.model.state_dict())
