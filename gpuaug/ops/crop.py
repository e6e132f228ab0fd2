"""Ops that set the size of a view; their boxes are computed from the draws and each image's size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import numpy as np

from .base import Array, Op, OpDraws, Size, between, is_integer, scaled
from .checks import check_fill, check_interpolation, check_range, check_size, fail, set_field
from .exact.exponential import exponential

__all__ = [
    "CenterCrop",
    "RandomCrop",
    "RandomResizedCrop",
    "Resize",
]

TRIES = 10
"""How often torchvision's RandomResizedCrop and RandomErasing try to fit a box before they fall back."""


FILTER_RADIUS = {"bilinear": 1.0, "bicubic": 2.0}
"""Half the width of each filter of a resize with antialiasing, in pixels of the coarser of input and output."""


class Sized(Op):
    """An op that brings every image to one size: `size`, or the view's where `size` is None."""

    size: int | Size | None

    def bind(self, size: Size) -> Op:
        return replace(self, size=size) if self.size is None else self  # type: ignore[call-arg]

    def output_size(self, size: Size | None) -> Size | None:
        if self.size is None:
            raise ValueError(f"{type(self).__name__}: size is not set; give one, or put the op in a View")
        return cast(Size, self.size)

    def resized(self, before: Size, after: Size) -> Op:
        return replace(self, size=scaled(cast(Size, self.size), before, after))  # type: ignore[call-arg]


@dataclass(frozen=True)
class RandomResizedCrop(Sized):
    """Crop a box of random area and aspect, then resize it to `size` with antialiasing (torchvision `RandomResizedCrop`).

    Ten boxes are drawn, and the first that fits into the image is taken. If none fits, the box is the largest centred one that
    respects `ratio`.

    Args:
        size: (height, width) in pixels, or one number for both; None takes the view's.
        scale: Range of the box's area as a share of the image's, drawn uniformly.
        ratio: Range of width / height, drawn log-uniformly.
        interpolation: "nearest", "bilinear" or "bicubic". A bicubic filter overshoots; its result is clipped to [0, 1], as in 8
            bits, or to the range of the input where that is wider.
    """

    size: int | Size | None = None
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"

    uniforms: ClassVar[int] = 2 * TRIES + 2

    def __post_init__(self) -> None:
        check_size(self)
        check_range(self, "scale", 0.0)
        check_range(self, "ratio", 1e-4, 1e4)
        check_interpolation(self)

    def draw(self, u: Array) -> OpDraws:
        return {
            "area": between(u[:, :TRIES], *self.scale),
            "log_ratio": between(u[:, TRIES : 2 * TRIES], math.log(self.ratio[0]), math.log(self.ratio[1])),
            "top": u[:, -2].astype(np.float32),
            "left": u[:, -1].astype(np.float32),
        }

    def outer(self, u: Array) -> OpDraws:
        """What the draws of a crop that is `Nested` in this one contain of it, from the numbers that this one is drawn from."""
        ratio = np.tile(np.array(self.ratio, dtype=np.float64), (len(u), 1))
        return {f"outer_{name}": values for name, values in (self.draw(u) | {"ratio": ratio}).items()}

    def boxes(self, draws: OpDraws, height: Array, width: Array) -> Array:
        """Crop boxes (B, 4) int32 as (top, left, height, width), for images of these heights and widths (B,).

        Draws of a `Nested` crop contain those of the crop around it; the box is still given in the image. Draws that contain
        `boxes` were made for whole pictures, of which these images are parts; those boxes are returned.
        Raises ValueError for draws whose box is not inside its image.
        """
        if "boxes" in draws:
            return draws["boxes"]
        height, width = height.astype(np.float64), width.astype(np.float64)
        if "outer_area" not in draws:
            return boxes_in(draws, self.ratio, height, width).astype(np.int32)
        outer = {name: draws[f"outer_{name}"] for name in ("area", "log_ratio", "top", "left")}
        frame = boxes_in(outer, draws["outer_ratio"].T, height, width)
        box = boxes_in(draws, self.ratio, frame[:, 2], frame[:, 3])
        box[:, :2] += frame[:, :2]
        return box.astype(np.int32)


