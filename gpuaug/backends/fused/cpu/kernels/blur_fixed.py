"""Kernels of `blur` in 16-bit fixed point. Pixels stand less one half here, so that the sum of two fits."""

from __future__ import annotations

import numpy as np

from ..jit import inlined, kernel, pasted
from ..simd.float32 import splat
from ..simd.int16 import LANES, ONE, all16, load16, store16
from . import blur
from .color_fixed import FRACTION, HALF, write


@kernel
def gaussian(sigma, radius, blurs, row):
    """Half a Gaussian kernel (see `blur.gaussian`) as fractions that add up to 1, the rounding at the centre."""
    radius = blur.gaussian(sigma, radius, blurs, row)
    left = FRACTION
    for k in range(1, radius + 1):
        blurs.half16[row, k] = int(np.floor(blurs.half[row, k] * FRACTION + 0.5))
        left -= 2 * blurs.half16[row, k]
    blurs.half16[row, 0] = min(left, FRACTION - 1)
    return radius


@inlined
def half_kernels(blurs):
    """See `blur.half_kernels`."""
    return blurs.half16


@kernel
def across(strip, plane, stride, width, rows, radius, weight, line, margin, image, image_plane, at):
    """See `blur.across`."""
    pitch = line.shape[0] // 3
    centre, half = all16(weight[0]), all16(HALF)
    for start in range(0, rows * stride, stride):
        for c in range(3):
            first = c * pitch + margin
            for x in range(0, width, LANES):
                store16(line, first + x, load16(strip, c * plane + start + x) - half)
            end = first + width - 1
            for k in range(1, radius + 1):
                line[first - k] = line[first + k]
                line[end + k] = line[end - k]
        to = at + start - margin
        for x in range(margin, margin + width, LANES):
            y, z = x + pitch, x + 2 * pitch
            r, g, b = load16(line, x) * centre, load16(line, y) * centre, load16(line, z) * centre
            for k in range(1, radius + 1):
                w = all16(weight[k])
                r = r + (load16(line, x - k) + load16(line, x + k)) * w
                g = g + (load16(line, y - k) + load16(line, y + k)) * w
                b = b + (load16(line, z - k) + load16(line, z + k)) * w
            store16(image, to + x, r)
            store16(image, image_plane + to + x, g)
            store16(image, 2 * image_plane + to + x, b)


def down_with(put):
    """The kernel that blurs down, with a way to write."""

    @kernel
    def down(image, image_plane, y, height, stride, rows, radius, weight, above, below, out, plane, at, scale, bias):
        """See `blur.down`."""
        unit = np.float32(1 / ONE)
        centre = all16(weight[0])
        f0, f1, f2 = splat(scale[0] * unit), splat(scale[1] * unit), splat(scale[2] * unit)
        mid = np.float32(0.5)
        o0, o1, o2 = splat(bias[0] + scale[0] * mid), splat(bias[1] + scale[1] * mid), splat(bias[2] + scale[2] * mid)
        for row in range(y, y + rows):
            for k in range(radius + 1):
                above[k] = abs(row - k) * stride
                below[k] = (height - 1 - abs(height - 1 - row - k)) * stride
            here, to = row * stride, at + (row - y) * stride
            for x in range(0, stride, LANES):
                p, green, blue = here + x, image_plane, 2 * image_plane
                r, g, b = load16(image, p) * centre, load16(image, green + p) * centre, load16(image, blue + p) * centre
                for k in range(1, radius + 1):
                    w = all16(weight[k])
                    up, low = above[k] + x, below[k] + x
                    r = r + (load16(image, up) + load16(image, low)) * w
                    g = g + (load16(image, green + up) + load16(image, green + low)) * w
                    b = b + (load16(image, blue + up) + load16(image, blue + low)) * w
                put(out, to + x, r, f0, o0)
                put(out, plane + to + x, g, f1, o1)
                put(out, 2 * plane + to + x, b, f2, o2)

    return down


@pasted
def put(strip, at, v, f, o):
    store16(strip, at, v + all16(HALF))


down_to, down_out = down_with(put), down_with(write)
"""Into a strip; into the view, past the caches, as x * scale + bias of each channel."""

NO_SCALE = np.ones(3, dtype=np.float32)


@kernel
def down(image, image_plane, y, height, stride, rows, radius, weight, above, below, strip, plane):
    """See `blur.down`."""
    down_to(image, image_plane, y, height, stride, rows, radius, weight, above, below, strip, plane, 0, NO_SCALE, NO_SCALE)
