"""Arguments of the instructions that distort colours and positions: photometric, JPEG and elastic, and what others share."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from ... import ops as op
from ...ops import Op, OpDraws, Size
from ...ops.base import Array
from ...ops.color import PARTS
from ...ops.geometric import Pair
from .instructions import BRIGHTNESS, CONTRAST, HUE, KEY, NOTHING, PERMUTE, SATURATION


def fill_key(d: OpDraws, arguments: Array) -> None:
    arguments.view(np.uint32)[:, 0, KEY:] = d["key"]


def fill_outside(o: Any, arguments: Array) -> None:
    """The arguments of a warp that are in the column behind it; arguments: those of that column."""
    arguments[..., 0] = o.interpolation == "bilinear"
    arguments[..., 1:4] = o.fill


def distort_columns(o: op.RandomPhotometricDistort) -> tuple[tuple[int, ...], ...]:
    """Two columns for contrast, which is in either of them; it is there in half of the images that it is applied to."""
    return ((BRIGHTNESS,), (CONTRAST, NOTHING), (SATURATION,), (HUE,), (CONTRAST, NOTHING), (PERMUTE,))


def fill_distort(o: op.RandomPhotometricDistort, d: OpDraws, codes: Array, arguments: Array, size: Size) -> None:
    brightness, contrast, saturation, hue = d["parts"].T
    first, moved = d["contrast_first"], (d["channels"] != (0, 1, 2)).any(axis=1)
    applied = np.stack([brightness, contrast & first, saturation, hue, contrast & ~first, moved], axis=1)
    codes[~applied] = NOTHING
    for k, part in enumerate((*PARTS, "contrast")):
        arguments[:, k, 0] = d[part]
    fill_permutation(o, d, codes[:, -1:], arguments[:, -1:], size)


def fill_permutation(o: Op, d: OpDraws, codes: Array, arguments: Array, size: Size) -> None:
    arguments[:, 0, :3] = d["channels"]


def fill_jpeg(o: op.JPEG, d: OpDraws, codes: Array, arguments: Array, size: Size) -> None:
    arguments[:, 0, 0] = d["quality"]


def fill_elastic(o: op.ElasticTransform, d: OpDraws, codes: Array, arguments: Array, size: Size) -> None:
    o.output_size(size)  # raises ValueError if the view is too small for the noise to be blurred
    arguments[:, 0, :4] = *cast(Pair, o.alpha), *cast(Pair, o.sigma)
    arguments[:, 0, 4:6] = [width // 2 for width in o.kernels]
    fill_key(d, arguments)
    fill_outside(o, arguments[:, 1])