def boxes_in(draws: OpDraws, ratio: Sequence[float] | Array, height: Array, width: Array) -> Array:
    """`RandomResizedCrop.boxes` as float64. ratio: lowest and highest width / height, two numbers or (2, B)."""
    h, w, found = fit_boxes(draws, height * width, height, width)
    if not found.all():
        miss = ~found
        aspect = width / height
        low, high = ratio
        h = np.where(miss, np.where(aspect < low, np.rint(width / low), height), h)
        w = np.where(miss, np.where(aspect > high, np.rint(height * high), width), w)
        h, w = np.maximum(h, 1), np.maximum(w, 1)
    top = np.where(found, uniform_offset(draws["top"], height - h), (height - h) // 2)
    left = np.where(found, uniform_offset(draws["left"], width - w), (width - w) // 2)
    inside = (top >= 0) & (left >= 0) & (top + h <= height) & (left + w <= width)
    if not inside.all():  # only draws that a caller has changed; NaN is not inside either
        raise ValueError(
            "RandomResizedCrop: the draws put a box outside its image; they were changed: top and left must be in [0, 1)"
        )
    return np.stack([top, left, h, w], axis=1)


def fit_boxes(
    draws: OpDraws, area: Array, max_height: Array, max_width: Array, smallest: int = 1
) -> tuple[Array, Array, Array]:
    """Height and width of the first drawn box that fits (float64), and whether any of the ten fits (bool), each (B,)."""
    h, w, found = tried(draws, slice(0, 1), area, max_height, max_width, smallest)
    rest = np.flatnonzero(~found)
    if len(rest):
        late = {name: draws[name][rest] for name in ("area", "log_ratio")}
        h[rest], w[rest], found[rest] = tried(late, slice(1, None), area[rest], max_height[rest], max_width[rest], smallest)
    return h, w, found


def tried(
    draws: OpDraws, tries: slice, area: Array, max_height: Array, max_width: Array, smallest: int
) -> tuple[Array, Array, Array]:
    """`fit_boxes` for some of the ten tries; height and width are 0 where none fits."""
    target = area[:, None] * draws["area"][:, tries]
    ratio = exponential(draws["log_ratio"][:, tries].astype(np.float64))
    w, h = np.rint(np.sqrt(target * ratio)), np.rint(np.sqrt(target / ratio))
    fits = (w <= max_width[:, None]) & (h <= max_height[:, None]) & (np.minimum(w, h) >= smallest)
    first = (np.arange(len(area)), fits.argmax(axis=1))
    found = fits[first]
    return np.where(found, h[first], 0.0), np.where(found, w[first], 0.0), found


def uniform_offset(u: Array, free: Array) -> Array:
    """A uniform integer in 0..free from a uniform number in [0, 1)."""
    return np.asarray(np.minimum(np.floor(u.astype(np.float64) * (free + 1)), free))


@dataclass(frozen=True)
class Resize(Sized):
    """Resize with antialiasing (torchvision `Resize`).

    Args:
        size: (height, width) in pixels, or one number for the shorter edge. One number keeps the aspect ratio, so images may
            still differ in size and a crop must follow. None takes the view's size.
        interpolation: "nearest", "bilinear" or "bicubic"; the latter is clipped as in `RandomResizedCrop`.
    """

    size: int | Size | None = None
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        check_size(self, single=True)
        check_interpolation(self)

    def output_size(self, size: Size | None) -> Size | None:
        if is_integer(self.size):
            return None if size is None else self.target(*size)
        return super().output_size(size)

    def resized(self, before: Size, after: Size) -> Op:
        if not is_integer(self.size):
            return super().resized(before, after)
        if before[0] * after[1] != before[1] * after[0]:
            raise ValueError(
                f"Resize: size {self.size} keeps the aspect ratio of images, so a view of {before[0]}x{before[1]} cannot "
                f"become one of {after[0]}x{after[1]}, whose ratio is another; give Resize a pair (height, width)"
            )
        return replace(self, size=scaled([cast(int, self.size)], before, after)[0])

    def target(self, height: int, width: int) -> Size:
        """(height, width) of an image of this size after the resize; the longer edge is truncated, as in torchvision."""
        if isinstance(self.size, tuple):
            return self.size
        edge = int(cast(int, self.size))
        if width <= height:
            return int(edge * height / width), edge
        return edge, int(edge * width / height)


@dataclass(frozen=True)
class CenterCrop(Sized):
    """Cut out the centre; smaller images are first padded with black (torchvision `CenterCrop`).

    Args:
        size: (height, width) in pixels, or one number for both; None takes the view's.
    """

    size: int | Size | None = None

    def __post_init__(self) -> None:
        check_size(self)

    def boxes(self, draws: OpDraws, height: Array, width: Array) -> Array:
        """Boxes (B, 4) int32 as (top, left, height, width); they may reach outside the image, where the view is black."""
        out_h, out_w = cast(Size, self.size)
        # torchvision pads a smaller image by half of what it lacks (floor and ceil), and rounds the offset of a larger one.
        top = np.where(height < out_h, -((out_h - height) // 2), np.rint((height - out_h) / 2))
        left = np.where(width < out_w, -((out_w - width) // 2), np.rint((width - out_w) / 2))
        return np.stack([top, left, np.full_like(top, out_h), np.full_like(left, out_w)], axis=1).astype(np.int32)


PADDING_MODES = ("constant", "edge", "reflect", "symmetric")


@dataclass(frozen=True)
class RandomCrop(Sized):
    """Cut out a box of `size` at a random place, after padding (torchvision `RandomCrop`).

    An image that is smaller than the crop even with its padding raises ValueError when the view is made.

    Args:
        size: (height, width) in pixels, or one number for both; None takes the view's.
        padding: Pixels on every side, or (left and right, top and bottom), or (left, top, right, bottom).
        pad_if_needed: Whether to pad images that are still too small, by what they lack, on each of the two sides.
        fill: Value of the padding in [0, 1], or one per channel.
        padding_mode: "constant", "edge", "reflect" or "symmetric".
    """

    size: int | Size | None = None
    padding: int | tuple[int, ...] | None = None
    pad_if_needed: bool = False
    fill: float | tuple[float, ...] = 0.0
    padding_mode: str = "constant"

    uniforms: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_size(self)
        check_fill(self)
        given = 0 if self.padding is None else self.padding
        padding: tuple[int, ...] = tuple(given) if isinstance(given, (tuple, list)) else (given,)
        if len(padding) not in (1, 2, 4) or not all(is_integer(v) and v >= 0 for v in padding):
            raise fail(self, "padding", "a non-negative integer, or two or four of them", self.padding)
        set_field(self, "padding", tuple(int(v) for v in padding * (4 // len(padding))))
        if self.padding_mode not in PADDING_MODES:
            raise fail(self, "padding_mode", "one of " + ", ".join(map(repr, PADDING_MODES)), self.padding_mode)

    def draw(self, u: Array) -> OpDraws:
        return {"top": u[:, 0].astype(np.float32), "left": u[:, 1].astype(np.float32)}

    def resized(self, before: Size, after: Size) -> Op:
        top_first = scaled(cast(tuple[int, ...], self.padding)[::-1], before, after, least=0)
        return replace(self, size=cast(Size, scaled(cast(Size, self.size), before, after)), padding=top_first[::-1])

    def pads(self, height: Array, width: Array) -> Array:
        """Padding (B, 4) int32 as (left, top, right, bottom)."""
        left, top, right, bottom = (np.full_like(height, v) for v in cast(tuple[int, ...], self.padding))
        if self.pad_if_needed:
            out_h, out_w = cast(Size, self.size)
            lack_h = np.maximum(out_h - (height + top + bottom), 0)
            lack_w = np.maximum(out_w - (width + left + right), 0)
            left, top, right, bottom = left + lack_w, top + lack_h, right + lack_w, bottom + lack_h
        return np.stack([left, top, right, bottom], axis=1).astype(np.int32)

    def boxes(self, draws: OpDraws, height: Array, width: Array) -> Array:
        """Boxes (B, 4) int32 as (top, left, height, width), in the coordinates of the image before padding.

        Raises ValueError where an image is smaller than the crop even with its padding.
        """
        out_h, out_w = cast(Size, self.size)
        pad = self.pads(height, width)
        free_h = height + pad[:, 1] + pad[:, 3] - out_h
        free_w = width + pad[:, 0] + pad[:, 2] - out_w
        if (free_h < 0).any() or (free_w < 0).any():
            k = int(np.flatnonzero((free_h < 0) | (free_w < 0))[0])
            raise ValueError(
                f"RandomCrop: image {k} of the batch is {height[k]}x{width[k]}, smaller than the crop {out_h}x{out_w}; "
                "set pad_if_needed=True or resize first"
            )
        top = uniform_offset(draws["top"], free_h) - pad[:, 1]
        left = uniform_offset(draws["left"], free_w) - pad[:, 0]
        return np.stack([top, left, np.full_like(top, out_h), np.full_like(left, out_w)], axis=1).astype(np.int32)
