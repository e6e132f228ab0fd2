"""Pixels of the kernels in strips from planes of brightness and two colours (see `gpuaug.yuv`), as libjpeg makes RGB of them.

Colours have half the resolution. A pixel's are those of the four nearest places, enlarged by libjpeg's triangle filter and
rounded; all numbers are libjpeg's to the bit. So the products of matrices, and the view, are those of an interleaved image.
"""

# ruff: noqa: N803
# By Triton's convention, capitals name what is known when a kernel is compiled; an `if` on these compiles one branch.

from __future__ import annotations

import triton
import triton.language as tl

from ...cpu import pack as record
from .matrices import in_a_row, joined

CENTRE, BIAS = tl.constexpr(16 * 128), tl.constexpr(0x64008000)
TOP, LEFT, ROWS = tl.constexpr(record.TOP), tl.constexpr(record.LEFT), tl.constexpr(record.ROWS)


@triton.jit
def picture_of(source, rec, base, pitch):
    """Where the colours of the picture begin, given the byte at which its box begins; the box's place; rows of the picture."""
    top, left, rows = tl.load(rec + TOP), tl.load(rec + LEFT), tl.load(rec + ROWS)
    return source + (base + ((rows - top) * pitch - left)), top, left, rows


@triton.jit
def colour_rows(y, rows, pitch):
    """For rows y of the picture: where their nearest row begins in a plane of colour, and the second nearest."""
    across = (pitch + 1) >> 1
    near = y >> 1
    far = tl.minimum(tl.maximum(near + 2 * (y & 1) - 1, 0), ((rows + 1) >> 1) - 1)
    return near * across, tl.where(across <= 2, near, far) * across


@triton.jit
def pixels_of_planes(words, last, byte, colours, near, far, x, rows, pitch, KX: tl.constexpr, KY: tl.constexpr):
    """Red, green and blue of KX pixels in KY rows, as float16 matrices (KX, KY).

    words, last, byte: as for `matrices.pixels`, of brightness. colours: where the first plane of colour begins. near, far: of
    `colour_rows`, (KY, 1). x: the first column in the picture. rows, pitch: rows and columns of the picture.

    What lies beyond the picture has weight 0, and colours of its last column, so that nothing beyond the planes is read.
    """
    at = (byte >> 2) + tl.arange(0, KX // 4)[None, :]
    shift = ((byte << 3) & 31).to(tl.uint32)
    word = joined(tl.load(words + tl.minimum(at, last)), tl.load(words + tl.minimum(at + 1, last)), shift)
    across = (pitch + 1) >> 1
    # Four pixels touch four columns of colour, the first one at the left of them unless they begin at an odd pixel.
    c = ((x - 1) >> 1) + 2 * tl.arange(0, KX // 4)[None, :]
    c0, c1, c2, c3 = within(c, across), within(c + 1, across), within(c + 2, across), within(c + 3, across)
    odd, weight = (x & 1) != 0, tl.where(across <= 2, 4, 3)
    b0, b1, b2, b3 = enlarged(colours + near, colours + far, c0, c1, c2, c3, odd, weight)
    colours += ((rows + 1) >> 1) * across
    r0, r1, r2, r3 = enlarged(colours + near, colours + far, c0, c1, c2, c3, odd, weight)
    r0, g0, b0 = rgb(word << 16, b0, r0)
    r1, g1, b1 = rgb(word << 8, b1, r1)
    r2, g2, b2 = rgb(word, b2, r2)
    r3, g3, b3 = rgb(word >> 8, b3, r3)
    r, g, b = in_a_row(r0, r1, r2, r3, KX, KY), in_a_row(g0, g1, g2, g3, KX, KY), in_a_row(b0, b1, b2, b3, KX, KY)
    return tl.trans(r), tl.trans(g), tl.trans(b)


@triton.jit
def within(c, across):
    return tl.minimum(tl.maximum(c, 0), across - 1).to(tl.uint32)


@triton.jit
def enlarged(near, far, c0, c1, c2, c3, odd, weight):
    """A colour of four pixels, -128..127, from four columns of its nearest and second nearest row.

    odd: whether the first pixel is at an odd column of the picture. weight: of the nearest column, in quarters: 3, or 4 in a
    picture so narrow that libjpeg repeats pixels.
    """
    k0, k1, k2, k3 = blended(near, far, c0), blended(near, far, c1), blended(near, far, c2), blended(near, far, c3)
    rest = 4 - weight
    # Sixteenths, of which halves are rounded up and down from column to column. CENTRE makes a signed number of the colour.
    n0, n1 = weight * k0 + rest * k1 - (CENTRE - 7), weight * k1 + rest * k0 - (CENTRE - 8)
    n2, n3 = weight * k1 + rest * k2 - (CENTRE - 7), weight * k2 + rest * k1 - (CENTRE - 8)
    n4 = weight * k2 + rest * k3 - (CENTRE - 7)
    return tl.where(odd, n0, n1) >> 4, tl.where(odd, n1, n2) >> 4, tl.where(odd, n2, n3) >> 4, tl.where(odd, n3, n4) >> 4


@triton.jit
def blended(near, far, column):
    """Four times a colour in one column: three parts of the nearest row and one of the second nearest."""
    return 3 * tl.load(near + column).to(tl.int32) + tl.load(far + column).to(tl.int32)


@triton.jit
def rgb(level, blue, red):
    """1024 + red, green and blue in float16, of brightness in bits 16..23 and the two colours.

    Numbers have 16 bits behind the point. BIAS, a half to round and the bits of 1024 in float16, makes them `matrices.biased`.
    """
    level = ((level & 0xFF0000) | BIAS).to(tl.int32)
    return bounded(level + 91881 * red), bounded(level - 22554 * blue - 46802 * red), bounded(level + 116130 * blue)


@triton.jit
def bounded(v):
    v = tl.minimum(tl.maximum(v, 0x64000000), 0x64FFFFFF)
    return (v >> 16).to(tl.int16).to(tl.float16, bitcast=True)
