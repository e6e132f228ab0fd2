"""The Triton kernel that begins a pass with any barrier: warps, sharpness, whole-view statistics, and mixes of views.

All pixels of an image run the same instructions, so it branches on the image's barrier, and one launch serves a batch in which
images have different ones.
"""

# ruff: noqa: N803
# By Triton's convention, capitals name what is known when a kernel is compiled; an `if` on these compiles one branch.

from __future__ import annotations

import triton
import triton.language as tl

from ... import instructions
from ...cpu import pack as record
from .elastic import displaced
from .jpeg import decoded
from .ops import clamp
from .statistics import LEVELS, PLACES, cleared, equalized, place_of, stretched, turn_of
from .tiles import arguments, blur, contrasted, finish_pass, load_pixels, locate, scratch_of, span

ADD, ADD_LAST, ARGUMENTS = (
    tl.constexpr(instructions.ADD),
    tl.constexpr(instructions.ADD_LAST),
    tl.constexpr(instructions.ARGUMENTS),
)
AUTOCONTRAST, BLUR, CONTRAST = (
    tl.constexpr(instructions.AUTOCONTRAST),
    tl.constexpr(instructions.BLUR),
    tl.constexpr(instructions.CONTRAST),
)
EQUALIZE, KEEP, SHARPNESS = (
    tl.constexpr(instructions.EQUALIZE),
    tl.constexpr(instructions.KEEP),
    tl.constexpr(instructions.SHARPNESS),
)
ELASTIC, JPEG, WARP = (tl.constexpr(n) for n in (instructions.ELASTIC, instructions.JPEG, instructions.WARP))
HEAD, OFF = tl.constexpr(record.HEAD), tl.constexpr(record.OFF)

ROUND = tl.constexpr(1.5 * 2**23)
"""Added and then subtracted, it rounds a float32 below 2^22 to a whole number, halves to even."""


