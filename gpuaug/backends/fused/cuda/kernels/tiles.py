"""The Triton kernels, which keep a tile of a view in registers from one barrier of its program to the next.

    strip_pass    pixels --resize by products of matrices--> tile --instructions--> view, or scratch   (see `strips`)
    first_pass    pixels --resize by taps, or floats--> tile --instructions--> view, or scratch
    blur_across   scratch --blur of the rows--> scratch
    next_pass     scratch --contrast, or blur of the columns--> tile --instructions--> view, or scratch
    general_pass  scratch --any barrier--> tile --instructions--> view, or scratch   (see `general`)

For an image that skips a launch, programs return at once. Scratch is float32 for float32 views, else float16. GENERAL, an
argument of the kernels: whether programs may have any of `instructions.GENERAL`.
"""

# ruff: noqa: N803
# By Triton's convention, capitals name what is known when a kernel is compiled; an `if` on these compiles one branch.

from __future__ import annotations

import triton
import triton.language as tl

from ... import instructions
from ...cpu import pack as record
from .ops import clamp, gray_of, run
from .resize import resize
from .statistics import PLACES, added_to, place_of, turn_of

BLUR, CONTRAST, OFF = tl.constexpr(instructions.BLUR), tl.constexpr(instructions.CONTRAST), tl.constexpr(record.OFF)
ELASTIC = tl.constexpr(instructions.ELASTIC)
WARP, SHARPNESS = tl.constexpr(instructions.WARP), tl.constexpr(instructions.SHARPNESS)
FLIPS, HEAD = tl.constexpr(record.FLIPS), tl.constexpr(record.HEAD)
GAIN = tl.constexpr(record.GAIN)

BLUR_CUT = tl.constexpr(instructions.BLUR_CUT)

GRAY_STEP, MOST_GRAY = tl.constexpr(2.0**-17), tl.constexpr(31.0)
"""Gray values are summed in steps of 2^-17. Those that noise moved beyond +-31 are clipped: 32 bits then hold a row's sum."""


