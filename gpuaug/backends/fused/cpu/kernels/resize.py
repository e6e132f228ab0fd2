"""Kernels of the resize: 8-bit pixels filtered across in integers into a ring of rows, then down in floats into a strip."""

from __future__ import annotations

import numpy as np

from ..jit import ONE, ZERO, inlined, kernel
from ..simd.common import load, store
from ..simd.float32 import LANES, splat
from ..simd.pixels import as_float, multiply_pairs, pick_64, pick_128, pick_any, prefetch
from .output import put, put_fixed, put_out

UNIT = 16384
"""The integer that stands for a weight of 1 across. Sixteen bits hold up to 2, which a normalised cubic never reaches."""

SLACK = 160
"""Bytes that the filter may read beyond the pixels that it weighs, besides those of each pair of taps."""


AHEAD = 6
"""Rows ahead of the filter that are fetched into the cache: a row is too short for the processor to see the stream."""


@kernel
def taps(n_in, n_full, skip, n_out, flip, cubic, gain, first, count, norm, weight):
    """Antialiased filter of a resize from n_in to n_full pixels, of which n_out from `skip` on are wanted.

    Fills first, count (n_out,) and weight (taps, padded n_out); weights of a pixel add up to `gain`, or to 0 for a pixel
    outside the image. Returns the largest count. Half-pixel centres; triangle, or cubic with a = -0.5; widened by the scale
    when shrinking (torchvision's `resize` with antialias=True). norm is scratch. Written for the compiler to vectorise.
    """
    scale = n_in / n_full
    widen = max(scale, 1.0)
    support = (2.0 if cubic else 1.0) * widen
    inverse = 1.0 / widen
    # Output o looks at centre + step * o; a flip runs it backwards.
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
def in_pairs(weight, most, n_out, total, pairs):
    """Weights as 16-bit integers, two to a lane: rows of pairs as long as those of weight; returns how many pairs.

    Differences of rounded sums, so that the integers add up to what the rounded weights should: flat colours stay exact.
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
    """Where each group of sixteen outputs begins to read, in bytes, and how far from there each output does.
    A pixel is `step` bytes behind the one before it.

    Returns the farthest byte of a pair of taps.
    """
    farthest = 0
    for g in range(start.shape[0]):
        base = g * LANES
        end = min(base + LANES, n_out)
        low = min(first[base], first[end - 1])  # they run up, or down in a flip
        start[g] = step * low
        for o in range(base, end):
            index[o] = step * (first[o] - low)
        for o in range(end, base + LANES):
            index[o] = 0
        farthest = max(farthest, step * (max(first[base], first[end - 1]) - low) + step)
    return farthest


def filter_with(pick):
    """The kernel that filters rows across, with a way to fetch pairs of pixels."""

    @kernel
    def across(source, at, pitch, step, plane, rows, start, index, pairs, half, ring, mask, ready):
        """Rows of pixels, `pitch` bytes apart from source[at] on, into rows ready, ready + 1, ... of the ring.

        step, plane: bytes from a pixel to the next, and from one of its channels to the next.
        """
        stride = start.shape[0] * LANES
        for row in range(rows):
            to = ((ready + row) & mask) * 3 * stride
            for g in range(start.shape[0]):
                x = g * LANES
                i = load(index, x)
                near = at + row * pitch + start[g]
                prefetch(source, near + AHEAD * pitch)
                if plane > 1:
                    prefetch(source, near + AHEAD * pitch + plane)
                    prefetch(source, near + AHEAD * pitch + 2 * plane)
                w = load(pairs, x)
                red = multiply_pairs(pick(source, near, i, step), w)
                green = multiply_pairs(pick(source, near + plane, i, step), w)
                blue = multiply_pairs(pick(source, near + 2 * plane, i, step), w)
                for j in range(1, half):
                    near += 2 * step
                    w = load(pairs, j * stride + x)
                    red = red + multiply_pairs(pick(source, near, i, step), w)
                    green = green + multiply_pairs(pick(source, near + plane, i, step), w)
                    blue = blue + multiply_pairs(pick(source, near + 2 * plane, i, step), w)
                store(ring, to + x, as_float(red))
                store(ring, to + stride + x, as_float(green))
                store(ring, to + 2 * stride + x, as_float(blue))

    return across


across_64, across_128, across_any = filter_with(pick_64), filter_with(pick_128), filter_with(pick_any)


@kernel
def across(reach, source, at, pitch, step, plane, rows, start, index, pairs, half, ring, mask, ready):
    """Filter rows across by the kernel that reaches as far as `windows` said."""
    if reach < 64:
        across_64(source, at, pitch, step, plane, rows, start, index, pairs, half, ring, mask, ready)
    elif reach < 128:
        across_128(source, at, pitch, step, plane, rows, start, index, pairs, half, ring, mask, ready)
    else:
        across_any(source, at, pitch, step, plane, rows, start, index, pairs, half, ring, mask, ready)


@kernel
def fill(reach, source, at, pitch, step, plane, width, ready, need, start, index, pairs, half, ring, mask, line):
    """Filter rows ready..need-1 of a box, `width` pixels wide, whose first row begins at source[at], into the ring.

    The filter reads beyond its pixels, so rows at the very end of the source go by way of `line`.
    """
    beyond = step * width + SLACK + 2 * step * half
    last = source.shape[0] - beyond - 2 * plane
    inside = min(max((last - at) // pitch + 1, ready), need)
    across(reach, source, at + ready * pitch, pitch, step, plane, inside - ready, start, index, pairs, half, ring, mask, ready)
    apart = beyond if plane > 1 else 1
    for row in range(inside, need):
        begin = at + row * pitch
        for c in range(3):
            for x in range(width):
                line[c * apart + step * x] = source[begin + c * plane + step * x]
        across(reach, line, 0, 0, step, apart, 1, start, index, pairs, half, ring, mask, row)


def down_with(put):
    """The kernel that filters down, with a way to write; see `output`."""

    @kernel
    def row_down(ring, mask, top, taps, weight, n, stride, out, plane, to, scale, bias):
        """Output row n, whose taps begin at resized row `top`."""
        length = 3 * stride
        f0, f1, f2 = splat(scale[0]), splat(scale[1]), splat(scale[2])
        o0, o1, o2 = splat(bias[0]), splat(bias[1]), splat(bias[2])
        last = taps - 1
        at0, at1, at2 = (top & mask) * length, ((top + min(1, last)) & mask) * length, ((top + min(2, last)) & mask) * length
        w0 = splat(weight[0, n])
        w1 = splat(weight[1, n] if taps > 1 else ZERO)
        w2 = splat(weight[2, n] if taps > 2 else ZERO)
        for x in range(0, stride, LANES):
            y, z = stride + x, 2 * stride + x
            r = load(ring, at0 + x) * w0 + load(ring, at1 + x) * w1
            g = load(ring, at0 + y) * w0 + load(ring, at1 + y) * w1
            b = load(ring, at0 + z) * w0 + load(ring, at1 + z) * w1
            if taps > 2:
                r = r + load(ring, at2 + x) * w2
                g = g + load(ring, at2 + y) * w2
                b = b + load(ring, at2 + z) * w2
            for t in range(3, taps):
                at, w = ((top + t) & mask) * length, splat(weight[t, n])
                r = r + load(ring, at + x) * w
                g = g + load(ring, at + y) * w
                b = b + load(ring, at + z) * w
            put(out, to + x, r, f0, o0)
            put(out, plane + to + x, g, f1, o1)
            put(out, 2 * plane + to + x, b, f2, o2)

    @kernel
    def down(ring, mask, first, count, weight, n, rows, backwards, stride, out, plane, at, pitch, scale, bias):
        """Output rows n, n + 1, ... from the rows in the ring into rows from out[at] on, `pitch` apart.

        stride: of the rows in the ring. backwards: from the last row up.
        """
        for k in range(rows):
            r = rows - 1 - k if backwards else k
            row_down(ring, mask, first[n + k], count[n + k], weight, n + k, stride, out, plane, at + r * pitch, scale, bias)

    return down


down, down_fixed, down_out = down_with(put), down_with(put_fixed), down_with(put_out)
"""Into a strip; into a strip of fixed-point numbers; into the view, past the caches, as x * scale + bias of each channel."""


@inlined
def resized(source, b, pairs, reach, begin, width, ready, first, last, filters, mask):
    """Filter the rows of image b that output rows first..last need and the ring has not yet; returns the rows done.

    begin: where the part of the image that is read starts; width: its pixels a row; ready: rows done before.
    """
    top, count = filters.first[1], filters.taps[1]
    ready, need = max(ready, top[first]), top[last] + count[last]
    fill(
        reach, source.pixels, begin, source.pitches[b], source.step, source.planes[b], width, ready, need,
        filters.start, filters.offset, filters.pairs, pairs, filters.ring, mask, filters.row,
    )  # fmt: skip
    return max(ready, need)
