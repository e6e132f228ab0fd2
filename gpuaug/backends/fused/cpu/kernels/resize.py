"""Kernels of the resize, which filters 8-bit pixels horizontally in integers, then vertically in float32.

The horizontal filter writes a ring buffer of rows; the vertical one reads these rows and writes a strip.
"""

from __future__ import annotations

import numpy as np

from ..jit import ONE, ZERO, inlined_by_llvm, inlined_by_numba, kernel
from ..simd.common import load, store
from ..simd.float32 import LANES, splat
from ..simd.int16 import ONE as UNIT16
from ..simd.int16 import rounded
from .output import write_strip, write_view
from .rows import across, apart, yuv

UNIT = 16384
"""The integer for a horizontal weight of 1. Sixteen bits hold weights below 2, which a normalised cubic never reaches."""

FIXED = np.float32(UNIT16)


@kernel
def compute_taps(n_in, n_full, skip, n_out, flip, cubic, gain, first, count, norm, weight):
    """Compute the antialiased filter of a resize from n_in to n_full pixels, for the n_out output pixels from `skip` on.

    Fills first and count (n_out,) and weight (taps, padded n_out), and returns the largest count. The weights of an output
    pixel add up to `gain`, or to 0 if it lies outside the image. The filter is that of torchvision's `resize` with
    antialias=True: half-pixel centres; a triangle, or a cubic with a = -0.5; widened by the scale when it shrinks.
    norm is scratch. The loops are written so that the compiler vectorises them.
    """
    scale = n_in / n_full
    widen = max(scale, 1.0)
    support = (2.0 if cubic else 1.0) * widen
    inverse = 1.0 / widen
    # The centre of output o is origin + step * o; a flip runs backwards.
    step = -scale if flip else scale
    origin = scale * (skip + (n_out - 1 if flip else 0) + 0.5)
    most = 1
    for o in range(n_out):
        centre = origin + step * o
        low = min(max(int(centre - support + 0.5), 0), n_in - 1)
        n = max(min(int(centre + support + 0.5), n_in) - low, 1)
        first[o] = low
        count[o] = n
        norm[o] = ZERO
        most = max(most, n)
    for k in range(most):
        for o in range(n_out):
            a = abs(np.float32((first[o] + k + 0.5 - (origin + step * o)) * inverse))
            if cubic:
                near = (np.float32(1.5) * a - np.float32(2.5)) * a * a + ONE
                far = ((np.float32(-0.5) * a + np.float32(2.5)) * a - np.float32(4.0)) * a + np.float32(2.0)
                w = near if a < ONE else (far if a < np.float32(2) else ZERO)
            else:
                w = max(ONE - a, ZERO)
            w = w if k < count[o] else ZERO
            weight[k, o] = w
            norm[o] += w
    for o in range(n_out):
        inside = 0 <= skip + (n_out - 1 - o if flip else o) < n_full
        norm[o] = gain / norm[o] if inside else ZERO
    for k in range(most):
        for o in range(n_out):
            weight[k, o] *= norm[o]
    return most


@kernel
def pair_weights(weight, most, n_out, total, pairs):
    """Convert weights to 16-bit integers, two in each lane of `pairs`, and return the number of pairs per output pixel.

    Each integer is the difference of two rounded running sums. The integers therefore add up exactly to the rounded total, and
    flat colours stay exact.
    """
    stride = weight.shape[1]
    for o in range(n_out):
        total[o] = ZERO
    if most % 2:
        for o in range(n_out):
            weight[most, o] = ZERO
    half = (most + 1) // 2
    for j in range(half):
        for o in range(n_out):
            a = total[o]
            b = a + weight[2 * j, o]
            c = b + weight[2 * j + 1, o]
            total[o] = c
            low, mid, high = np.int32(np.floor(a + 0.5)), np.int32(np.floor(b + 0.5)), np.int32(np.floor(c + 0.5))
            pairs[j * stride + o] = ((mid - low) & 0xFFFF) | ((high - mid) << 16)
    return half


@kernel
def windows(n_out, first, step, start, index):
    """Compute the byte where each group of sixteen outputs begins to read, and where each output begins, counted from there.

    step: bytes from one pixel to the next. Returns the farthest byte of a pair of taps.
    """
    farthest = 0
    for g in range(start.shape[0]):
        base = g * LANES
        end = min(base + LANES, n_out)
        low = min(first[base], first[end - 1])  # ascending, or descending in a flip
        start[g] = step * low
        for o in range(base, end):
            index[o] = step * (first[o] - low)
        for o in range(end, base + LANES):
            index[o] = 0
        farthest = max(farthest, step * (max(first[base], first[end - 1]) - low) + step)
    return farthest


@inlined_by_llvm
def first_rows(ring_mask, length, top, weight, n, taps, unit):
    """Where the first four rows in the sum of output row n begin in the ring, and their weights in multiples of `unit`."""
    last = taps - 1
    at = (
        (top & ring_mask) * length,
        ((top + min(1, last)) & ring_mask) * length,
        ((top + min(2, last)) & ring_mask) * length,
        ((top + min(3, last)) & ring_mask) * length,
    )
    w0, w1 = splat(weight[0, n] * unit), splat(weight[1, n] * unit if taps > 1 else ZERO)
    w2 = splat(weight[2, n] * unit if taps > 2 else ZERO)
    w3 = splat(weight[3, n] * unit if taps > 3 else ZERO)
    return at, (w0, w1, w2, w3)


