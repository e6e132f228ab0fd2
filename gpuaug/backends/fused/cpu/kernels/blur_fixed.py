"""The kernels of `blur` for 16-bit fixed point. While blurred, pixels are stored minus one half, so that a sum of two fits."""

from __future__ import annotations

import numpy as np

from ..jit import inlined_by_llvm, inlined_by_numba, kernel
from ..simd.common import store
from ..simd.int16 import LANES, ONE, splat16
from . import blur
from .color_fixed import FRACTION, HALF, write_view


@kernel
def gaussian(sigma, radius, blurs, row):
    """Like `blur.gaussian`, in multiples of 1/32768 that add up to 1; the centre absorbs the rounding errors."""
    radius = blur.gaussian(sigma, radius, blurs, row)
    left = FRACTION
    for k in range(1, radius + 1):
        blurs.half16[row, k] = int(np.floor(blurs.half[row, k] * FRACTION + 0.5))
        left -= 2 * blurs.half16[row, k]
    blurs.half16[row, 0] = min(left, FRACTION - 1)
    return radius


@inlined_by_numba
def half_kernels(blurs):
    """See `blur.half_kernels`."""
    return blurs.half16


@inlined_by_llvm
def minus_half(v):
    return v - splat16(HALF)


@inlined_by_llvm
def write_strip(strip, at, v, factor, term):
    store(strip, at, v + splat16(HALF))


across = blur.across_with(splat16, LANES, minus_half)

UNIT, OFFSET = np.float32(1 / ONE), np.float32(0.5)
down, down_out = (
    blur.down_with(splat16, LANES, write_strip, UNIT, OFFSET),
    blur.down_with(splat16, LANES, write_view, UNIT, OFFSET),
)
"""`down` writes a strip. `down_out` writes the view past the caches, each channel as x * scale + bias."""
