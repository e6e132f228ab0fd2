"""Hard views: each image trains on the pair of candidates with its largest loss, and the choice leaves no other trace."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_methods import small, trainer
from test_train import interrupt_at, rows, same, weights

import gpuaug
from ssl_train import Settings
from ssl_train.criteria import CRITERIA, Memory, Step
from ssl_train.errors import UserError
from ssl_train.hard import HardViews, candidates
from ssl_train.score import pair_weights, strength
from ssl_train.train import Trainer, train

Tensor = torch.Tensor
BATCH, DIM, COUNT, T = 5, 8, 4, 0.2
CPU = torch.device("cpu")
VIEW = gpuaug.View(8, gpuaug.RandomResizedCrop(), gpuaug.RandomHorizontalFlip(), gpuaug.Normalize())
PLAIN = gpuaug.Policy(VIEW, VIEW)
EQUAL = list(combinations(range(COUNT), 2))


def outputs(seed: int, same: bool) -> Step:
    """Outputs for four candidates of five images, as random numbers; `same`: of one branch."""
    generator = torch.Generator().manual_seed(seed)
    memory = Memory((6, DIM), DIM)
    memory.centre.copy_(torch.randn(DIM, generator=generator))
    q = {i: torch.randn(BATCH, DIM, generator=generator) for i in range(COUNT)}
    k = q if same else {i: torch.randn(BATCH, DIM, generator=generator) for i in range(COUNT)}
    return Step(q, k, k, None, torch.arange(BATCH), memory, 0, 0, 0, T, 0.07, same)


def cos(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def nt_xent(s: Step, n: int, a: int, b: int) -> float:
    """SimCLR's equation 1 for both of image n's embeddings."""
    total = 0.0
    for one, other in ((a, b), (b, a)):
        others = [math.exp(cos(s.q[one][n], s.q[v][m]) / T) for v in (a, b) for m in range(BATCH) if (v, m) != (one, n)]
        total -= math.log(math.exp(cos(s.q[one][n], s.q[other][n]) / T) / sum(others))
    return total / 2


def cosine(s: Step, n: int, a: int, b: int) -> float:
    return -(cos(s.q[a][n], s.k[b][n]) + cos(s.q[b][n], s.k[a][n])) / 2


def dino(s: Step, n: int, a: int, b: int) -> float:
    total = 0.0
    for one, other in ((a, b), (b, a)):
        target = torch.softmax((s.k[other][n] - s.memory.centre) / s.target_temperature, dim=0)
        total -= float((target * torch.log_softmax(s.q[one][n] / T, dim=0)).sum())
    return total / 2


def moco_v2(s: Step, n: int, a: int, b: int) -> float:
    """The first view is the query, the second the key."""
    right = math.exp(cos(s.q[a][n], s.k[b][n]) / T)
    return -math.log(right / (right + sum(math.exp(cos(s.q[a][n], key) / T) for key in s.memory.queue)))


def vicreg(s: Step, n: int, a: int, b: int) -> float:
    """The invariance alone: variance and covariance belong to no image."""
    return 25 * float((s.q[a][n] - s.q[b][n]).square().mean())


LOSSES: dict[str, tuple[Callable[[Step, int, int, int], float], bool, tuple[int, ...]]] = {
    "nt_xent": (nt_xent, True, (0, 1)),
    "cosine": (cosine, False, (0, 1)),
    "dino": (dino, False, (0, 1)),
    "moco_v2": (moco_v2, False, (1,)),
    "vicreg": (vicreg, True, (0, 1)),
}
"""For each loss one image's term, whether both branches are one network, and which views are targets."""


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("seed", range(5))
def test_the_pair_with_the_largest_loss_is_chosen_for_each_image(name: str, seed: int) -> None:
    term, one_branch, targets = LOSSES[name]
    step = outputs(seed, one_branch)
    before = {key: value.clone() for key, value in step.memory.state_dict().items()}
    hard = HardViews(PLAIN, COUNT, (0, 1) if len(targets) == 2 else (0,), targets, CPU)
    views = [torch.full((BATCH, 3, 2, 2), float(i)) for i in range(COUNT)]
    (one, other), figures = hard.choose(views, step, CRITERIA[name].loss)
    table = torch.tensor([[term(step, n, a, b) for a, b in EQUAL] for n in range(BATCH)])
    expected = table.argmax(dim=1)
    assert hard.index is not None
    assert hard.index.tolist() == expected.tolist()
    assert [(int(x[0, 0, 0]), int(y[0, 0, 0])) for x, y in zip(one, other, strict=True)] == [EQUAL[i] for i in expected]
    assert float(figures["hard_share"]) == pytest.approx(float((expected > 0).float().mean()))
    assert float(figures["hard_gain"]) == pytest.approx(float(table.amax(dim=1).mean() - table.mean()), rel=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in step.memory.state_dict().items())


