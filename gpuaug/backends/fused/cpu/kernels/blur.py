"""Kernels of the Gaussian blur, for float32 and for fixed point; this module instantiates them for float32.

A few rows at a time are blurred vertically, from the image buffer into `line`, and then horizontally, into a strip or into the
view. The rows in `line` have a margin on either side for the reflected borders.
"""

from __future__ import annotations

import math

from ...instructions import BLUR_CUT
from ..jit import ONE, inlined_by_llvm, inlined_by_numba, kernel
from ..simd.common import load, reverse, store
from ..simd.float32 import LANES, splat

HOISTED = 4
"""Vertical taps on either side whose weights stay in registers; `down` handles those beyond in a loop, which costs twice."""


@kernel
def gaussian(sigma, radius, weight):
    """Write half a Gaussian kernel into `weight`, its centre first, and return its radius.

    The tails are cut off where less than BLUR_CUT of the mass remains.
    """
    mass = 0.0
    for k in range(radius + 1):
        weight[k] = math.exp(-0.5 * (k / sigma) ** 2)
        mass += weight[k] * (1.0 if k == 0 else 2.0)
    kept = weight[0] / mass
    r = 0
    while r < radius and 1.0 - kept > BLUR_CUT:
        r += 1
        kept += 2.0 * weight[r] / mass
    scale = 1.0 / (kept * mass)
    for k in range(r + 1):
        weight[k] = weight[k] * scale
    return r


@inlined_by_numba
def prepare(arg, blurs):
    """Compute the kernels of the blur with arguments `arg`, and return their radii, horizontal and vertical."""
    return gaussian(arg[0], int(arg[1]), blurs.half[0]), gaussian(arg[0], int(arg[2]), blurs.half[1])


@inlined_by_numba
def weights(blurs):
    """The arrays of weights that `prepare` has computed for the kernels: horizontal and vertical."""
    return blurs.half[0], blurs.half[1]


def down_with(splat_weight, lanes, plus):
    """Make the kernel that blurs vertically, for one pixel format. plus: the sum of two vectors of pixels."""

    @inlined_by_llvm
    def add_taps(p, image, plane, up, low, w):
        """Add the pixels above and below, times their weight, to a vector of each channel."""
        r, g, b = p
        r = r + plus(load(image, up), load(image, low)) * w
        g = g + plus(load(image, plane + up), load(image, plane + low)) * w
        b = b + plus(load(image, 2 * plane + up), load(image, 2 * plane + low)) * w
        return r, g, b

    @inlined_by_llvm
    def down(image, plane, row, height, stride, radius, weight, above, below, line, to, pitch):
        """Blur vertically, with reflected borders, to make the row of each channel in `line` that begins at `to`.

        above, below: scratch for where the rows at each distance begin.
        """
        centre, w1, w2 = splat_weight(weight[0]), splat_weight(weight[1]), splat_weight(weight[2])
        w3, w4 = splat_weight(weight[3]), splat_weight(weight[4])
        start = row * stride
        if radius <= row < height - radius:
            for x in range(0, stride, lanes):
                at = start + x
                p = load(image, at) * centre, load(image, plane + at) * centre, load(image, 2 * plane + at) * centre
                if radius > 0:
                    p = add_taps(p, image, plane, at - stride, at + stride, w1)
                if radius > 1:
                    p = add_taps(p, image, plane, at - 2 * stride, at + 2 * stride, w2)
                if radius > 2:
                    p = add_taps(p, image, plane, at - 3 * stride, at + 3 * stride, w3)
                if radius > 3:
                    p = add_taps(p, image, plane, at - 4 * stride, at + 4 * stride, w4)
                up, low = at - HOISTED * stride, at + HOISTED * stride
                for k in range(HOISTED + 1, radius + 1):
                    up, low = up - stride, low + stride
                    p = add_taps(p, image, plane, up, low, splat_weight(weight[k]))
                store(line, to + x, p[0])
                store(line, to + pitch + x, p[1])
                store(line, to + 2 * pitch + x, p[2])
            return
        for k in range(radius + 1):
            above[k] = abs(row - k) * stride
            below[k] = (height - 1 - abs(height - 1 - row - k)) * stride
        for x in range(0, stride, lanes):
            at = start + x
            p = load(image, at) * centre, load(image, plane + at) * centre, load(image, 2 * plane + at) * centre
            for k in range(1, radius + 1):
                p = add_taps(p, image, plane, above[k] + x, below[k] + x, splat_weight(weight[k]))
            store(line, to + x, p[0])
            store(line, to + pitch + x, p[1])
            store(line, to + 2 * pitch + x, p[2])

    return down


def reflect_with(lanes):
    @inlined_by_llvm
    def reflect(line, to, pitch, width, radius):
        """Reflect the row of each channel into its margins, whole vectors at a time; only `radius` pixels of them are used."""
        for first in range(to, to + 3 * pitch, pitch):
            last = first + width - 1
            for k in range(0, radius, lanes):
                store(line, first - lanes - k, reverse(load(line, first + 1 + k)))
                store(line, last + 1 + k, reverse(load(line, last - lanes - k)))

    return reflect


def blur_with(down, sums, lanes, write, unit):
    """Make the kernel that blurs some rows, for one pixel format.

    down: kernel of the vertical half. sums(line, at, pitch, radius, weight): the horizontally blurred pixels of each channel.
    write(out, at, vector, factor, term) writes them. A stored number n stands for the pixel value n * unit.
    """
    reflect = reflect_with(lanes)

    @kernel
    def blur(
        image, image_plane, y, height, width, stride, rows, across_radius, down_radius, across_weight, down_weight,
        above, below, line, margin, out, plane, at, scale, bias,
    ):  # fmt: skip
        """Blur `rows` rows from row y on, and write them from out[at] on.

        scale, bias: affine map of each channel, which `write` applies to the view and ignores in a strip.
        """
        pitch = stride + 2 * margin
        f0, f1, f2 = splat(scale[0] * unit), splat(scale[1] * unit), splat(scale[2] * unit)
        o0, o1, o2 = splat(bias[0]), splat(bias[1]), splat(bias[2])
        for row in range(rows):
            into = 3 * row * pitch + margin
            down(image, image_plane, y + row, height, stride, down_radius, down_weight, above, below, line, into, pitch)
            reflect(line, into, pitch, width, across_radius)
        for row in range(rows):
            start, to = 3 * row * pitch + margin, at + row * stride
            for x in range(0, width, lanes):
                r, g, b = sums(line, start + x, pitch, across_radius, across_weight)
                write(out, to + x, r, f0, o0)
                write(out, plane + to + x, g, f1, o1)
                write(out, 2 * plane + to + x, b, f2, o2)

    return blur


@inlined_by_llvm
def plus(a, b):
    return a + b


@inlined_by_llvm
def sums(line, at, pitch, radius, weight):
    green, blue = at + pitch, at + 2 * pitch
    centre = splat(weight[0])
    r, g, b = load(line, at) * centre, load(line, green) * centre, load(line, blue) * centre
    for k in range(1, radius + 1):
        w = splat(weight[k])
        r = r + (load(line, at - k) + load(line, at + k)) * w
        g = g + (load(line, green - k) + load(line, green + k)) * w
        b = b + (load(line, blue - k) + load(line, blue + k)) * w
    return r, g, b


@inlined_by_llvm
def write_strip(strip, at, v, factor, term):
    store(strip, at, v)


blur = blur_with(down_with(splat, LANES, plus), sums, LANES, write_strip, ONE)
