"""The columns of each op, and how they are read from its draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import ops as op
from ...ops import Op, OpDraws
from ...ops.base import Array
from ...ops.color import ORDERS, PARTS
from .boxes import Sizes
from .columns import APPLY, FLIP, Column, reach

PLACES = np.argsort(ORDERS, axis=1)
"""(24, 4): the place of each part of a jitter in each of the orders."""

CORNERS = ("top_left", "top_right", "bottom_right", "bottom_left")
DEGREES = "degrees"
FACTOR = "factor, >= 0"
SIDES = ("top", "left", "height", "width")

Values = Sequence[Array | float]
"""One entry a column: its values (B,), or one number for all images."""


class Quantities(NamedTuple):
    """The columns of an op's type.

    Attributes:
        columns: Op -> its columns, `apply` first; as many, of the same names, whatever its arguments.
        read: (op, its draws, sizes of the images before it) -> the values of the columns behind `apply`, as if it were applied
            to every image. By default they are the draws of these names.
    """

    columns: Callable[[Any], list[Column]] = lambda o: [APPLY]
    read: Callable[[Any, OpDraws, Sizes], Values] | None = None


def ranged(name: str, unit: str, neutral: float, limits: tuple[float, float] | None, ratio: bool = False) -> Column:
    """A column that is drawn from a range; None leaves it at its neutral value."""
    far = 0.0 if limits is None else reach(neutral, *limits)
    return Column(name, unit, "log-ratio" if ratio else "difference", neutral, far, True)


def single(name: str, unit: str, neutral: float, value: float, ratio: bool = False) -> Column:
    """A column that is an argument."""
    return ranged(name, unit, neutral, (value, value), ratio)


def parts(limits: Callable[[str], tuple[float, float] | None]) -> list[Column]:
    """The factors of a jitter and its hue."""
    factors = [ranged(part, FACTOR, 1.0, limits(part), ratio=True) for part in PARTS[:3]]
    return [*factors, ranged("hue", "turns of the colour wheel, in [-0.5, 0.5]", 0.0, limits("hue"))]


def jitter(o: op.ColorJitter) -> list[Column]:
    places = [Column(f"place.{part}", "0 to 3", neutral=k, reach=max(k, 3 - k)) for k, part in enumerate(PARTS)]
    return [APPLY, *parts(o.limits), *places]


def read_jitter(o: op.ColorJitter, d: OpDraws, sizes: Sizes) -> Values:
    factors = [d.get(part, 0.0 if part == "hue" else 1.0) for part in PARTS]
    return [*factors, *PLACES[d["order"]].T]


def sources() -> list[Column]:
    return [Column(f"channel.{k}", "0 to 2", neutral=k, reach=max(k, 2 - k)) for k in range(3)]


def distort(o: op.RandomPhotometricDistort) -> list[Column]:
    flags = [Column(f"parts.{part}", "0 or 1") for part in PARTS]
    return [APPLY, *flags, *parts(lambda part: getattr(o, part)), Column("contrast_first", "0 or 1"), *sources()]


def read_distort(o: op.RandomPhotometricDistort, d: OpDraws, sizes: Sizes) -> Values:
    taken = d["parts"].T
    factors = [np.where(t, d[part], 0.0 if part == "hue" else 1.0) for t, part in zip(taken, PARTS, strict=True)]
    return [*taken, *factors, d["contrast_first"] & taken[1], *d["channels"].T]


def affine(o: op.RandomAffine) -> list[Column]:
    across, down = o.translate or (0.0, 0.0)
    shear: Any = (*(o.shear or (0.0, 0.0)), 0.0, 0.0)  # type: ignore[misc]
    return [
        APPLY,
        ranged("angle", "degrees, clockwise", 0.0, o.degrees),  # type: ignore[arg-type]
        ranged("translate_x", "share of the width or height", 0.0, (-across, across)),
        ranged("translate_y", "share of the width or height", 0.0, (-down, down)),
        ranged("scale", "factor, > 0", 1.0, o.scale, ratio=True),
        ranged("shear_x", DEGREES, 0.0, shear[:2]),
        ranged("shear_y", DEGREES, 0.0, shear[2:4]),
    ]


def perspective(o: op.RandomPerspective) -> list[Column]:
    unit = "move inwards as a share of half the width or height, in [0, 1]"
    names = [f"{corner}.{axis}" for corner in CORNERS for axis in "xy"]
    return [APPLY, *(ranged(name, unit, 0.0, (0.0, o.distortion_scale)) for name in names)]


def elastic(o: op.ElasticTransform) -> list[Column]:
    across, down = o.alpha  # type: ignore[misc]
    return [APPLY, single("alpha_x", "half pixels", 0.0, across), single("alpha_y", "half pixels", 0.0, down)]


def erased(o: Any) -> list[Column]:
    return [APPLY, *(Column(name, "share of the view's height or width, in [0, 1]") for name in SIDES)]


def read_erased(o: Any, d: OpDraws, sizes: Sizes) -> Values:
    """The erased box; all 0 if it is empty."""
    box = np.asarray(o.boxes(d, *sizes), dtype=np.float64).T
    return list(np.where(box[2] * box[3] > 0, box / np.stack([*sizes, *sizes]), 0.0))


QUANTITIES: dict[type[Op], Quantities] = {
    op.RandomHorizontalFlip: Quantities(lambda o: [FLIP]),
    op.RandomVerticalFlip: Quantities(lambda o: [FLIP]),
    op.ColorJitter: Quantities(jitter, read_jitter),
    op.RandomPhotometricDistort: Quantities(distort, read_distort),
    op.RandomChannelPermutation: Quantities(lambda o: [APPLY, *sources()], lambda o, d, sizes: list(d["channels"].T)),
    **dict.fromkeys((op.RandomGrayscale, op.RandomEqualize, op.RandomAutocontrast, op.RandomInvert), Quantities()),
    op.RandomSolarize: Quantities(
        lambda o: [APPLY, single("threshold", "value in [0, 1]", 1.0, o.threshold)], lambda o, d, sizes: [o.threshold]
    ),
    op.RandomPosterize: Quantities(
        lambda o: [APPLY, single("bits", "bits kept, 0 to 8", 8.0, o.bits)], lambda o, d, sizes: [float(o.bits)]
    ),
    op.RandomAdjustSharpness: Quantities(
        lambda o: [APPLY, single("factor", FACTOR, 1.0, o.sharpness_factor, ratio=True)],
        lambda o, d, sizes: [o.sharpness_factor],
    ),
    op.GaussianBlur: Quantities(lambda o: [APPLY, ranged("sigma", "pixels, >= 0", 0.0, o.sigma)]),
    op.GaussianNoise: Quantities(
        lambda o: [APPLY, single("mean", "value, white is 1", 0.0, o.mean), single("sigma", "value, white is 1", 0.0, o.sigma)],
        lambda o, d, sizes: [o.mean, o.sigma],
    ),
    op.JPEG: Quantities(lambda o: [APPLY, ranged("quality", "1 to 100", 100.0, o.quality)]),
    op.RandomAffine: Quantities(affine),
    op.RandomRotation: Quantities(lambda o: [APPLY, ranged("angle", "degrees, counter-clockwise", 0.0, o.degrees)]),
    op.RandomPerspective: Quantities(
        perspective, lambda o, d, sizes: list(o.distortion_scale * d["corners"].astype(np.float64).T)
    ),
    op.ElasticTransform: Quantities(elastic, lambda o, d, sizes: list(o.alpha)),
    op.RandomErasing: Quantities(erased, read_erased),
    op.Cutout: Quantities(erased, read_erased),
}
"""Op -> its columns. Automatic ops and choices have theirs in `automatic`, ops of the user in `user_columns`."""

WITHOUT = (op.RandomResizedCrop, op.Resize, op.CenterCrop, op.RandomCrop, op.Normalize, op.ToDtype)
"""Ops without columns: those of the crop are for all of them together, and Normalize and ToDtype have nothing to draw."""
