"""The Triton kernels: a tile of a view in registers, from one barrier of its program to the next.

    first_pass    pixels --resize--> tile --instructions--> view, or scratch
    blur_across   scratch --blur of the rows--> scratch
    next_pass     scratch --contrast, or blur of the columns--> tile --instructions--> view, or scratch

Programs of an image that a launch does not concern return at once. Scratch is float32, or 16-bit fixed point (`keep`).
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-untyped,misc"
# Triton has no types that mypy can see.
# ruff: noqa: N803, SIM108, SIM300
# Triton's convention is capitals for what is known when a kernel is compiled; an `if` on these leaves one branch.

from __future__ import annotations

import triton
import triton.language as tl

from .. import instructions
from . import records as record
from .ops import clamp, gray_of, run
from .resize import resize

BLUR, CONTRAST, OFF = tl.constexpr(instructions.BLUR), tl.constexpr(instructions.CONTRAST), tl.constexpr(record.OFF)
FLIPS, SNAP = tl.constexpr(record.FLIPS), tl.constexpr(record.SNAP)
GAIN, BIAS, HEAD = tl.constexpr(record.GAIN), tl.constexpr(record.BIAS), tl.constexpr(record.HEAD)

BLUR_CUT = tl.constexpr(instructions.BLUR_CUT)

FIXED = tl.constexpr(32767.0)
"""Scratch of 16 bits holds multiples of 1/32767 in [0, 1]."""

PARTS = tl.constexpr(256)
"""Partial sums that are added at a time."""


# Were the width known to be a multiple of 16, Triton would give a thread eight pixels side by side, for wide stores, and a
# warp eight rows. That is right for next_pass, whose loads are as wide; but a load of the resize, or of the blur along rows,
# is of one element a thread, and would touch eight rows of the image instead of one or two.
@triton.jit(do_not_specialize=["height", "width", "words", "passes", "columns"])
def first_pass(
    source, table, scratch, sums, out, height, width, words, passes, columns,
    FLOATS: tl.constexpr, CUBIC: tl.constexpr, GUARD: tl.constexpr, NOISY: tl.constexpr, CHANNELS_LAST: tl.constexpr,
    H: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """source: the bytes of all images, or floats (B, 3, height, width)."""
    image, tile, y, x, inside = place(height, width, H, W)
    rec = table + image.to(tl.int64) * words
    if FLOATS:
        flips = tl.load(rec + FLIPS)
        from_y = tl.where((flips & 2) != 0, height - 1 - y, y)
        from_x = tl.where((flips & 1) != 0, width - 1 - x, x)
        r, g, b = fetch(source, image, from_y, from_x, inside, height, width, True)
    else:
        r, g, b = resize(source, rec, y, x, height, width, CUBIC, GUARD, H, W)
    finish(
        r, g, b, rec, 0, passes, columns, scratch, sums, out, image, tile, y, x, inside, height, width, NOISY,
        CHANNELS_LAST, H, W,
    )  # fmt: skip


@triton.jit(do_not_specialize=["words", "level", "passes", "columns"])
def next_pass(
    source, table, scratch, sums, out, height, width, words, level, passes, columns,
    NOISY: tl.constexpr, CHANNELS_LAST: tl.constexpr, H: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """source: scratch, which may be the same memory as `scratch` for contrast alone, and for others is that of blur_across."""
    image, tile, y, x, inside = place(height, width, H, W)
    rec = table + image.to(tl.int64) * words
    begin = tl.load(rec + HEAD + 2 * level)
    if tl.load(rec + HEAD + 2 * level + 1) == OFF:
        return
    code = tl.load(rec + HEAD + 2 * passes + begin)
    arg = arguments(rec, passes, columns) + 8 * begin
    a0 = tl.load(arg)
    if code == BLUR:
        r, g, b = blur(source, image, y, x, inside, height, width, a0, tl.load(arg + 2).to(tl.int32), True)
    else:
        r, g, b = fetch(source, image, y, x, inside, height, width, False)
        tiles = tl.cdiv(height, H) * tl.cdiv(width, W)
        bias = total(sums + (image.to(tl.int64) * columns + begin) * tiles, tiles) / (height * width).to(tl.float32) * (1 - a0)
        r, g, b = clamp(r * a0 + bias), clamp(g * a0 + bias), clamp(b * a0 + bias)
    finish(
        r, g, b, rec, level, passes, columns, scratch, sums, out, image, tile, y, x, inside, height, width, NOISY,
        CHANNELS_LAST, H, W,
    )  # fmt: skip


@triton.jit(do_not_specialize=["height", "width", "words", "level", "passes", "columns"])
def blur_across(
    source, table, scratch, height, width, words, level, passes, columns, H: tl.constexpr, W: tl.constexpr
):  # fmt: skip
    """The blur along the rows, for the images whose pass `level` begins with a blur."""
    image, _, y, x, inside = place(height, width, H, W)
    rec = table + image.to(tl.int64) * words
    begin = tl.load(rec + HEAD + 2 * level)
    if tl.load(rec + HEAD + 2 * level + 1) == OFF:
        return
    if tl.load(rec + HEAD + 2 * passes + begin) != BLUR:
        return
    arg = arguments(rec, passes, columns) + 8 * begin
    r, g, b = blur(source, image, y, x, inside, height, width, tl.load(arg), tl.load(arg + 1).to(tl.int32), False)
    keep(r, g, b, scratch, image, y, x, inside, height, width, tl.load(rec + SNAP))


@triton.jit
def place(height, width, H: tl.constexpr, W: tl.constexpr):
    """Image and tile of this program, rows (H, 1) and columns (1, W) of its pixels, and which of them are in the view."""
    across = tl.cdiv(width, W)
    tiles = tl.cdiv(height, H) * across
    image = tl.program_id(0) // tiles
    tile = tl.program_id(0) % tiles
    y = (tile // across) * H + tl.arange(0, H)[:, None]
    x = (tile % across) * W + tl.arange(0, W)[None, :]
    return image, tile, y, x, (y < height) & (x < width)


@triton.jit
def arguments(rec, passes, columns):
    return (rec + HEAD + 2 * passes + columns).to(tl.pointer_type(tl.float32), bitcast=True)


@triton.jit
def finish(
    r, g, b, rec, level, passes, columns, scratch, sums, out, image, tile, y, x, inside, height, width,
    NOISY: tl.constexpr, CHANNELS_LAST: tl.constexpr, H: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """The instructions of a pass; then the view, or what the next pass needs. passes: how many a record has."""
    begin, end = tl.load(rec + HEAD + 2 * level), tl.load(rec + HEAD + 2 * level + 1)
    codes = rec + HEAD + 2 * passes
    r, g, b = run(r, g, b, codes, arguments(rec, passes, columns), begin + 1, end, y, x, width, NOISY)
    if end == columns:
        emit(r, g, b, rec, out, image, y, x, inside, height, width, CHANNELS_LAST)
    else:
        keep(r, g, b, scratch, image, y, x, inside, height, width, tl.load(rec + SNAP))
        if tl.load(codes + end) == CONTRAST:
            tiles = tl.cdiv(height, H) * tl.cdiv(width, W)
            gray = tl.where(inside, gray_of(r, g, b), 0.0)
            tl.store(sums + (image.to(tl.int64) * columns + end) * tiles + tile, tl.sum(tl.sum(gray, 1), 0))


@triton.jit
def total(parts, count):
    """Sum of `count` floats in an order that depends on `count` alone."""
    sums = tl.zeros([PARTS], tl.float32)
    first = tl.full((), 0, tl.int32)
    while first < count:
        n = first + tl.arange(0, PARTS)
        sums += tl.load(parts + n, mask=n < count, other=0.0)
        first += PARTS
    return tl.sum(sums, 0)


# Memory.


@triton.jit
def fetch(source, image, y, x, inside, height, width, ANY: tl.constexpr):
    """Pixels of planes (B, 3, height, width), float32 or fixed point.

    ANY: whether columns are in any order. Then they are called neighbours, or Triton might lay a warp along a column.
    """
    plane = height * width
    pixel = y * width + x
    if ANY:
        pixel = tl.max_contiguous(pixel, [1, 2])
    at = source + image.to(tl.int64) * 3 * plane + pixel
    r = tl.load(at, mask=inside, other=0)
    g = tl.load(at + plane, mask=inside, other=0)
    b = tl.load(at + 2 * plane, mask=inside, other=0)
    return as_float(r), as_float(g), as_float(b)


@triton.jit
def as_float(v):
    if v.dtype == tl.int16:
        v = v.to(tl.float32) * (1 / FIXED)
    return v


@triton.jit
def keep(r, g, b, scratch, image, y, x, inside, height, width, snap):
    """Write pixels to scratch.

    snap: round to fixed point. An image's flag depends on its program alone, and so does its view: in a batch where another
    image needs float32, it is rounded all the same.
    """
    plane = height * width
    at = scratch + image.to(tl.int64) * 3 * plane + (y * width + x)
    tl.store(at, as_kept(r, scratch.dtype.element_ty, snap), mask=inside)
    tl.store(at + plane, as_kept(g, scratch.dtype.element_ty, snap), mask=inside)
    tl.store(at + 2 * plane, as_kept(b, scratch.dtype.element_ty, snap), mask=inside)


@triton.jit
def as_kept(v, KIND: tl.constexpr, snap):
    fixed = tl.floor(clamp(v) * FIXED + 0.5)
    if KIND == tl.int16:
        kept = fixed.to(tl.int16)
    else:
        kept = tl.where(snap != 0, fixed * (1 / FIXED), v)
    return kept


@triton.jit
def emit(r, g, b, rec, out, image, y, x, inside, height, width, CHANNELS_LAST: tl.constexpr):
    """Write pixels of the view through the affine map of each channel."""
    gain = (rec + GAIN).to(tl.pointer_type(tl.float32), bitcast=True)
    r = r * tl.load(gain) + tl.load(gain + 3)
    g = g * tl.load(gain + 1) + tl.load(gain + 4)
    b = b * tl.load(gain + 2) + tl.load(gain + 5)
    plane = height * width
    kind = out.dtype.element_ty
    pixel = y * width + x
    start = out + image.to(tl.int64) * 3 * plane
    at, step = start + pixel, plane
    if CHANNELS_LAST:
        at, step = start + 3 * pixel, 1
    tl.store(at, r.to(kind), mask=inside)
    tl.store(at + step, g.to(kind), mask=inside)
    tl.store(at + 2 * step, b.to(kind), mask=inside)


# Blur.


@triton.jit
def gaussian(sigma, radius):
    """Radius beyond which a Gaussian of `radius` taps a side may be cut, and the factor that makes the rest add up to 1."""
    mass, kept = tl.full((), 1.0, tl.float32), tl.full((), 1.0, tl.float32)
    reach = tl.full((), 0, tl.int32)
    k = 1
    while k <= radius:
        mass += 2 * bell(k, sigma)
        k += 1
    k = 1
    while k <= radius:
        more = mass - kept > mass * BLUR_CUT
        reach = tl.where(more, k, reach)
        kept += tl.where(more, 2 * bell(k, sigma), 0.0)
        k += 1
    return reach, 1 / kept


@triton.jit
def bell(k, sigma):
    t = k / sigma
    return tl.exp(-0.5 * t * t)


@triton.jit
def blur(source, image, y, x, inside, height, width, sigma, radius, DOWN: tl.constexpr):
    """One direction of a blur with reflected borders."""
    reach, norm = gaussian(sigma, radius)
    r, g, b = fetch(source, image, y, x, inside, height, width, False)
    r, g, b = r * norm, g * norm, b * norm
    k = 1
    while k <= reach:
        weight = bell(k, sigma) * norm
        if DOWN:
            r0, g0, b0 = fetch(source, image, tl.abs(y - k), x, inside, height, width, False)
            r1, g1, b1 = fetch(source, image, height - 1 - tl.abs(height - 1 - y - k), x, inside, height, width, False)
        else:
            r0, g0, b0 = fetch(source, image, y, tl.abs(x - k), inside, height, width, True)
            r1, g1, b1 = fetch(source, image, y, width - 1 - tl.abs(width - 1 - x - k), inside, height, width, True)
        r += (r0 + r1) * weight
        g += (g0 + g1) * weight
        b += (b0 + b1) * weight
        k += 1
    return r, g, b
