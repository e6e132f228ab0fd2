"""The Triton kernels that make a view strip by strip, on devices whose tensor cores Triton can use (see `matrices`).

    strip_pass    pixels --resize--> tile --instructions--> view, or scratch
    blur_pass     scratch --blur--> tile --instructions--> view, or scratch

A program makes the tiles of a strip from the top of the view to its bottom. It computes the weights along the columns once and
keeps them in `memory`, of which each program has a part of its own; those along the rows it computes for each tile.
"""

# ruff: noqa: N803, N806
# By Triton's convention, capitals name what is known when a kernel is compiled; an `if` on these compiles one branch.

from __future__ import annotations

import triton
import triton.language as tl

from ... import instructions
from ...cpu import pack as record
from .matrices import axis, blur_weights, dot3, halves, pixels, weights
from .ops import clamp
from .planes import colour_rows, picture_of, pixels_of_planes
from .tiles import arguments, finish_pass, gaussian, scratch_of, span

LAST, PITCH = tl.constexpr(record.LAST), tl.constexpr(record.PITCH)
BLUR, HEAD, OFF = tl.constexpr(instructions.BLUR), tl.constexpr(record.HEAD), tl.constexpr(record.OFF)


@triton.jit(do_not_specialize=["words", "chunks", "passes", "columns"])
def strip_pass(
    source, table, memory, scratch, sums, out, height, width, words, chunks, passes, columns,
    CUBIC: tl.constexpr, NOISY: tl.constexpr, GENERAL: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    H: tl.constexpr, W: tl.constexpr, KY: tl.constexpr, KX: tl.constexpr, YUV: tl.constexpr,
):  # fmt: skip
    """source: the bytes of all images. chunks: for how many chunks of KX columns of an image a program has memory.

    YUV: whether images are planes of brightness and colours, see `planes`.
    """
    STEP: tl.constexpr = 1 if YUV else 3
    TWO: tl.constexpr = out.dtype.element_ty != tl.bfloat16  # whether weights have two parts
    PRECISE: tl.constexpr = out.dtype.element_ty == tl.float32  # whether sums along the columns have two parts too
    UNIT: tl.constexpr = 1.0 if TWO else 1 / 255  # goes into the weights unless they are to be exact
    across = tl.cdiv(width, W)
    image, strip = tl.program_id(0) // across, tl.program_id(0) % across
    rec = table + image.to(tl.int64) * words
    x = (strip * W + tl.arange(0, W))[:, None]
    centre, inverse, gain, first, past = axis(rec, 1, strip * W, W, width, CUBIC)
    count = past - first
    base = (tl.load(rec + 1).to(tl.int64) << 32) | (tl.load(rec).to(tl.int64) & 0xFFFFFFFF)
    pitch, last = tl.load(rec + PITCH), tl.load(rec + LAST)
    if YUV:
        colours, down, left, rows = picture_of(source, rec, base, pitch)
    source = source.to(tl.pointer_type(tl.uint32), bitcast=True) + (base >> 2)
    corner = (base & 3).to(tl.int32) + STEP * first
    memory += tl.program_id(0).to(tl.int64) * chunks * (2 * W * KX)
    k = tl.arange(0, KX)[None, :]
    place = tl.arange(0, W)[:, None] * KX + k
    j = tl.full((), 0, tl.int32)
    while j < count:
        w, e = halves(weights(k + j, centre[:, None], inverse, count, CUBIC) * gain[:, None])
        tl.store(memory + 2 * W * j + place, w)
        if TWO:
            tl.store(memory + (2 * W * j + W * KX) + place, e)
        j += KX
    tl.debug_barrier()

    top = tl.full((), 0, tl.int32)
    while top < height:
        y = (top + tl.arange(0, H))[None, :]
        centre_y, inverse_y, gain_y, first_y, past_y = axis(rec, 0, top, H, height, CUBIC)
        r, g, b = tl.zeros([W, H], tl.float32), tl.zeros([W, H], tl.float32), tl.zeros([W, H], tl.float32)
        row = first_y
        while row < past_y:
            n = tl.minimum(row + tl.arange(0, KY)[:, None], past_y - 1)
            at = corner + n * pitch
            if YUV:
                near, far = colour_rows(down + n, rows, pitch)
            hr, hg, hb = tl.zeros([W, KY], tl.float32), tl.zeros([W, KY], tl.float32), tl.zeros([W, KY], tl.float32)
            j = tl.full((), 0, tl.int32)
            while j < count:
                if YUV:
                    pr, pg, pb = pixels_of_planes(
                        source, last, at + j, colours, near, far, left + first + j, rows, pitch, KX, KY
                    )
                else:
                    pr, pg, pb = pixels(source, last, at + 3 * j, KX, KY)
                if TWO:
                    e = tl.load(memory + (2 * W * j + W * KX) + place)
                    hr, hg, hb = tl.dot(e, pr, hr), tl.dot(e, pg, hg), tl.dot(e, pb, hb)
                w = tl.load(memory + 2 * W * j + place)
                hr, hg, hb = tl.dot(w, pr, hr), tl.dot(w, pg, hg), tl.dot(w, pb, hb)
                j += KX
            n = row - first_y + tl.arange(0, KY)[:, None]
            w, e = halves(weights(n, centre_y[None, :], inverse_y, past_y - first_y, CUBIC) * (gain_y * UNIT)[None, :])
            r, g, b = dot3(hr, hg, hb, w, e, r, g, b, TWO, PRECISE)
            row += KY
        if TWO:
            r, g, b = r * (1 / 255), g * (1 / 255), b * (1 / 255)
        if CUBIC:  # a bicubic filter overshoots
            r, g, b = clamp(r), clamp(g), clamp(b)
        finish_pass(
            r, g, b, rec, 0, passes, columns, scratch, sums, out, image, y, x, (y < height) & (x < width), height, width,
            NOISY, GENERAL, CHANNELS_LAST,
        )  # fmt: skip
        top += H


