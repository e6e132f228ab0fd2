"""Kernels of the Gaussian blur: across a strip into the image buffer, and down from there into a strip."""

from __future__ import annotations

import math

from .jit import kernel
from .output import put, put_out
from .simd import LANES, load, splat, store


@kernel
def gaussian(sigma, radius, cut, weight):
    """Half a Gaussian kernel, weight[0] at the centre, cut where less than `cut` of its mass is left; returns its radius."""
    mass = 0.0
    for k in range(radius + 1):
        weight[k] = math.exp(-0.5 * (k / sigma) ** 2)
        mass += weight[k] * (1.0 if k == 0 else 2.0)
    kept = weight[0] / mass
    r = 0
    while r < radius and 1.0 - kept > cut:
        r += 1
        kept += 2.0 * weight[r] / mass
    scale = 1.0 / (kept * mass)
    for k in range(r + 1):
        weight[k] = weight[k] * scale
    return r


@kernel
def across(strip, plane, stride, width, rows, radius, weight, line, margin, image, image_plane, at):
    """Horizontal blur of a strip into the image buffer, from `at` of its first plane on."""
    for c in range(3):
        for r in range(rows):
            row_across(strip, c * plane + r * stride, width, radius, weight, line, margin, image, c * image_plane + at + r * stride)


@kernel
def row_across(strip, at, width, radius, weight, line, margin, image, to):
    """Horizontal blur of one row of one plane, reflected at its ends; `line` holds the longer row."""
    for x in range(0, width, LANES):
        store(line, margin + x, load(strip, at + x))
    end = margin + width - 1
    for k in range(1, radius + 1):
        line[margin - k] = line[margin + k]
        line[end + k] = line[end - k]
    centre = splat(weight[0])
    x = 0
    while x + 3 * LANES < width:  # four vectors at a time, so that a weight is spread once for four
        v0 = load(line, margin + x) * centre
        v1 = load(line, margin + x + LANES) * centre
        v2 = load(line, margin + x + 2 * LANES) * centre
        v3 = load(line, margin + x + 3 * LANES) * centre
        for k in range(1, radius + 1):
            w = splat(weight[k])
            left, right = margin + x - k, margin + x + k
            v0 = v0 + (load(line, left) + load(line, right)) * w
            v1 = v1 + (load(line, left + LANES) + load(line, right + LANES)) * w
            v2 = v2 + (load(line, left + 2 * LANES) + load(line, right + 2 * LANES)) * w
            v3 = v3 + (load(line, left + 3 * LANES) + load(line, right + 3 * LANES)) * w
        store(image, to + x, v0)
        store(image, to + x + LANES, v1)
        store(image, to + x + 2 * LANES, v2)
        store(image, to + x + 3 * LANES, v3)
        x += 4 * LANES
    while x < width:
        v = load(line, margin + x) * centre
        for k in range(1, radius + 1):
            v = v + (load(line, margin + x - k) + load(line, margin + x + k)) * splat(weight[k])
        store(image, to + x, v)
        x += LANES


def down_with(put):
    """The kernel that blurs down, with a way to write; see `output`."""

    @kernel
    def row_down(image, start, y, height, stride, radius, weight, out, to, f, o):
        """Row y of one plane of the image buffer, which begins at `start`, reflected at its ends."""
        here = start + y * stride
        centre = splat(weight[0])
        x = 0
        while x + 3 * LANES < stride:
            v0 = load(image, here + x) * centre
            v1 = load(image, here + x + LANES) * centre
            v2 = load(image, here + x + 2 * LANES) * centre
            v3 = load(image, here + x + 3 * LANES) * centre
            for k in range(1, radius + 1):
                w = splat(weight[k])
                up = start + abs(y - k) * stride + x
                down = start + (height - 1 - abs(height - 1 - y - k)) * stride + x
                v0 = v0 + (load(image, up) + load(image, down)) * w
                v1 = v1 + (load(image, up + LANES) + load(image, down + LANES)) * w
                v2 = v2 + (load(image, up + 2 * LANES) + load(image, down + 2 * LANES)) * w
                v3 = v3 + (load(image, up + 3 * LANES) + load(image, down + 3 * LANES)) * w
            put(out, to + x, v0, f, o)
            put(out, to + x + LANES, v1, f, o)
            put(out, to + x + 2 * LANES, v2, f, o)
            put(out, to + x + 3 * LANES, v3, f, o)
            x += 4 * LANES
        while x < stride:
            v = load(image, here + x) * centre
            for k in range(1, radius + 1):
                up = start + abs(y - k) * stride + x
                down = start + (height - 1 - abs(height - 1 - y - k)) * stride + x
                v = v + (load(image, up) + load(image, down)) * splat(weight[k])
            put(out, to + x, v, f, o)
            x += LANES

    @kernel
    def down(image, image_plane, y, height, stride, rows, radius, weight, out, plane, at, scale, bias):
        """Vertical blur: rows y, y + 1, ... of the image buffer into rows from out[at] on."""
        for c in range(3):
            f, o = splat(scale[c]), splat(bias[c])
            for r in range(rows):
                row_down(image, c * image_plane, y + r, height, stride, radius, weight, out, c * plane + at + r * stride, f, o)

    return down


down, down_out = down_with(put), down_with(put_out)
"""Into a strip; into the view, past the caches, as x * scale + bias of each channel."""
