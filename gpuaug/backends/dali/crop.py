"""Crops and resizes in a DALI graph, equal to torch's `interpolate` with antialiasing.

DALI has torch's filters: the triangle, and the cubic with a = -0.5, which it reads from a table of 65 points. At a border,
however, DALI repeats the last pixel, while torch leaves out the taps outside and divides by the sum of the others. So each crop
gets a margin of zeros as wide as the filter, and the result is divided by the share of the weights that fell inside. This share
is the product of one factor per row and one per column.
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
"""The inputs of one op's part of the graph: name -> an array with one row per image, or a list of one array per image."""

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
    box = boxes[:, 2:].astype(np.int64)
    reach = FILTER_RADIUS.get(interpolation, 0)
    margin = np.ceil(np.maximum(box / out, 1) * reach).astype(np.int64) + 1
    return {
        "corner": boxes[:, :2].astype(np.int32),
        "box": box.astype(np.int32),
        "start": -margin.astype(np.int32),
        "shape": (box + 2 * margin).astype(np.int32),
        "from": margin.astype(np.float32),
        "to": (margin + box).astype(np.float32),
        "size": out.astype(np.float32),
        "rows": [row[:, None, None] for row in gains(box[:, 0], out[:, 0], interpolation)],
        "columns": [row[None, :, None] for row in gains(box[:, 1], out[:, 1], interpolation)],
    }


def gains(length: Array, out: Array, interpolation: str) -> list[Array]:
    """For every output pixel of an axis resized from `length` (B,) to `out` (B,): the sum of all weights over those inside."""
    if interpolation == "nearest":
        return [np.ones(n, np.float32) for n in out.tolist()]
    scale = (length / out)[:, None, None]
    stretch = np.maximum(scale, 1)
    centre = (np.arange(out.max())[:, None] + 0.5) * scale
    reach = FILTER_RADIUS[interpolation] * stretch
    tap = np.floor(centre - reach) + np.arange(int(np.ceil(2 * reach.max())) + 2)
    weight = kernel(np.abs(tap + 0.5 - centre) / stretch, interpolation)
    inside = np.where((tap >= 0) & (tap < length[:, None, None]), weight, 0).sum(axis=2)
    # Where sizes differ, rows beyond an image's own length may have no weight inside.
    found = (weight.sum(axis=2) / np.where(inside == 0, 1, inside)).astype(np.float32)
    return [row[:n] for row, n in zip(found, out.tolist(), strict=True)]


def kernel(x: Array, interpolation: str) -> Array:
    """DALI's filter at a distance x >= 0: the exact triangle, or the cubic interpolated between the points of its table."""
    if interpolation == "bilinear":
        return np.asarray(np.maximum(1 - x, 0))
    at = np.linspace(0, 2, 65)
    table = np.where(at < 1, (1.5 * at - 2.5) * at * at + 1, (((at - 5) * at + 8) * at - 4) * -0.5)
    return np.asarray(np.interp(x, at, table, right=0.0))


def resample(x: Node, o: op.RandomResizedCrop | op.Resize, source: Source, unit: float) -> Node:
    # A bicubic filter overshoots: its result is clipped to [0, 1], or to the range of its input where that is wider.
    low, high = 0.0, 1.0
    if unit == 1.0 and o.interpolation == "bicubic":
        low, high = math.min(fn.reductions.min(x), 0.0), math.max(fn.reductions.max(x), 1.0)
    x = fn.slice(x, start=source("corner"), shape=source("box"), axes=[0, 1])
    x = fn.slice(x, start=source("start"), shape=source("shape"), axes=[0, 1], out_of_bounds_policy="pad", fill_values=0)
    x = fn.resize(
        x,
        size=source("size"),
        roi_start=source("from"),
        roi_end=source("to"),
        interp_type=KINDS[o.interpolation],
        antialias=True,
        dtype=types.FLOAT,
    )
    made = x * source("rows") * source("columns") / unit
    if o.interpolation != "bicubic":
        return made
    return math.min(math.max(made, low), high)


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
