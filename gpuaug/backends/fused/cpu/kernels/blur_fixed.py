"""The kernels of `blur` for 16-bit fixed point.

Vertically, the two pixels at a distance are added, then multiplied by their weight. Horizontally, products of neighbouring
pixels are added in 32 bits: one multiply-add takes two pixels, and one load serves the outputs at even and at odd places.
"""

from __future__ import annotations

import numpy as np

from ..jit import inlined_by_llvm, inlined_by_numba, kernel
from ..simd.common import load
from ..simd.int16 import LANES, ONE, add_capped, pair_sums, splat16, splat_pair, weave_sums, zero_sums
from . import blur as float32
from .color_fixed import FRACTION, write_view


@kernel
def rounded(weight, radius, out):
    """Write half a Gaussian kernel in multiples of 1/32768 that add up to 1; the centre absorbs the rounding errors."""
    left = FRACTION
    for k in range(1, radius + 1):
        out[k] = int(np.floor(weight[k] * FRACTION + 0.5))
        left -= 2 * out[k]
    out[0] = min(left, FRACTION - 1)


@kernel
def pair_weights(half, radius, pairs):
    """Write the weights of `sums`: for each pair of pixels those of the even outputs, then those of the odd ones.

    Pair k holds the pixels at distances 2 * k - radius and one more from the even outputs. Each weight is 16 bits of a pair.
    """
    for k in range(radius + 1):
        at = 2 * k - radius
        before = half[abs(at - 1)] if at > -radius else 0
        behind = half[abs(at + 1)] if at < radius else 0
        pairs[2 * k] = half[abs(at)] | (behind << 16)
        pairs[2 * k + 1] = before | (half[abs(at)] << 16)


@inlined_by_numba
def prepare(arg, blurs):
    """See `blur.prepare`."""
    across, down = float32.prepare(arg, blurs)
    rounded(blurs.half[0], across, blurs.half16[0])
    rounded(blurs.half[1], down, blurs.half16[1])
    pair_weights(blurs.half16[0], across, blurs.pairs)
    return across, down


@inlined_by_numba
def weights(blurs):
    """See `blur.weights`."""
    return blurs.pairs, blurs.half16[1]


@inlined_by_llvm
def sums(line, at, pitch, radius, pairs):
    zero = zero_sums()
    r0, r1, g0, g1, b0, b1 = zero, zero, zero, zero, zero, zero
    red = at - radius
    green, blue = red + pitch, red + 2 * pitch
    for k in range(0, 2 * radius + 2, 2):
        even, odd = splat_pair(pairs[k]), splat_pair(pairs[k + 1])
        r, g, b = load(line, red + k), load(line, green + k), load(line, blue + k)
        r0, r1 = r0 + pair_sums(r, even), r1 + pair_sums(r, odd)
        g0, g1 = g0 + pair_sums(g, even), g1 + pair_sums(g, odd)
        b0, b1 = b0 + pair_sums(b, even), b1 + pair_sums(b, odd)
    return weave_sums(r0, r1), weave_sums(g0, g1), weave_sums(b0, b1)


# Two white pixels add up to 32767 instead of 32768. As weights beside the centre are at most 1/2, products round to the same.
down = float32.down_with(splat16, LANES, add_capped)
UNIT = np.float32(1 / ONE)
blur, blur_out = (float32.blur_with(down, sums, LANES, write, UNIT) for write in (float32.write_strip, write_view))
"""`blur` writes a strip. `blur_out` writes the view past the caches, each channel as x * scale + bias."""