@triton.jit(do_not_specialize=["words", "level", "chunks", "passes", "columns"])
def blur_pass(
    scratch, table, memory, sums, out, height, width, words, level, chunks, passes, columns, half,
    NOISY: tl.constexpr, GENERAL: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    H: tl.constexpr, W: tl.constexpr, KY: tl.constexpr, KX: tl.constexpr,
):  # fmt: skip
    """For the images whose pass `level` begins with a blur; scratch is float16. half: see `scratch_of`."""
    TWO: tl.constexpr = out.dtype.element_ty != tl.bfloat16
    across = tl.cdiv(width, W)
    image, strip = tl.program_id(0) // across, tl.program_id(0) % across
    rec = table + image.to(tl.int64) * words
    begin, end = span(rec, level)
    if end == OFF:
        return
    if tl.load(rec + HEAD + 2 * passes + begin) != BLUR:
        return
    arg = arguments(rec, passes, columns) + 8 * begin
    sigma = tl.load(arg)
    inverse = 1 / tl.maximum(sigma, 1e-4)
    reach_x, norm_x = gaussian(sigma, tl.load(arg + 1).to(tl.int32))
    reach_y, norm_y = gaussian(sigma, tl.load(arg + 2).to(tl.int32))
    left = strip * W
    x = left + tl.arange(0, W)[:, None]
    first = tl.multiple_of(tl.maximum(left - reach_x, 0) // 8 * 8, 8)
    past = tl.minimum(left + W + reach_x, width)
    memory += tl.program_id(0).to(tl.int64) * chunks * (2 * W * KX)
    k = tl.arange(0, KX)[None, :]
    place = tl.arange(0, W)[:, None] * KX + k
    j = first
    while j < past:
        border = (j <= reach_x) | (j + KX + reach_x >= width)
        w, e = halves(blur_weights(k + j, x, width, inverse, reach_x, norm_x, border))
        tl.store(memory + 2 * W * (j - first) + place, w)
        if TWO:
            tl.store(memory + (2 * W * (j - first) + W * KX) + place, e)
        j += KX
    tl.debug_barrier()

    plane = height * width
    source = scratch_of(scratch, rec, begin, passes, half, GENERAL) + image.to(tl.int64) * 3 * plane
    scratch = scratch_of(scratch, rec, begin + 1, passes, half, GENERAL)
    top = tl.full((), 0, tl.int32)
    while top < height:
        y = top + tl.arange(0, H)[None, :]
        r, g, b = tl.zeros([W, H], tl.float32), tl.zeros([W, H], tl.float32), tl.zeros([W, H], tl.float32)
        row = tl.maximum(top - reach_y, 0)
        while row < tl.minimum(top + H + reach_y, height):
            n = row + tl.arange(0, KY)[:, None]
            hr, hg, hb = tl.zeros([W, KY], tl.float32), tl.zeros([W, KY], tl.float32), tl.zeros([W, KY], tl.float32)
            j = first
            while j < past:
                columns_in = k + tl.multiple_of(j, 8)
                at = source + (tl.minimum(n, height - 1) * width + columns_in)
                inside = columns_in < width
                pr = tl.trans(tl.load(at, mask=inside, other=0))
                pg = tl.trans(tl.load(at + plane, mask=inside, other=0))
                pb = tl.trans(tl.load(at + 2 * plane, mask=inside, other=0))
                if TWO:
                    e = tl.load(memory + (2 * W * (j - first) + W * KX) + place)
                    hr, hg, hb = tl.dot(e, pr, hr), tl.dot(e, pg, hg), tl.dot(e, pb, hb)
                w = tl.load(memory + 2 * W * (j - first) + place)
                hr, hg, hb = tl.dot(w, pr, hr), tl.dot(w, pg, hg), tl.dot(w, pb, hb)
                j += KX
            border = (row <= reach_y) | (row + KY + reach_y >= height)
            w, e = halves(blur_weights(n, y, height, inverse, reach_y, norm_y, border))
            r, g, b = dot3(hr, hg, hb, w, e, r, g, b, TWO, False)
            row += KY
        finish_pass(
            r, g, b, rec, level, passes, columns, scratch, sums, out, image, y, x, (y < height) & (x < width), height, width,
            NOISY, GENERAL, CHANNELS_LAST,
        )  # fmt: skip
        top += H
