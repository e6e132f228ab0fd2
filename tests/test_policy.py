"""Policies and views are values: checked when made, comparable, picklable, and readable when printed."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch

import gpuaug
from gpuaug import (
    CenterCrop,
    Normalize,
    OneOf,
    Policy,
    RandomCrop,
    RandomGrayscale,
    RandomInvert,
    RandomResizedCrop,
    Resize,
    View,
)

CROP = RandomResizedCrop()


@pytest.mark.parametrize("size", [8, (8, 8), [8, 8]])
def test_a_size_is_a_number_or_a_pair(size: Any) -> None:
    assert View(size, CROP).size == (8, 8)
    assert View((8, 6), CROP).size == (8, 6)


@pytest.mark.parametrize("size", [0, -8, 8.0, "8", (8,), (8, 8, 3), (8, 0), None, True])
def test_a_bad_size_is_refused(size: Any) -> None:
    with pytest.raises(ValueError, match="View: size must be a positive integer or a pair"):
        View(size, CROP)


@pytest.mark.parametrize("repeat", [0, -1, 1.5, True, None])
def test_a_bad_repeat_is_refused(repeat: Any) -> None:
    with pytest.raises(ValueError, match="View: repeat must be an integer >= 1"):
        View(8, CROP, repeat=repeat)


def test_what_is_not_an_op_is_refused_with_advice() -> None:
    with pytest.raises(TypeError, match=r"ops must be gpuaug ops, got .*relu.*; convert torchvision's with"):
        View(8, CROP, torch.relu)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ops", "found"),
    [
        ([], "sizes of their own"),
        ([RandomInvert()], "sizes of their own"),
        ([Resize(8)], "sizes of their own"),
        ([RandomCrop(6)], "6x6"),
        ([CROP, RandomCrop(4)], "4x4"),
        ([RandomResizedCrop((8, 6))], "8x6"),
    ],
)
def test_ops_must_end_at_the_views_size(ops: list[gpuaug.Op], found: str) -> None:
    with pytest.raises(ValueError, match=f"View: ops must end at 8x8, but they leave images at {found}; end with a crop"):
        View(8, *ops)


@pytest.mark.parametrize(
    "ops", [[Resize(12), CenterCrop()], [Resize((8, 8))], [RandomCrop(12), Resize(8)], [RandomCrop((4, 4)), CenterCrop()]]
)
def test_ops_may_reach_the_size_in_several_ways(ops: list[gpuaug.Op]) -> None:
    assert View(8, *ops).size == (8, 8)


def test_ops_without_a_size_take_the_views() -> None:
    assert View((8, 6), CROP, RandomInvert()).ops == (RandomResizedCrop((8, 6)), RandomInvert())
    assert View((8, 6), RandomResizedCrop(20), CenterCrop()).ops == (RandomResizedCrop(20), CenterCrop((8, 6)))
    assert CROP.size is None  # the op given is not changed


def test_a_blur_too_wide_for_the_view_is_refused_in_a_choice_too() -> None:
    for op in (gpuaug.GaussianBlur(23), OneOf(gpuaug.GaussianBlur(23))):
        with pytest.raises(ValueError, match="GaussianBlur: kernel_size 23 needs images larger"):
            View(8, CROP, op)


def test_two_dtypes_are_refused() -> None:
    half = gpuaug.ToDtype(torch.float16)
    assert View(8, CROP, half).steps[-1] == half
    for ops in ([half, half], [half, OneOf(gpuaug.ToDtype())]):
        with pytest.raises(ValueError, match="View: at most one ToDtype"):
            View(8, CROP, *ops)


def test_steps_are_the_branches_of_every_choice_in_order() -> None:
    view = View(8, CROP, OneOf(RandomInvert(), [RandomGrayscale(), RandomInvert(1.0)]), Normalize())
    assert view.steps == (RandomResizedCrop(8), RandomInvert(), RandomGrayscale(), RandomInvert(1.0), Normalize())


def test_normalize_is_the_last_one() -> None:
    assert View(8, CROP).normalize is None
    assert View(8, CROP, Normalize(0.1), Normalize(0.2)).normalize == Normalize(0.2)


def test_a_repeated_view_stands_once_for_each_repeat() -> None:
    policy = Policy(View(8, CROP, repeat=2), View(6, CROP, repeat=3))
    assert len(policy) == 5
    assert [view.size[0] for view in policy.views] == [8, 8, 6, 6, 6]
    assert {view.repeat for view in policy.views} == {1}
    assert policy == Policy(View(8, CROP), View(8, CROP), *[View(6, CROP)] * 3)


@pytest.mark.parametrize("views", [(), (CROP,), (View(8, CROP), "view"), ([View(8, CROP)],)])
def test_a_policy_is_made_of_views(views: Any) -> None:
    with pytest.raises(TypeError, match="Policy: give one or more View"):
        Policy(*views)


def test_policies_are_equal_by_what_they_do_and_not_by_name() -> None:
    view = View(8, CROP, Normalize())
    assert Policy(view, name="a", source="b") == Policy(view)
    assert hash(Policy(view, name="a")) == hash(Policy(view))
    assert Policy(view) != Policy(view, view)
    assert Policy(view) != Policy(View(8, CROP, Normalize(), RandomInvert()))
    assert Policy(View(8, RandomInvert(), CROP)) != Policy(View(8, CROP, RandomInvert()))


def test_policies_survive_pickling_with_their_names() -> None:
    policy = Policy(View(8, CROP, OneOf(RandomInvert(), ()), gpuaug.ToDtype(torch.bfloat16)), name="mine", source="a page")
    again = pickle.loads(pickle.dumps(policy))
    assert again == policy
    assert (again.name, again.source) == ("mine", "a page")


def test_policies_and_views_cannot_be_changed() -> None:
    policy = Policy(View(8, CROP))
    with pytest.raises(FrozenInstanceError):
        policy.name = "other"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        policy.views[0].size = (9, 9)  # type: ignore[misc]


def test_print_shows_every_view_once_with_its_count_and_every_op_on_a_line() -> None:
    policy = Policy(
        View(8, CROP, RandomInvert(), repeat=2), View((8, 6), Resize((8, 6)), Normalize()), name="mine", source="a page"
    )
    assert str(policy).splitlines() == [
        "mine",
        "  a page",
        "  2 x 8x8",
        "      RandomResizedCrop(size=(8, 8), scale=(0.08, 1), ratio=(0.75, 1.333), interpolation='bilinear')",
        "      RandomInvert(p=0.5)",
        "  1 x 8x6",
        "      Resize(size=(8, 6), interpolation='bilinear')",
        "      Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))",
    ]
    assert str(Policy(View(8, CROP))).startswith("policy\n  1 x 8x8\n")
