"""Colour instructions in float32, sixteen pixels at a time.

Pixels stay in registers from the first instruction of a pass to the last, so that a program costs no more than its arithmetic.
"""

from __future__ import annotations

import numpy as np

from ...instructions import (
    AFFINE,
    BRIGHTNESS,
    CONTRAST,
    DARK,
    GRAY,
    GRAY_WEIGHTS,
    HUE,
    HUE_OF_ANY,
    INVERT,
    PERMUTE,
    POSTERIZE,
    SATURATION,
    SOLARIZE,
    SOLARIZE_ADD,
)
from ..jit import ONE, ZERO, inlined_by_llvm, inlined_by_numba, kernel
from ..simd.common import absolute, maximum, minimum, where_ge
from ..simd.float32 import LANES, clamp, floor, splat
from .program import gray_sum_with, run_with

RED, GREEN, BLUE = (np.float32(weight) for weight in GRAY_WEIGHTS)


@inlined_by_llvm
def gray_of(r, g, b):
    return r * splat(RED) + g * splat(GREEN) + b * splat(BLUE)


@inlined_by_llvm
def hue(r, g, b, shift, any_value):
    """Shift the hue in HSV by `shift` turns. Every quantity is multiplied by the chroma, so that no division is needed.

    With the hue h in [-1, 5) sixths of a turn, red, green and blue exceed the minimum by clamp(|h - 3| - 1),
    clamp(2 - |h - 2|) and clamp(|h - 1| - 1) times the chroma.

    any_value: values may lie outside [0, 1], because of noise or a Normalize. torchvision then clamps every channel except the
    largest. For a gray pixel, whose hue is the shift alone, the shift decides which channel counts as the largest.
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


@inlined_by_llvm
def largest(chroma, sector, one, other):
    """From which value on a channel counts as the largest: the chroma, or, for a gray, 0 in two of the six sectors."""
    return where_ge(splat(ZERO), chroma, splat(ZERO if sector in (one, other) else ONE), chroma)


@inlined_by_llvm
def brightness(r, g, b, f):
    return clamp(r * f), clamp(g * f), clamp(b * f)


@inlined_by_llvm
def contrast(r, g, b, f, o):
    return clamp(r * f + o), clamp(g * f + o), clamp(b * f + o)


@inlined_by_llvm
def saturation(r, g, b, f):
    gray = gray_of(r, g, b) * (splat(ONE) - f)
    return clamp(r * f + gray), clamp(g * f + gray), clamp(b * f + gray)


@inlined_by_llvm
def solarize(v, threshold):
    return where_ge(v, threshold, splat(ONE) - v, v)


@inlined_by_llvm
def solarize_add(v, term):
    return where_ge(v, splat(DARK), v, clamp(v + term))


@inlined_by_llvm
def channel(c, r, g, b):
    if c == 0:
        return r
    if c == 1:
        return g
    return b


@inlined_by_llvm
def posterize(v, levels):
    n = splat(levels)
    return minimum(maximum(floor(v * n), splat(ZERO)), splat(levels - ONE)) * splat(ONE / levels)


@inlined_by_llvm
def apply_instruction(instruction, arg, r, g, b):
    """Apply one instruction to sixteen pixels; `instructions.TABLE` names its arguments.

    CONTRAST has a second argument, mean * (1 - factor), which is filled in once the mean is known.
    """
    f = splat(arg[0])
    if instruction == BRIGHTNESS:
        return brightness(r, g, b, f)
    if instruction == CONTRAST:
        return contrast(r, g, b, f, splat(arg[1]))
    if instruction == SATURATION:
        return saturation(r, g, b, f)
    if instruction == HUE:
        return hue(r, g, b, arg[0], False)
    if instruction == HUE_OF_ANY:
        return hue(r, g, b, arg[0], True)
    if instruction == GRAY:
        gray = gray_of(r, g, b)
        return gray, gray, gray
    if instruction == SOLARIZE:
        return solarize(r, f), solarize(g, f), solarize(b, f)
    if instruction == POSTERIZE:
        return posterize(r, arg[0]), posterize(g, arg[0]), posterize(b, arg[0])
    if instruction == INVERT:
        return splat(ONE) - r, splat(ONE) - g, splat(ONE) - b
    if instruction == SOLARIZE_ADD:
        return solarize_add(r, f), solarize_add(g, f), solarize_add(b, f)
    if instruction == PERMUTE:
        return channel(arg[0], r, g, b), channel(arg[1], r, g, b), channel(arg[2], r, g, b)
    if instruction == AFFINE:
        return r * f + splat(arg[3]), g * splat(arg[1]) + splat(arg[4]), b * splat(arg[2]) + splat(arg[5])
    return r, g, b


@inlined_by_llvm
def apply_to_block(instruction, arg, p, q, r, s):
    return (
        apply_instruction(instruction, arg, *p),
        apply_instruction(instruction, arg, *q),
        apply_instruction(instruction, arg, *r),
        apply_instruction(instruction, arg, *s),
    )


_, _, run = run_with(apply_to_block, LANES)


@inlined_by_numba
def prepare_arguments(code, arg, steps, count, fixed):
    """Arguments in the format of the kernels: in float32, as they are."""
    return arg


@kernel
def set_contrast_mean(arg, n, mean):
    """Set the second argument of the contrast in column n: the mean gray value times (1 - factor)."""
    arg[n, 1] = np.float32(mean) * (ONE - arg[n, 0])


@inlined_by_llvm
def zeros():
    return splat(ZERO)


@inlined_by_llvm
def add_gray(sums, r, g, b, inside):
    return sums + where_ge(inside, splat(ONE), gray_of(r, g, b), splat(ZERO))  # not a product: padding may hold a NaN


gray_sum = gray_sum_with(zeros, add_gray, LANES, 1.0, exact=False)
