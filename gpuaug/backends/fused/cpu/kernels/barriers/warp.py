"""Kernels of warps: affine and projective, nearest or bilinear.

A warp gathers from a copy of the image whose pixels have four adjacent elements, the last of which is 1, with a frame around it:
one pixel above and to the left, two below and to the right. The frame is the fill if the warp takes the nearest pixel. If it is
bilinear the frame is 0, also in the fourth element, which thereby becomes the share of a pixel that lies within the image.
"""

from __future__ import annotations

import numpy as np

from ...jit import kernel
from ...simd.common import load, maximum, minimum, store
from ...simd.float32 import LANES, floor, splat
from ...simd.integers import as_integers, lane_numbers, nearest_even, splat32
from ...simd.layout import CHANNELS, copy_pixel, load_pixels, load_repeated, store_pixels

FRAME = 3
"""Rows and columns by which the framed image is larger."""


@kernel
def slides(arg, n):
    """Whether the warp in column n moves every row of the image along itself by whole pixels, and rows by whole rows."""
    a, b, c, d, e, f = arg[n, 0], arg[n, 1], arg[n, 2], arg[n, 3], arg[n, 4], arg[n, 5]
    if a != 1 or d != 0 or e != 1 or f != np.rint(f) or arg[n, 6] != 0 or arg[n, 7] != 0:
        return False
    return arg[n + 1, 0] == 0 or (b == 0 and c == np.rint(c))


@kernel
def read_at(arg, stride, y, x):
    """Where sixteen pixels of row y, from column x on, are read: their columns and rows."""
    lanes, down = lane_numbers() + splat(x), np.float32(y)
    column = lanes * splat(arg[0]) + splat(arg[1] * down + arg[2])
    row = lanes * splat(arg[3]) + splat(arg[4] * down + arg[5])
    if arg[6] != 0 or arg[7] != 0:
        divisor = lanes * splat(arg[6]) + splat(arg[7] * down + np.float32(1))
        column, row = column / divisor, row / divisor
    return column, row


@kernel
def place_of(column, row, pitch):
    """Elements of the framed image at which sixteen pixels begin."""
    one, four = splat32(1), splat32(CHANNELS)
    return ((as_integers(row) + one) * splat32(pitch) + (as_integers(column) + one)) * four


@kernel
def within(v, size):
    return minimum(maximum(v, splat(-1.0)), splat(size))


def slide_with(lanes, encode):
    """Make the kernel of warps that only slide rows. encode(x) is the number x in the pixel format."""

    @kernel
    def slide(image, image_plane, y, height, stride, width, rows, arg, fill, strip, plane):
        """Write rows y, y + 1, ... into a strip. Around the image buffer there is room for a vector."""
        for r in range(rows):
            row = y + r + int(arg[5])
            shift = int(max(min(np.rint(arg[1] * np.float32(y + r) + arg[2]), width), -width))
            first, last = (max(-shift, 0), min(width - shift, width)) if 0 <= row < height else (width, width)
            for c in range(3):
                at, to = c * image_plane + row * stride + shift, c * plane + r * stride
                value = encode(fill[c])
                for x in range(first - first % lanes if first < last else width, last, lanes):
                    store(strip, to + x, load(image, at + x))
                for x in range(min(first, width)):
                    strip[to + x] = value
                for x in range(last, width):
                    strip[to + x] = value

    return slide


