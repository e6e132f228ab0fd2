"""Resize and blur of the Triton kernels as products of matrices, which a GPU's tensor cores compute.

A tile of a view is X P Y, with the pixels P of the part of the image that the tile reads, and the weights X and Y of the filter
along each axis. Pixels are integers, which float16 holds exactly. Weights and X P are rounded to float16 for views in bfloat16,
whose own rounding is eight times coarser. Otherwise weights have two parts in float16, and for views in float32 so has X P: two
parts have 22 bits. Products are summed in float32. A blur is computed alike, from scratch in float16.
"""

# ruff: noqa: N803
# By Triton's convention, capitals name what is known when a kernel is compiled; an `if` on these compiles one branch.

from __future__ import annotations

import triton
import triton.language as tl

from ...cpu import pack as record

FLIPS, SKIP, SCALE = tl.constexpr(record.FLIPS), tl.constexpr(record.SKIP_Y), tl.constexpr(record.SCALE_Y)
BOX, FULL = tl.constexpr(record.BOX_H), tl.constexpr(record.FULL_H)


@triton.jit
def axis(rec, AXIS: tl.constexpr, start, N: tl.constexpr, size, CUBIC: tl.constexpr):
    """The filter along an axis (0: rows, 1: columns) for the N positions from `start` on in a view of this size.

    Positions beyond the resized image, where a view is black, are moved to its edge, so that they read pixels of the image.

    Returns:
        centre: (N,) where the filter of each position lies, in source pixels from `begin` on.
        inverse: The step of the filter's argument from one source pixel to the next.
        gain: (N,) factor that makes the weights of each position add up to 1; 0 beyond the resized image.
        begin, end: The source pixels that any of the filters reads.
    """
    scale = tl.load((rec + SCALE + AXIS).to(tl.pointer_type(tl.float32), bitcast=True))
    n_in, n_full = tl.load(rec + BOX + AXIS), tl.load(rec + FULL + AXIS)
    skip, flipped = tl.load(rec + SKIP + AXIS), ((tl.load(rec + FLIPS) >> (1 - AXIS)) & 1) != 0
    at = resized(start + tl.arange(0, N), size, flipped) + skip
    seen = (at >= 0) & (at < n_full)
    widen = tl.maximum(scale, 1.0)
    support = (2 if CUBIC else 1) * widen
    # In float32 and in torch's order of operations, so that rounding agrees.
    centre = centre_of(at, n_full, scale)
    one, other = resized(start, size, flipped) + skip, resized(start + N - 1, size, flipped) + skip
    low, high = centre_of(tl.minimum(one, other), n_full, scale), centre_of(tl.maximum(one, other), n_full, scale)
    begin = tl.maximum((low - support + 0.5).to(tl.int32), 0)
    end = tl.minimum((high + support + 0.5).to(tl.int32), n_in)
    first = tl.maximum((centre - support + 0.5).to(tl.int32), 0) - begin
    centre -= begin.to(tl.float32) + 0.5
    inverse = 1 / widen
    total = tl.zeros_like(centre)
    taps = tl.ceil(2 * support).to(tl.int32)
    j = tl.full((), 0, tl.int32)
    while j < taps:
        total += weights(first + j, centre, inverse, n_in - begin, CUBIC)
        j += 1
    return centre, inverse, tl.where(seen, 1.0, 0.0) / total, begin, end


@triton.jit
def resized(at, size, flipped):
    """Positions in the view before its flip; those beyond the view are moved to its edge."""
    at = tl.minimum(at, size - 1)
    return tl.where(flipped, size - 1 - at, at)


@triton.jit
def centre_of(at, n_full, scale):
    return scale * (tl.minimum(tl.maximum(at, 0), n_full - 1).to(tl.float32) + 0.5)


@triton.jit
def weights(k, centre, inverse, count, CUBIC: tl.constexpr):
    """Weights of the source pixels k; 0 from pixel `count` on."""
    return tl.where(k < count, kernel((k.to(tl.float32) - centre) * inverse, CUBIC), 0.0)


@triton.jit
def kernel(t, CUBIC: tl.constexpr):
    """The filter at t: a triangle, or a cubic with a = -0.5."""
    a = tl.abs(t)
    if CUBIC:
        near = (1.5 * a - 2.5) * a * a + 1
        far = ((-0.5 * a + 2.5) * a - 4) * a + 2
        w = tl.where(a < 1, near, tl.where(a < 2, far, 0.0))
    else:
        w = tl.maximum(1 - a, 0.0)
    return w


