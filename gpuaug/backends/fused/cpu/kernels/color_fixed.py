"""Colour instructions in 16-bit fixed point (see `simd.int16`), for programs whose values stay in [0, 1].

Compared with float32, a register holds twice the pixels and a buffer takes half the bytes. An instruction rounds by at most
1e-4.
"""

from __future__ import annotations

import numpy as np

from ...instructions import (
    BRIGHTNESS,
    CONTRAST,
    DARK,
    GRAY,
    GRAY_WEIGHTS,
    HAS_FACTOR,
    HUE,
    IN_FIXED16,
    INVERT,
    PERMUTE,
    POSTERIZE,
    SATURATION,
    SOLARIZE,
    SOLARIZE_ADD,
)
from ..jit import inlined_by_llvm, kernel
from ..simd.common import absolute, maximum, minimum, where_ge
from ..simd.float32 import splat, stream
from ..simd.int16 import LANES, ONE, add_capped, as_floats, pair_sums, shift_left, shift_right, splat16, zero_sums
from .program import gray_sum_with, run_with

FRACTION = 32768
"""The integer that stands for 1 in a factor. The largest that fits is 32767, so factors are below 1."""

HALF = ONE // 2
RED, GREEN, BLUE = (round(weight * FRACTION) for weight in GRAY_WEIGHTS)


@kernel
def fraction(x):
    return min(int(np.floor(x * FRACTION + 0.5)), FRACTION - 1)


@kernel
def fits(code, arg, steps, count):
    """Whether a program can run in fixed point."""
    for k in range(count):
        instruction, f = code[steps[k]], arg[steps[k], 0]
        if not IN_FIXED16[instruction] or (HAS_FACTOR[instruction] and f > 2):  # factors are stored as f - 1, at most 1
            return False
    return True


@kernel
def prepare_arguments(code, arg, steps, count, fixed):
    """Arguments as integers.

    A factor minus 1; a threshold or a term; for a hue, whole thirds of a turn and half the remaining sixths; for posterize, how
    many bits are cleared; channels.
    """
    for k in range(count):
        n = steps[k]
        instruction, f = code[n], arg[n, 0]
        if HAS_FACTOR[instruction]:
            fixed[n, 0] = fraction(f - 1.0)
        elif instruction in (SOLARIZE, SOLARIZE_ADD):
            fixed[n, 0] = int(np.floor(f * ONE + 0.5))
        elif instruction == HUE:
            sixths = 6.0 * (f + 1.0 if f < 0 else f)
            thirds = int(sixths * 0.5)
            fixed[n, 0] = thirds % 3
            fixed[n, 1] = fraction(0.5 * sixths - thirds)
        elif instruction == POSTERIZE:
            bits = 0
            while 1 << bits < f:
                bits += 1
            fixed[n, 0] = 14 - bits
        elif instruction == PERMUTE:
            for c in range(3):
                fixed[n, c] = int(arg[n, c])
    return fixed


@inlined_by_llvm
def clamp(v):
    return minimum(maximum(v, splat16(0)), splat16(ONE))


@inlined_by_llvm
def gray_of(r, g, b):
    return r * splat16(RED) + g * splat16(GREEN) + b * splat16(BLUE)


@inlined_by_llvm
def toward(v, centre, d):
    """centre + (v - centre) * (1 + d), in [0, 1]."""
    return clamp(add_capped(v, (v - centre) * d))


@inlined_by_llvm
def hue(p, thirds, beyond):
    """Shift the hue as `color.hue` does. Whole thirds of a turn permute the channels; [0, 2) sixths of a turn remain.

    Hues are in sixths of a turn times the chroma, from -3 to 3 with green at 0, and at half the scale of pixels, so that four
    times the chroma fits into 16 bits.
    """
    r, g, b = p
    if thirds == 1:
        r, g, b = b, r, g
    elif thirds == 2:
        r, g, b = g, b, r
    high = maximum(maximum(r, g), b)
    low = minimum(minimum(r, g), b)
    c = minimum(shift_right(high - low, 1), splat16(8191))
    two, three = c + c, c + c + c
    if_red, if_green, if_blue = shift_right(g - b, 1) - two, shift_right(b - r, 1), shift_right(r - g, 1) + two
    h = where_ge(r, high, if_red, where_ge(g, high, if_green, if_blue))
    turn = two * splat16(beyond)
    moved = h + turn
    h = where_ge(h, three - turn, moved - three - three, moved)
    zero = splat16(0)
    red = minimum(maximum(absolute(h - c) - c, zero), c)
    green = minimum(maximum(two - absolute(h), zero), c)
    blue = minimum(maximum(absolute(h + c) - c, zero), c)
    return low + red + red, low + green + green, low + blue + blue