def test_the_first_of_equal_pairs_is_chosen() -> None:
    step = outputs(0, True)
    step.q |= dict.fromkeys(range(COUNT), step.q[0])
    hard = HardViews(PLAIN, COUNT, (0, 1), (0, 1), CPU)
    hard.choose([torch.zeros(BATCH, 3, 2, 2)] * COUNT, step, CRITERIA["vicreg"].loss)
    assert hard.index is not None
    assert hard.index.tolist() == [0] * BATCH


@given(count=st.integers(2, 9), small_views=st.integers(0, 3))
def test_candidates_and_pairs(count: int, small_views: int) -> None:
    local = gpuaug.View(4, gpuaug.RandomResizedCrop(), gpuaug.Normalize())
    solarized = gpuaug.View(8, gpuaug.RandomResizedCrop(), gpuaug.RandomSolarize(), gpuaug.Normalize())
    drawn, pairs = candidates(gpuaug.Policy(VIEW, VIEW, *[local] * small_views), count)
    assert list(drawn.views) == [VIEW] * count + [local] * small_views
    assert pairs == list(combinations(range(count), 2))
    drawn, pairs = candidates(gpuaug.Policy(VIEW, solarized, *[local] * small_views), count)
    assert list(drawn.views[count:]) == [local] * small_views
    assert {(drawn.views[a], drawn.views[b]) for a, b in pairs} == {(VIEW, solarized)}
    assert len(set(pairs)) == len(pairs) == (count // 2) * ((count + 1) // 2)


def hard_settings(tiny: Settings, method: str, **more: Any) -> Settings:
    return replace(small(tiny, method), hard_views=4, eval_every=0, **more)


def step_once(made: Trainer, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Tensor], list[Tensor]]:
    """Make a step on the loader's first batch. Returns all candidates with the small views, and the views trained on."""
    made.loaders.views.set_epoch(0)
    batches = iter(made.loaders.views)
    views, labels = next(batches)
    trained_on: list[Tensor] = []
    choose = Trainer.choose

    def noted(self: Trainer, *words: Any) -> list[Tensor]:
        trained_on[:] = choose(self, *words)
        return trained_on

    monkeypatch.setattr(Trainer, "choose", noted)
    made.update(views, labels)
    monkeypatch.undo()
    return views, trained_on