@inlined_by_llvm
def sum_rows(ring, mask, length, x, stride, at, w, top, weight, n, taps, unit):
    """Sixteen pixels of each channel of output row n."""
    y, z = stride + x, 2 * stride + x
    r = load(ring, at[0] + x) * w[0] + load(ring, at[1] + x) * w[1]
    g = load(ring, at[0] + y) * w[0] + load(ring, at[1] + y) * w[1]
    b = load(ring, at[0] + z) * w[0] + load(ring, at[1] + z) * w[1]
    # Bilinear and bicubic enlargements have up to two and four taps; only shrinking reaches the loop.
    if taps > 2:
        r = r + load(ring, at[2] + x) * w[2]
        g = g + load(ring, at[2] + y) * w[2]
        b = b + load(ring, at[2] + z) * w[2]
    if taps > 3:
        r = r + load(ring, at[3] + x) * w[3]
        g = g + load(ring, at[3] + y) * w[3]
        b = b + load(ring, at[3] + z) * w[3]
    for t in range(4, taps):
        here, more = ((top + t) & mask) * length, splat(weight[t, n] * unit)
        r = r + load(ring, here + x) * more
        g = g + load(ring, here + y) * more
        b = b + load(ring, here + z) * more
    return r, g, b


def down_with(write):
    """Make the kernel that filters vertically and writes with one of the functions of `output`."""

    @kernel
    def down(ring, mask, first, count, weight, n, rows, backwards, stride, out, plane, at, pitch, scale, bias):
        """Make output rows n, n + 1, ... from rows of the ring, and write them `pitch` apart from out[at] on.

        stride: elements from one row of the ring to the next. backwards: write the last row first.
        """
        length = 3 * stride
        f0, f1, f2 = splat(scale[0]), splat(scale[1]), splat(scale[2])
        o0, o1, o2 = splat(bias[0]), splat(bias[1]), splat(bias[2])
        for k in range(rows):
            top, taps, to = first[n + k], count[n + k], at + (rows - 1 - k if backwards else k) * pitch
            begins, w = first_rows(mask, length, top, weight, n + k, taps, ONE)
            for x in range(0, stride, LANES):
                r, g, b = sum_rows(ring, mask, length, x, stride, begins, w, top, weight, n + k, taps, ONE)
                write(out, to + x, r, f0, o0)
                write(out, plane + to + x, g, f1, o1)
                write(out, 2 * plane + to + x, b, f2, o2)

    return down


down, down_out = down_with(write_strip), down_with(write_view)
"""`down` writes a strip of float32. `down_out` writes the view past the caches, each channel as x * scale + bias."""


@kernel
def down_fixed(ring, mask, first, count, weight, n, rows, backwards, stride, out, plane, at, pitch, scale, bias):
    """Like `down`, but write a strip of fixed-point numbers, thirty-two at a time."""
    length = 3 * stride
    for k in range(rows):
        top, taps, to = first[n + k], count[n + k], at + (rows - 1 - k if backwards else k) * pitch
        begins, w = first_rows(mask, length, top, weight, n + k, taps, FIXED)
        for x in range(0, stride, 2 * LANES):  # the last vector may read beyond a row, and then writes padding
            r0, g0, b0 = sum_rows(ring, mask, length, x, stride, begins, w, top, weight, n + k, taps, FIXED)
            r1, g1, b1 = sum_rows(ring, mask, length, x + LANES, stride, begins, w, top, weight, n + k, taps, FIXED)
            store(out, to + x, rounded(r0, r1))
            store(out, plane + to + x, rounded(g0, g1))
            store(out, 2 * plane + to + x, rounded(b0, b1))


@kernel
def ring_rows(top, count, height, strip_rows):
    """How many rows of the ring the strips of a view need at a time, as a power of two.

    A ring may have more, for other images of the batch, but using all of them would push other data out of the L1 cache.
    """
    most, rows = 1, 1
    for s in range(0, height, strip_rows):
        last = min(s + strip_rows, height) - 1
        most = max(most, top[last] + count[last] - top[s])
    while rows < most:
        rows *= 2
    return rows


@inlined_by_numba
def filter_rows(source, b, slot, top, count, box, ready, first, last, filters, mask):
    """Filter the rows of image b that output rows first..last need and the ring does not hold yet.

    slot: of the horizontal filter. top, count: first row and number of rows that each output row needs. ready: number of rows
    filtered before. Returns the number of rows filtered so far.
    """
    ready, need = max(ready, top[first]), top[last] + count[last]
    half, reach, low, high, split = filters.extent[slot]
    start, index, pairs = filters.start[slot], filters.offset[slot], filters.pairs[slot]
    at, pitch, plane = source.offsets[b], source.pitches[b], source.planes[b]
    if source.halved:
        yuv.fill_ring(
            source.pixels, at, plane // pitch, pitch, box, low, high, reach, ready, need,
            start, index, pairs, half, filters.ring, mask, filters.row, filters.colours, filters.spare,
        )  # fmt: skip
    else:
        at += np.int64(box[0]) * pitch + np.int64(box[1]) * source.step
        if split:
            apart.fill_ring(
                source.pixels, at, pitch, low, high, reach, ready, need,
                start, index, pairs, half, filters.ring, mask, filters.row, filters.spare,
            )  # fmt: skip
        else:
            across.fill_ring(
                reach, source.pixels, at, pitch, source.step, plane, box[3], ready, need,
                start, index, pairs, half, filters.ring, mask, filters.row,
            )  # fmt: skip
    return max(ready, need)
