"""Shared ops are drawn from their key alone, nested crops inside another crop, and every other op as if neither were there."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from test_sampling import EPOCHS, INDICES, SEEDS, same, scalar_philox

import gpuaug
from gpuaug import (
    CenterCrop,
    ColorJitter,
    GaussianBlur,
    Nested,
    OneOf,
    Policy,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomInvert,
    RandomResizedCrop,
    RandomSolarize,
    Resize,
    Shared,
    SomeOf,
    View,
)
from gpuaug.sampling import layout, slots, uniforms

CROP, JITTER, BLUR = RandomResizedCrop(), ColorJitter(0.4, 0.4, 0.2, 0.1, p=0.8), GaussianBlur(3, p=0.5)
POLICY = Policy(
    View(16, Shared(CROP, "crop"), Shared(JITTER, "jitter"), BLUR, Shared(RandomGrayscale(0.2), "gray")),
    View(
        16, RandomResizedCrop((16, 16), (0.2, 1.0)), BLUR, Shared(JITTER, "jitter"), OneOf(Shared(BLUR, "blur"), RandomInvert())
    ),
    View(8, Nested(RandomResizedCrop(scale=(0.1, 0.4)), 0), Shared(BLUR, "blur"), Shared(JITTER, "jitter"), repeat=2),
    View(8, Nested(Shared(CROP, "inner"), 1), RandomHorizontalFlip(), Shared(RandomGrayscale(0.9), "gray")),
)
INDEX = np.concatenate([np.arange(5000), 2**47 + np.arange(5000)])


def drawn(policy: Policy, view: int, op: str, seed: int = 3) -> dict[str, np.ndarray[Any, Any]]:
    """What one op of a view drew for INDEX."""
    columns = gpuaug.sample(policy, INDEX, seed=seed).columns(view)
    return {name.partition(".")[2]: a for name, a in columns.items() if name.partition(".")[0] == op}


def equal(a: dict[str, np.ndarray[Any, Any]], b: dict[str, np.ndarray[Any, Any]]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@settings(deadline=None)
@given(INDICES, SEEDS, EPOCHS, st.data())
def test_rows_do_not_depend_on_the_batch_they_are_drawn_in(
    index: list[int], seed: int, epoch: int, data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.integers(0, len(index) - 1), max_size=10))
    whole = gpuaug.sample(POLICY, index, seed=seed, epoch=epoch)
    assert same(whole.take(rows), gpuaug.sample(POLICY, [index[r] for r in rows], seed=seed, epoch=epoch))
    assert same(whole, gpuaug.sample(POLICY, index, seed=seed, epoch=epoch))


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}, {"index": [2**32 + 7]}])
def test_shared_draws_depend_on_seed_epoch_and_index(change: dict[str, Any]) -> None:
    given: dict[str, Any] = {"index": [7], "seed": 0, "epoch": 0}
    one, other = (gpuaug.sample(POLICY, **{**given, **more}).columns(0) for more in ({}, change))
    assert one["ColorJitter.brightness"] != other["ColorJitter.brightness"]


@settings(deadline=None)
@given(SEEDS, EPOCHS, st.integers(0, 2**48 - 1), st.text(min_size=1, max_size=9))
def test_a_shared_number_is_the_word_that_the_documentation_says(seed: int, epoch: int, index: int, key: str) -> None:
    policy = Policy(View(8, Shared(RandomResizedCrop(scale=(0.0, 1.0)), key)))
    (area,) = gpuaug.sample(policy, [index], seed=seed, epoch=epoch).columns(0)["RandomResizedCrop.area"]
    for column in range(10):
        counter = (column // 4 + ((crc32(key.encode()) % 2**24) << 8), 65534 + (index >> 32 << 16), index % 2**32, epoch)
        word = scalar_philox(counter, (seed % 2**32, seed >> 32))[column % 4]
        assert area[column] == np.float32(word / 2**32)


def test_equal_ops_with_one_key_get_equal_draws_in_all_views() -> None:
    first = drawn(POLICY, 0, "ColorJitter")
    assert all(equal(first, drawn(POLICY, view, "ColorJitter")) for view in (1, 2, 3))
    assert len(np.unique(first["brightness"])) > 9000
    elsewhere = Policy(View(32, CenterCrop(), RandomInvert(), Shared(JITTER, "jitter")))
    assert equal(first, drawn(elsewhere, 0, "ColorJitter"))
    other = Policy(View(32, CenterCrop(), Shared(JITTER, "another")))
    assert not np.isin(drawn(other, 0, "ColorJitter")["brightness"], first["brightness"]).mean() > 0.01


def test_a_shared_op_in_a_choice_gets_the_same_numbers_when_it_is_taken() -> None:
    inside, outside = drawn(POLICY, 1, "GaussianBlur#2"), drawn(POLICY, 2, "GaussianBlur")
    taken = drawn(POLICY, 1, "OneOf")["branch"] == 0
    assert np.array_equal(inside["sigma"], outside["sigma"])
    assert np.array_equal(inside["apply"], outside["apply"] & taken)
    assert 0 < taken.mean() < 1


@pytest.mark.parametrize("choice", [OneOf(JITTER, BLUR, p=0.9), SomeOf((0, 2), JITTER, BLUR, RandomInvert(), p=0.9)])
def test_a_shared_choice_takes_the_same_branches_with_the_same_draws(choice: Any) -> None:
    policy = Policy(View(8, CROP, RandomInvert(), Shared(choice, "a")), View(16, Resize(), Shared(choice, "a")))
    draws = gpuaug.sample(policy, INDEX, seed=1)
    one, other = (
        {name: a for name, a in draws.columns(v).items() if "Crop" not in name and "Invert" not in name} for v in (0, 1)
    )
    assert equal(one, {name: a for name, a in other.items() if name in one})
    assert len(one) >= 8
    assert equal(draws.choices(0)[0], draws.choices(1)[0])


def test_ops_of_other_strength_or_probability_get_the_same_numbers() -> None:
    strong = ColorJitter(0.8, 0.4, 0.2, 0.1, p=0.4)
    policy = Policy(View(8, CROP, Shared(JITTER, "a")), View(8, CROP, Shared(strong, "a")))
    weak, twice = (drawn(policy, view, "ColorJitter") for view in (0, 1))
    assert np.allclose(2 * (weak["brightness"] - 1), twice["brightness"] - 1, atol=1e-6)
    assert equal({"hue": weak["hue"], "order": weak["order"]}, {"hue": twice["hue"], "order": twice["order"]})
    assert (weak["apply"] >= twice["apply"]).all()
    assert (weak["apply"].mean(), twice["apply"].mean()) == pytest.approx((0.8, 0.4), abs=0.02)


def test_other_ops_are_drawn_as_if_none_were_shared_or_nested() -> None:
    bare = Policy(View(16, CROP, JITTER, BLUR, RandomGrayscale(0.2)), View(16, RandomResizedCrop((16, 16), (0.2, 1.0)), BLUR))
    assert equal(drawn(POLICY, 0, "GaussianBlur"), drawn(bare, 0, "GaussianBlur"))
    assert equal(drawn(POLICY, 1, "GaussianBlur"), drawn(bare, 1, "GaussianBlur"))
    assert equal(drawn(POLICY, 1, "RandomResizedCrop"), drawn(bare, 1, "RandomResizedCrop"))
    inner = RandomResizedCrop(scale=(0.1, 0.4))
    alone = Policy(*[View(8, inner, BLUR, JITTER)] * 3)
    nested = drawn(POLICY, 2, "RandomResizedCrop")
    assert equal({n: a for n, a in nested.items() if "outer" not in n}, drawn(alone, 2, "RandomResizedCrop"))


def test_the_draws_of_a_nested_crop_contain_those_around_it() -> None:
    for view, outer in ((2, 0), (3, 0), (4, 1)):
        found, around = drawn(POLICY, view, "RandomResizedCrop"), drawn(POLICY, outer, "RandomResizedCrop")
        assert equal({n.removeprefix("outer_"): a for n, a in found.items() if "outer" in n and n != "outer_ratio"}, around)
        assert (found["outer_ratio"] == (3 / 4, 4 / 3)).all()


@pytest.mark.parametrize(
    ("op", "name", "distribution"),
    [(JITTER, "brightness", stats.uniform(0.6, 0.8)), (BLUR, "sigma", stats.uniform(0.1, 1.9)), (CROP, "top", stats.uniform())],
)
def test_sharing_does_not_change_a_distribution(op: gpuaug.Op, name: str, distribution: Any) -> None:
    policy = Policy(View(8, *([] if op is CROP else [CROP]), Shared(op, "key")))
    assert stats.kstest(drawn(policy, 0, type(op).__name__)[name], distribution.cdf).pvalue > 1e-4


def test_numbers_of_two_keys_and_of_a_view_are_independent() -> None:
    policy = Policy(View(8, CROP, Shared(BLUR, "a"), Shared(BLUR, "b"), BLUR))
    sigmas = [drawn(policy, 0, f"GaussianBlur{n}")["sigma"] for n in ("", "#2", "#3")]
    assert np.abs(np.corrcoef(sigmas) - np.eye(3)).max() < 0.05


def test_slots_are_the_columns_of_the_blocks() -> None:
    """What the compiled draws read: the numbers of a key where the layout puts them."""
    ops = POLICY.views[1].ops
    found = layout(ops)
    places = slots(ops, keys=found.keys)
    assert [place.column if place else None for place in places] == [
        0,
        23,
        found.keys["jitter"] + 1,
        found.keys["blur"] + 1,
        35,
    ]
    assert found.shares
    assert not layout(POLICY.views[0].ops[2:3]).shares
    assert found.views_for(9).tolist()[0] == 9
    assert uniforms(1, 2, np.array([5]), 9, 4).shape == (1, 4)


# What is refused.


def test_one_key_for_ops_of_two_types_is_refused() -> None:
    with pytest.raises(ValueError, match="'a' has GaussianBlur and RandomInvert"):
        Policy(View(8, CROP, Shared(BLUR, "a")), View(8, CROP, OneOf(Shared(RandomInvert(), "a"))))
    with pytest.raises(ValueError, match="'a' has OneOf, RandomInvert and OneOf, GaussianBlur"):
        Policy(View(8, CROP, Shared(OneOf(RandomInvert()), "a"), Shared(OneOf(BLUR), "a")))


def test_keys_with_the_same_hash_are_refused() -> None:
    hashes: dict[int, str] = {}
    one, other = next(
        (hashes[h], key)
        for key in map(str, range(100_000))
        if (h := crc32(key.encode()) & 0xFFFFFF) in hashes or hashes.update({h: key})
    )
    with pytest.raises(ValueError, match=f"'{one}' and '{other}' have the same hash .* rename one"):
        Policy(View(8, CROP, Shared(BLUR, one)), View(8, CROP, Shared(BLUR, other)))


PLAIN, INNER = View(8, CROP), View(8, Nested(CROP, 0))


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ([INNER], r"within must be the number of another view, in 0..0, but view 0 is Nested within view 0"),
        ([PLAIN, View(8, Nested(CROP, 2))], r"in 0..1, but view 1 is Nested within view 2"),
        ([PLAIN, INNER, View(8, Nested(CROP, 1))], "view 2 is Nested within view 1, which is Nested itself"),
        (
            [View(8, Resize()), INNER],
            "view 1 is Nested within view 0, which must begin with a RandomResizedCrop, but begins with Resize",
        ),
    ],
)
def test_a_crop_nested_in_nothing_is_refused(views: list[View], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Policy(*views)


def test_a_nested_crop_is_the_first_op_and_in_no_choice() -> None:
    with pytest.raises(ValueError, match="Nested must be the first op"):
        View(8, RandomHorizontalFlip(), Nested(CROP))
    with pytest.raises(ValueError, match="put crops and resizes beside the choice"):
        OneOf(Nested(CROP))
    with pytest.raises(ValueError, match="put crops and resizes beside the choice"):
        OneOf(Shared(CenterCrop(), "a"))


def test_a_shared_op_with_a_probability_may_not_change_the_size() -> None:
    class Half(gpuaug.Op):
        p = 0.5

        def output_size(self, size: Any) -> Any:
            return (8, 8)

    with pytest.raises(ValueError, match="Half has a probability p and changes the size"):
        View(8, Shared(Half(), "a"))


# A policy with both, as data.


def test_a_view_keeps_the_wrappers_and_its_steps_are_plain() -> None:
    view = POLICY.views[2]
    assert [type(op) for op in view.ops] == [Nested, Shared, Shared]
    assert [type(op) for op in view.steps] == [RandomResizedCrop, GaussianBlur, ColorJitter]
    assert view.steps[0] == RandomResizedCrop((8, 8), (0.1, 0.4))
    assert view == POLICY.views[3]
    assert view != View(8, RandomResizedCrop(scale=(0.1, 0.4)), *view.ops[1:])
    assert POLICY.views[0].ops[0] == Shared(RandomResizedCrop((16, 16)), "crop")
    assert len({POLICY, eval(repr(POLICY), vars(gpuaug))}) == 1


def test_print_says_what_is_shared_and_nested() -> None:
    text = str(Policy(View(8, Shared(CROP, "a"), Shared(RandomSolarize(), "b")), INNER))
    assert "  Shared(op=RandomSolarize(threshold=0.502, p=0.5), key='b')" in text
    crop = "RandomResizedCrop(size=(8, 8), scale=(0.08, 1), ratio=(0.75, 1.333), interpolation='bilinear')"
    assert f"  Nested(crop={crop}, within=0)" in text
