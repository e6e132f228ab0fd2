"""Where the pixels of an elastic transform are read: noise, blurred by a Gaussian (see `ops.ElasticTransform`).

    elastic_noise   key --> noise
    elastic_across  noise --blur of the rows--> noise
    general_pass    noise --blur of the columns--> places, at which it reads scratch

`field` has four float32 planes for each image: noise for the displacements across and down, and the same blurred.
"""

# ruff: noqa: N803
# By Triton's convention, capitals name what is known when a kernel is compiled; an `if` on these compiles one branch.

from __future__ import annotations

import triton
import triton.language as tl

from ... import instructions
from ...cpu import pack as record
from .tiles import arguments, locate, span

ARGUMENTS, ELASTIC, KEY = (tl.constexpr(n) for n in (instructions.ARGUMENTS, instructions.ELASTIC, instructions.KEY))
HEAD, OFF = tl.constexpr(record.HEAD), tl.constexpr(record.OFF)
ALPHA, SIGMA, RADIUS = tl.constexpr(0), tl.constexpr(2), tl.constexpr(4)
"""Where the arguments of ELASTIC begin that there are two of, for displacements across and down."""


@triton.jit(do_not_specialize=["height", "width", "words", "level", "passes", "columns"])
def elastic_noise(table, field, height, width, words, level, passes, columns, H: tl.constexpr, W: tl.constexpr):
    """Uniform noise in [-1, 1), for the images whose pass `level` begins with ELASTIC."""
    image, rec, y, x, inside = locate(table, words, height, width, H, W)
    begin, end = span(rec, level)
    if end == OFF:
        return
    if tl.load(rec + HEAD + 2 * passes + begin) != ELASTIC:
        return
    bits = (arguments(rec, passes, columns) + ARGUMENTS * begin).to(tl.pointer_type(tl.int32), bitcast=True)
    low = tl.load(bits + KEY).to(tl.int64) & 0xFFFFFFFF
    seed = (tl.load(bits + KEY + 1).to(tl.int64) << 32) | low
    pixel = y * width + x
    zero = pixel * 0
    w0, w1, _, _ = tl.philox(seed, pixel, zero, zero, zero)
    plane = height * width
    at = field + image.to(tl.int64) * 4 * plane + pixel
    tl.store(at, unit(w0), mask=inside)
    tl.store(at + plane, unit(w1), mask=inside)


@triton.jit
def unit(word):
    return (word >> 8).to(tl.int32).to(tl.float32) * (2.0**-23) - 1


@triton.jit(do_not_specialize=["height", "width", "words", "level", "passes", "columns"])
def elastic_across(table, field, height, width, words, level, passes, columns, H: tl.constexpr, W: tl.constexpr):
    """Blur the rows of the noise, for the images whose pass `level` begins with ELASTIC."""
    image, rec, y, x, inside = locate(table, words, height, width, H, W)
    begin, end = span(rec, level)
    if end == OFF:
        return
    if tl.load(rec + HEAD + 2 * passes + begin) != ELASTIC:
        return
    arg = arguments(rec, passes, columns) + ARGUMENTS * begin
    plane = height * width
    at = field + image.to(tl.int64) * 4 * plane
    sigma, pixel = tl.load(arg + SIGMA), y * width + x
    u = filtered(at, y, x, inside, height, width, sigma, tl.load(arg + RADIUS).to(tl.int32), False)
    tl.store(at + 2 * plane + pixel, u, mask=inside)
    v = filtered(at + plane, y, x, inside, height, width, sigma, tl.load(arg + RADIUS + 1).to(tl.int32), False)
    tl.store(at + 3 * plane + pixel, v, mask=inside)


@triton.jit
def displaced(field, image, arg, y, x, inside, height, width):
    """Column and row at which each pixel of a tile is read."""
    plane = height * width
    at = field + (image.to(tl.int64) * 4 + 2) * plane
    sigma = tl.load(arg + SIGMA + 1)
    u = filtered(at, y, x, inside, height, width, sigma, tl.load(arg + RADIUS).to(tl.int32), True)
    v = filtered(at + plane, y, x, inside, height, width, sigma, tl.load(arg + RADIUS + 1).to(tl.int32), True)
    return x + u * (0.5 * tl.load(arg + ALPHA)), y + v * (0.5 * tl.load(arg + ALPHA + 1))


@triton.jit
def filtered(at, y, x, inside, height, width, sigma, radius, DOWN: tl.constexpr):
    """One direction of a blur that keeps its tails, since alpha multiplies errors, with reflected borders."""
    total = load_noise(at, y, x, inside, width)
    mass = tl.full((), 1.0, tl.float32)
    k = tl.full((), 1, tl.int32)
    while k <= radius:
        t = k / sigma
        weight = tl.exp(-0.5 * t * t)
        if DOWN:
            before = load_noise(at, tl.abs(y - k), x, inside, width)
            behind = load_noise(at, height - 1 - tl.abs(height - 1 - y - k), x, inside, width)
        else:
            before = load_noise(at, y, tl.abs(x - k), inside, width)
            behind = load_noise(at, y, width - 1 - tl.abs(width - 1 - x - k), inside, width)
        total += (before + behind) * weight
        mass += 2 * weight
        k += 1
    return total / mass


@triton.jit
def load_noise(at, y, x, inside, width):
    return tl.load(at + tl.max_contiguous(y * width + x, [1, 2]), mask=inside, other=0)
