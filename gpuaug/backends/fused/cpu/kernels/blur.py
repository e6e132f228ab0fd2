"""Kernels of the Gaussian blur: across a strip into the image buffer, and down from there into a strip."""

from __future__ import annotations

import math

from ...instructions import BLUR_CUT
from ..jit import ONE, ZERO, inlined, kernel, pasted
from ..simd.common import load, store
from ..simd.float32 import LANES, splat


@kernel
def gaussian(sigma, radius, blurs, row):
    """Half a Gaussian kernel into a row of blurs.half, its centre first; returns its radius.

    It is cut where less than BLUR_CUT of its mass is left.
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


@inlined
def half_kernels(blurs):
    """Where `gaussian` puts the weights that `across` and `down` take."""
    return blurs.half


def across_with(spread, lanes, prepare):
    """The kernel that blurs across, for one format: `spread` makes a vector of a weight, `prepare` changes pixels first."""

    @kernel
    def across(strip, plane, stride, width, rows, radius, weight, line, margin, image, image_plane, at):
        """Horizontal blur of a strip into the image buffer, from `at` of its first plane on.

        `line` holds the three planes of a row, each with `margin` pixels before and behind, where the row is reflected.
        """
        pitch = line.shape[0] // 3
        centre = spread(weight[0])
        for start in range(0, rows * stride, stride):
            for c in range(3):
                first = c * pitch + margin
                for x in range(0, width, lanes):
                    store(line, first + x, prepare(load(strip, c * plane + start + x)))
                end = first + width - 1
                for k in range(1, radius + 1):
                    line[first - k] = line[first + k]
                    line[end + k] = line[end - k]
            to = at + start - margin
            for x in range(margin, margin + width, lanes):
                y, z = pitch + x, 2 * pitch + x
                r, g, b = load(line, x) * centre, load(line, y) * centre, load(line, z) * centre
                for k in range(1, radius + 1):
                    w = spread(weight[k])
                    r = r + (load(line, x - k) + load(line, x + k)) * w
                    g = g + (load(line, y - k) + load(line, y + k)) * w
                    b = b + (load(line, z - k) + load(line, z + k)) * w
                store(image, to + x, r)
                store(image, image_plane + to + x, g)
                store(image, 2 * image_plane + to + x, b)

    return across


def down_with(spread, lanes, put, unit, zero):
    """The kernel that blurs down, for one format: put(out, at, vector, factor, term) writes pixels.

    unit, zero: the value x that is kept as the number n is n * unit + zero.
    """

    @kernel
    def down(image, image_plane, y, height, stride, rows, radius, weight, above, below, out, plane, at, scale, bias):
        """Vertical blur: rows y, y + 1, ... of the image buffer, reflected at its ends, into rows from out[at] on.

        above, below: scratch for where the rows at each distance begin. scale, bias: of each channel, where `put` takes them.
        """
        centre = spread(weight[0])
        f0, f1, f2 = splat(scale[0] * unit), splat(scale[1] * unit), splat(scale[2] * unit)
        o0, o1, o2 = splat(bias[0] + scale[0] * zero), splat(bias[1] + scale[1] * zero), splat(bias[2] + scale[2] * zero)
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
                    w = spread(weight[k])
                    up, low = above[k] + x, below[k] + x
                    r = r + (load(image, up) + load(image, low)) * w
                    g = g + (load(image, green + up) + load(image, green + low)) * w
                    b = b + (load(image, blue + up) + load(image, blue + low)) * w
                put(out, to + x, r, f0, o0)
                put(out, plane + to + x, g, f1, o1)
                put(out, 2 * plane + to + x, b, f2, o2)

    return down


@pasted
def unchanged(v):
    return v


@pasted
def put(strip, at, v, factor, term):
    store(strip, at, v)


across = across_with(splat, LANES, unchanged)
down = down_with(splat, LANES, put, ONE, ZERO)
