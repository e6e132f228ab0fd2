"""What a JPEG file leaves of a view, to the bit: libjpeg's encoder and decoder (see `ops.jpeg`), in integers.

jpeg_blocks   scratch, which holds levels --> brightness, and colours at half resolution
general_pass  these --enlarge the colours--> tile
"""

# ruff: noqa: N803
# By Triton's convention, capitals name what is known when a kernel is compiled; an `if` on these compiles one branch.

from __future__ import annotations

import triton
import triton.language as tl

from ... import instructions
from ...cpu import pack as record
from .tiles import arguments, load_pixels, locate, scratch_of, span

ARGUMENTS, JPEG = tl.constexpr(instructions.ARGUMENTS), tl.constexpr(instructions.JPEG)
HEAD, OFF = tl.constexpr(record.HEAD), tl.constexpr(record.OFF)
CENTRE = tl.constexpr((128 << 16) + 32767)


@triton.jit(do_not_specialize=["height", "width", "words", "level", "passes", "columns"])
def jpeg_blocks(scratch, table, across, tables, height, width, words, level, passes, columns, half, SIDE: tl.constexpr):
    """Quantise four blocks of brightness and one of each colour, for the images whose pass `level` begins with JPEG.

    tables: int32, the transform's matrix, and the steps of brightness and colours at quality 50, 64 numbers each. across: where
    the three planes of an image go; those of colours have rows as long as the view's. SIDE: 16.
    """
    image, rec, y, x, inside = locate(table, words, height, width, SIDE, SIDE)
    begin, end = span(rec, level)
    if end == OFF:
        return
    if tl.load(rec + HEAD + 2 * passes + begin) != JPEG:
        return
    quality = tl.load(arguments(rec, passes, columns) + ARGUMENTS * begin).to(tl.int32)
    percent = tl.where(quality < 50, 5000 // tl.maximum(quality, 1), 200 - 2 * quality)
    source = scratch_of(scratch, rec, begin, passes, half, True)
    plane = height * width
    to = across + image.to(tl.int64) * 3 * plane
    kind = across.dtype.element_ty
    r, g, b = levels(source, image, tl.minimum(y, height - 1), tl.minimum(x, width - 1), height, width)
    made = coded((19595 * r + 38470 * g + 7471 * b + 32768) >> 16, tables, 64, percent, SIDE)
    tl.store(to + y * width + x, made.to(kind), mask=inside)

    rows, across_rows = (height + 1) // 2, (width + 1) // 2
    cy = tl.min(y) // 2 + tl.arange(0, SIDE // 2)[:, None]
    cx = tl.min(x) // 2 + tl.arange(0, SIDE // 2)[None, :]
    inner = tl.minimum(cy, rows - 1)
    blue, red = tl.zeros([SIDE // 2, SIDE // 2], tl.int32), tl.zeros([SIDE // 2, SIDE // 2], tl.int32)
    k = tl.full((), 0, tl.int32)
    while k < 4:
        row, column = tl.minimum(2 * inner + (k >> 1), height - 1), tl.minimum(2 * cx + (k & 1), width - 1)
        r0, g0, b0 = levels(source, image, row, column, height, width)
        blue += (-11059 * r0 - 21709 * g0 + 32768 * b0 + CENTRE) >> 16
        red += (32768 * r0 - 27439 * g0 - 5329 * b0 + CENTRE) >> 16
        k += 1
    there = (cy < rows) & (cx < across_rows)
    rounding = 1 + (cx & 1)
    coded_blue = coded((blue + rounding) >> 2, tables, 128, percent, SIDE // 2)
    tl.store(to + plane + cy * width + cx, coded_blue.to(kind), mask=there)
    coded_red = coded((red + rounding) >> 2, tables, 128, percent, SIDE // 2)
    tl.store(to + 2 * plane + cy * width + cx, coded_red.to(kind), mask=there)


@triton.jit
def levels(source, image, y, x, height, width):
    r, g, b = load_pixels(source, image, y, x, (y >= 0) & (x >= 0), height, width, True)
    return r.to(tl.int32), g.to(tl.int32), b.to(tl.int32)


@triton.jit
def coded(v, tables, base, percent, N: tl.constexpr):
    """Blocks of 8 x 8 levels, N a side together, transformed, quantised and back. base: where their steps begin in `tables`."""
    a, b = tl.arange(0, N)[:, None], tl.arange(0, N)[None, :]
    same = (a // 8) == (b // 8)
    forward = tl.load(tables + (a % 8) * 8 + b % 8, mask=same, other=0)
    inverse = tl.load(tables + (b % 8) * 8 + a % 8, mask=same, other=0)
    step = tl.load(tables + base + (a % 8) * 8 + b % 8)
    step = tl.minimum(tl.maximum((step * percent + 50) // 100, 1), 255)
    c = shifted(product(forward, shifted(product(v - 128, inverse), 11)), 15)
    level = (tl.abs(c) + 4 * step) // (8 * step) * step
    c = tl.where(c < 0, -level, level)
    v = shifted(product(shifted(product(inverse, c), 11), forward), 18) + 128
    return tl.minimum(tl.maximum(v, 0), 255)


@triton.jit
def product(a, b):
    """Of matrices of integers."""
    return tl.sum(a[:, :, None] * b[None, :, :], 1)


@triton.jit
def shifted(v, BITS: tl.constexpr):
    return (v + (1 << (BITS - 1))) >> BITS


@triton.jit
def decoded(across, image, y, x, inside, height, width):
    """Red, green and blue of a tile, from what `jpeg_blocks` has written."""
    plane = height * width
    at = across + image.to(tl.int64) * 3 * plane
    level = tl.load(at + y * width + x, mask=inside, other=0).to(tl.int32)
    blue = enlarged(at + plane, y, x, inside, height, width) - 128
    red = enlarged(at + 2 * plane, y, x, inside, height, width) - 128
    r = level + ((91881 * red + 32768) >> 16)
    g = level + ((-22554 * blue - 46802 * red + 32768) >> 16)
    b = level + ((116130 * blue + 32768) >> 16)
    return bounded(r), bounded(g), bounded(b)


@triton.jit
def bounded(v):
    return tl.minimum(tl.maximum(v, 0), 255).to(tl.float32) * (1 / 255)


@triton.jit
def enlarged(at, y, x, inside, height, width):
    """A colour at full resolution, by a triangle filter; of a view with at most two columns of it, the nearest one."""
    rows, columns = (height + 1) // 2, (width + 1) // 2
    near, column = y // 2, x // 2
    far = tl.where((y & 1) != 0, tl.minimum(near + 1, rows - 1), tl.maximum(near - 1, 0))
    other = tl.where((x & 1) != 0, tl.minimum(column + 1, columns - 1), tl.maximum(column - 1, 0))
    v = colour(at, near, column, inside, width)
    if columns > 2:
        here = 3 * v + colour(at, far, column, inside, width)
        there = 3 * colour(at, near, other, inside, width) + colour(at, far, other, inside, width)
        v = (3 * here + there + 8 - (x & 1)) >> 4
    return v


@triton.jit
def colour(at, row, column, inside, width):
    pixel = tl.max_contiguous(row * width + column, [1, 2])
    return tl.load(at + pixel, mask=inside, other=0).to(tl.int32)
