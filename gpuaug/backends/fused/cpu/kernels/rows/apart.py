"""Rows of interleaved pixels for filters that reach too far for a window of interleaved bytes.

An image that shrinks to less than about 1 / 2.6 of its width is read so. Each row of a box is split into its channels, in a
buffer that stays in the L1 cache, and is filtered from there: a window of one channel spans three times as many pixels.
"""

from __future__ import annotations

from ...jit import kernel
from ...simd.llvm import permutes_bytes
from ...simd.pixels import prefetch
from ...simd.threes import PIXELS, split
from .across import PREFETCH_ROWS, SLACK, across

WINDOW = 128 if permutes_bytes() else 1 << 62
"""Bytes of the widest window; processors without windows gain nothing here."""


@kernel
def fill_ring(pixels, at, pitch, low, high, reach, ready, need, start, index, pairs, half, ring, mask, line, spare):
    """Filter rows ready..need-1 of a box, whose first row begins at pixels[at], into the ring.

    low, high: the columns of the box that any output pixel needs.
    """
    count = (high - low + PIXELS - 1) // PIXELS * PIXELS
    apart = (high - low + SLACK + 2 * half) // PIXELS * PIXELS
    for row in range(ready, need):
        begin = at + row * pitch + 3 * low
        for k in range(0, count, PIXELS):
            source, here = pixels, begin + 3 * k
            prefetch(pixels, here + PREFETCH_ROWS * pitch)
            prefetch(pixels, here + PREFETCH_ROWS * pitch + 64)
            prefetch(pixels, here + PREFETCH_ROWS * pitch + 128)
            if here + 3 * PIXELS > pixels.shape[0]:  # the vectors would reach beyond the end of the buffer
                for n in range(pixels.shape[0] - here):
                    spare[n] = pixels[here + n]
                source, here = spare, 0
            split(source, here, line, k, apart)
        across(reach, line, -low, 0, 1, apart, 0, 1, start, index, pairs, half, ring, mask, row)
