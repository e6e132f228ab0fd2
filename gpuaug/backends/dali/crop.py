"""Crops and resizes in a DALI graph, equal to torch's `interpolate` with antialiasing.

DALI has torch's filters: the triangle, and the cubic with a = -0.5, which it reads from a table of 65 points. At a border,
however, DALI repeats the last pixel, while torch leaves out the taps outside and divides by the sum of the others. So each crop
gets a margin of zeros as wide as the filter, and the result is divided by the share of the weights that fell inside. This share
is the product of one factor per row and one per column: what the same resize makes of a column and of a row of ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from nvidia.dali import fn, math, types

from ... import ops as op
from ...ops.base import Array
from ...ops.crop import FILTER_RADIUS

Node = Any
"""A value in a DALI graph: one array per image of the batch."""

Feeds = dict[str, Any]
"""The inputs of one op's part of the graph: name -> an array with one row per image."""

Source = Callable[[str], Node]
"""Name of an input -> the graph's node for it."""

KINDS = {"nearest": types.INTERP_NN, "bilinear": types.INTERP_LINEAR, "bicubic": types.INTERP_CUBIC}


def feed_resized_crop(o: op.RandomResizedCrop, d: op.OpDraws, sizes: Array) -> tuple[Feeds, Array]:
    boxes = o.boxes(d, sizes[:, 0], sizes[:, 1])
    out = np.broadcast_to(np.array(o.size), sizes.shape)
    return feed_boxes(boxes, out, o.interpolation), out


def feed_resize(o: op.Resize, d: op.OpDraws, sizes: Array) -> tuple[Feeds, Array]:
    out = np.array([o.target(*size) for size in sizes.tolist()])
    return feed_boxes(np.concatenate([np.zeros_like(sizes), sizes], axis=1), out, o.interpolation), out


def feed_boxes(boxes: Array, out: Array, interpolation: str) -> Feeds:
    """Inputs for resizing boxes (B, 4) as (top, left, height, width) to the sizes `out` (B, 2)."""
    feeds = {"corner": boxes[:, :2].astype(np.int32), "box": boxes[:, 2:].astype(np.int32)}
    for part, axes in EXTENTS.items():
        before, after = (np.where(axes, size, 1).astype(np.int64) for size in (boxes[:, 2:], out))
        reach = np.maximum(before / after, 1) * FILTER_RADIUS.get(interpolation, 0)
        margin = np.where(axes, np.ceil(reach).astype(np.int64) + 1, 0)
        feeds |= {
            f"{part}start": -margin.astype(np.int32),
            f"{part}shape": (before + 2 * margin).astype(np.int32),
            f"{part}from": margin.astype(np.float32),
            f"{part}to": (margin + before).astype(np.float32),
            f"{part}size": after.astype(np.float32),
        }
    return feeds


EXTENTS = {"": (True, True), "rows ": (True, False), "columns ": (False, True)}
"""What is resized: the box, a column of ones as high as it, and a row of ones as wide; and along which axes."""


def resample(x: Node, o: op.RandomResizedCrop | op.Resize, source: Source, unit: float) -> Node:
    # A bicubic filter overshoots: its result is clipped to [0, 1], or to the range of its input where that is wider.
    low, high = 0.0, 1.0
    if unit == 1.0 and o.interpolation == "bicubic":
        low, high = math.min(fn.reductions.min(x), 0.0), math.max(fn.reductions.max(x), 1.0)
    x = fn.slice(x, start=source("corner"), shape=source("box"), axes=[0, 1])
    made = resize(x, o, source, "") / unit
    for part, line in (("rows ", x[:, :1, :1]), ("columns ", x[:1, :, :1])):
        made = made / resize(line * 0.0 + 1.0, o, source, part)
    if o.interpolation != "bicubic":
        return made
    return math.min(math.max(made, low), high)


def resize(x: Node, o: op.RandomResizedCrop | op.Resize, source: Source, part: str) -> Node:
    """Resize the box or a line of ones, with zeros around it."""
    start, shape = source(f"{part}start"), source(f"{part}shape")
    return fn.resize(
        fn.slice(x, start=start, shape=shape, axes=[0, 1], out_of_bounds_policy="pad", fill_values=0),
        size=source(f"{part}size"),
        roi_start=source(f"{part}from"),
        roi_end=source(f"{part}to"),
        interp_type=KINDS[o.interpolation],
        antialias=True,
        dtype=types.FLOAT,
    )


def feed_cut(o: op.CenterCrop | op.RandomCrop, d: op.OpDraws, sizes: Array) -> tuple[Feeds, Array]:
    boxes = o.boxes(d, sizes[:, 0], sizes[:, 1])
    return {"start": boxes[:, :2]}, np.broadcast_to(np.array(o.size), sizes.shape)


def cut(x: Node, o: op.CenterCrop | op.RandomCrop, source: Source, unit: float) -> Node:
    fill = list(cast(tuple[float, ...], getattr(o, "fill", (0.0,))))
    if any(fill):  # a fill need not be a whole number of 8-bit levels
        x, unit = x / unit, 1.0
    shape = list(cast(op.Size, o.size))
    start = source("start")
    return fn.slice(x, start=start, shape=shape, axes=[0, 1], out_of_bounds_policy="pad", fill_values=fill) / unit


CUTS: dict[type[op.Op], tuple[Callable[..., tuple[Feeds, Array]], Callable[..., Node]]] = {
    op.RandomResizedCrop: (feed_resized_crop, resample),
    op.Resize: (feed_resize, resample),
    op.CenterCrop: (feed_cut, cut),
    op.RandomCrop: (feed_cut, cut),
}
"""Op -> two functions. The first returns its inputs and the sizes after it, from the sizes (B, 2) before it. The second builds
its part of the graph, from (H, W, 3) pixels of any type where white is `unit` to float32 where white is 1."""
