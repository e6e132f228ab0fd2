"""Ops check their arguments when they are made: errors name op, argument and range; good values are stored in one form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from parity.cases import examples
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode

from gpuaug import ops

NAN, INF = float("nan"), float("inf")


def with_p(op: ops.Op) -> Callable[..., ops.Op]:
    """A function of p that makes the op with its other arguments, under the op's name."""

    def make(p: Any) -> ops.Op:
        return replace(op, p=p)  # type: ignore[type-var]

    make.__name__ = type(op).__name__
    return make


AUTOMATIC = (
    ops.RandAugment,
    ops.TrivialAugmentWide,
    ops.AutoAugment,
    ops.AugMix,
    ops.TimmRandAugment,
    ops.FixMatchRandAugment,
)

# Op, argument, values outside its range, and the range as the error states it.
REFUSED: list[tuple[Callable[..., ops.Op], str, list[Any], str]] = [
    *(
        (kind, "p", [-0.1, 1.1, NAN, INF, "half", None, True, (0.5,)], "a number in [0, 1]")
        for kind in (
            *(with_p(op) for op in examples().values() if hasattr(op, "p")),
            lambda p: ops.OneOf(ops.RandomInvert(), p=p),
            lambda p: ops.SomeOf(1, ops.RandomInvert(), p=p),
        )
    ),
    *(
        (kind, "size", [0, -1, 1.5, (8,) * 3, (8, 0), (8, 8.0), "8", True, ()], "a positive integer or a pair (height, width)")
        for kind in (ops.RandomResizedCrop, ops.Resize, ops.CenterCrop, ops.RandomCrop)
    ),
    (
        ops.RandomResizedCrop,
        "scale",
        [(0.5, 0.1), (-0.1, 1), 0.5, (0.1,), (0.1, NAN), "ab", None],
        "a pair (min, max) with 0 <= min",
    ),
    (ops.RandomResizedCrop, "ratio", [(0, 1), (2, 1), (1, INF), 1.0], "a pair (min, max) with 0.0001 <= min"),
    (ops.RandomResizedCrop, "interpolation", ["lanczos", "cubic", 2, None], "one of 'nearest', 'bilinear', 'bicubic'"),
    (ops.Resize, "interpolation", ["area"], "one of 'nearest', 'bilinear', 'bicubic'"),
    (
        ops.RandomCrop,
        "padding",
        [-1, 1.5, (1, 2, 3), (1, -1), "ab", (1.0, 2)],
        "a non-negative integer, or two or four of them",
    ),
    (ops.RandomCrop, "padding_mode", ["wrap", None], "one of 'constant', 'edge', 'reflect', 'symmetric'"),
    *(
        (kind, "fill", [-0.1, 128, (), (0, 0, 2), "black", None], "a number in [0, 1] or one per channel")
        for kind in (
            ops.RandomCrop,
            ops.ElasticTransform,
            ops.RandomPerspective,
            lambda fill: ops.RandomAffine(1, fill=fill),
            lambda fill: ops.RandomRotation(1, fill=fill),
            *AUTOMATIC,
        )
    ),
    *(
        (ops.ColorJitter, name, [-0.1, "much", (2, 1), (-1, 1), (1,), None, NAN], "")
        for name in ("brightness", "contrast", "saturation")
    ),
    (ops.ColorJitter, "brightness", [-0.1], "a number >= 0"),
    (ops.ColorJitter, "hue", [-0.1, 0.6, (-0.6, 0), (0, 0.6), (0.2, 0.1)], "0.5"),
    (ops.RandomSolarize, "threshold", [-0.1, 1.5, 128, None], "a number in [0, 1]"),
    (ops.RandomPosterize, "bits", [-1, 9, 4.0, None, True], "an integer in 0..8"),
    (
        ops.GaussianBlur,
        "kernel_size",
        [0, 2, -3, 3.0, (3, 4), (3, 3, 3), None],
        "an odd integer >= 1, or a pair (width, height)",
    ),
    (ops.GaussianBlur, "sigma", [(0, 0), (-1, 2), (2, 1), (0, 1), (1, 2, 3), None], "a pair (min, max) with 0.001 <= min"),
    (
        ops.JPEG,
        "quality",
        [0, 101, 50.0, (50, 40), (0, 9), (50, 101), (1, 2, 3), (1.0, 2), "50", None, True],
        "an integer in 1..100",
    ),
    (ops.ElasticTransform, "alpha", ["50", (1,), (1, NAN), None], "a number or a pair"),
    (ops.ElasticTransform, "sigma", [-1, (0, 1), (1, 0), (1, 2, 3), (1, -1), None], "both 0 or both above"),
    (ops.RandomPhotometricDistort, "hue", [0.1, (-0.6, 0), (0.2, 0.1)], "a pair (min, max) with -0.5 <= min <= max <= 0.5"),
    *(
        (ops.RandomPhotometricDistort, name, [1.5, (-0.1, 1), (2, 1), None], "a pair (min, max) with 0 <= min")
        for name in ("brightness", "contrast", "saturation")
    ),
    (ops.GaussianNoise, "sigma", [-0.1, NAN, None], "a number in [0, inf]"),
    (ops.GaussianNoise, "mean", [INF, "0"], "a number in [-inf, inf]"),
    (ops.RandomAdjustSharpness, "sharpness_factor", [-1, None], "a number in [0, inf]"),
    (ops.RandomErasing, "scale", [(0.1, 1.1), (-0.1, 0.5), (0.5, 0.1)], "a pair (min, max) with 0 <= min <= max <= 1"),
    (ops.RandomErasing, "ratio", [(0, 1), (3, 0.3)], "a pair (min, max)"),
    (ops.RandomErasing, "value", ["noise", (), None, NAN, (1, 2, "3")], 'a number, one per channel or "random"'),
    (ops.Normalize, "mean", [(), "abc", None, (1, 2, NAN)], "a number, or one per channel"),
    (ops.Normalize, "std", [0, (0.2, 0.2, 0), (0.1, -0.1, 0.1), ()], "a number > 0, or one per channel"),
    (ops.ToDtype, "dtype", [torch.uint8, torch.float64, "float32", None], "torch.float32, torch.float16 or torch.bfloat16"),
    *((kind, "degrees", [-1, "10", (10, -10), (1, 2, 3), None, NAN], "") for kind in (ops.RandomAffine, ops.RandomRotation)),
    (ops.RandomAffine, "degrees", [-1], "a non-negative number of degrees or a pair (min, max)"),
    (lambda translate: ops.RandomAffine(0, translate), "translate", [0.1, (0.1,), (1.1, 0), (-0.1, 0)], "a pair of shares"),
    (lambda scale: ops.RandomAffine(0, scale=scale), "scale", [(0, 1), (2, 1), 2.0], "a pair (min, max)"),
    (lambda shear: ops.RandomAffine(0, shear=shear), "shear", [-1, (2, 1), (0, 1, 2), "x"], ""),
    (
        lambda shear: ops.RandomAffine(0, shear=shear),
        "shear",
        [(0, 1, 3, 2), (1, 0, 0, 1), (0, 1, 0, NAN)],
        "(x min, x max, y min, y max)",
    ),
    *(
        (kind, "center", [5, (1,), (1, 2, 3), ("a", 1), (NAN, 0)], "a pair (x, y) in pixels")
        for kind in (lambda center: ops.RandomAffine(0, center=center), lambda center: ops.RandomRotation(0, center=center))
    ),
    *(
        (kind, "interpolation", ["bicubic", "nearest-exact"], "one of 'nearest', 'bilinear'")
        for kind in (
            ops.ElasticTransform,
            ops.RandomPerspective,
            lambda interpolation: ops.RandomRotation(1, interpolation),
            *AUTOMATIC,
        )
    ),
    *((kind, "num_ops", [-1, 1.5, None, True], "an integer >= 0") for kind in (ops.RandAugment, ops.FixMatchRandAugment)),
    (ops.TimmRandAugment, "config", ["", "v0", "augmix-m3", 9, None, "m9"], "'rand' and, after hyphens, parts such as m9"),
    (ops.TimmRandAugment, "config", ["rand-m", "rand-m9.5", "rand-m-9", "rand-m9x"], "behind m comes an integer, not "),
    (ops.TimmRandAugment, "config", ["rand-p2", "rand-p1.5"], "behind p comes a number in [0, 1], not "),
    (ops.TimmRandAugment, "config", ["rand-inc2"], "behind inc comes 0 or 1, not '2'"),
    (ops.TimmRandAugment, "config", ["rand-mmax0", "rand-mmax2.5"], "behind mmax comes an integer >= 1, not "),
    (ops.TimmRandAugment, "config", ["rand-x3", "rand-x3-m9"], "'x3' is none of these"),
    (ops.TimmRandAugment, "config", ["rand-m9-mstdinf"], "'mstdinf' is none of these"),  # timm ignores it
    (ops.TimmRandAugment, "config", ["rand-m9-inc1-m9"], "'m9' repeats one of them"),
    (ops.TimmRandAugment, "config", ["rand-t3a", "rand-m9-t3a"], "without t3a, whose functions blur"),
    (ops.TimmRandAugment, "config", ["rand-n16-tweights"], "n of at most 15 beside tweights"),
    (ops.Cutout, "length", [0, 1, 4.0, None, True], "an integer >= 2"),
    (lambda value: ops.Cutout(8, value), "value", ["random", None, (), NAN], "a number or one per channel"),
    (ops.RandAugment, "magnitude", [-1, 31, 9.0, None], "an integer in 0..30"),
    (ops.TrivialAugmentWide, "translate", [-1, NAN, None, "32"], "a number in [0, inf]"),
    *((kind, "num_magnitude_bins", [1, 31.0], "an integer >= 2") for kind in (ops.RandAugment, ops.TrivialAugmentWide)),
    (ops.AutoAugment, "policy", ["cifar", None], "one of 'imagenet', 'cifar10', 'svhn'"),
    (ops.AugMix, "severity", [0, 11, 1.0], "an integer in 1..10"),
    (ops.AugMix, "mixture_width", [0, 2.0], "an integer >= 1"),
    (ops.AugMix, "chain_depth", [0, -2, 1.5, None], "an integer >= 1, or -1 for a depth"),
    (ops.AugMix, "alpha", [0, -1, None, NAN], "a number above 0"),
    (ops.RandomPerspective, "distortion_scale", [-0.1, 1.1, None], "a number in [0, 1]"),
    (
        lambda n: ops.SomeOf(n, ops.RandomInvert(), ()),
        "n",
        [-1, 3, 1.0, True, (1, 3), (2, 1), (1,), None],
        "an integer in 0..2",
    ),
    (lambda branches: ops.SomeOf(1, branches), "branches", [5, [ops.RandomInvert(), 3], None], "one or more ops"),
    (lambda branches: ops.SomeOf(1, branches), "branches", [ops.RandomCrop(8), [ops.Resize(8)]], "keep the size"),
    (
        lambda weights: ops.SomeOf((0, 2), (), (), (), weights=weights),
        "weights",
        [(1, 0, 0)],
        "above 0 for at least 2 branches",
    ),
    (lambda branches: ops.OneOf(branches), "branches", [5, "gray", [ops.RandomInvert(), 3], None], "one or more ops"),
    (lambda branches: ops.OneOf(*branches), "branches", [()], "one or more ops"),
    (lambda branches: ops.OneOf(branches), "branches", [ops.RandomCrop(8), [ops.Resize(8)], ops.CenterCrop()], "keep the size"),
    (
        lambda weights: ops.OneOf(ops.RandomInvert(), ops.RandomGrayscale(), weights=weights),
        "weights",
        [(1,), (1, -1), (0, 0), 5, "ab", (1, NAN)],
        "2 non-negative numbers with a positive sum",
    ),
    (
        lambda op: ops.Shared(op, "key"),
        "op",
        [
            None,
            "gray",
            ops.Shared(ops.RandomInvert(), "other"),
            ops.Nested(ops.RandomResizedCrop()),
            ops.OneOf(ops.Shared(ops.RandomInvert(), "other")),
        ],
        "a gpuaug op in which nothing is Shared or Nested",
    ),
    (lambda op: ops.Shared(op, "key"), "op", [ops.RandAugment(520)], "at most 1024 numbers an image"),
    (lambda key: ops.Shared(ops.RandomInvert(), key), "key", ["", None, 3], "a string that is not empty"),
    (lambda crop: ops.Nested(crop), "crop", [ops.RandomCrop(), ops.Shared(ops.Resize(8), "a"), None], "a RandomResizedCrop"),
    (lambda within: ops.Nested(ops.RandomResizedCrop(), within), "within", [-1, 1.0, None, True], "an integer >= 0"),
]