# Height and width are not specialised, or Triton would see that the width is a multiple of 16. For wide stores it would then
# give each thread eight adjacent pixels and each warp eight rows. This suits next_pass, whose loads are as wide. But the resize
# and the horizontal blur load one element per thread, so a load would touch eight rows of the image instead of one or two.
@triton.jit(do_not_specialize=["height", "width", "words", "passes", "columns"])
def first_pass(
    source, table, scratch, sums, out, height, width, words, passes, columns,
    FLOATS: tl.constexpr, CUBIC: tl.constexpr, NOISY: tl.constexpr, GENERAL: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    H: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """source: the bytes of all images, or floats (B, 3, height, width)."""
    image, rec, y, x, inside = locate(table, words, height, width, H, W)
    if FLOATS:
        flips = tl.load(rec + FLIPS)
        from_y = tl.where((flips & 2) != 0, height - 1 - y, y)
        from_x = tl.where((flips & 1) != 0, width - 1 - x, x)
        r, g, b = load_pixels(source, image, from_y, from_x, inside, height, width, True)
    else:
        r, g, b = resize(source, rec, y, x, height, width, CUBIC, H, W)
    finish_pass(
        r, g, b, rec, 0, passes, columns, scratch, sums, out, image, y, x, inside, height, width,
        NOISY, GENERAL, CHANNELS_LAST,
    )  # fmt: skip


@triton.jit(do_not_specialize=["words", "level", "passes", "columns"])
def next_pass(
    across, table, scratch, sums, out, height, width, words, level, passes, columns, half,
    NOISY: tl.constexpr, CHANNELS_LAST: tl.constexpr, H: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """Contrast, in place, or the vertical half of a blur, from `across`, the output of blur_across. half: see `scratch_of`."""
    image, rec, y, x, inside = locate(table, words, height, width, H, W)
    begin, end = span(rec, level)
    if end == OFF:
        return
    code = tl.load(rec + HEAD + 2 * passes + begin)
    arg = arguments(rec, passes, columns) + 8 * begin
    a0 = tl.load(arg)
    scratch = scratch_of(scratch, rec, begin + (code == BLUR).to(tl.int32), passes, half, False)
    if code == BLUR:
        r, g, b = blur(across, image, y, x, inside, height, width, a0, tl.load(arg + 2).to(tl.int32), True)
    else:
        r, g, b = load_pixels(scratch, image, y, x, inside, height, width, False)
        r, g, b = contrasted(r, g, b, a0, sums + (image.to(tl.int64) * columns + begin), height, width)
    finish_pass(
        r, g, b, rec, level, passes, columns, scratch, sums, out, image, y, x, inside, height, width,
        NOISY, False, CHANNELS_LAST,
    )  # fmt: skip


@triton.jit(do_not_specialize=["height", "width", "words", "level", "passes", "columns"])
def blur_across(
    scratch, table, across, height, width, words, level, passes, columns, half,
    GENERAL: tl.constexpr, H: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """The horizontal half of a blur, for the images whose pass `level` begins with a blur."""
    image, rec, y, x, inside = locate(table, words, height, width, H, W)
    begin, end = span(rec, level)
    if end == OFF:
        return
    if tl.load(rec + HEAD + 2 * passes + begin) != BLUR:
        return
    arg = arguments(rec, passes, columns) + 8 * begin
    radius = tl.load(arg + 1).to(tl.int32)
    scratch = scratch_of(scratch, rec, begin, passes, half, GENERAL)
    r, g, b = blur(scratch, image, y, x, inside, height, width, tl.load(arg), radius, False)
    store_pixels(r, g, b, across, image, y, x, inside, height, width, False)


@triton.jit
def locate(table, words, height, width, H: tl.constexpr, W: tl.constexpr):
    """The image of this program, its record, rows (H, 1) and columns (1, W), and which pixels are in the view."""
    across = tl.cdiv(width, W)
    tiles = tl.cdiv(height, H) * across
    image = tl.program_id(0) // tiles
    tile = tl.program_id(0) % tiles
    y = (tile // across) * H + tl.arange(0, H)[:, None]
    x = (tile % across) * W + tl.arange(0, W)[None, :]
    return image, table + image.to(tl.int64) * words, y, x, (y < height) & (x < width)


@triton.jit
def span(rec, level):
    """Columns at which pass `level` begins and ends in the program of a record."""
    return tl.load(rec + HEAD + 2 * level), tl.load(rec + HEAD + 2 * level + 1)


@triton.jit
def scratch_of(scratch, rec, end, passes, half, GENERAL: tl.constexpr):
    """Where an image's scratch is after the first `end` instructions: in the other half of the memory after each blur.

    A blur reads the neighbours of a pixel and so cannot work in place, nor can some of the general instructions. half: number
    of elements of a half; 0 if nothing follows them but the view, so that there is no other half.
    """
    codes = rec + HEAD + 2 * passes
    n = tl.full((), 0, tl.int32)
    moves = tl.full((), 0, tl.int64)
    if half != 0:
        while n < end:
            code = tl.load(codes + n)
            move = code == BLUR
            if GENERAL:
                move = move | (code == WARP) | (code == SHARPNESS) | (code == ELASTIC)
            moves += move.to(tl.int64)
            n += 1
    return scratch + (moves & 1) * half


@triton.jit
def arguments(rec, passes, columns):
    return (rec + HEAD + 2 * passes + columns).to(tl.pointer_type(tl.float32), bitcast=True)


@triton.jit
def finish_pass(
    r, g, b, rec, level, passes, columns, scratch, sums, out, image, y, x, inside, height, width,
    NOISY: tl.constexpr, GENERAL: tl.constexpr, CHANNELS_LAST: tl.constexpr,
):  # fmt: skip
    """Run the instructions of a pass, then write the view or what the next pass needs. passes: number of passes in a record."""
    begin, end = span(rec, level)
    codes = rec + HEAD + 2 * passes
    r, g, b = run(r, g, b, codes, arguments(rec, passes, columns), begin + 1, end, y, x, width, NOISY, GENERAL)
    if end == columns:
        gain = (rec + GAIN).to(tl.pointer_type(tl.float32), bitcast=True)
        r = r * tl.load(gain) + tl.load(gain + 3)
        g = g * tl.load(gain + 1) + tl.load(gain + 4)
        b = b * tl.load(gain + 2) + tl.load(gain + 5)
        store_pixels(r, g, b, out, image, y, x, inside, height, width, CHANNELS_LAST)
    else:
        if GENERAL:
            to = place_of(sums, image, tl.minimum(passes - 1, PLACES), turn_of(rec, level + 1, passes))
            r, g, b = added_to(to, r, g, b, tl.load(codes + end), inside)
        store_pixels(r, g, b, scratch, image, y, x, inside, height, width, False)
        if tl.load(codes + end) == CONTRAST:
            gray = tl.sum(tl.where(inside, in_steps(gray_of(r, g, b)), 0), 0).to(tl.int64)
            if not GENERAL:
                to = sums + (image.to(tl.int64) * columns + end)
            tl.atomic_add(to, tl.sum(gray, 0), sem="relaxed")


@triton.jit
def contrasted(r, g, b, factor, at, height, width):
    """at: the sum of the gray values, in steps."""
    bias = tl.load(at).to(tl.float32) * GRAY_STEP / (height * width).to(tl.float32) * (1 - factor)
    return clamp(r * factor + bias), clamp(g * factor + bias), clamp(b * factor + bias)


@triton.jit
def in_steps(gray):
    """Gray values as integers, whose sum is the same in any order.

    Adding 1.5 x 2^23 rounds to an integer, which is then in the lower bits. A conversion would take four times as long.
    """
    steps = tl.minimum(tl.maximum(gray, -MOST_GRAY), MOST_GRAY) * (1 / GRAY_STEP) + 12582912.0
    return steps.to(tl.int32, bitcast=True) - 0x4B400000


# Memory.


@triton.jit
def load_pixels(source, image, y, x, inside, height, width, ANY: tl.constexpr):
    """Load pixels of planes (B, 3, height, width) as float32.

    ANY: whether columns may come in any order. They are then declared contiguous, or Triton might lay a warp along a column.
    """
    plane = height * width
    pixel = y * width + x
    if ANY:
        pixel = tl.max_contiguous(pixel, [1, 2])
    at = source + image.to(tl.int64) * 3 * plane + pixel
    r = tl.load(at, mask=inside, other=0)
    g = tl.load(at + plane, mask=inside, other=0)
    b = tl.load(at + 2 * plane, mask=inside, other=0)
    return r.to(tl.float32), g.to(tl.float32), b.to(tl.float32)


@triton.jit
def store_pixels(r, g, b, to, image, y, x, inside, height, width, CHANNELS_LAST: tl.constexpr):
    """Write pixels to scratch or to the view: planes (B, 3, height, width), or in the memory order of channels last."""
    plane = height * width
    kind = to.dtype.element_ty
    r, g, b = r.to(kind), g.to(kind), b.to(kind)
    pixel, step = y * width + x, plane
    if CHANNELS_LAST:
        # Values of a store are not neighbours, so Triton 3.6 would lay a warp along a column. One dimension leaves no choice.
        if y.shape[0] == 1:  # a strip, whose first dimension is x
            r, g, b, pixel, inside = tl.trans(r), tl.trans(g), tl.trans(b), tl.trans(pixel), tl.trans(inside)
        r, g, b = tl.ravel(r), tl.ravel(g), tl.ravel(b)
        pixel, inside, step = tl.ravel(3 * pixel), tl.ravel(inside), 1
    at = to + image.to(tl.int64) * 3 * plane + pixel
    tl.store(at, r, mask=inside)
    tl.store(at + step, g, mask=inside)
    tl.store(at + 2 * step, b, mask=inside)


# Blur.


@triton.jit
def gaussian(sigma, radius):
    """Radius at which a Gaussian of `radius` taps a side may be cut off, and the factor that makes its taps add up to 1."""
    mass, kept = tl.full((), 1.0, tl.float32), tl.full((), 1.0, tl.float32)
    reach = tl.full((), 0, tl.int32)
    k = 1
    while k <= radius:
        mass += 2 * gaussian_weight(k, sigma)
        k += 1
    k = 1
    while k <= radius:
        more = mass - kept > mass * BLUR_CUT
        reach = tl.where(more, k, reach)
        kept += tl.where(more, 2 * gaussian_weight(k, sigma), 0.0)
        k += 1
    return reach, 1 / kept


@triton.jit
def gaussian_weight(k, sigma):
    t = k / sigma
    return tl.exp(-0.5 * t * t)


@triton.jit
def blur(source, image, y, x, inside, height, width, sigma, radius, DOWN: tl.constexpr):
    """One direction of a blur, with reflected borders."""
    reach, norm = gaussian(sigma, radius)
    r, g, b = load_pixels(source, image, y, x, inside, height, width, False)
    r, g, b = r * norm, g * norm, b * norm
    k = 1
    while k <= reach:
        weight = gaussian_weight(k, sigma) * norm
        if DOWN:
            r0, g0, b0 = load_pixels(source, image, tl.abs(y - k), x, inside, height, width, False)
            r1, g1, b1 = load_pixels(source, image, height - 1 - tl.abs(height - 1 - y - k), x, inside, height, width, False)
        else:
            r0, g0, b0 = load_pixels(source, image, y, tl.abs(x - k), inside, height, width, True)
            r1, g1, b1 = load_pixels(source, image, y, width - 1 - tl.abs(width - 1 - x - k), inside, height, width, True)
        r += (r0 + r1) * weight
        g += (g0 + g1) * weight
        b += (b0 + b1) * weight
        k += 1
    return r, g, b
