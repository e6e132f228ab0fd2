"""The part of its image that a view shows, by following every crop, resize and flip of the view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...ops import Op, OpDraws, RandomHorizontalFlip, RandomVerticalFlip, Resize
from ...ops.base import Array
from ...ops.crop import Sized

if TYPE_CHECKING:
    from ..draws import Draws

Sizes = tuple[Array, Array]
"""Heights and widths in pixels, (B,) each."""


class Geometry(NamedTuple):
    """Where the pixels of a view come from. Warps are passed over: they keep the size of what they move.

    Attributes:
        box: (4, B) float64: top, left, height and width of the view's box as fractions of the image. It may reach outside.
        seen: (4, B) float64: top, left, bottom and right of what the view shows of the image: the box, as far as it lies in the
            image and in the crops before.
        sizes: The size of each image before each step.
    """

    box: Array
    seen: Array
    sizes: list[Sizes]


def follow(steps: Sequence[Op], tables: Sequence[OpDraws], shapes: npt.NDArray[np.int32]) -> Geometry:
    """The geometry of a view of images of these shapes, (B, 2).

    Raises ValueError if an op of the user changes the size of images and does not say which box it takes.
    """
    count = len(shapes)
    here: Sizes = (shapes[:, 0].astype(np.int64), shapes[:, 1].astype(np.int64))
    start, extent = np.zeros((2, count)), np.ones((2, count))
    low, high = np.zeros((2, count)), np.ones((2, count))
    flipped = np.zeros((2, count), dtype=bool)
    sizes: list[Sizes] = []
    for op, drawn in zip(steps, tables, strict=True):
        sizes.append(here)
        if isinstance(op, (RandomVerticalFlip, RandomHorizontalFlip)):
            flipped[int(isinstance(op, RandomHorizontalFlip))] ^= drawn["apply"]
            continue
        after = sizes_after(op, here)
        if after is None:
            continue
        if not isinstance(op, Resize):
            box = boxes_of(op, drawn, here).T / np.concatenate([here, here])
            first, share = box[:2], box[2:]
            start = start + extent * np.where(flipped, 1 - first - share, first)  # a flipped frame counts from its other end
            extent = extent * share
            low, high = np.maximum(low, start), np.minimum(high, start + extent)
        here = after
    return Geometry(np.concatenate([start, extent]), np.concatenate([low, np.maximum(high, low)]), sizes)


def sizes_after(op: Op, here: Sizes) -> Sizes | None:
    """Sizes after an op; None if it keeps them."""
    if type(op).output_size is Op.output_size:
        return None
    if isinstance(op, Sized):
        fixed = op.output_size(None)
        if fixed is not None:
            return np.full_like(here[0], fixed[0]), np.full_like(here[1], fixed[1])
    elif type(op).__module__.startswith(Op.__module__.rpartition(".")[0]):
        return None
    different, rows = np.unique(here[0] << 32 | here[1], return_inverse=True)
    before = [(pair >> 32, pair & 0xFFFFFFFF) for pair in different.tolist()]
    after = [op.output_size(pair) for pair in before]
    if after == before:
        return None
    heights, widths = np.array(after, dtype=np.int64).reshape(-1, 2)[rows].T
    return heights, widths


def boxes_of(op: Any, drawn: OpDraws, here: Sizes) -> Array:
    """The boxes (B, 4) that an op cuts out, in pixels of the images before it."""
    if not hasattr(op, "boxes"):
        raise ValueError(
            f"Draws: which part of an image {type(op).__name__} shows is not known; give it a method "
            "boxes(draws, height, width) as RandomResizedCrop has"
        )
    boxes = np.asarray(op.boxes(drawn, *here), dtype=np.float64)
    if not (boxes[:, 2:] > 0).all():
        raise ValueError(f"Draws: {type(op).__name__} has a box without area; heights and widths must be at least 1 pixel")
    return boxes


def geometry(draws: Draws, view: int) -> Geometry:
    """Raises ValueError if the sizes of the images are not known."""
    if draws.shapes is None:
        raise ValueError("Draws: the sizes of the images are not known; use draws.with_shapes(images)")
    return follow(draws.policy.views[view].steps, draws.tables[view], draws.shapes)


def overlap(draws: Draws, i: int, j: int) -> Array:
    """(B,) float32; see `Draws.overlap`."""
    one, other = geometry(draws, i), geometry(draws, j)
    low, high = np.maximum(one.seen[:2], other.seen[:2]), np.minimum(one.seen[2:], other.seen[2:])
    both = np.prod(np.maximum(high - low, 0), axis=0)
    either = shown(one) + shown(other) - both
    same = (one.box == other.box).all(axis=0)
    return np.asarray(np.where(either > 0, both / np.where(either > 0, either, 1), same), dtype=np.float32)


def shown(geometry: Geometry) -> Array:
    """Share of the image that a view shows, (B,) in [0, 1]."""
    return np.asarray(np.prod(geometry.seen[2:] - geometry.seen[:2], axis=0))
