"""Pixels of the kernels in strips, from planes of brightness and two colours (see `gpuaug.yuv`), as libjpeg makes RGB.

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
    b0, b1, b2, b3 = enlarged(colours, near, far, c0, c1, c2, c3, odd, weight)
    colours += ((rows + 1) >> 1) * across
    r0, r1, r2, r3 = enlarged(colours, near, far, c0, c1, c2, c3, odd, weight)
    r0, g0, b0 = rgb(word & 0xFF, b0, r0)
    r1, g1, b1 = rgb((word >> 8) & 0xFF, b1, r1)
    r2, g2, b2 = rgb((word >> 16) & 0xFF, b2, r2)
    r3, g3, b3 = rgb(word >> 24, b3, r3)
    r, g, b = in_a_row(r0, r1, r2, r3, KX, KY), in_a_row(g0, g1, g2, g3, KX, KY), in_a_row(b0, b1, b2, b3, KX, KY)
    return tl.trans(r), tl.trans(g), tl.trans(b)


@triton.jit
def within(c, across):
    return tl.minimum(tl.maximum(c, 0), across - 1)


@triton.jit
def enlarged(plane, near, far, c0, c1, c2, c3, odd, weight):
    """A colour of four pixels from four columns of its plane. odd: whether the pixels begin at an odd column of the picture.

    weight: of the nearest column, of 4: 3, or 4 in a picture so narrow that libjpeg repeats pixels.
    """
    k0, k1 = blended(plane, near, far, c0), blended(plane, near, far, c1)
    k2, k3 = blended(plane, near, far, c2), blended(plane, near, far, c3)
    rest = 4 - weight
    # Halves are rounded down and up from column to column.
    even = weight * k1 + rest * k0 + 8, weight * k1 + rest * k2 + 7, weight * k2 + rest * k1 + 8, weight * k2 + rest * k3 + 7
    v0 = tl.where(odd, weight * k0 + rest * k1 + 7, even[0]) >> 4
    v1, v2 = tl.where(odd, even[0], even[1]) >> 4, tl.where(odd, even[1], even[2]) >> 4
    v3 = tl.where(odd, even[2], even[3]) >> 4
    return v0, v1, v2, v3


@triton.jit
def blended(plane, near, far, column):
    """Four times a colour in one column: three parts of the nearest row and one of the second nearest."""
    return 3 * tl.load(plane + (near + column)).to(tl.int32) + tl.load(plane + (far + column)).to(tl.int32)


@triton.jit
def rgb(level, blue, red):
    """1024 + red, green and blue in float16, of brightness and the two colours."""
    at = (level << 16).to(tl.int32)
    r = at + (91881 * red + (32768 - 91881 * 128))
    g = at - (22554 * blue + 46802 * red - (32768 + (22554 + 46802) * 128))
    b = at + (116130 * blue + (32768 - 116130 * 128))
    return bounded(r), bounded(g), bounded(b)


@triton.jit
def bounded(v):
    """1024 + v / 2^16, rounded down and kept within 0..255, in float16: see `matrices.biased`."""
    return (tl.minimum(tl.maximum(v >> 16, 0), 255) | 0x6400).to(tl.int16).to(tl.float16, bitcast=True)
