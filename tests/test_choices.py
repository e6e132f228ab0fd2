"""OneOf and SomeOf: which branches each image gets is a draw, with the stated probabilities, and the views follow it."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
from scipy import stats

import gpuaug
from gpuaug import Augmenter, OneOf, Policy, SomeOf, View, ops
from gpuaug.backends.fused.draw_program import draw_program
from gpuaug.ops.choice import Choice
from gpuaug.sampling import draw_choice

COUNT = 40_000
LEAST = 1e-4
THREE = (ops.RandomInvert(1.0), ops.RandomGrayscale(1.0), ops.RandomSolarize(0.5, 1.0))
FOUR = (*THREE, ops.RandomVerticalFlip(1.0))


def drawn(*choices: ops.Op, count: int = COUNT) -> gpuaug.Draws:
    return gpuaug.sample(Policy(View(8, ops.CenterCrop(), *choices)), range(count), seed=11)


def applied(draws: gpuaug.Draws) -> np.ndarray:
    """(B, steps behind the crop)"""
    return np.stack([step["apply"] for step in draws.tables[0][1:]], axis=1)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_every_set_of_branches_is_as_probable(n: int) -> None:
    taken = applied(drawn(SomeOf(n, *FOUR)))
    assert (taken.sum(axis=1) == n).all()
    counts = Counter(map(bytes, taken))
    assert len(counts) == len(list(combinations(FOUR, n)))
    assert stats.chisquare(list(counts.values())).pvalue > LEAST


def test_weights_are_those_of_draws_without_replacement() -> None:
    """The probability of a pair is the sum over its two orders of w_a * w_b / (1 - w_a)."""
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    taken = applied(drawn(SomeOf(2, *FOUR, weights=(1, 2, 3, 4))))
    pairs = list(combinations(range(4), 2))
    counts = [(taken[:, a] & taken[:, b]).sum() for a, b in pairs]
    expected = [sum(weights[i] * weights[j] / (1 - weights[i]) for i, j in permutations(pair)) for pair in pairs]
    assert sum(counts) == COUNT
    assert stats.chisquare(counts, np.array(expected) * COUNT).pvalue > LEAST


def test_a_branch_of_weight_zero_is_never_taken() -> None:
    assert not applied(drawn(SomeOf((0, 3), *FOUR, weights=(1, 0, 1, 1))))[:, 1].any()
    edges = draw_choice(SomeOf(1, (), ops.Normalize(), weights=(0, 1)), np.zeros((1, 2)), None)  # a uniform number may be 0
    assert edges[0]["apply"].all()


def test_the_number_of_branches_is_uniform_over_its_range() -> None:
    number = applied(drawn(SomeOf((1, 3), *FOUR))).sum(axis=1)
    assert stats.chisquare(np.bincount(number)[1:]).pvalue > LEAST
    assert set(number) == {1, 2, 3}


def test_a_choices_probability_is_that_of_any_branch() -> None:
    taken = applied(drawn(SomeOf(2, *FOUR, p=0.3)))
    assert set(taken.sum(axis=1)) == {0, 2}
    assert stats.binomtest(int((taken.sum(axis=1) == 2).sum()), COUNT, 0.3).pvalue > LEAST


def test_draws_say_which_branches_an_image_got() -> None:
    """The numbers are ascending, -1 stands for none, and they are those of the steps that are applied."""
    draws = drawn(SomeOf((0, 3), *FOUR, p=0.8))
    (chosen,) = draws.choices(0)
    branches = chosen["branches"]
    assert branches.shape == (COUNT, 3)
    assert branches.dtype == np.int16
    for k in range(4):
        assert np.array_equal((branches == k).any(axis=1), applied(draws)[:, k])
    filled = np.where(branches < 0, 4, branches)
    assert (np.diff(filled, axis=1) >= 0).all()
    assert np.array_equal(draws.columns(0)["SomeOf.branches"], branches)


def test_draws_say_which_branch_even_if_it_is_empty_or_does_nothing() -> None:
    draws = drawn(OneOf((), ops.RandomInvert(0.0), ops.RandomGrayscale(1.0), p=0.75))
    branch = draws.columns(0)["OneOf.branch"]
    assert stats.chisquare(np.bincount(branch + 1), np.full(4, COUNT / 4)).pvalue > LEAST
    assert np.array_equal(branch == 2, draws.columns(0)["RandomGrayscale.apply"])
    assert not draws.columns(0)["RandomInvert.apply"].any()


def test_choices_in_choices_say_what_they_drew_where_they_were_taken() -> None:
    inner = SomeOf(1, ops.RandomInvert(1.0), ops.RandomGrayscale(1.0))
    draws = drawn(OneOf(ops.RandomVerticalFlip(1.0), [inner, ops.RandomSolarize(0.5, 1.0)]), SomeOf(2, *FOUR))
    columns = draws.columns(0)
    names = [name for name in columns if "branch" in name]
    assert names == ["OneOf.branch", "SomeOf.branches", "SomeOf#2.branches"]
    assert [list(c) for c in draws.choices(0)] == [["branch"], ["branches"], ["branches"]]
    assert np.array_equal(columns["SomeOf.branches"][:, 0] >= 0, columns["OneOf.branch"] == 1)
    assert np.array_equal(columns["SomeOf.branches"][:, 0] == 1, columns["RandomGrayscale.apply"])
    assert list(columns).index("OneOf.branch") < list(columns).index("RandomVerticalFlip.apply")


def test_each_view_and_each_part_of_a_batch_has_its_own_choices() -> None:
    policy = Policy(View(8, ops.CenterCrop(), OneOf(*FOUR), repeat=2), View(8, ops.CenterCrop()))
    draws = gpuaug.sample(policy, range(100), seed=2)
    first, second = (draws.choices(v)[0]["branch"] for v in (0, 1))
    assert not np.array_equal(first, second)
    assert draws.choices(2) == draws.choices(-1) == []
    assert np.array_equal(draws.choices(-2)[0]["branch"], second)
    part = draws.take([7, 3])
    assert np.array_equal(part.choices(1)[0]["branch"], second[[7, 3]])
    for wrong in (3, -4, 0.0):
        with pytest.raises(IndexError, match=r"view must be an integer in 0\.\.2"):
            draws.choices(wrong)  # type: ignore[arg-type]


def test_branches_run_in_the_order_given() -> None:
    """Solarizing at 0.5 and then halving differs from the other way round."""
    photos = [np.random.default_rng(k).integers(0, 256, (8, 8, 3), dtype=np.uint8) for k in range(3)]
    darker = ops.ColorJitter((0.5, 0.5))
    both = SomeOf(2, ops.RandomSolarize(0.5, 1.0), darker)
    (view,) = Augmenter(made := Policy(View(8, ops.CenterCrop(), both)), "torchvision")(photos, gpuaug.sample(made, range(3)))
    plain = Policy(View(8, ops.CenterCrop(), ops.RandomSolarize(0.5, 1.0), darker))
    (expected,) = Augmenter(plain, "torchvision")(photos, gpuaug.sample(plain, range(3)))
    assert (view == expected).all()


@pytest.mark.parametrize("backend", ["auto", "fused"])
@pytest.mark.parametrize(
    "choice",
    [
        SomeOf((1, 3), *FOUR),
        SomeOf(2, [ops.ColorJitter(0.4, 0.4), ops.RandomInvert()], OneOf(*THREE), ops.RandomHorizontalFlip(), p=0.7),
        OneOf(SomeOf(2, *FOUR), ops.GaussianBlur(3, p=1.0)),
    ],
    ids=["plain", "nested", "inside"],
)
def test_views_are_those_of_the_truth(choice: ops.Op, backend: Any) -> None:
    photos = [np.random.default_rng(k).integers(0, 256, (20, 24, 3), dtype=np.uint8) for k in range(24)]
    policy = Policy(View(16, ops.RandomResizedCrop(), choice, ops.RandomErasing(0.5), ops.Normalize()))
    draws = gpuaug.sample(policy, range(24), seed=5)
    made, truth = (Augmenter(policy, b)(photos, gpuaug.sample(policy, range(24), seed=5))[0] for b in (backend, "torchvision"))
    assert (made - truth).abs().max() < 2e-3
    assert len({bytes(np.stack([c["branches"][k] for c in draws.choices(0) if "branches" in c])) for k in range(24)}) > 2


def test_the_compiled_draws_leave_some_of_to_the_arrays() -> None:
    """Whether a branch is taken depends on how several numbers compare, which no row of a draw program says."""
    crop, end = ops.RandomResizedCrop(8), ops.RandomErasing()
    assert draw_program((crop, SomeOf(2, *FOUR), end), 0, 6) is None
    assert draw_program((crop, OneOf(SomeOf(1, *THREE), end)), 0, 2) is None
    assert draw_program((crop, SomeOf(2, *FOUR), end), 0, 1) is not None  # a stage that ends before it
    assert draw_program((crop, OneOf(*FOUR), end), 0, 6) is not None


def test_printing_says_how_many_of_what() -> None:
    two = SomeOf((1, 2), ops.RandomInvert(1.0), [ops.RandomGrayscale(1.0), ops.RandomEqualize(1.0)], (), weights=(2, 1, 1))
    assert str(two) == (
        "SomeOf(1 to 2, p=1, 0.5: RandomInvert(p=1); 0.25: RandomGrayscale(p=1) then RandomEqualize(p=1); 0.25: nothing)"
    )
    assert str(SomeOf(1, ops.RandomInvert(1.0), p=0.5)) == "SomeOf(1, p=0.5, 1: RandomInvert(p=1))"
    assert isinstance(two, Choice)
