"""Ops are data: arguments are checked when an op is made, equal arguments make equal ops, and geometry follows from draws."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F  # noqa: N812

import gpuaug
from gpuaug import ops
from gpuaug.ops import (
    CenterCrop,
    ColorJitter,
    GaussianBlur,
    GaussianNoise,
    Normalize,
    OneOf,
    Op,
    RandomAdjustSharpness,
    RandomAffine,
    RandomAutocontrast,
    RandomCrop,
    RandomEqualize,
    RandomErasing,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomInvert,
    RandomPerspective,
    RandomPosterize,
    RandomResizedCrop,
    RandomRotation,
    RandomSolarize,
    RandomVerticalFlip,
    Resize,
    ToDtype,
)

NAN, INF = float("nan"), float("inf")

# Op, argument, values outside its range, and words of the range that the error states.
REFUSED: list[tuple[Callable[..., Op], str, list[Any], str]] = [
    *(
        (kind, "p", [-0.1, 1.1, NAN, INF, "half", None, True, (0.5,)], "a number in [0, 1]")
        for kind in (
            RandomHorizontalFlip,
            RandomVerticalFlip,
            RandomGrayscale,
            RandomSolarize,
            RandomEqualize,
            RandomAutocontrast,
            RandomInvert,
            RandomPerspective,
            RandomErasing,
            GaussianBlur,
            GaussianNoise,
            ColorJitter,
            lambda p: RandomPosterize(4, p),
            lambda p: RandomAdjustSharpness(2, p),
            lambda p: RandomAffine(10, p=p),
            lambda p: RandomRotation(10, p=p),
            lambda p: OneOf(RandomInvert(), p=p),
        )
    ),
    *(
        (kind, "size", [0, -1, 1.5, (8,) * 3, (8, 0), (8, 8.0), "8", True, ()], "a positive integer or a pair (height, width)")
        for kind in (RandomResizedCrop, Resize, CenterCrop, RandomCrop)
    ),
    (
        RandomResizedCrop,
        "scale",
        [(0.5, 0.1), (-0.1, 1), 0.5, (0.1,), (0.1, NAN), "ab", None],
        "a pair (min, max) with 0 <= min",
    ),
    (RandomResizedCrop, "ratio", [(0, 1), (2, 1), (1, INF), 1.0], "a pair (min, max) with 0.0001 <= min"),
    (RandomResizedCrop, "interpolation", ["lanczos", "cubic", 2, None], "one of 'nearest', 'bilinear', 'bicubic'"),
    (Resize, "interpolation", ["area"], "one of 'nearest', 'bilinear', 'bicubic'"),
    (RandomCrop, "padding", [-1, 1.5, (1, 2, 3), (1, -1), "ab", (1.0, 2)], "a non-negative integer, or two or four of them"),
    (RandomCrop, "padding_mode", ["wrap", None], "one of 'constant', 'edge', 'reflect', 'symmetric'"),
    *(
        (kind, "fill", [-0.1, 128, (0, 0), (0, 0, 2), "black", None], "a number in [0, 1] or three of them")
        for kind in (
            RandomCrop,
            RandomPerspective,
            lambda fill: RandomAffine(1, fill=fill),
            lambda fill: RandomRotation(1, fill=fill),
        )
    ),
    *(
        (ColorJitter, name, [-0.1, "much", (2, 1), (-1, 1), (1,), None, NAN], "")
        for name in ("brightness", "contrast", "saturation")
    ),
    (ColorJitter, "brightness", [-0.1], "a number >= 0"),
    (ColorJitter, "hue", [-0.1, 0.6, (-0.6, 0), (0, 0.6), (0.2, 0.1)], "0.5"),
    (RandomSolarize, "threshold", [-0.1, 1.5, 128, None], "a number in [0, 1]"),
    (RandomPosterize, "bits", [-1, 9, 4.0, None, True], "an integer in 0..8"),
    (GaussianBlur, "kernel_size", [0, 2, -3, 3.0, (3, 4), (3, 3, 3), None], "an odd integer >= 1, or a pair (width, height)"),
    (GaussianBlur, "sigma", [(0, 0), (-1, 2), (2, 1), (0, 1), (1, 2, 3), None], "a pair (min, max) with 0.001 <= min"),
    (GaussianNoise, "sigma", [-0.1, NAN, None], "a number in [0, inf]"),
    (GaussianNoise, "mean", [INF, "0"], "a number in [-inf, inf]"),
    (RandomAdjustSharpness, "sharpness_factor", [-1, None], "a number in [0, inf]"),
    (RandomErasing, "scale", [(0.1, 1.1), (-0.1, 0.5), (0.5, 0.1)], "a pair (min, max) with 0 <= min <= max <= 1"),
    (RandomErasing, "ratio", [(0, 1), (3, 0.3)], "a pair (min, max)"),
    (RandomErasing, "value", ["noise", (1, 2), None, NAN, (1, 2, "3")], 'a number, three numbers or "random"'),
    (Normalize, "mean", [(0.5, 0.5), "abc", None, (1, 2, NAN)], "three numbers"),
    (Normalize, "std", [0, (0.2, 0.2, 0), (0.1, -0.1, 0.1), (1, 1)], "three numbers > 0"),
    (ToDtype, "dtype", [torch.uint8, torch.float64, "float32", None], "torch.float32, torch.float16 or torch.bfloat16"),
    *((kind, "degrees", [-1, "10", (10, -10), (1, 2, 3), None, NAN], "") for kind in (RandomAffine, RandomRotation)),
    (RandomAffine, "degrees", [-1], "a non-negative number of degrees or a pair (min, max)"),
    (lambda translate: RandomAffine(0, translate), "translate", [0.1, (0.1,), (1.1, 0), (-0.1, 0)], "a pair of shares"),
    (lambda scale: RandomAffine(0, scale=scale), "scale", [(0, 1), (2, 1), 2.0], "a pair (min, max)"),
    (lambda shear: RandomAffine(0, shear=shear), "shear", [-1, (2, 1), (0, 1, 2), "x"], ""),
    (
        lambda shear: RandomAffine(0, shear=shear),
        "shear",
        [(0, 1, 3, 2), (1, 0, 0, 1), (0, 1, 0, NAN)],
        "(x min, x max, y min, y max)",
    ),
    *(
        (kind, "center", [5, (1,), (1, 2, 3), ("a", 1), (NAN, 0)], "a pair (x, y) in pixels")
        for kind in (lambda center: RandomAffine(0, center=center), lambda center: RandomRotation(0, center=center))
    ),
    *(
        (kind, "interpolation", ["bicubic", "nearest-exact"], "one of 'nearest', 'bilinear'")
        for kind in (RandomPerspective, lambda interpolation: RandomRotation(1, interpolation))
    ),
    (RandomPerspective, "distortion_scale", [-0.1, 1.1, None], "a number in [0, 1]"),
    (lambda branches: OneOf(branches), "branches", [5, "gray", [RandomInvert(), 3], None], "one or more ops"),
    (lambda branches: OneOf(*branches), "branches", [()], "one or more ops"),
    (lambda branches: OneOf(branches), "branches", [RandomCrop(8), [Resize(8)], CenterCrop()], "keep the size"),
    (
        lambda weights: OneOf(RandomInvert(), RandomGrayscale(), weights=weights),
        "weights",
        [(1,), (1, -1), (0, 0), 5, "ab", (1, NAN)],
        "2 non-negative numbers with a positive sum",
    ),
]


def caller(make: Callable[..., Op], argument: str) -> Callable[[Any], Op]:
    """The op as a function of one argument: a lambda already is one."""
    return make if make.__name__ == "<lambda>" else lambda value: make(**{argument: value})


def cases() -> list[Any]:
    out = []
    for make, argument, values, words in REFUSED:
        name = make.__name__
        call = caller(make, argument)
        out += [pytest.param(call, name, argument, value, words, id=f"{name}-{argument}-{value}") for value in values]
    return out


@pytest.mark.parametrize(("make", "name", "argument", "value", "words"), cases())
def test_a_bad_argument_is_refused_by_op_name_and_range(
    make: Callable[[Any], Op], name: str, argument: str, value: Any, words: str
) -> None:
    with pytest.raises(ValueError, match=rf"^\w+: {argument} must be ") as error:
        make(value)
    message = str(error.value)
    assert words in message
    assert message.splitlines() == [message]
    if name != "<lambda>":
        assert message.startswith(f"{name}: ")
        assert message.endswith(f", got {value!r}")


def test_every_argument_with_a_range_is_in_the_table_above() -> None:
    """Every field of every op is refused something, except yes-or-no ones."""
    tried: dict[str, set[str]] = {}
    for make, argument, values, _ in REFUSED:
        with pytest.raises(ValueError, match="must be") as error:
            caller(make, argument)(values[0])
        tried.setdefault(str(error.value).split(":")[0], set()).add(argument)
    kinds = [getattr(ops, name) for name in ops.__all__ if isinstance(getattr(ops, name), type)]
    for kind in kinds:
        if issubclass(kind, Op) and kind is not Op:
            expected = {f.name for f in fields(kind)} - {"pad_if_needed", "clip"}
            if kind is RandomAffine:
                expected -= {"interpolation"}  # one check with RandomRotation's
            assert expected <= tried[kind.__name__], kind.__name__


NORMAL_FORMS = [
    (RandomResizedCrop(8), "size", (8, 8)),
    (RandomResizedCrop([8]), "size", (8, 8)),
    (RandomResizedCrop((8, 6)), "size", (8, 6)),
    (RandomResizedCrop(np.int64(8)), "size", (8, 8)),
    (RandomResizedCrop(8, interpolation=InterpolationMode.BICUBIC), "interpolation", "bicubic"),
    (RandomResizedCrop(8, scale=[0, 1]), "scale", (0.0, 1.0)),
    (Resize(8), "size", 8),
    (Resize((8,)), "size", 8),
    (Resize([8, 8]), "size", (8, 8)),
    (RandomCrop(8, padding=None), "padding", (0, 0, 0, 0)),
    (RandomCrop(8, padding=2), "padding", (2, 2, 2, 2)),
    (RandomCrop(8, padding=[1, 2]), "padding", (1, 2, 1, 2)),
    (RandomCrop(8, padding=(1, 2, 3, 4)), "padding", (1, 2, 3, 4)),
    (RandomCrop(8, fill=0.5), "fill", (0.5, 0.5, 0.5)),
    (RandomCrop(8, fill=[0, 0.5, 1]), "fill", (0.0, 0.5, 1.0)),
    (GaussianBlur((5, 5)), "kernel_size", 5),
    (GaussianBlur([5, 9]), "kernel_size", (5, 9)),
    (GaussianBlur(5, sigma=1), "sigma", (1.0, 1.0)),
    (RandomRotation(30), "degrees", (-30.0, 30.0)),
    (RandomRotation((0, 90)), "degrees", (0.0, 90.0)),
    (RandomRotation(0, center=[3, 4]), "center", (3.0, 4.0)),
    (RandomAffine(0, shear=5), "shear", (-5.0, 5.0)),
    (RandomAffine(0, shear=[1, 2, 3, 4]), "shear", (1.0, 2.0, 3.0, 4.0)),
    (RandomAffine(0, translate=[0, 1]), "translate", (0.0, 1.0)),
    (RandomErasing(value=1), "value", (1.0, 1.0, 1.0)),
    (RandomErasing(value="random"), "value", "random"),
    (Normalize(0.5, 0.25), "mean", (0.5, 0.5, 0.5)),
    (Normalize(0.5, 0.25), "std", (0.25, 0.25, 0.25)),
    (Normalize(), "mean", (0.485, 0.456, 0.406)),
    (Normalize(), "std", (0.229, 0.224, 0.225)),
    (OneOf(RandomInvert(), RandomGrayscale(), weights=(1, 3)), "weights", (0.25, 0.75)),
    (OneOf(RandomInvert(), ()), "branches", ((RandomInvert(),), ())),
    (ColorJitter(1, hue=(-0.1, 0.2)), "brightness", 1.0),
    (ColorJitter(1, hue=[-0.1, 0.2]), "hue", (-0.1, 0.2)),
]


@pytest.mark.parametrize(("op", "name", "value"), NORMAL_FORMS, ids=lambda x: str(x))
def test_arguments_are_kept_in_one_normal_form(op: Op, name: str, value: Any) -> None:
    kept = getattr(op, name)
    assert kept == value
    assert type(kept) is type(value)


EVERY_OP = [
    RandomResizedCrop(8, (0.2, 0.9), (0.5, 2.0), "bicubic"),
    Resize(8, "nearest"),
    CenterCrop(8),
    RandomCrop(8, 2, True, 0.5),
    RandomHorizontalFlip(0.25),
    RandomVerticalFlip(0.25),
    RandomAffine(10, (0.1, 0.2), (0.5, 2.0), (1, 2, 3, 4), "bilinear", 0.5, (1, 2), 0.25),
    RandomRotation(10, "bilinear", (1, 2), 0.5, 0.25),
    RandomPerspective(0.25, 0.25, "nearest", 0.5),
    ColorJitter(0.4, (0.5, 1.5), 0.2, 0.1, 0.25),
    RandomGrayscale(0.25),
    RandomSolarize(0.25, 0.25),
    RandomPosterize(3, 0.25),
    RandomEqualize(0.25),
    RandomAutocontrast(0.25),
    RandomInvert(0.25),
    GaussianBlur(5, (0.5, 1.0), 0.25),
    GaussianNoise(0.1, 0.2, False, 0.25),
    RandomAdjustSharpness(2, 0.25),
    RandomErasing(0.25, (0.1, 0.2), (0.5, 2.0), "random"),
    Normalize((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
    ToDtype(torch.float16),
    OneOf(RandomGrayscale(1.0), [GaussianBlur(5), RandomInvert()], weights=(1, 3), p=0.25),
]


def test_the_list_above_holds_every_op() -> None:
    kinds = {name for name in ops.__all__ if isinstance(getattr(ops, name), type) and issubclass(getattr(ops, name), Op)}
    assert {type(op).__name__ for op in EVERY_OP} == kinds - {"Op"}
    assert kinds <= set(gpuaug.__all__)


def rebuilt(op: Op) -> Op:
    if isinstance(op, OneOf):
        return OneOf(*op.branches, weights=op.weights, p=op.p)
    return type(op)(**{f.name: getattr(op, f.name) for f in fields(op)})


@pytest.mark.parametrize("op", EVERY_OP, ids=lambda op: type(op).__name__)
def test_equal_arguments_make_equal_ops(op: Op) -> None:
    for twin in (rebuilt(op), copy.deepcopy(op), pickle.loads(pickle.dumps(op))):
        assert twin == op
        assert hash(twin) == hash(op)
        assert type(twin) is type(op)


@pytest.mark.parametrize("op", [op for op in EVERY_OP if hasattr(op, "p")], ids=lambda op: type(op).__name__)
def test_another_probability_makes_another_op(op: Op) -> None:
    arguments = {f.name: getattr(op, f.name) for f in fields(op)} | {"p": 0.75}
    other = OneOf(*op.branches, weights=op.weights, p=0.75) if isinstance(op, OneOf) else type(op)(**arguments)
    assert other != op


@pytest.mark.parametrize("op", EVERY_OP, ids=lambda op: type(op).__name__)
def test_ops_cannot_be_changed(op: Op) -> None:
    name = fields(op)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(op, name, getattr(op, name))


@pytest.mark.parametrize("op", EVERY_OP, ids=lambda op: type(op).__name__)
def test_repr_and_str_name_the_op_and_its_arguments(op: Op) -> None:
    shown = str(op)
    assert shown.startswith(f"{type(op).__name__}(")
    if not isinstance(op, OneOf):
        assert all(f"{f.name}=" in shown for f in fields(op))
        names = {name: getattr(ops, name) for name in ops.__all__} | {"torch": torch}
        assert eval(repr(op), names) == op


def test_str_rounds_to_four_digits() -> None:
    assert str(RandomSolarize()) == "RandomSolarize(threshold=0.502, p=0.5)"
    assert str(RandomErasing(value=0)) == "RandomErasing(p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=(0, 0, 0))"
    choice = OneOf(RandomInvert(1.0), [RandomGrayscale(1.0), RandomEqualize(1.0)], (), weights=(2, 1, 1))
    assert (
        str(choice) == "OneOf(p=1, 0.5: RandomInvert(p=1); 0.25: RandomGrayscale(p=1) then RandomEqualize(p=1); 0.25: nothing)"
    )


def test_defaults_are_torchvisions() -> None:
    """What a user who knows torchvision leaves out means the same here."""
    assert RandomResizedCrop(8) == RandomResizedCrop(8, (0.08, 1.0), (3 / 4, 4 / 3), "bilinear")
    assert RandomErasing() == RandomErasing(0.5, (0.02, 0.33), (0.3, 3.3), 0)
    assert RandomPerspective() == RandomPerspective(0.5, 0.5, "bilinear", 0)
    assert GaussianNoise() == GaussianNoise(0.0, 0.1, True, 1.0)
    assert RandomGrayscale().p == 0.1
    assert RandomRotation(5).interpolation == RandomAffine(5).interpolation == "nearest"


def test_jitter_limits() -> None:
    jitter = ColorJitter(1.5, (0.5, 0.6), 0.0, 0.1)
    assert [jitter.limits(part) for part in ("brightness", "contrast", "saturation", "hue")] == [
        (0.0, 2.5),
        (0.5, 0.6),
        None,
        (-0.1, 0.1),
    ]


def test_a_part_of_a_jitter_that_is_left_out_has_no_draws() -> None:
    assert set(ColorJitter(contrast=0.4, saturation=(1, 1)).draw(np.zeros((2, 5)))) == {"order", "contrast"}


@pytest.mark.parametrize("op", EVERY_OP, ids=lambda op: type(op).__name__)
def test_draws_have_a_row_an_image_and_stay_in_range_at_the_ends(op: Op) -> None:
    """The least and the greatest uniform numbers that there are give parameters within the declared ranges."""
    u = np.stack([np.zeros(op.uniforms), np.full(op.uniforms, 1 - 2.0**-32)])
    draws = op.draw(u)
    assert all(len(column) == 2 for column in draws.values())
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
    }
    for name, column in draws.items():
        low, high = ranges[name]  # type: ignore[misc]
        ends = np.sort(np.asarray(column, dtype=np.float64), axis=0)
        assert np.allclose(ends[0], low, rtol=1e-6, atol=1e-6), name
        assert np.allclose(ends[-1], high, rtol=1e-6, atol=1e-6), name


IMAGE_SIDE = st.integers(1, 60)


@settings(deadline=None, max_examples=60)
@given(IMAGE_SIDE, IMAGE_SIDE, st.integers(1, 60))
def test_resize_keeps_the_aspect_as_torchvision_does(height: int, width: int, edge: int) -> None:
    assume(edge * max(height, width) < 500 * min(height, width))  # keeps torchvision's image small
    expected = F.resize(torch.zeros(1, height, width), [edge], antialias=True).shape[-2:]
    assert Resize(edge).target(height, width) == tuple(expected)


def test_output_sizes() -> None:
    assert Resize((8, 6)).target(20, 10) == (8, 6)
    assert Resize(8).output_size(None) is None
    assert Resize(8).output_size((20, 10)) == (16, 8)
    assert Resize(8).output_size((10, 20)) == (8, 16)
    assert Resize((8, 6)).output_size(None) == (8, 6)
    assert RandomCrop(8).output_size((99, 99)) == (8, 8)
    assert RandomInvert().output_size((5, 6)) == (5, 6)
    assert RandomInvert().output_size(None) is None


@pytest.mark.parametrize("op", [RandomResizedCrop(), Resize(), CenterCrop(), RandomCrop()], ids=lambda op: type(op).__name__)
def test_an_op_without_a_size_takes_its_views(op: Op) -> None:
    assert op.bind((8, 6)).size == (8, 6)  # type: ignore[attr-defined]
    assert type(op)(3).bind((8, 6)) == type(op)(3)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=f"{type(op).__name__}: size is not set"):
        op.output_size(None)


def test_a_blur_wider_than_twice_the_view_is_refused() -> None:
    assert GaussianBlur(23).output_size((12, 12)) == (12, 12)
    with pytest.raises(ValueError, match=r"GaussianBlur: kernel_size 23 .* 11x12"):
        GaussianBlur(23).output_size((11, 12))
    with pytest.raises(ValueError, match=re.escape("kernel_size (5, 9)")):
        GaussianBlur((5, 9)).output_size((4, 8))
    assert GaussianBlur((9, 5)).output_size((4, 8)) == (4, 8)
    with pytest.raises(ValueError, match="kernel_size"):
        OneOf(RandomInvert(), GaussianBlur(23)).output_size((11, 11))


@settings(deadline=None)
@given(IMAGE_SIDE, IMAGE_SIDE, IMAGE_SIDE, IMAGE_SIDE)
def test_center_crop_boxes_are_where_torchvision_cuts(height: int, width: int, out_h: int, out_w: int) -> None:
    image = torch.arange(1, height * width + 1).reshape(1, height, width)
    expected = F.center_crop(image, [out_h, out_w])
    top, left, h, w = CenterCrop((out_h, out_w)).boxes({}, np.array([height]), np.array([width]))[0]
    padded = F.pad(image, [60, 60, 60, 60])
    assert torch.equal(padded[:, 60 + top : 60 + top + h, 60 + left : 60 + left + w], expected)


def test_random_crop_reaches_both_ends_and_not_beyond() -> None:
    op = RandomCrop(8, padding=(1, 2, 3, 4))
    draws = {"top": np.array([0, 1], dtype=np.float32), "left": np.array([0, 1], dtype=np.float32)}
    found = op.boxes(draws, np.array([10, 10]), np.array([20, 20]))
    assert found.tolist() == [[-2, -1, 8, 8], [10 + 4 - 8, 20 + 3 - 8, 8, 8]]


def test_random_crop_pads_small_images_if_asked() -> None:
    op = RandomCrop(8, padding=1, pad_if_needed=True)
    assert op.pads(np.array([5, 8]), np.array([8, 2])).tolist() == [[1, 2, 1, 2], [5, 1, 5, 1]]
    draws = {"top": np.zeros(2), "left": np.zeros(2)}
    assert op.boxes(draws, np.array([5, 8]), np.array([8, 2])).tolist() == [[-2, -1, 8, 8], [-1, -5, 8, 8]]


def test_random_crop_names_the_image_that_is_too_small() -> None:
    draws = {"top": np.zeros(2), "left": np.zeros(2)}
    with pytest.raises(
        ValueError, match="RandomCrop: image 1 of the batch is 7x9, smaller than the crop 8x8; set pad_if_needed"
    ):
        RandomCrop(8).boxes(draws, np.array([9, 7]), np.array([9, 9]))


def matrix(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows.reshape(-1, 2, 3), np.broadcast_to([[[0.0, 0, 1]]], (len(rows), 1, 3))], axis=1)


DEGREES = st.floats(-80, 80)


@given(DEGREES, DEGREES, DEGREES, st.floats(0.2, 3), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.booleans())
def test_affine_matrices_invert_the_documented_product(
    angle: float, shear_x: float, shear_y: float, scale: float, dx: float, dy: float, centred: bool
) -> None:
    """The output's coordinates lead back to the input's: M = T C R S SHy SHx C^-1, about the image's centre."""
    height, width = 40, 30
    op = RandomAffine(0, center=None if centred else (3, 9))
    values = {"angle": angle, "shear_x": shear_x, "shear_y": shear_y, "scale": scale, "translate_x": dx, "translate_y": dy}
    ours = matrix(op.matrices({name: np.array([value]) for name, value in values.items()}, height, width))[0]
    a, sx, sy = np.deg2rad([angle, shear_x, shear_y])
    cx, cy = (0, 0) if centred else (3 - width / 2, 9 - height / 2)
    move = np.array([[1, 0, np.rint(dx * width)], [0, 1, np.rint(dy * height)], [0, 0, 1]])
    center = np.array([[1, 0, cx], [0, 1, cy], [0, 0, 1]])
    rotate = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    shear = np.array([[1, 0, 0], [-np.tan(sy), 1, 0], [0, 0, 1]]) @ np.array([[1, -np.tan(sx), 0], [0, 1, 0], [0, 0, 1]])
    forward = move @ center @ rotate @ np.diag([scale, scale, 1]) @ shear @ np.linalg.inv(center)
    assert np.allclose(ours @ forward, np.eye(3), atol=1e-8)


