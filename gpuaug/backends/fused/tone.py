"""Kernels that change colours: each pixel of a strip on its own, and the sum of gray values that contrast needs."""

from __future__ import annotations

import numpy as np

from .jit import ONE, ZERO, clamp, kernel
from .simd import LANES, absolute, floor, load, maximum, minimum, splat, store, total, where_ge

RED, GREEN, BLUE = np.float32(0.2989), np.float32(0.587), np.float32(0.114)


@kernel
def gray_of(r, g, b):
    return r * splat(RED) + g * splat(GREEN) + b * splat(BLUE)


@kernel
def keep(strip, plane, stride, width, rows, image, image_plane, at):
    """Copy a strip into the image buffer; returns the sum of its gray values, as float64."""
    out = 0.0
    whole = width - width % LANES
    for start in range(0, rows * stride, stride):
        sums = splat(ZERO)
        for x in range(start, start + stride, LANES):
            r, g, b = load(strip, x), load(strip, plane + x), load(strip, 2 * plane + x)
            store(image, at + x, r)
            store(image, image_plane + at + x, g)
            store(image, 2 * image_plane + at + x, b)
            if x < start + whole:
                sums = sums + gray_of(r, g, b)
        out += total(sums)
        for x in range(start + whole, start + width):
            out += RED * strip[x] + GREEN * strip[plane + x] + BLUE * strip[2 * plane + x]
    return out


@kernel
def brightness(strip, plane, count, factor):
    f = splat(factor)
    for start in range(0, 3 * plane, plane):
        for x in range(start, start + count, LANES):
            store(strip, x, clamp(load(strip, x) * f))


@kernel
def contrast(image, image_plane, at, strip, plane, count, factor, bias):
    """clamp(x * factor + bias), bias = mean * (1 - factor), on the way from the image buffer into a strip."""
    f, o = splat(factor), splat(bias)
    for c in range(3):
        for x in range(0, count, LANES):
            store(strip, c * plane + x, clamp(load(image, c * image_plane + at + x) * f + o))


@kernel
def saturation(strip, plane, count, factor):
    f, rest = splat(factor), splat(ONE - factor)
    for x in range(0, count, LANES):
        r, g, b = load(strip, x), load(strip, plane + x), load(strip, 2 * plane + x)
        gray = gray_of(r, g, b) * rest
        store(strip, x, clamp(r * f + gray))
        store(strip, plane + x, clamp(g * f + gray))
        store(strip, 2 * plane + x, clamp(b * f + gray))


@kernel
def shifted(r, g, b, turn):
    """Minimum, maximum, chroma, and what red, green and blue are over the minimum, after a shift of the hue in HSV.

    turn: sixths of a turn in [0, 6). Every quantity is multiplied by the chroma, so that nothing is divided. With h in [-1, 5)
    sixths, the channels over the minimum are clamp(|h - 3| - 1), clamp(2 - |h - 2|) and clamp(|h - 1| - 1) of the chroma.
    """
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
    return low, high, chroma, red, green, blue


@kernel
def sixths(shift):
    return splat(np.float32(6) * (shift + ONE if shift < ZERO else shift))


@kernel
def hue(strip, plane, count, shift):
    """Shift the hue by `shift` turns, of values in [0, 1]."""
    turn = sixths(shift)
    for x in range(0, count, LANES):
        r, g, b = load(strip, x), load(strip, plane + x), load(strip, 2 * plane + x)
        low, _high, _chroma, red, green, blue = shifted(r, g, b, turn)
        store(strip, x, low + red)
        store(strip, plane + x, low + green)
        store(strip, 2 * plane + x, low + blue)


@kernel
def hue_of_any(strip, plane, count, shift):
    """The same for values that a cubic filter has brought outside [0, 1]: torchvision clamps all channels but the largest."""
    turn = sixths(shift)
    for x in range(0, count, LANES):
        r, g, b = load(strip, x), load(strip, plane + x), load(strip, 2 * plane + x)
        low, high, chroma, red, green, blue = shifted(r, g, b, turn)
        store(strip, x, where_ge(red, chroma, high, clamp(low + red)))
        store(strip, plane + x, where_ge(green, chroma, high, clamp(low + green)))
        store(strip, 2 * plane + x, where_ge(blue, chroma, high, clamp(low + blue)))


@kernel
def grayscale(strip, plane, count):
    for x in range(0, count, LANES):
        gray = gray_of(load(strip, x), load(strip, plane + x), load(strip, 2 * plane + x))
        store(strip, x, gray)
        store(strip, plane + x, gray)
        store(strip, 2 * plane + x, gray)


@kernel
def solarize(strip, plane, count, threshold):
    t, one = splat(threshold), splat(ONE)
    for start in range(0, 3 * plane, plane):
        for x in range(start, start + count, LANES):
            v = load(strip, x)
            store(strip, x, where_ge(v, t, one - v, v))


@kernel
def posterize(strip, plane, count, levels):
    n, inverse, last, zero = splat(levels), splat(ONE / levels), splat(levels - ONE), splat(ZERO)
    for start in range(0, 3 * plane, plane):
        for x in range(start, start + count, LANES):
            store(strip, x, minimum(maximum(floor(load(strip, x) * n), zero), last) * inverse)


@kernel
def affine(strip, start, count, factor, bias):
    """x * factor + bias on one plane."""
    f, o = splat(factor), splat(bias)
    for x in range(start, start + count, LANES):
        store(strip, x, load(strip, x) * f + o)