@pytest.mark.parametrize(
    "method", ["simclr", "moco_v2", "moco_v3", "byol", "simsiam", "swav", "dino", "vicreg", "nnclr", "w_mse"]
)
def test_the_draws_are_those_of_the_views_trained_on(tiny: Settings, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer(hard_settings(tiny, method, num_workers=0))
    views, trained_on = step_once(made, monkeypatch)
    assert made.hard is not None
    assert len(trained_on) == len(views) - 2 == len(made.loaders.policy)
    assert all(torch.equal(a, b) for a, b in zip(trained_on[2:], views[4:], strict=True))
    files = made.loaders.views.dataset.files
    images = gpuaug.Images.from_list([np.asarray(Image.open(files[i])) for i in made.draws.index])
    rendered = gpuaug.Augmenter(made.draws.policy)(images, made.draws)
    for a, b in zip(rendered, trained_on, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", ["moco_v2", "dino", "swav"])
def test_scoring_moves_nothing_so_that_one_pair_is_as_good_as_none(
    tiny: Settings, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two candidates there is no choice: scoring them all the same must not change a bit of the run."""
    s = replace(small(tiny, method), eval_every=0, num_workers=0, epochs=1)
    plain = train(replace(s, out=f"{s.out}-plain"), progress=False)
    begin = Trainer.__init__

    def with_scoring(self: Trainer, *words: Any) -> None:
        begin(self, *words)
        self.hard = HardViews(self.loaders.policy, 2, self.seen, self.targets, self.device)

    monkeypatch.setattr(Trainer, "__init__", with_scoring)
    scored = train(replace(s, out=f"{s.out}-scored"), progress=False)
    states = [torch.load(run.folder / "checkpoint.pt", weights_only=True) for run in (plain, scored)]
    for part in ("model", "memory", *(["target"] if "target" in states[0] else [])):
        assert same(states[0][part], states[1][part])
    assert rows(plain.folder) == rows(scored.folder)
    assert [json.loads(line)["hard_share"] for line in (scored.folder / "metrics.jsonl").read_text().splitlines()] == [0] * 5


def test_a_run_resumes_in_the_same_bits_with_any_number_of_workers(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    s = hard_settings(tiny, "byol")
    whole = train(replace(s, num_workers=2, out=f"{s.out}-whole"), progress=False)
    interrupt_at(7, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(s, progress=False)
    monkeypatch.undo()
    train(replace(s, num_workers=0, resume="always"), progress=False)
    assert same(weights(s.out), weights(whole.folder))
    assert rows(s.out) == rows(whole.folder)
    shares = [json.loads(line) for line in Path(s.out or "", "metrics.jsonl").read_text().splitlines()]
    assert any(row["hard_share"] > 0 for row in shares)
    assert all(row["hard_gain"] > 0 for row in shares)
    plain = train(replace(s, hard_views=2, out=f"{s.out}-plain"), progress=False)
    assert not same(weights(s.out), weights(plain.folder))


def test_weights_by_draws_are_those_of_the_chosen_views(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer(hard_settings(tiny, "simclr", num_workers=0, weights="draws"))
    found = []
    weigh = Trainer.weights

    def noted(self: Trainer, *words: Any) -> Tensor | None:
        found.append(weigh(self, *words))
        return found[0]

    monkeypatch.setattr(Trainer, "weights", noted)
    step_once(made, monkeypatch)
    chosen, unchosen = (
        pair_weights(*(torch.from_numpy(strength(draws, k)) for k in (0, 1)))
        for draws in (made.draws, made.loaders.views.draws)
    )
    assert found[0] is not None
    assert torch.equal(found[0], chosen)
    assert not torch.equal(found[0], unchosen)


@pytest.mark.parametrize("method", ["barlow_twins", "lejepa", "supervised"])
def test_losses_that_are_no_means_over_images_are_refused(tiny: Settings, method: str) -> None:
    with pytest.raises(UserError, match=r"--hard-views 4: the loss \w+ is not a mean over images"):
        trainer(hard_settings(tiny, method))


def test_growing_views_are_chosen_among_at_each_size(tiny: Settings) -> None:
    made = trainer(hard_settings(tiny, "byol", size=64, grow_from=32, num_workers=0))
    for epoch, size in enumerate(((32, 32), (64, 64))):
        made.loaders.views.set_epoch(epoch)
        views, labels = next(iter(made.loaders.views))
        assert len(views) == 4
        made.update(views, labels)
        assert [view.size for view in made.draws.policy.views] == [size, size]


def test_what_is_out_of_range_is_named(tiny: Settings) -> None:
    with pytest.raises(UserError, match="--hard-views 1: it must be at least 2"):
        trainer(replace(tiny, hard_views=1))
    with pytest.raises(UserError, match=r"--hard-views 4: the policy .* has 3 large views, and it must have two"):
        candidates(gpuaug.Policy(VIEW, VIEW, VIEW), 4)
    nested = gpuaug.View(4, gpuaug.Nested(gpuaug.RandomResizedCrop(), within=0), gpuaug.Normalize())
    with pytest.raises(UserError, match="has a view nested in another, which may not be chosen"):
        candidates(gpuaug.Policy(VIEW, VIEW, nested), 4)
