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
    """Horizontal blur of a strip into the image buffer, from `at` of its first plane on.

    `line` holds the three planes of a row, each with `margin` pixels before and behind, where the row is reflected.
    """
    pitch = line.shape[0] // 3
    centre = splat(weight[0])
    for start in range(0, rows * stride, stride):
        for c in range(3):
            first = c * pitch + margin
            for x in range(0, width, LANES):
                store(line, first + x, load(strip, c * plane + start + x))
            end = first + width - 1
            for k in range(1, radius + 1):
                line[first - k] = line[first + k]
                line[end + k] = line[end - k]
        to = at + start - margin
        for x in range(margin, margin + width, 2 * LANES):
            y = x + LANES if x + LANES < margin + width else x
            r0, g0, b0 = load(line, x) * centre, load(line, pitch + x) * centre, load(line, 2 * pitch + x) * centre
            r1, g1, b1 = load(line, y) * centre, load(line, pitch + y) * centre, load(line, 2 * pitch + y) * centre
            for k in range(1, radius + 1):
                w = splat(weight[k])
                r0 = r0 + (load(line, x - k) + load(line, x + k)) * w
                r1 = r1 + (load(line, y - k) + load(line, y + k)) * w
                g0 = g0 + (load(line, pitch + x - k) + load(line, pitch + x + k)) * w
                g1 = g1 + (load(line, pitch + y - k) + load(line, pitch + y + k)) * w
                b0 = b0 + (load(line, 2 * pitch + x - k) + load(line, 2 * pitch + x + k)) * w
                b1 = b1 + (load(line, 2 * pitch + y - k) + load(line, 2 * pitch + y + k)) * w
            store(image, to + x, r0)
            store(image, image_plane + to + x, g0)
            store(image, 2 * image_plane + to + x, b0)
            store(image, to + y, r1)
            store(image, image_plane + to + y, g1)
            store(image, 2 * image_plane + to + y, b1)


def down_with(put):
    """The kernel that blurs down, with a way to write; see `output`."""

    @kernel
    def down(image, image_plane, y, height, stride, rows, radius, weight, above, below, out, plane, at, scale, bias):
        """Vertical blur: rows y, y + 1, ... of the image buffer, reflected at its ends, into rows from out[at] on.

        above, below: scratch for where the rows at each distance begin.
        """
        centre = splat(weight[0])
        f0, f1, f2 = splat(scale[0]), splat(scale[1]), splat(scale[2])
        o0, o1, o2 = splat(bias[0]), splat(bias[1]), splat(bias[2])
        green, blue = image_plane, 2 * image_plane
        for row in range(y, y + rows):
            for k in range(radius + 1):
                above[k] = abs(row - k) * stride
                below[k] = (height - 1 - abs(height - 1 - row - k)) * stride
            here, to = row * stride, at + (row - y) * stride
            for x in range(0, stride, 2 * LANES):
                z = x + LANES if x + LANES < stride else x
                p, q = here + x, here + z
                r0, g0, b0 = load(image, p) * centre, load(image, green + p) * centre, load(image, blue + p) * centre
                r1, g1, b1 = load(image, q) * centre, load(image, green + q) * centre, load(image, blue + q) * centre
                for k in range(1, radius + 1):
                    w = splat(weight[k])
                    up, low = above[k] + x, below[k] + x
                    r0 = r0 + (load(image, up) + load(image, low)) * w
                    g0 = g0 + (load(image, green + up) + load(image, green + low)) * w
                    b0 = b0 + (load(image, blue + up) + load(image, blue + low)) * w
                    up, low = above[k] + z, below[k] + z
                    r1 = r1 + (load(image, up) + load(image, low)) * w
                    g1 = g1 + (load(image, green + up) + load(image, green + low)) * w
                    b1 = b1 + (load(image, blue + up) + load(image, blue + low)) * w
                put(out, to + x, r0, f0, o0)
                put(out, to + z, r1, f0, o0)
                put(out, plane + to + x, g0, f1, o1)
                put(out, plane + to + z, g1, f1, o1)
                put(out, 2 * plane + to + x, b0, f2, o2)
                put(out, 2 * plane + to + z, b1, f2, o2)

    return down


down, down_out = down_with(put), down_with(put_out)
"""Into a strip; into the view, past the caches, as x * scale + bias of each channel."""