def test_rotation_is_counter_clockwise_about_its_centre() -> None:
    draws = {"angle": np.array([90.0], dtype=np.float32)}
    back = matrix(RandomRotation(90).matrices(draws, 20, 20))[0]
    assert np.allclose(back @ [5, 0, 1], [0, 5, 1])  # what is now on the right was below
    about = matrix(RandomRotation(90, center=(4, 7)).matrices(draws, 20, 20))[0]
    assert np.allclose(about @ [4 - 10, 7 - 10, 1], [4 - 10, 7 - 10, 1])


def send(coefficients: np.ndarray, x: float, y: float) -> tuple[float, float]:
    a, b, c, d, e, f, g, h = coefficients
    return (a * x + b * y + c) / (g * x + h * y + 1), (d * x + e * y + f) / (g * x + h * y + 1)


@given(st.lists(st.floats(0, 1, width=32), min_size=8, max_size=8), st.floats(0, 0.9), st.integers(8, 50), st.integers(8, 50))
def test_perspective_takes_moved_corners_back(moves: list[float], scale: float, height: int, width: int) -> None:
    op = RandomPerspective(scale)
    coefficients = op.coefficients({"corners": np.array([moves], dtype=np.float32)}, height, width)[0]
    bounds = (int(scale * (width // 2)), int(scale * (height // 2)))
    right, bottom = width - 1, height - 1
    steps = [min(int(np.float32(m) * np.float64(bounds[k % 2] + 1)), bounds[k % 2]) for k, m in enumerate(moves)]
    inward = [(1, 1), (-1, 1), (-1, -1), (1, -1)]
    for k, (x, y) in enumerate([(0, 0), (right, 0), (right, bottom), (0, bottom)]):
        moved = x + inward[k][0] * steps[2 * k], y + inward[k][1] * steps[2 * k + 1]
        assert send(coefficients, *moved) == pytest.approx((x, y), abs=1e-6)


def test_a_perspective_corner_moves_no_further_than_its_bound() -> None:
    """Uniform numbers next to 1 become 1 as float32: torchvision's randint never reaches the bound plus one."""
    draws = RandomPerspective(0.5).draw(np.full((1, 8), 1 - 2.0**-32))
    coefficients = RandomPerspective(0.5).coefficients(draws, 40, 40)[0]
    assert send(coefficients, 10, 10) == pytest.approx((0, 0), abs=1e-6)


def test_erasing_takes_the_first_box_that_fits_and_nothing_where_none_does() -> None:
    op = RandomErasing(1.0, (0.1, 1.0))
    draws = {
        "area": np.tile(np.array([1.0] * 9 + [0.25], dtype=np.float32), (2, 1)),
        "log_ratio": np.zeros((2, 10), dtype=np.float32),
        "top": np.array([0, 1], dtype=np.float32),
        "left": np.array([1, 0], dtype=np.float32),
    }
    assert op.boxes(draws, np.array([20, 20]), np.array([20, 20])).tolist() == [[0, 10, 10, 10], [10, 0, 10, 10]]
    none = {**draws, "area": np.ones((2, 10), dtype=np.float32)}
    assert op.boxes(none, np.array([20, 20]), np.array([20, 20]))[:, 2:].tolist() == [[0, 0], [0, 0]]


def test_leaves_are_the_ops_that_touch_pixels() -> None:
    inner = OneOf(RandomInvert(), [RandomGrayscale(), RandomEqualize()])
    assert list(ops.leaves([CenterCrop(8), OneOf(inner, GaussianBlur()), Normalize()])) == [
        CenterCrop(8),
        RandomInvert(),
        RandomGrayscale(),
        RandomEqualize(),
        GaussianBlur(),
        Normalize(),
    ]