@triton.jit(do_not_specialize=["height", "width", "words", "level", "passes", "columns"])
def general_pass(
    across, field, table, scratch, sums, kept, total, out, height, width, words, level, passes, columns, half,
    KIND: tl.constexpr, NOISY: tl.constexpr, CHANNELS_LAST: tl.constexpr, H: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """Any barrier; of some the last part, from `across`, the output of blur_across or jpeg_blocks, or `field` (see `elastic`).

    KIND: of the level; see `records.kinds_of_levels`. kept, total: (B, 3, height, width), the view that KEEP keeps, and the
    weighted sum of views. half: see `scratch_of`.
    """
    image, rec, y, x, inside = locate(table, words, height, width, H, W)
    begin, end = span(rec, level)
    if end == OFF:
        return
    code = tl.load(rec + HEAD + 2 * passes + begin)
    arg = arguments(rec, passes, columns) + ARGUMENTS * begin
    a0 = tl.load(arg)
    source = scratch_of(scratch, rec, begin, passes, half, True)
    turn, places = turn_of(rec, level, passes), tl.minimum(passes - 1, PLACES)
    at = place_of(sums, image, places, turn)
    if (turn > 0) & (code != BLUR) & (tl.program_id(0) % (tl.cdiv(height, H) * tl.cdiv(width, W)) == 0):
        cleared(place_of(sums, image, places, turn - 1))
    behind = arg + ARGUMENTS
    if KIND == ELASTIC:
        at_x, at_y = displaced(field, image, arg, y, x, inside, height, width)
        r, g, b = read_at(source, image, at_x, at_y, behind, inside, height, width)
    elif KIND == JPEG:
        r, g, b = decoded(across, image, y, x, inside, height, width)
    elif KIND == BLUR:
        r, g, b = blur(across, image, y, x, inside, height, width, a0, tl.load(arg + 2).to(tl.int32), True)
    elif code == WARP:
        at_x, at_y = warped(arg, y, x)
        r, g, b = read_at(source, image, at_x, at_y, behind, inside, height, width)
    elif code == SHARPNESS:
        r, g, b = sharpened(source, image, y, x, inside, height, width, a0, begin)
    else:
        r, g, b = load_pixels(source, image, y, x, inside, height, width, False)
        if code == CONTRAST:
            r, g, b = contrasted(r, g, b, a0, at, height, width)
        elif code == EQUALIZE:
            r = equalized(r, at, H * W)
            g = equalized(g, at + LEVELS // 2, H * W)
            b = equalized(b, at + LEVELS, H * W)
        elif code == AUTOCONTRAST:
            r, g, b = stretched(r, at), stretched(g, at + 1), stretched(b, at + 2)
        else:
            # One channel after the other: its store keeps the loads of the next one from taking registers meanwhile.
            plane = height * width
            first = image.to(tl.int64) * 3 * plane
            kept, total, pixel = kept + first, total + first, y * width + x
            r = mixed(r, code, a0, kept + pixel, total + pixel, inside)
            g = mixed(g, code, a0, kept + plane + pixel, total + plane + pixel, inside)
            b = mixed(b, code, a0, kept + 2 * plane + pixel, total + 2 * plane + pixel, inside)
    scratch = scratch_of(scratch, rec, begin + 1, passes, half, True)  # found late, since it would take registers all along
    finish_pass(
        r, g, b, rec, level, passes, columns, scratch, sums, out, image, y, x, inside, height, width,
        NOISY, True, CHANNELS_LAST,
    )  # fmt: skip


@triton.jit
def warped(arg, y, x):
    """Column and row at which each pixel of a tile is read."""
    across, down = x.to(tl.float32), y.to(tl.float32)
    at_x = across * tl.load(arg) + down * tl.load(arg + 1) + tl.load(arg + 2)
    at_y = across * tl.load(arg + 3) + down * tl.load(arg + 4) + tl.load(arg + 5)
    g_, h_ = tl.load(arg + 6), tl.load(arg + 7)
    if (g_ != 0) | (h_ != 0):
        w = across * g_ + down * h_ + 1
        at_x, at_y = at_x / w, at_y / w
    return at_x, at_y


@triton.jit
def read_at(source, image, at_x, at_y, behind, inside, height, width):
    """A view at any places, which its four nearest pixels or the nearest one determine, and the colour outside.

    behind: whether bilinear, and that colour; see `instructions.TABLE`.
    """
    smooth = tl.load(behind) != 0
    left, right_share = whole_and_rest(at_x, width, smooth)
    top, lower_share = whole_and_rest(at_y, height, smooth)
    r, g, b = tl.zeros_like(at_x), tl.zeros_like(at_x), tl.zeros_like(at_x)
    seen = tl.zeros_like(at_x)
    corner, corners = tl.full((), 0, tl.int32), tl.where(smooth, 4, 1)
    while corner < corners:
        lower, right = corner >> 1, corner & 1
        share = tl.where(lower != 0, lower_share, 1 - lower_share) * tl.where(right != 0, right_share, 1 - right_share)
        row, column = top + lower, left + right
        exists = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
        r0, g0, b0 = load_pixels(source, image, row, column, exists, height, width, True)
        r, g, b = r + r0 * share, g + g0 * share, b + b0 * share
        seen += tl.where(exists, share, 0.0)
        corner += 1
    r = r * seen + tl.load(behind + 1) * (1 - seen)
    g = g * seen + tl.load(behind + 2) * (1 - seen)
    b = b * seen + tl.load(behind + 3) * (1 - seen)
    return r, g, b


@triton.jit
def whole_and_rest(at, size, smooth):
    """The pixel that is read, the first one of two if smooth, and the share of the second. Far outside, any pixel outside."""
    at = tl.minimum(tl.maximum(at, -2.0), size.to(tl.float32) + 1)
    whole = tl.where(smooth, tl.floor(at), (at + ROUND) - ROUND)
    return whole.to(tl.int32), tl.where(smooth, at - whole, 0.0)


@triton.jit
def sharpened(source, image, y, x, inside, height, width, factor, begin):
    """Inner pixels are blended with their 3 x 3 neighbours, the centre with weight 5 of 13. begin: any number from 0 on."""
    r, g, b = load_pixels(source, image, y, x, inside, height, width, True)
    if (height > 2) & (width > 2):
        inner = (y > 0) & (y < height - 1) & (x > 0) & (x < width - 1)
        sum_r, sum_g, sum_b = 4 * r, 4 * g, 4 * b
        k = tl.minimum(begin, 0)  # 0, which the compiler does not know; else it would unroll the loop, and run out of registers
        while k < 9:
            r0, g0, b0 = load_pixels(source, image, y + (k // 3 - 1), x + (k % 3 - 1), inner, height, width, True)
            sum_r, sum_g, sum_b = sum_r + r0, sum_g + g0, sum_b + b0
            k += 1
        share = tl.where(inner, 1 - factor, 0.0)
        r = clamp(r + (sum_r * (1 / 13) - r) * share)
        g = clamp(g + (sum_g * (1 / 13) - g) * share)
        b = clamp(b + (sum_b * (1 / 13) - b) * share)
    return r, g, b


@triton.jit
def mixed(v, code, weight, kept, total, inside):
    """KEEP, ADD and ADD_LAST on one channel; see `instructions.TABLE`. kept, total: where the tile's are."""
    part = v * weight
    if code == KEEP:
        tl.store(kept, v.to(kept.dtype.element_ty), mask=inside)
    else:
        part += tl.load(total, mask=inside, other=0)
    if code == ADD_LAST:
        v = part
    else:
        tl.store(total, part, mask=inside)
        if code == ADD:
            v = tl.load(kept, mask=inside, other=0).to(tl.float32)
    return v
