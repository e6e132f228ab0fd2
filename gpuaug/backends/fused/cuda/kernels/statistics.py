"""What instructions need to know of a whole view: the sum of its gray values, histograms, or the range of its values.

The pass before an instruction adds up what each tile has of it, in integers, so that the order does not matter: a view has
the same bits every time. Memory for statistics is 0 at first. If all barriers are contrasts and blurs, each instruction has a
sum of its own. In the general form of the kernels an image's barriers except blurs take turns at PLACES, and each clears the
place of the one before.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .....ops.color import FLAT as FLATNESS
from ... import instructions
from ...cpu import pack as record
from .. import launch
from .ops import clamp

BLUR, HEAD, OFF = tl.constexpr(instructions.BLUR), tl.constexpr(record.HEAD), tl.constexpr(record.OFF)
JPEG = tl.constexpr(instructions.JPEG)
EQUALIZE, AUTOCONTRAST = tl.constexpr(instructions.EQUALIZE), tl.constexpr(instructions.AUTOCONTRAST)
FLAT = tl.constexpr(FLATNESS)

LEVELS, LEVEL_STEPS = tl.constexpr(256), tl.constexpr(256 - 1e-3)
"""Levels of a histogram, and the factor that takes [0, 1] to them, as in torch's conversion to 8 bits."""

PLACE, PLACES = tl.constexpr(launch.PLACE), tl.constexpr(launch.PLACES)

SIGN = tl.constexpr(-(2**31))


@triton.jit
def place_of(sums, image, places, turn):
    """Where the statistics for an image's barrier number `turn` are, not counting blurs. places: of each image."""
    return sums + (image.to(tl.int64) * places + turn % PLACES) * PLACE


@triton.jit
def turn_of(rec, level, passes):
    """How many passes below a level an image begins with a barrier other than a blur."""
    turn, k = tl.full((), 0, tl.int32), tl.full((), 1, tl.int32)
    while k < level:
        begin = tl.load(rec + HEAD + 2 * k)
        if begin != OFF:
            turn += (tl.load(rec + HEAD + 2 * passes + begin) != BLUR).to(tl.int32)
        k += 1
    return turn


@triton.jit
def cleared(at):
    """Set the statistics at a place to 0."""
    k = tl.arange(0, 512)
    tl.store(at + k, tl.zeros_like(k).to(tl.int64), mask=k < PLACE)


@triton.jit
def added_to(at, r, g, b, code, inside):
    """Add what EQUALIZE and AUTOCONTRAST need of a tile. Returns what scratch is to hold: the pixels, or levels for
    EQUALIZE and JPEG.

    Levels are whole numbers, which float16 holds exactly. A level that rounding moved would be a step in the view.
    """
    if code == EQUALIZE:
        r, g, b = level_of(r), level_of(g), level_of(b)
        add_histogram(at, r, inside)
        add_histogram(at + LEVELS // 2, g, inside)
        add_histogram(at + LEVELS, b, inside)
    elif code == AUTOCONTRAST:
        add_range(at, r, inside)
        add_range(at + 1, g, inside)
        add_range(at + 2, b, inside)
    elif code == JPEG:
        r, g, b = level_of(r), level_of(g), level_of(b)
    return r, g, b


@triton.jit
def level_of(v):
    return tl.floor(clamp(v) * LEVEL_STEPS)


@triton.jit
def add_histogram(at, level, inside):
    counts = tl.histogram(tl.ravel(level.to(tl.int32)), LEVELS, tl.ravel(inside))
    at = at.to(tl.pointer_type(tl.int32), bitcast=True)
    tl.atomic_add(at + tl.arange(0, LEVELS), counts, mask=counts > 0, sem="relaxed")


@triton.jit
def equalized(level, at, SIZE: tl.constexpr):  # noqa: N803
    """A channel of a tile with its histogram equalized, by PIL's integer arithmetic. SIZE: pixels of the tile.

    The pixels below the brightest level are divided among 255 levels. A channel where this gives 0 stays as it is.
    """
    k = tl.arange(0, LEVELS)
    counts = tl.load(at.to(tl.pointer_type(tl.int32), bitcast=True) + k)
    below = tl.cumsum(counts, 0) - counts
    brightest = tl.max(tl.where(counts > 0, k, 0), 0)
    step = tl.sum(tl.where(k == brightest, below, 0), 0) // 255
    table = tl.minimum((below + step // 2) // tl.maximum(step, 1), 255)
    table = tl.where(step == 0, k, table)
    made = tl.gather(table, tl.reshape(level.to(tl.int32), [SIZE]), 0)
    return tl.reshape(made, level.shape).to(tl.float32) * (1 / 255)


@triton.jit
def add_range(at, v, inside):
    """Raise the largest value, and the complement of the least, for neither of which 0 stands for a number."""
    bits = v.to(tl.int32, bitcast=True)
    key = bits ^ ((bits >> 31) | SIGN)  # as an unsigned number in the order of the values
    at = at.to(tl.pointer_type(tl.uint32), bitcast=True)
    high = tl.max(tl.ravel(tl.where(inside, key, 0).to(tl.uint32, bitcast=True)), 0)
    low = tl.max(tl.ravel(tl.where(inside, ~key, 0).to(tl.uint32, bitcast=True)), 0)
    tl.atomic_max(at, high, sem="relaxed")
    tl.atomic_max(at + 1, low, sem="relaxed")


@triton.jit
def stretched(v, at):
    """A channel of a tile stretched to [0, 1], unless it is flat."""
    at = at.to(tl.pointer_type(tl.int32), bitcast=True)
    high, low = value_of(tl.load(at)), value_of(~tl.load(at + 1))
    flat = high - low < FLAT
    return clamp((v - tl.where(flat, 0.0, low)) * (1 / tl.where(flat, 1.0, high - low)))


@triton.jit
def value_of(key):
    return (key ^ (~(key >> 31) | SIGN)).to(tl.float32, bitcast=True)
