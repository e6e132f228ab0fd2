"""Kernel that crops and resizes float planes in float32, as torch does; those of `kernels` resize 8-bit pixels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from .cache import cached
from .jit import ONE, OPTIONS, kernel
from .kernels.resize import compute_taps


class Filter(NamedTuple):
    """The filter of one axis, for n output pixels.

    Attributes:
        first: (n,) int32 first pixel of the box in the sum that makes an output pixel.
        taps: (n,) int32 number of pixels in that sum.
        weight: (most taps, n) float32 their weights.
        source: (most taps, n) int32 where they are in the image.
        norm: (n,) float32 scratch.
    """

    first: Any
    taps: Any
    weight: Any
    source: Any
    norm: Any


@kernel
def prepare(n_in, n_full, skip, n_out, flip, cubic, begin, axis):
    """Fill the filter of an axis of a box that begins at pixel `begin`; returns its most taps.

    Every tap reads a pixel of its own sum, the last one again where its weight is 0: a NaN elsewhere must not spread.
    """
    most = compute_taps(n_in, n_full, skip, n_out, flip, cubic, ONE, axis.first, axis.taps, axis.norm, axis.weight)
    if n_in == n_full and not cubic:  # pixels are copied
        most = 1
        for o in range(n_out):
            axis.taps[o] = 1
    for k in range(most):
        for o in range(n_out):
            axis.source[k, o] = begin + axis.first[o] + min(k, axis.taps[o] - 1)
    return most


@kernel
def filter_plane(source, out, line, rows, first_row, across, most, down, height, width, cubic, low, high):
    """Filter rows first_row, ..., of a plane (H, W) into `line`, then columns into `out` (height, width)."""
    for r in range(rows):
        row, to = source[first_row + r], line[r]
        w, at = across.weight[0], across.source[0]
        if most == 1:
            for o in range(width):
                to[o] = w[o] * row[np.uint32(at[o])]
            continue
        w_next, at_next = across.weight[1], across.source[1]
        for o in range(width):
            to[o] = w[o] * row[np.uint32(at[o])] + w_next[o] * row[np.uint32(at_next[o])]
        for k in range(2, most):
            w, at = across.weight[k], across.source[k]
            for o in range(width):
                to[o] += w[o] * row[np.uint32(at[o])]
    for y in range(height):
        to = out[y]
        w, row = down.weight[0, y], line[down.source[0, y] - first_row]
        if down.taps[y] == 1:
            for o in range(width):
                to[o] = w * row[o]
        else:
            w_next, row_next = down.weight[1, y], line[down.source[1, y] - first_row]
            for o in range(width):
                to[o] = w * row[o] + w_next * row_next[o]
            for k in range(2, down.taps[y]):
                w, row = down.weight[k, y], line[down.source[k, y] - first_row]
                for o in range(width):
                    to[o] += w * row[o]
        if cubic:
            for o in range(width):
                to[o] = min(max(to[o], low), high)


@cached
@njit(**OPTIONS)
def crop(source, boxes, flips, cubic, low, high, across, down, line, out, begin, end):
    """Make planes (B, C, height, width) of images begin..end-1 from planes (B, C, H, W); boxes, flips: see `plan.Tables`."""
    channels, height, width = out.shape[1:]
    for b in range(begin, end):
        box = boxes[b]
        most = prepare(box[3], box[5], box[7], width, flips[b, 0], cubic, box[1], across)
        prepare(box[2], box[4], box[6], height, flips[b, 1], cubic, box[0], down)
        first_row, last_row = down.source[0, 0], down.source[0, 0]
        for y in range(height):
            first_row = min(first_row, down.source[0, y])
            last_row = max(last_row, down.source[down.taps[y] - 1, y])
        rows = last_row - first_row + 1
        for c in range(channels):
            filter_plane(
                source[b, c], out[b, c], line, rows, first_row, across, most, down, height, width, cubic, low[b], high[b]
            )