def frame_with(lanes, ones, encode):
    """Make the kernels that write the framed image. ones() is a vector of ones, encode(x) the number x in the pixel format."""

    @kernel
    def set_pixel(framed, at, fill, blank):
        for c in range(3):
            framed[at + c] = encode(np.float32(0)) if blank else encode(fill[c])
        framed[at + 3] = encode(np.float32(0))

    @kernel
    def frame(framed, pitch, height, fill, blank):
        """Write the frame's rows. pitch: pixels from one row to the next. blank: whether it is 0, not the fill."""
        for row in (0, height + 1, height + 2):
            for x in range(pitch):
                set_pixel(framed, CHANNELS * (row * pitch + x), fill, blank)

    @kernel
    def put_rows(strip, plane, stride, width, rows, y, framed, pitch, fill, blank):
        """Write a strip as rows y, y + 1, ... of the framed image, with the frame beside them."""
        for r in range(rows):
            to, start = CHANNELS * (y + r + 1) * pitch, r * stride
            for x in range(0, stride, lanes):
                red, green, blue = load(strip, start + x), load(strip, plane + start + x), load(strip, 2 * plane + start + x)
                store_pixels(framed, to + CHANNELS * (x + 1), red, green, blue, ones())
            set_pixel(framed, to, fill, blank)
            set_pixel(framed, to + CHANNELS * (width + 1), fill, blank)
            set_pixel(framed, to + CHANNELS * (width + 2), fill, blank)

    return frame, put_rows


def gather_with(read_at, lanes, encode, splat_number, store_shares, between, over):
    """Make the kernels of gathering warps for one pixel format.

    read_at(arg, stride, y, x) tells where pixels are read, as that above does.
    store_shares writes sixteen float32 in [0, 1]; between(a, b, share) is a + (b - a) * share; over(color, alpha, fill) is
    fill + (color - fill) * alpha.
    """

    @kernel
    def nearest(framed, pitch, y, height, stride, width, rows, arg, place, taps, strip, plane):
        """Write rows y, y + 1, ... into a strip."""
        for r in range(rows):
            for x in range(0, width, LANES):
                column, row = read_at(arg, stride, y + r, x)
                column, row = nearest_even(within(column, width)), nearest_even(within(row, height))
                store(place, x, place_of(column, row, pitch))
            for x in range(width):
                copy_pixel(taps, CHANNELS * x, framed, place[x])
            to = r * stride
            for x in range(0, stride, lanes):
                red, green, blue, _ = load_pixels(taps, CHANNELS * x)
                store(strip, to + x, red)
                store(strip, plane + to + x, green)
                store(strip, 2 * plane + to + x, blue)

    @kernel
    def bilinear(framed, pitch, y, height, stride, width, rows, arg, fill, place, taps, shares, strip, plane):
        """Write rows y, y + 1, ... into a strip. Where the image fades out, torchvision fades its colour twice."""
        tap = CHANNELS * stride
        f0, f1, f2 = splat_number(encode(fill[0])), splat_number(encode(fill[1])), splat_number(encode(fill[2]))
        for r in range(rows):
            for x in range(0, width, LANES):
                column, row = read_at(arg, stride, y + r, x)
                column, row = within(column, width), within(row, height)
                left, top = floor(column), floor(row)
                store_shares(shares, x, column - left)
                store_shares(shares, stride + x, row - top)
                store(place, x, place_of(left, top, pitch))
            for x in range(width):
                at, below = place[x], place[x] + CHANNELS * pitch
                copy_pixel(taps, CHANNELS * x, framed, at)
                copy_pixel(taps, CHANNELS * x + tap, framed, at + CHANNELS)
                copy_pixel(taps, CHANNELS * x + 2 * tap, framed, below)
                copy_pixel(taps, CHANNELS * x + 3 * tap, framed, below + CHANNELS)
            for k in range(0, tap, lanes):
                across, down = load_repeated(shares, k // CHANNELS), load_repeated(shares, stride + k // CHANNELS)
                above = between(load(taps, k), load(taps, tap + k), across)
                below_ = between(load(taps, 2 * tap + k), load(taps, 3 * tap + k), across)
                store(taps, k, between(above, below_, down))
            to = r * stride
            for x in range(0, stride, lanes):
                red, green, blue, alpha = load_pixels(taps, CHANNELS * x)
                store(strip, to + x, over(red, alpha, f0))
                store(strip, plane + to + x, over(green, alpha, f1))
                store(strip, 2 * plane + to + x, over(blue, alpha, f2))

    return nearest, bilinear
