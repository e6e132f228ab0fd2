"""Rows of red, green and blue from planes whose colours have half the resolution: libjpeg's, to the bit (see `gpuaug.yuv`).

Each row of a box is made in a buffer that stays in the L1 cache, and is filtered from there. All numbers have 16 bits. Of each
colour, a row is first mixed from the two nearest rows of its plane, then enlarged, sixty-four pixels at a time: even and odd
pixels are separate vectors until they are written.
"""

from __future__ import annotations

import numpy as np

from ...jit import inlined_by_llvm, kernel
from ...simd.common import load, store
from ...simd.int16 import LANES, shift_right, splat16
from ...simd.pixels import prefetch
from ...simd.yuv import load_bytes, load_twos, rounded_sum, store_twos
from .across import PREFETCH_ROWS, SLACK, across

BLOCK = 2 * LANES
"""Pixels that are made at a time."""

BIAS = -510
"""Is added to mixed colours, of which four make one of sixteen times the size: 4 * BIAS = 8 - 16 * 128 rounds it, and subtracts
128 from the colour."""

# What the colours, less 128 and doubled, add to brightness. For red and blue, products are counted in 1/32768 and rounded.
# libjpeg counts in 1/65536; the factors were chosen so that all 256 products are the same.
RED_TO_RED, BLUE_TO_BLUE = 22972, 29033
BLUE_TO_GREEN, RED_TO_GREEN = -11277, -23401


@inlined_by_llvm
def mix(pixels, near, far, count, out, to):
    """Write colours of a row between two rows of their plane, times four, a multiple of LANES from out[to] on."""
    for k in range(0, count, LANES):
        n = load_bytes(pixels, near + k)
        store(out, to + k, n + n + n + load_bytes(pixels, far + k) + splat16(BIAS))


@inlined_by_llvm
def mix_one(pixels, near, far, out, to):
    out[to] = 3 * np.int64(pixels[near]) + np.int64(pixels[far]) + BIAS


@inlined_by_llvm
def enlarged(colours, at, beside):
    """Even and odd pixels of a colour, less 128 and doubled; `beside` is 1, or 0 to repeat pixels."""
    here = load(colours, at)
    three = here + here + here
    even = shift_right(three + load(colours, at - beside), 4)
    odd = shift_right(three + load(colours, at + beside) - splat16(1), 4)
    return even + even, odd + odd


@inlined_by_llvm
def join(pixels, y, colours, blue, red, beside, line, to, apart):
    """Write a block of red, green and blue from line[to] on, `apart` bytes from channel to channel."""
    even, odd = load_twos(pixels, y)
    blue_even, blue_odd = enlarged(colours, blue, beside)
    red_even, red_odd = enlarged(colours, red, beside)
    factor = splat16(RED_TO_RED)
    store_twos(line, to, even + red_even * factor, odd + red_odd * factor)
    store_twos(
        line,
        to + apart,
        even + rounded_sum(blue_even, red_even, BLUE_TO_GREEN, RED_TO_GREEN),
        odd + rounded_sum(blue_odd, red_odd, BLUE_TO_GREEN, RED_TO_GREEN),
    )
    factor = splat16(BLUE_TO_BLUE)
    store_twos(line, to + 2 * apart, even + blue_even * factor, odd + blue_odd * factor)


@inlined_by_llvm
def copied(pixels, at, count, spare, to):
    """Copy bytes that a vector would read beyond the end of the buffer; returns where they are."""
    for k in range(min(count, pixels.shape[0] - at)):
        spare[to + k] = pixels[at + k]
    return to


@kernel
def make_rows(pixels, at, height, width, y, first, end, line, apart, colours, spare):
    """Write columns first..end-1 of row y of an image, whose planes begin at pixels[at], into three lines.

    first: an even column. apart: bytes from one line to the next, at least `end - first` rounded up to whole blocks.
    """
    rows, columns = (height + 1) // 2, (width + 1) // 2
    left, count = first // 2, (end - first + BLOCK - 1) // BLOCK * LANES
    level = at + y * width + first
    near = y // 2
    far = min(near + 1, rows - 1) if y % 2 else max(near - 1, 0)
    beside = 1
    if columns <= 2:
        far, beside = near, 0
    blue = at + height * width
    red = blue + rows * columns
    near, far = near * columns, far * columns
    # Each colour is mixed from column `left` on, and at one column on either side, or again at the first and last column.
    half = colours.shape[0] // 2
    before, last = max(left - 1, 0), min(left + count, columns)
    after = min(last, columns - 1)
    for plane, to in ((blue, LANES), (red, half + LANES)):
        mix_one(pixels, plane + near + before, plane + far + before, colours, to - 1)
        source, n, f = pixels, plane + near + left, plane + far + left
        if max(n, f) + count > pixels.shape[0]:
            source, n, f = spare, copied(pixels, n, count, spare, 0), copied(pixels, f, count, spare, count)
        mix(source, n, f, count, colours, to)
        mix_one(pixels, plane + near + after, plane + far + after, colours, to + last - left)
    source, begin = pixels, level
    if level + 2 * count > pixels.shape[0]:
        source, begin = spare, copied(pixels, level, 2 * count, spare, 0)
    for k in range(0, count, LANES):
        prefetch(pixels, level + 2 * k + PREFETCH_ROWS * width)
        prefetch(pixels, blue + near + left + k + PREFETCH_ROWS // 2 * columns)
        prefetch(pixels, red + near + left + k + PREFETCH_ROWS // 2 * columns)
        join(source, begin + 2 * k, colours, LANES + k, half + LANES + k, beside, line, 2 * k, apart)


@kernel
def fill_ring(pixels, at, height, width, box, low, high, reach, ready, need,
    start, index, pairs, half, ring, mask, line, colours, spare,
):  # fmt: skip
    """Filter rows ready..need-1 of the box of an image, whose planes begin at pixels[at], into the ring.

    low, high: the columns of the box that any output pixel needs.
    """
    first, end = (box[1] + low) // 2 * 2, box[1] + high
    apart = (end - first + SLACK + 2 * half) // BLOCK * BLOCK
    for row in range(ready, need):
        make_rows(pixels, at, height, width, box[0] + row, first, end, line, apart, colours, spare)
        across(reach, line, box[1] - first, 0, 1, apart, 1, start, index, pairs, half, ring, mask, row)
