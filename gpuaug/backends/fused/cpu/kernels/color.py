"""Kernels that change colours: a program of instructions on sixteen pixels at a time, from a buffer into another.

The pixels stay in registers from the first instruction to the last, so that the cost of a program is its arithmetic.
"""

from __future__ import annotations

import numpy as np

from ...instructions import (
    AFFINE,
    BRIGHTNESS,
    CONTRAST,
    GRAY,
    GRAY_WEIGHTS,
    HUE,
    HUE_OF_ANY,
    INVERT,
    POSTERIZE,
    SATURATION,
    SOLARIZE,
)
from ..jit import ONE, ZERO, inlined, kernel, pasted
from ..simd.common import absolute, maximum, minimum, where_ge
from ..simd.float32 import LANES, clamp, floor, splat
from .program import gray_sum_with, run_with

RED, GREEN, BLUE = (np.float32(weight) for weight in GRAY_WEIGHTS)


@pasted
def gray_of(r, g, b):
    return r * splat(RED) + g * splat(GREEN) + b * splat(BLUE)


@pasted
def hue(r, g, b, shift, any_value):
    """Shift the hue of HSV by `shift` turns; every quantity is multiplied by the chroma, so that nothing is divided.

    With h in [-1, 5) sixths of a turn, the channels over the minimum are clamp(|h - 3| - 1), clamp(2 - |h - 2|) and
    clamp(|h - 1| - 1) of the chroma. any_value: the values may lie outside [0, 1], where noise or Normalize has brought
    them; torchvision then clamps all channels but the largest, which in a gray is that of the shift alone.
    """
    turn = splat(np.float32(6) * (shift + ONE if shift < ZERO else shift))
    two, three, four, five, six = splat(2.0), splat(3.0), splat(4.0), splat(5.0), splat(6.0)
    zero = splat(ZERO)
    high = maximum(maximum(r, g), b)
    low = minimum(minimum(r, g), b)
    chroma = high - low
    h = where_ge(r, high, g - b, where_ge(g, high, b - r + two * chroma, r - g + four * chroma))
    h = h + turn * chroma
    h = where_ge(h, five * chroma, h - six * chroma, h)
    red = minimum(maximum(absolute(h - three * chroma) - chroma, zero), chroma)
    green = minimum(maximum(two * chroma - absolute(h - two * chroma), zero), chroma)
    blue = minimum(maximum(absolute(h - chroma) - chroma, zero), chroma)
    r, g, b = low + red, low + green, low + blue
    if any_value:
        sector = int(np.float32(6) * (shift + ONE if shift < ZERO else shift))
        if_red, if_green, if_blue = largest(chroma, sector, 5, 0), largest(chroma, sector, 1, 2), largest(chroma, sector, 3, 4)
        r = where_ge(red, if_red, high, clamp(r))
        g = where_ge(green, if_green, high, clamp(g))
        b = where_ge(blue, if_blue, high, clamp(b))
    return r, g, b


@pasted
def largest(chroma, sector, one, other):
    """What a channel must reach to count as the largest: the chroma, or, of a gray, nothing in two of the six sectors."""
    return where_ge(splat(ZERO), chroma, splat(ZERO if sector in (one, other) else ONE), chroma)


@pasted
def brightness(r, g, b, f):
    return clamp(r * f), clamp(g * f), clamp(b * f)


@pasted
def contrast(r, g, b, f, o):
    return clamp(r * f + o), clamp(g * f + o), clamp(b * f + o)


@pasted
def saturation(r, g, b, f):
    gray = gray_of(r, g, b) * (splat(ONE) - f)
    return clamp(r * f + gray), clamp(g * f + gray), clamp(b * f + gray)


@pasted
def solarize(v, threshold):
    return where_ge(v, threshold, splat(ONE) - v, v)


@pasted
def posterize(v, levels):
    n = splat(levels)
    return minimum(maximum(floor(v * n), splat(ZERO)), splat(levels - ONE)) * splat(ONE / levels)


@pasted
def apply_instruction(what, arg, r, g, b):
    """Sixteen pixels through one instruction; see `instructions.TABLE` for its arguments.

    CONTRAST has the factor and, put there once the mean is known, mean * (1 - factor).
    """
    f = splat(arg[0])
    if what == BRIGHTNESS:
        return brightness(r, g, b, f)
    if what == CONTRAST:
        return contrast(r, g, b, f, splat(arg[1]))
    if what == SATURATION:
        return saturation(r, g, b, f)
    if what == HUE:
        return hue(r, g, b, arg[0], False)
    if what == HUE_OF_ANY:
        return hue(r, g, b, arg[0], True)
    if what == GRAY:
        gray = gray_of(r, g, b)
        return gray, gray, gray
    if what == SOLARIZE:
        return solarize(r, f), solarize(g, f), solarize(b, f)
    if what == POSTERIZE:
        return posterize(r, arg[0]), posterize(g, arg[0]), posterize(b, arg[0])
    if what == INVERT:
        return splat(ONE) - r, splat(ONE) - g, splat(ONE) - b
    if what == AFFINE:
        return r * f + splat(arg[3]), g * splat(arg[1]) + splat(arg[4]), b * splat(arg[2]) + splat(arg[5])
    return r, g, b


_, run = run_with(apply_instruction, LANES)


@inlined
def arguments(code, arg, steps, count, fixed):
    """The arguments as they are; see `color_fixed.arguments`."""
    return arg


@kernel
def keep_mean(arg, n, mean):
    """Give the contrast in column n what it lacks: the mean gray value times (1 - factor)."""
    arg[n, 1] = np.float32(mean) * (ONE - arg[n, 0])


@pasted
def zeros():
    return splat(ZERO)


@pasted
def add_gray(sums, r, g, b, inside):
    return sums + gray_of(r, g, b) * inside


gray_sum = gray_sum_with(zeros, add_gray, LANES, 1.0)
