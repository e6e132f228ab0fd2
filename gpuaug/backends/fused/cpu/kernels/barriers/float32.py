"""The kernels of barriers in float32."""

from __future__ import annotations

import numpy as np

from ...jit import ONE, ZERO, inlined_by_llvm, kernel
from ...simd.common import store, where_ge
from ...simd.float32 import LANES, clamp, splat
from ...simd.integers import store_levels
from . import mix, sharpness, tones, warp

FLAT = np.float32(0.5 / 255)
"""Half a level of 8 bits: a channel with a smaller range is flat."""


@inlined_by_llvm
def encode(x):
    return np.float32(x)


@inlined_by_llvm
def sum_of(above, here, below):
    return above + here + below


@inlined_by_llvm
def blend(v, box, amount):
    """v + (mean - v) * amount, where mean = (box + 4 v) / 13."""
    mean = (box + v * splat(4.0)) * splat(1 / 13)
    return clamp(v + (mean - v) * splat(amount))


sharpen = sharpness.sharpen_with(LANES, sum_of, blend, clamp, ZERO, ONE)


@kernel
def sharpening(factor):
    """The amount by which `sharpen` blends."""
    return ONE - factor


@inlined_by_llvm
def store_level(levels, at, v):
    store_levels(levels, at, clamp(v) * splat(256 - 1e-3))


count_levels = tones.count_with(LANES, store_level)


@kernel
def equalize(image, image_plane, at, count, strip, plane, table):
    scale = np.float32(256 - 1e-3)
    for c in range(3):
        for x in range(count):
            v = min(ONE, max(ZERO, image[c * image_plane + at + x]))  # in this order, a NaN becomes a number
            strip[c * plane + x] = table[c * tones.LEVELS + int(v * scale)]


@kernel
def equalizing(counts, tables):
    for c in range(3):
        tones.equalizing_table(counts, c, tables)
        for k in range(c * tones.LEVELS, (c + 1) * tones.LEVELS):
            tables[k] = tables[k] * np.float32(1 / 255)


@inlined_by_llvm
def inside_or(inside, v, other):
    return where_ge(inside, splat(ONE), v, other)


widen_range = tones.range_with(LANES, inside_or)


@kernel
def clear_range(low, high):
    for c in range(0, 3 * LANES, LANES):
        store(low, c, splat(np.inf))
        store(high, c, splat(-np.inf))


@kernel
def stretching(low, high, stretch):
    """Lowest value and factor of each channel, from its range; return whether float32 is enough."""
    for c in range(3):
        lowest, highest = tones.least(low, c * LANES, LANES), tones.most(high, c * LANES, LANES)
        flat = highest - lowest < FLAT
        stretch[3 * c] = ZERO if flat else lowest
        stretch[3 * c + 1] = ONE if flat else highest - lowest
    return True


@inlined_by_llvm
def stretched(v, stretch, c):
    return clamp((v - splat(stretch[3 * c])) / splat(stretch[3 * c + 1]))


autocontrast = tones.change_with(LANES, stretched)


@inlined_by_llvm
def ones():
    return splat(ONE)


@inlined_by_llvm
def between(a, b, share):
    return a + (b - a) * share


@inlined_by_llvm
def over(color, alpha, fill):
    return fill + (color - fill) * alpha


slide = warp.slide_with(LANES, encode, splat)
frame, put_rows = warp.frame_with(LANES, ones, encode)
nearest, bilinear = warp.gather_with(warp.read_at, LANES, encode, splat, store, between, over)


@inlined_by_llvm
def share(weight):
    return splat(weight)


@inlined_by_llvm
def weigh(total, v, w):
    return total + v * w


add = mix.add_with(LANES, weigh, share)
