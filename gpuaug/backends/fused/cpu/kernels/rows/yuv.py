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

LINES = 4
"""Rows that each step makes before the next step reads them."""

BIAS = -510
"""Is added to mixed colours, of which four make one of sixteen times the size: 4 * BIAS = 8 - 16 * 128 rounds it, and subtracts
128 from the colour."""

# What the colours, less 128 and doubled, add to brightness. For red and blue, products are counted in 1/32768 and rounded.
# libjpeg counts in 1/65536; the factors were chosen so that all 256 products are the same.
RED_TO_RED, BLUE_TO_BLUE = 22972, 29033
BLUE_TO_GREEN, RED_TO_GREEN = -11277, -23401


@inlined_by_llvm
def copied(pixels, at, count, spare, to):
    """Copy bytes that vectors would read beyond the end of the buffer; returns where they are."""
    for k in range(min(count, pixels.shape[0] - at)):
        spare[to + k] = pixels[at + k]
    return to


@inlined_by_llvm
def mixed(pixels, near, far):
    return 3 * np.int64(pixels[near]) + np.int64(pixels[far]) + BIAS


@inlined_by_llvm
def mix(source, near, far, count, out, to):
    """Write colours between two rows of a plane, times four, a multiple of LANES from out[to] on."""
    for k in range(0, count, LANES):
        n = load_bytes(source, near + k)
        store(out, to + k, n + n + n + load_bytes(source, far + k) + splat16(BIAS))


@inlined_by_llvm
def mix_row(pixels, near, far, first, end, columns, out, to, spare):
    """Write columns first-1..end of a colour between two rows of its plane, which begin at pixels[near] and pixels[far].

    Column `first` becomes out[to]. Beyond the plane, its first and its last column are repeated.
    """
    count = (min(end + 1, columns) - first + LANES - 1) // LANES * LANES
    source, n, f = pixels, near + first, far + first
    if max(n, f) + count > pixels.shape[0]:
        source, n, f = spare, copied(pixels, n, count, spare, 0), copied(pixels, f, count, spare, count)
    mix(source, n, f, count, out, to)
    before = max(first - 1, 0)
    out[to - 1] = mixed(pixels, near + before, far + before)
    if end >= columns:
        out[to + columns - first] = mixed(pixels, near + columns - 1, far + columns - 1)


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
def join_row(pixels, y, colours, blue, red, count, beside, line, to, apart, spare):
    """Write a row of red, green and blue: brightness begins at pixels[y], the colours at colours[blue] and colours[red]."""
    source, begin = pixels, y
    if y + 2 * count > pixels.shape[0]:
        source, begin = spare, copied(pixels, y, 2 * count, spare, 0)
    for k in range(0, count, LANES):
        join(source, begin + 2 * k, colours, blue + k, red + k, beside, line, to + 2 * k, apart)


@kernel
def fill_ring(
    pixels, at, height, width, box, low, high, reach, ready, need,
    start, index, pairs, half, ring, mask, line, colours, spare,
):  # fmt: skip
    """Filter rows ready..need-1 of the box of an image, whose planes begin at pixels[at], into the ring.

    low, high: the columns of the box that any output pixel needs. line, colours: scratch for LINES rows; spare: for half a row.

    The filter and each step before it read what was written some rows ago. A processor would wait for numbers that were written
    just before, since it loads them in other pieces.
    """
    rows, columns = (height + 1) // 2, (width + 1) // 2
    first, end = (box[1] + low) // 2 * 2, box[1] + high
    left, right, count = first // 2, (end + 1) // 2, (end - first + BLOCK - 1) // BLOCK * LANES
    apart = (end - first + SLACK + 2 * half) // BLOCK * BLOCK
    blue = at + height * width
    red = blue + rows * columns
    beside = 0 if columns <= 2 else 1
    wide = colours.shape[0] // (2 * LINES)
    for begin in range(ready, need, LINES):
        lines = min(LINES, need - begin)
        for k in range(lines):
            y, to = box[0] + begin + k, 2 * k * wide + LANES
            near, far = y >> 1, min(max((y >> 1) + (y & 1) * 2 - 1, 0), rows - 1)
            if columns <= 2:
                far = near
            near, far = near * columns, far * columns
            mix_row(pixels, blue + near, blue + far, left, right, columns, colours, to, spare)
            mix_row(pixels, red + near, red + far, left, right, columns, colours, to + wide, spare)
        for k in range(lines):
            y, to = box[0] + begin + k, 2 * k * wide + LANES
            level, near = at + y * width + first, (y >> 1) * columns + left
            for x in range(0, count, LANES):
                prefetch(pixels, level + PREFETCH_ROWS * width + 2 * x)
                prefetch(pixels, blue + near + PREFETCH_ROWS // 2 * columns + x)
                prefetch(pixels, red + near + PREFETCH_ROWS // 2 * columns + x)
            join_row(pixels, level, colours, to, to + wide, count, beside, line, 3 * k * apart, apart, spare)
        across(reach, line, box[1] - first, 3 * apart, 1, apart, 0, lines, start, index, pairs, half, ring, mask, begin)
