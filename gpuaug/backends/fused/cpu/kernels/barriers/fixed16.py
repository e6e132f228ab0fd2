"""The kernels of barriers in 16-bit fixed point (see `simd.int16`)."""

from __future__ import annotations

import numpy as np

from ...jit import inlined_by_llvm, kernel
from ...simd.common import minimum, store, where_ge
from ...simd.int16 import LANES, ONE, add_capped, shift_left, shift_right, splat16
from ...simd.integers import look_up, store_bytes, store_shares
from ..color_fixed import FRACTION, HALF, clamp, fraction
from . import mix, sharpness, tones, warp

FLAT = 32
"""Half a level of 8 bits: a channel with a smaller range is flat."""

NARROW = ONE // 4
"""A range below this would have its rounding errors stretched too far: autocontrast then needs float32."""


@kernel
def encode(x):
    return np.int16(np.floor(x * ONE + np.float32(0.5)))


@inlined_by_llvm
def third(above, here, below):
    """A third of the sum of three rows, minus one half each."""
    half = splat16(HALF)
    return ((above - half) + (here - half) + (below - half)) * splat16(round(FRACTION / 3))


@inlined_by_llvm
def blend(v, box, amount):
    """v + (mean - v) * amount, where mean = (box + 4 v) / 13 and `box` arrives as a third."""
    centred = v - splat16(HALF)
    toward = box * splat16(round(3 * FRACTION / 13)) - centred * splat16(round(9 * FRACTION / 13))
    return clamp(add_capped(v, toward * splat16(amount)))


sharpen = sharpness.sharpen_with(LANES, third, blend, clamp, 0, ONE)


@kernel
def sharpening(factor):
    """The amount by which `sharpen` blends."""
    return fraction(1.0 - factor)


@inlined_by_llvm
def level(v):
    """Levels 0..255 of pixels: floor(255.999 v), also for the rounded k / 255."""
    return shift_right(v - shift_right(v, 13), 6)


@inlined_by_llvm
def store_level(levels, at, v):
    store_bytes(levels, at, level(v))


@inlined_by_llvm
def equalized(v, table, c):
    return look_up(table, c * tones.LEVELS, level(v))


count_levels = tones.count_with(LANES, store_level)
equalize = tones.change_with(LANES, equalized)


@kernel
def equalizing(counts, tables):
    for c in range(3):
        tones.equalizing_table(counts, c, tables)
        for k in range(c * tones.LEVELS, (c + 1) * tones.LEVELS):
            tables[k] = np.int16((int(tables[k]) * 2 * ONE + 255) // 510)


@inlined_by_llvm
def inside_or(inside, v, other):
    return where_ge(inside, splat16(1), v, other)


widen_range = tones.range_with(LANES, inside_or)


@kernel
def clear_range(low, high):
    for c in range(0, 3 * LANES, LANES):
        store(low, c, splat16(32767))
        store(high, c, splat16(-32768))


@kernel
def stretching(low, high, stretch):
    """Lowest value, left shift and further factor of each channel, from its range; return whether fixed point is enough."""
    for c in range(3):
        lowest, highest = int(tones.least(low, c * LANES, LANES)), int(tones.most(high, c * LANES, LANES))
        wide = highest - lowest
        if wide < FLAT:
            stretch[3 * c], stretch[3 * c + 1], stretch[3 * c + 2] = 0, 0, 0
            continue
        if wide < NARROW:
            return False
        shift = 0
        while wide << (shift + 1) <= ONE:
            shift += 1
        stretch[3 * c], stretch[3 * c + 1] = lowest, shift
        stretch[3 * c + 2] = fraction(ONE / (wide << shift) - 1.0)
    return True


@inlined_by_llvm
def stretched(v, stretch, c):
    moved = shift_left(v - splat16(stretch[3 * c]), stretch[3 * c + 1])
    return clamp(add_capped(moved, moved * splat16(stretch[3 * c + 2])))


autocontrast = tones.change_with(LANES, stretched)


@inlined_by_llvm
def ones():
    return splat16(ONE)


@inlined_by_llvm
def between(a, b, share):
    return a + (b - a) * share


@inlined_by_llvm
def over(color, alpha, fill):
    return where_ge(alpha, splat16(ONE), color, fill + (color - fill) * (alpha + alpha))


slide = warp.slide_with(LANES, encode, splat16)
frame, put_rows = warp.frame_with(LANES, ones, encode)
nearest, bilinear = warp.gather_with(warp.read_at, LANES, encode, splat16, store_shares, between, over)


@inlined_by_llvm
def share(weight):
    return splat16(fraction(weight))


@inlined_by_llvm
def weigh(total, v, w):
    return minimum(total + v * w, splat16(ONE))


add = mix.add_with(LANES, weigh, share)
