"""Kernels of the Gaussian blur, for float32 and for fixed point; this module instantiates them for float32.

The horizontal half reads a strip and writes the image buffer; the vertical half reads the image buffer and writes a strip.
"""

from __future__ import annotations

import math

from ...instructions import BLUR_CUT
from ..jit import ONE, ZERO, inlined_by_llvm, inlined_by_numba, kernel
from ..simd.common import load, store
from ..simd.float32 import LANES, splat


@kernel
def gaussian(sigma, radius, blurs, row):
    """Write half a Gaussian kernel into a row of blurs.half, its centre first, and return its radius.

    The tails are cut off where less than BLUR_CUT of the mass remains.
    """
    weight = blurs.half[row]
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
def half_kernels(blurs):
    """The array into which `gaussian` writes the weights for `across` and `down`."""
    return blurs.half


def across_with(splat_weight, lanes, shift):
    """Make the kernel that blurs horizontally, for one pixel format.

    splat_weight makes a vector of one weight; shift is applied to the pixels before they are blurred.
    """

    @kernel
    def across(strip, plane, stride, width, rows, radius, weight, line, margin, image, image_plane, at):
        """Blur a strip horizontally into the image buffer, beginning at element `at` of its first plane.

        `line` is scratch for the three planes of a row, each with `margin` pixels on either side for the reflected borders.
        """
        pitch = line.shape[0] // 3
        centre = splat_weight(weight[0])
        for start in range(0, rows * stride, stride):
            for c in range(3):
                first = c * pitch + margin
                for x in range(0, width, lanes):
                    store(line, first + x, shift(load(strip, c * plane + start + x)))
                end = first + width - 1
                for k in range(1, radius + 1):
                    line[first - k] = line[first + k]
                    line[end + k] = line[end - k]
            to = at + start - margin
            for x in range(margin, margin + width, lanes):
                y, z = pitch + x, 2 * pitch + x
                r, g, b = load(line, x) * centre, load(line, y) * centre, load(line, z) * centre
                for k in range(1, radius + 1):
                    w = splat_weight(weight[k])
                    r = r + (load(line, x - k) + load(line, x + k)) * w
                    g = g + (load(line, y - k) + load(line, y + k)) * w
                    b = b + (load(line, z - k) + load(line, z + k)) * w
                store(image, to + x, r)
                store(image, image_plane + to + x, g)
                store(image, 2 * image_plane + to + x, b)

    return across


def down_with(splat_weight, lanes, write, unit, offset):
    """Make the kernel that blurs vertically, for one pixel format.

    write(out, at, vector, factor, term) writes pixels. A stored number n stands for the pixel value n * unit + offset.
    """

    @kernel
    def down(image, image_plane, y, height, stride, rows, radius, weight, above, below, out, plane, at, scale, bias):
        """Blur vertically, with reflected borders, to make `rows` rows from row y on, and write them from out[at] on.

        above, below: scratch for where the rows at each distance begin. scale, bias: affine map of each channel, which `write`
        applies when it writes the view and ignores when it writes a strip.
        """
        centre = splat_weight(weight[0])
        f0, f1, f2 = splat(scale[0] * unit), splat(scale[1] * unit), splat(scale[2] * unit)
        o0, o1, o2 = splat(bias[0] + scale[0] * offset), splat(bias[1] + scale[1] * offset), splat(bias[2] + scale[2] * offset)
        green, blue = image_plane, 2 * image_plane
        for row in range(y, y + rows):
            for k in range(radius + 1):
                above[k] = abs(row - k) * stride
                below[k] = (height - 1 - abs(height - 1 - row - k)) * stride
            start, to = row * stride, at + (row - y) * stride
            for x in range(0, stride, lanes):
                p = start + x
                r, g, b = load(image, p) * centre, load(image, green + p) * centre, load(image, blue + p) * centre
                for k in range(1, radius + 1):
                    w = splat_weight(weight[k])
                    up, low = above[k] + x, below[k] + x
                    r = r + (load(image, up) + load(image, low)) * w
                    g = g + (load(image, green + up) + load(image, green + low)) * w
                    b = b + (load(image, blue + up) + load(image, blue + low)) * w
                write(out, to + x, r, f0, o0)
                write(out, plane + to + x, g, f1, o1)
                write(out, 2 * plane + to + x, b, f2, o2)

    return down


@inlined_by_llvm
def unchanged(v):
    return v


@inlined_by_llvm
def write_strip(strip, at, v, factor, term):
    store(strip, at, v)


across = across_with(splat, LANES, unchanged)
down = down_with(splat, LANES, write_strip, ONE, ZERO)