@inlined_by_llvm
def toward_one(p, centre, d):
    r, g, b = p
    return toward(r, centre, d), toward(g, centre, d), toward(b, centre, d)


@inlined_by_llvm
def grayed(p):
    r, g, b = p
    gray = gray_of(r, g, b)
    return gray, gray, gray


@inlined_by_llvm
def solarize(p, threshold):
    r, g, b = p
    one = splat16(ONE)
    return where_ge(r, threshold, one - r, r), where_ge(g, threshold, one - g, g), where_ge(b, threshold, one - b, b)


@inlined_by_llvm
def solarize_add(p, term):
    r, g, b = p
    dark = splat16(round(DARK * ONE))
    return (
        where_ge(r, dark, r, clamp(add_capped(r, term))),
        where_ge(g, dark, g, clamp(add_capped(g, term))),
        where_ge(b, dark, b, clamp(add_capped(b, term))),
    )


@inlined_by_llvm
def posterize(p, bits):
    r, g, b = p
    most = splat16(ONE - 1)
    return (
        shift_left(shift_right(minimum(r, most), bits), bits),
        shift_left(shift_right(minimum(g, most), bits), bits),
        shift_left(shift_right(minimum(b, most), bits), bits),
    )


@inlined_by_llvm
def invert(p):
    r, g, b = p
    one = splat16(ONE)
    return one - r, one - g, one - b


@inlined_by_llvm
def channel(p, c):
    r, g, b = p
    if c == 0:
        return r
    if c == 1:
        return g
    return b


@inlined_by_llvm
def permute(p, fixed):
    return channel(p, fixed[0]), channel(p, fixed[1]), channel(p, fixed[2])


@inlined_by_llvm
def apply_instruction(instruction, fixed, p, q):
    """Apply one instruction to twice 32 pixels. The second argument of CONTRAST is the mean, filled in once it is known."""
    d = splat16(fixed[0])
    if instruction == BRIGHTNESS:
        zero = splat16(0)
        return toward_one(p, zero, d), toward_one(q, zero, d)
    if instruction == CONTRAST:
        mean = splat16(fixed[1])
        return toward_one(p, mean, d), toward_one(q, mean, d)
    if instruction == SATURATION:
        return toward_one(p, gray_of(*p), d), toward_one(q, gray_of(*q), d)
    if instruction == HUE:
        return hue(p, fixed[0], fixed[1]), hue(q, fixed[0], fixed[1])
    if instruction == GRAY:
        return grayed(p), grayed(q)
    if instruction == SOLARIZE:
        return solarize(p, d), solarize(q, d)
    if instruction == SOLARIZE_ADD:
        return solarize_add(p, d), solarize_add(q, d)
    if instruction == POSTERIZE:
        return posterize(p, fixed[0]), posterize(q, fixed[0])
    if instruction == INVERT:
        return invert(p), invert(q)
    if instruction == PERMUTE:
        return permute(p, fixed), permute(q, fixed)
    return p, q


load_and_run, run = run_with(apply_instruction, LANES)


@kernel
def set_contrast_mean(fixed, n, mean):
    """Set the second argument of the contrast in column n: the mean gray value."""
    fixed[n, 1] = int(np.floor(mean * ONE + 0.5))


@inlined_by_llvm
def add_gray(sums, r, g, b, inside):
    return sums + pair_sums(gray_of(r, g, b), inside)


gray_sum = gray_sum_with(zero_sums, add_gray, LANES, 1 / ONE, exact=True)


@kernel
def run_into_view(source, source_plane, at, count, out, plane, to, scale, bias, code, fixed, steps, first, last):
    """Like `run`, but write the view past the caches, each channel as x * scale + bias.

    There is no float32 version: on a processor with AVX2 it took 15 % longer than writing a strip first.
    """
    unit = np.float32(1 / ONE)
    f0, f1, f2 = splat(scale[0] * unit), splat(scale[1] * unit), splat(scale[2] * unit)
    o0, o1, o2 = splat(bias[0]), splat(bias[1]), splat(bias[2])
    for x in range(0, count, 2 * LANES):
        y = min(x + LANES, count - LANES)
        p, q = load_and_run(source, source_plane, at + x, at + y, code, fixed, steps, first, last)
        write_view(out, to + x, p[0], f0, o0)
        write_view(out, plane + to + x, p[1], f1, o1)
        write_view(out, 2 * plane + to + x, p[2], f2, o2)
        write_view(out, to + y, q[0], f0, o0)
        write_view(out, plane + to + y, q[1], f1, o1)
        write_view(out, 2 * plane + to + y, q[2], f2, o2)


@inlined_by_llvm
def write_view(out, at, v, f, o):
    low, high = as_floats(v)
    stream(out, at, low * f + o)
    stream(out, at + 16, high * f + o)