def caller(make: Callable[..., ops.Op], argument: str) -> Callable[[Any], ops.Op]:
    """The op as a function of one argument, which a lambda already is."""
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
    make: Callable[[Any], ops.Op], name: str, argument: str, value: Any, words: str
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
    """Every field of every op refuses some value, except flags."""
    tried: dict[str, set[str]] = {}
    for make, argument, values, _ in REFUSED:
        with pytest.raises(ValueError, match="must be") as error:
            caller(make, argument)(values[0])
        tried.setdefault(str(error.value).split(":")[0], set()).add(argument)
    kinds = [getattr(ops, name) for name in ops.__all__ if isinstance(getattr(ops, name), type)]
    for kind in kinds:
        if issubclass(kind, ops.Op) and kind is not ops.Op:
            expected = {f.name for f in fields(kind)} - {"pad_if_needed", "clip", "all_ops"}
            if kind is ops.RandomAffine:
                expected -= {"interpolation"}  # the same check as RandomRotation's
            assert expected <= tried[kind.__name__], kind.__name__


NORMAL_FORMS = [
    (ops.RandomResizedCrop(8), "size", (8, 8)),
    (ops.RandomResizedCrop([8]), "size", (8, 8)),
    (ops.RandomResizedCrop((8, 6)), "size", (8, 6)),
    (ops.RandomResizedCrop(np.int64(8)), "size", (8, 8)),
    (ops.RandomResizedCrop(8, interpolation=InterpolationMode.BICUBIC), "interpolation", "bicubic"),
    (ops.RandomResizedCrop(8, scale=[0, 1]), "scale", (0.0, 1.0)),
    (ops.Resize(8), "size", 8),
    (ops.Resize((8,)), "size", 8),
    (ops.Resize([8, 8]), "size", (8, 8)),
    (ops.RandomCrop(8, padding=None), "padding", (0, 0, 0, 0)),
    (ops.RandomCrop(8, padding=2), "padding", (2, 2, 2, 2)),
    (ops.RandomCrop(8, padding=[1, 2]), "padding", (1, 2, 1, 2)),
    (ops.RandomCrop(8, padding=(1, 2, 3, 4)), "padding", (1, 2, 3, 4)),
    (ops.RandomCrop(8, fill=0.5), "fill", (0.5, 0.5, 0.5)),
    (ops.RandomCrop(8, fill=[0, 0.5, 1]), "fill", (0.0, 0.5, 1.0)),
    (ops.GaussianBlur((5, 5)), "kernel_size", 5),
    (ops.GaussianBlur([5, 9]), "kernel_size", (5, 9)),
    (ops.GaussianBlur(5, sigma=1), "sigma", (1.0, 1.0)),
    (ops.RandomRotation(30), "degrees", (-30.0, 30.0)),
    (ops.RandomRotation((0, 90)), "degrees", (0.0, 90.0)),
    (ops.RandomRotation(0, center=[3, 4]), "center", (3.0, 4.0)),
    (ops.RandomAffine(0, shear=5), "shear", (-5.0, 5.0)),
    (ops.RandomAffine(0, shear=[1, 2, 3, 4]), "shear", (1.0, 2.0, 3.0, 4.0)),
    (ops.RandomAffine(0, translate=[0, 1]), "translate", (0.0, 1.0)),
    (ops.RandomErasing(value=1), "value", (1.0, 1.0, 1.0)),
    (ops.RandomErasing(value="random"), "value", "random"),
    (ops.AutoAugment(AutoAugmentPolicy.SVHN), "policy", "svhn"),
    (ops.AugMix(alpha=2), "alpha", 2.0),
    (ops.JPEG(50), "quality", (50, 50)),
    (ops.JPEG([np.int64(5), 95]), "quality", (5, 95)),
    (ops.ElasticTransform(40), "alpha", (40.0, 40.0)),
    (ops.ElasticTransform(sigma=[4, 5]), "sigma", (4.0, 5.0)),
    (ops.Normalize(0.5, 0.25), "mean", (0.5, 0.5, 0.5)),
    (ops.Normalize(0.5, 0.25), "std", (0.25, 0.25, 0.25)),
    (ops.Normalize(), "mean", (0.485, 0.456, 0.406)),
    (ops.Normalize(), "std", (0.229, 0.224, 0.225)),
    (ops.OneOf(ops.RandomInvert(), ops.RandomGrayscale(), weights=(1, 3)), "weights", (0.25, 0.75)),
    (ops.OneOf(ops.RandomInvert(), ()), "branches", ((ops.RandomInvert(),), ())),
    (ops.ColorJitter(1, hue=(-0.1, 0.2)), "brightness", 1.0),
    (ops.ColorJitter(1, hue=[-0.1, 0.2]), "hue", (-0.1, 0.2)),
]


@pytest.mark.parametrize(("op", "name", "value"), NORMAL_FORMS, ids=lambda x: str(x))
def test_arguments_are_kept_in_one_normal_form(op: ops.Op, name: str, value: Any) -> None:
    kept = getattr(op, name)
    assert kept == value
    assert type(kept) is type(value)
