"""The resize of the Triton kernels on devices whose tensor cores Triton cannot use: tap by tap.

`matrices` has the resize of newer devices, which takes fewer instructions.
"""

# ruff: noqa: N803, N806
# By Triton's convention, capitals name what is known when a kernel is compiled; an `if` on these compiles one branch.

from __future__ import annotations

import triton
import triton.language as tl

from ...cpu import pack as record
from .matrices import joined, kernel
from .ops import clamp

LAST, PITCH, FLIPS = tl.constexpr(record.LAST), tl.constexpr(record.PITCH), tl.constexpr(record.FLIPS)
BOX_H, BOX_W, FULL_H, FULL_W = (tl.constexpr(n) for n in (record.BOX_H, record.BOX_W, record.FULL_H, record.FULL_W))
SKIP_Y, SKIP_X, SCALE_Y = (tl.constexpr(n) for n in (record.SKIP_Y, record.SKIP_X, record.SCALE_Y))


@triton.jit
def resize(source, rec, y, x, height, width, CUBIC: tl.constexpr, H: tl.constexpr, W: tl.constexpr):
    """Antialiased resize of the box that a record describes; black where the view reaches beyond the image.

    Pixels are read as aligned 32-bit words and shifted into place, since loading a byte takes as long as loading a word. Three
    words cover 3 pixels, the taps of a bilinear filter that shrinks up to 1.5 times. Four words cover 4 pixels, the taps of a
    bicubic filter that enlarges. Wider filters take several such steps. Beyond the last word of the memory nothing is read.
    """
    STEP: tl.constexpr = 4 if CUBIC else 3
    scales = (rec + SCALE_Y).to(tl.pointer_type(tl.float32), bitcast=True)
    flips = tl.load(rec + FLIPS)
    box_w, full_h, full_w = tl.load(rec + BOX_W), tl.load(rec + FULL_H), tl.load(rec + FULL_W)
    oy = tl.where((flips & 2) != 0, height - 1 - y, y) + tl.load(rec + SKIP_Y)
    ox = tl.where((flips & 1) != 0, width - 1 - x, x) + tl.load(rec + SKIP_X)
    first_y, from_y, inverse_y, taps_y = window(oy, tl.load(rec + BOX_H), tl.load(scales), CUBIC)
    first_x, from_x, inverse_x, taps_x = window(ox, box_w, tl.load(scales + 1), CUBIC)
    pitch, last = tl.load(rec + PITCH), tl.load(rec + LAST)
    base = (tl.load(rec + 1).to(tl.int64) << 32) | (tl.load(rec).to(tl.int64) & 0xFFFFFFFF)
    words = source.to(tl.pointer_type(tl.uint32), bitcast=True) + (base >> 2)
    corner = first_y * pitch + 3 * first_x + (base & 3).to(tl.int32)

    r, g, b = tl.zeros([H, W], tl.float32), tl.zeros([H, W], tl.float32), tl.zeros([H, W], tl.float32)
    norm_x, norm_y = tl.zeros([1, W], tl.float32), tl.zeros([H, 1], tl.float32)
    k = 0
    while k < taps_x:
        left = box_w - first_x - k
        w0 = tl.where(left > 0, kernel(from_x + k * inverse_x, CUBIC), 0.0)
        w1 = tl.where(left > 1, kernel(from_x + (k + 1) * inverse_x, CUBIC), 0.0)
        w2 = tl.where(left > 2, kernel(from_x + (k + 2) * inverse_x, CUBIC), 0.0)
        w3 = tl.where(left > 3, kernel(from_x + (k + 3) * inverse_x, CUBIC), 0.0)
        norm_x += w0 + w1 + w2
        if CUBIC:
            norm_x += w3
        norm_y *= 0
        j = 0
        while j < taps_y:
            v = kernel(from_y + j * inverse_y, CUBIC)
            norm_y += v
            byte = corner + (j * pitch + 3 * k)
            # Declared contiguous across columns, so that Triton lays out threads such that a warp reads along a row.
            at, shift = tl.max_contiguous(byte >> 2, [1, 2]), ((byte << 3) & 31).to(tl.uint32)
            p0, p1, p2 = word(words, at, last), word(words, at + 1, last), word(words, at + 2, last)
            p0, p1 = joined(p0, p1, shift), joined(p1, p2, shift)
            if CUBIC:
                # The word of the last of the twelve bytes, so that no word beyond them is read.
                p2 = joined(p2, word(words, tl.max_contiguous((byte + 11) >> 2, [1, 2]), last), shift)
                r += v * (w0 * channel(p0, 0) + w1 * channel(p0, 3) + w2 * channel(p1, 2) + w3 * channel(p2, 1))
                g += v * (w0 * channel(p0, 1) + w1 * channel(p1, 0) + w2 * channel(p1, 3) + w3 * channel(p2, 2))
                b += v * (w0 * channel(p0, 2) + w1 * channel(p1, 1) + w2 * channel(p2, 0) + w3 * channel(p2, 3))
            else:
                r += v * (w0 * channel(p0, 0) + w1 * channel(p0, 3) + w2 * channel(p1, 2))
                g += v * (w0 * channel(p0, 1) + w1 * channel(p1, 0) + w2 * channel(p1, 3))
                b += v * (w0 * channel(p0, 2) + w1 * channel(p1, 1) + w2 * channel(p2 >> shift, 0))
            j += 1
        k += STEP
    seen_y, seen_x = (oy >= 0) & (oy < full_h), (ox >= 0) & (ox < full_w)
    gain = (
        tl.where(seen_y, 1 / 255, 0.0)
        / tl.where(seen_y, norm_y, 1.0)
        * (tl.where(seen_x, 1.0, 0.0) / tl.where(seen_x, norm_x, 1.0))
    )
    r, g, b = r * gain, g * gain, b * gain
    if CUBIC:  # a bicubic filter overshoots
        r, g, b = clamp(r), clamp(g), clamp(b)
    return r, g, b


@triton.jit
def window(o, n_in, scale, CUBIC: tl.constexpr):
    """For each output pixel: its first source pixel, the filter's argument there, its step to the next, and their number.

    Computed in float32 and in torch's order of operations, so that rounding agrees. Near the end of the image the window is
    moved inwards, over pixels where the filter is 0, so that it lies within the image unless the image is smaller.
    """
    widen = tl.maximum(scale, 1.0)
    support = (2 if CUBIC else 1) * widen
    taps = tl.minimum(tl.ceil(2 * support).to(tl.int32), n_in)
    centre = scale * (o.to(tl.float32) + 0.5)
    first = tl.maximum(tl.minimum((centre - support + 0.5).to(tl.int32), n_in - taps), 0)
    step = 1 / widen
    return first, (first.to(tl.float32) - centre + 0.5) * step, step, taps


@triton.jit
def word(words, at, last):
    return tl.load(words + tl.minimum(at, last))


@triton.jit
def channel(word, K: tl.constexpr):
    """Byte K of a word as a float.

    The lower two bytes are written into the mantissas of 2^23 + byte and 2^15 + byte; the other two are converted. A GPU
    converts at a quarter of the rate of arithmetic, but does both at the same time.
    """
    if K == 0:
        v = ((word & 0xFF) | 0x4B000000).to(tl.float32, bitcast=True) - 8388608.0
    elif K == 1:
        v = ((word & 0xFF00) | 0x47000000).to(tl.float32, bitcast=True) - 32768.0
    else:
        v = ((word >> (8 * K)) & 255).to(tl.float32)
    return v
