"""Kernels of `blur` in 16-bit fixed point. Pixels stand less one half here, so that the sum of two fits."""

from __future__ import annotations

import numpy as np

from ..jit import inlined, kernel, pasted
from ..simd.common import store
from ..simd.int16 import LANES, ONE, splat16
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


@pasted
def minus_half(v):
    return v - splat16(HALF)


@pasted
def put(strip, at, v, factor, term):
    store(strip, at, v + splat16(HALF))


across = blur.across_with(splat16, LANES, minus_half)

UNIT, ZERO = np.float32(1 / ONE), np.float32(0.5)
down, down_out = blur.down_with(splat16, LANES, put, UNIT, ZERO), blur.down_with(splat16, LANES, write, UNIT, ZERO)
"""Into a strip; into the view, past the caches, as x * scale + bias of each channel."""
