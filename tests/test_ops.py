"""Ops are immutable values: equal arguments make equal ops, and draws are within their ranges."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
import torch
from parity.cases import examples

import gpuaug
from gpuaug import ops

ALL_ARGUMENTS = [
    ops.RandomResizedCrop(8, (0.2, 0.9), (0.5, 2.0), "bicubic"),
    ops.Resize(8, "nearest"),
    ops.CenterCrop(8),
    ops.RandomCrop(8, 2, True, 0.5),
    ops.RandomHorizontalFlip(0.25),
    ops.RandomVerticalFlip(0.25),
    ops.RandomAffine(10, (0.1, 0.2), (0.5, 2.0), (1, 2, 3, 4), "bilinear", 0.5, (1, 2), 0.25),
    ops.RandomRotation(10, "bilinear", (1, 2), 0.5, 0.25),
    ops.RandomPerspective(0.25, 0.25, "nearest", 0.5),
    ops.ColorJitter(0.4, (0.5, 1.5), 0.2, 0.1, 0.25),
    ops.RandomGrayscale(0.25),
    ops.RandomSolarize(0.25, 0.25),
    ops.RandomPosterize(3, 0.25),
    ops.RandomEqualize(0.25),
    ops.RandomAutocontrast(0.25),
    ops.RandomInvert(0.25),
    ops.GaussianBlur(5, (0.5, 1.0), 0.25),
    ops.GaussianNoise(0.1, 0.2, False, 0.25),
    ops.RandomAdjustSharpness(2, 0.25),
    ops.RandomErasing(0.25, (0.1, 0.2), (0.5, 2.0), "random"),
    ops.Normalize((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
    ops.ToDtype(torch.float16),
    ops.OneOf(ops.RandomGrayscale(1.0), [ops.GaussianBlur(5), ops.RandomInvert()], weights=(1, 3), p=0.25),
    ops.SomeOf((1, 2), ops.RandomGrayscale(1.0), [ops.GaussianBlur(5), ops.RandomInvert()], weights=(1, 3), p=0.25),
    ops.Shared(ops.RandomGrayscale(0.25), "gray"),
    ops.Nested(ops.RandomResizedCrop(8, (0.1, 0.2), (0.5, 2.0), "bicubic"), 2),
]
"""Ops with every argument away from its default."""

EVERY_OP = [*ALL_ARGUMENTS, *(op for kind, op in examples().items() if kind not in {type(op) for op in ALL_ARGUMENTS})]


def test_every_op_is_tried_here() -> None:
    kinds = {name for name in ops.__all__ if isinstance(getattr(ops, name), type) and issubclass(getattr(ops, name), ops.Op)}
    assert {type(op).__name__ for op in EVERY_OP} == kinds - {"Op"}
    assert kinds <= set(gpuaug.__all__)


def rebuilt(op: ops.Op) -> ops.Op:
    if isinstance(op, ops.OneOf):
        return ops.OneOf(*op.branches, weights=op.weights, p=op.p)
    if isinstance(op, ops.SomeOf):
        return ops.SomeOf(op.n, *op.branches, weights=op.weights, p=op.p)
    return type(op)(**{f.name: getattr(op, f.name) for f in fields(op)})


@pytest.mark.parametrize("op", EVERY_OP, ids=lambda op: type(op).__name__)
def test_equal_arguments_make_equal_ops(op: ops.Op) -> None:
    for twin in (rebuilt(op), copy.deepcopy(op), pickle.loads(pickle.dumps(op))):
        assert twin == op
        assert hash(twin) == hash(op)
        assert type(twin) is type(op)


@pytest.mark.parametrize("op", [op for op in EVERY_OP if hasattr(op, "p")], ids=lambda op: type(op).__name__)
def test_another_probability_makes_another_op(op: ops.Op) -> None:
    arguments = {f.name: getattr(op, f.name) for f in fields(op)} | {"p": 0.75}
    assert type(op)(**arguments) != op


@pytest.mark.parametrize("op", EVERY_OP, ids=lambda op: type(op).__name__)
def test_ops_cannot_be_changed(op: ops.Op) -> None:
    name = fields(op)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(op, name, getattr(op, name))


@pytest.mark.parametrize("op", EVERY_OP, ids=lambda op: type(op).__name__)
def test_repr_and_str_name_the_op_and_its_arguments(op: ops.Op) -> None:
    shown = str(op)
    assert shown.startswith(f"{type(op).__name__}(")
    if not isinstance(op, (ops.OneOf, ops.SomeOf)):
        assert all(f"{f.name}=" in shown for f in fields(op))
        names = {name: getattr(ops, name) for name in ops.__all__} | {"torch": torch}
        assert eval(repr(op), names) == op


def test_str_rounds_to_four_digits() -> None:
    assert str(ops.RandomSolarize()) == "RandomSolarize(threshold=0.502, p=0.5)"
    assert str(ops.RandomErasing(value=0)) == "RandomErasing(p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=(0, 0, 0))"
    choice = ops.OneOf(ops.RandomInvert(1.0), [ops.RandomGrayscale(1.0), ops.RandomEqualize(1.0)], (), weights=(2, 1, 1))
    assert (
        str(choice) == "OneOf(p=1, 0.5: RandomInvert(p=1); 0.25: RandomGrayscale(p=1) then RandomEqualize(p=1); 0.25: nothing)"
    )


def test_defaults_are_torchvisions() -> None:
    """An argument that is left out means the same as in torchvision."""
    assert ops.RandomResizedCrop(8) == ops.RandomResizedCrop(8, (0.08, 1.0), (3 / 4, 4 / 3), "bilinear")
    assert ops.RandomErasing() == ops.RandomErasing(0.5, (0.02, 0.33), (0.3, 3.3), 0)
    assert ops.RandomPerspective() == ops.RandomPerspective(0.5, 0.5, "bilinear", 0)
    assert ops.GaussianNoise() == ops.GaussianNoise(0.0, 0.1, True, 1.0)
    assert ops.RandomGrayscale().p == 0.1
    assert ops.RandomRotation(5).interpolation == ops.RandomAffine(5).interpolation == "nearest"


def test_jitter_limits() -> None:
    jitter = ops.ColorJitter(1.5, (0.5, 0.6), 0.0, 0.1)
    assert [jitter.limits(part) for part in ("brightness", "contrast", "saturation", "hue")] == [
        (0.0, 2.5),
        (0.5, 0.6),
        None,
        (-0.1, 0.1),
    ]


def test_a_part_of_a_jitter_that_is_left_out_has_no_draws() -> None:
    assert set(ops.ColorJitter(contrast=0.4, saturation=(1, 1)).draw(np.zeros((2, 5)))) == {"order", "contrast"}


ENDS = (0.0, 1 - 2.0**-32)
"""The least and the greatest of the uniform numbers that draws are made of."""


@pytest.mark.parametrize("op", EVERY_OP, ids=lambda op: type(op).__name__)
def test_draws_have_a_row_an_image(op: ops.Op) -> None:
    draws = op.draw(np.stack([np.full(op.uniforms, end) for end in ENDS]))
    assert all(len(column) == 2 and np.isfinite(column).all() for column in draws.values())


@pytest.mark.parametrize("op", ALL_ARGUMENTS, ids=lambda op: type(op).__name__)
def test_draws_stay_in_range_at_the_ends(op: ops.Op) -> None:
    op = ops.base.plain(op)
    draws = op.draw(np.stack([np.full(op.uniforms, end) for end in ENDS]))
    ranges = {
        "area": getattr(op, "scale", None),
        "sigma": getattr(op, "sigma", None),
        "angle": getattr(op, "degrees", None),
        "scale": getattr(op, "scale", None),
        "brightness": (0.6, 1.4),
        "contrast": (0.5, 1.5),
        "saturation": (0.8, 1.2),
        "hue": (-0.1, 0.1),
        "order": (0, 23),
        "corners": (0, 1),
        "shear_x": (1, 2),
        "shear_y": (3, 4),
        "translate_x": (-0.1, 0.1),
        "translate_y": (-0.2, 0.2),
        "top": (0, 1),
        "left": (0, 1),
        "log_ratio": (np.log(0.5), np.log(2)),
        "key": (0, 2**32 - 1),
        "branch": (0, 1),
        "branches": ((0, -1), (0, 1)),
    }
    for name, column in draws.items():
        low, high = ranges[name]  # type: ignore[misc]
        ends = np.sort(np.asarray(column, dtype=np.float64), axis=0)
        assert np.allclose(ends[0], low, rtol=1e-6, atol=1e-6), name
        assert np.allclose(ends[-1], high, rtol=1e-6, atol=1e-6), name


def test_leaves_are_the_ops_that_touch_pixels() -> None:
    inner = ops.OneOf(ops.RandomInvert(), [ops.RandomGrayscale(), ops.RandomEqualize()])
    assert list(ops.leaves([ops.CenterCrop(8), ops.OneOf(inner, ops.GaussianBlur()), ops.Normalize()])) == [
        ops.CenterCrop(8),
        ops.RandomInvert(),
        ops.RandomGrayscale(),
        ops.RandomEqualize(),
        ops.GaussianBlur(),
        ops.Normalize(),
    ]