@triton.jit
def halves(v):
    """Two float16 numbers that add up to a float32 number, but for 2^-22 of it."""
    high = v.to(tl.float16)
    return high, (v - high.to(tl.float32)).to(tl.float16)


@triton.jit
def dot3(r, g, b, w, e, to_r, to_g, to_b, TWO: tl.constexpr, PRECISE: tl.constexpr):
    """Add the products of three float32 matrices with w, or with w + e if TWO. PRECISE: not only their upper halves."""
    if PRECISE:
        r, more_r = halves(r)
        g, more_g = halves(g)
        b, more_b = halves(b)
        to_r, to_g, to_b = tl.dot(more_r, w, to_r), tl.dot(more_g, w, to_g), tl.dot(more_b, w, to_b)
    else:
        r, g, b = r.to(tl.float16), g.to(tl.float16), b.to(tl.float16)
    if TWO:
        to_r, to_g, to_b = tl.dot(r, e, to_r), tl.dot(g, e, to_g), tl.dot(b, e, to_b)
    return tl.dot(r, w, to_r), tl.dot(g, w, to_g), tl.dot(b, w, to_b)


@triton.jit
def pixels(words, last, byte, KX: tl.constexpr, KY: tl.constexpr):
    """Red, green and blue of KX pixels from each of the bytes (KY, 1) on, as float16 matrices (KX, KY).

    Twelve bytes are read as four aligned words and shifted into place, since loading a byte takes as long as loading a word.
    What lies beyond the part that is read has weight 0; beyond `last`, the last word of the memory, nothing is read.
    """
    at = (byte >> 2) + 3 * tl.arange(0, KX // 4)[None, :]
    shift = ((byte << 3) & 31).to(tl.uint32)
    w0, w1 = tl.load(words + tl.minimum(at, last)), tl.load(words + tl.minimum(at + 1, last))
    w2, w3 = tl.load(words + tl.minimum(at + 2, last)), tl.load(words + tl.minimum(at + 3, last))
    w0, w1, w2 = joined(w0, w1, shift), joined(w1, w2, shift), joined(w2, w3, shift)
    r = in_a_row(biased(w0, 0), biased(w0, 3), biased(w1, 2), biased(w2, 1), KX, KY)
    g = in_a_row(biased(w0, 1), biased(w1, 0), biased(w1, 3), biased(w2, 2), KX, KY)
    b = in_a_row(biased(w0, 2), biased(w1, 1), biased(w2, 0), biased(w2, 3), KX, KY)
    return tl.trans(r), tl.trans(g), tl.trans(b)


@triton.jit
def joined(low, high, shift):
    """32 of the 64 bits of two words, from bit `shift` (0..24) on. Compiles to one instruction, a funnel shift."""
    return (low >> shift) | ((high << 1) << (31 - shift))


@triton.jit
def biased(word, K: tl.constexpr):
    """1024 + byte K of a word in float16, by writing the byte into the mantissa, since a GPU converts slowly."""
    return (((word >> (8 * K)) & 0xFF) | 0x6400).to(tl.int16).to(tl.float16, bitcast=True)


@triton.jit
def in_a_row(a, b, c, d, KX: tl.constexpr, KY: tl.constexpr):
    """Four matrices (KY, KX / 4) of 1024 + n as one of n, whose columns alternate between theirs.

    1024 is subtracted here, since Triton 3.6 for Hopper fails where a reshaped matrix is transposed and multiplied at once.
    """
    return tl.reshape(tl.join(tl.join(a, c), tl.join(b, d)), [KY, KX]) - 1024.0


@triton.jit
def bell(d, inverse, reach, norm):
    """A Gaussian at distance d, cut off beyond `reach`."""
    t = d.to(tl.float32) * inverse
    return tl.where(tl.abs(d) <= reach, tl.exp(-0.5 * t * t) * norm, 0.0)


@triton.jit
def blur_weights(k, at, size, inverse, reach, norm, border):
    """Weights of the pixels k in a blur at the pixels `at`. border: whether k may include pixels that the ends reflect."""
    w = bell(k - at, inverse, reach, norm)
    if border:
        w += tl.where(k > 0, bell(k + at, inverse, reach, norm), 0.0)
        w += tl.where(k < size - 1, bell(2 * (size - 1) - k - at, inverse, reach, norm), 0.0)
    return tl.where(k < size, w, 0.0)
