"""Kernels that read float images into strips and write strips to views of float32, float16 or bfloat16."""

from __future__ import annotations

import numpy as np

from ..jit import ONE, ZERO, inlined_by_numba, kernel
from ..simd.common import load, store
from ..simd.float32 import LANES, clamp, splat, store_bfloat, store_half, store_rgb, stream, stream_bfloat, stream_half
from ..simd.int16 import ONE as UNIT
from ..simd.int16 import load_fixed

FLOAT32, FLOAT16, BFLOAT16 = 0, 1, 2
"""Codes of the dtypes of a view. The kernels write the last two as bits."""


# Resized pixels are clipped to [0, 1] because a bicubic filter overshoots.


@kernel
def write_strip(strip, at, v, factor, bias):
    """Write a vector of resized pixels into a strip."""
    store(strip, at, clamp(v))


@kernel
def from_fixed(source, source_plane, pitch, rows, strip, plane, stride):
    """Convert a strip of fixed-point numbers, whose rows are `pitch` apart, to floats."""
    unit = splat(1 / UNIT)
    for c in range(3):
        for r in range(rows):
            for x in range(0, stride, LANES):
                store(strip, c * plane + r * stride + x, load_fixed(source, c * source_plane + r * pitch + x) * unit)


@kernel
def write_view(out, at, v, factor, bias):
    """Write a vector of resized pixels into a float32 view, past the caches, at a multiple of 64 bytes."""
    stream(out, at, clamp(v) * factor + bias)


@kernel
def read_floats(source, at, source_plane, width, flip, strip, plane, to):
    """Copy a row of a float32 image (3, H, W) into a strip, mirrored if `flip`."""
    for c in range(3):
        into, first = c * plane + to, at + c * source_plane
        if flip:
            for x in range(width):
                strip[into + x] = source[first + width - 1 - x]
        else:
            for x in range(width):
                strip[into + x] = source[first + x]


@kernel
def interleave(strip, plane, at, width, factor, bias, line):
    """Write a row as x * factor + bias with its channels interleaved, for channels-last views."""
    f0, f1, f2 = splat(factor[0]), splat(factor[1]), splat(factor[2])
    o0, o1, o2 = splat(bias[0]), splat(bias[1]), splat(bias[2])
    for x in range(0, width, LANES):
        r = load(strip, at + x) * f0 + o0
        g = load(strip, plane + at + x) * f1 + o1
        b = load(strip, 2 * plane + at + x) * f2 + o2
        store_rgb(line, 3 * x, r, g, b)


@kernel
def write_floats(line, at, count, factor, bias, out, to, aligned):
    """out[to + x] = line[at + x] * factor + bias for x < count.

    aligned: rows are whole vectors at multiples of 64 bytes. They are then written past the caches, since nothing reads them
    soon.
    """
    f, o = splat(factor), splat(bias)
    if aligned:
        for x in range(0, count, LANES):
            stream(out, to + x, load(line, at + x) * f + o)
        return
    whole = count - count % LANES
    for x in range(0, whole, LANES):
        store(out, to + x, load(line, at + x) * f + o)
    for x in range(whole, count):
        out[to + x] = line[at + x] * factor + bias


@kernel
def write_narrow(line, at, count, factor, bias, out, to, dtype, aligned, spare):
    """Like `write_floats`, but write the bits of float16 or bfloat16; `spare` is scratch for one vector."""
    f, o = splat(factor), splat(bias)
    whole = count - count % LANES
    for x in range(0, whole, LANES):
        v = load(line, at + x) * f + o
        if dtype == FLOAT16:
            if aligned:
                stream_half(out, to + x, v)
            else:
                store_half(out, to + x, v)
        elif aligned:
            stream_bfloat(out, to + x, v)
        else:
            store_bfloat(out, to + x, v)
    if whole < count:
        v = load(line, at + whole) * f + o
        if dtype == FLOAT16:
            store_half(spare, 0, v)
        else:
            store_bfloat(spare, 0, v)
        for x in range(whole, count):
            out[to + x] = spare[x - whole]


@inlined_by_numba
def write_rows(work, target, b, y, rows_here, plane, stride):
    """Write a strip of float32 as rows y, y + 1, ... of view b."""
    height, width, dtype, aligned = target.height, target.width, target.dtype, target.aligned
    strip, line = work.float32.strip, work.float32.line
    if target.channels_last:
        for r in range(rows_here):
            interleave(strip, plane, r * stride, width, target.scale, target.bias, line)
            to = (np.int64(b) * height + y + r) * width * 3
            if dtype == FLOAT32:
                write_floats(line, 0, 3 * width, ONE, ZERO, target.out, to, aligned)
            else:
                write_narrow(line, 0, 3 * width, ONE, ZERO, target.out16, to, dtype, aligned, work.spare16)
        return
    # Rows without padding are contiguous in the strip and in the view, so they are written as one.
    runs, length = (1, rows_here * width) if stride == width else (rows_here, width)
    for c in range(3):
        f, o = target.scale[c], target.bias[c]
        for r in range(runs):
            at = c * plane + r * stride
            to = ((np.int64(b) * 3 + c) * height + y + r) * width
            if dtype == FLOAT32:
                write_floats(strip, at, length, f, o, target.out, to, aligned)
            else:
                write_narrow(strip, at, length, f, o, target.out16, to, dtype, aligned, work.spare16)
