"""The Triton kernel that draws a view's parameters and writes its records, so that a CUDA graph needs only sample indices.

A program makes the records of LANES images, one a thread. It computes the same bits as `cpu.kernels.draw` and `cpu.pack`: box
sizes in float64, out of operations that IEEE 754 rounds alike everywhere. It must be compiled without `enable_fp_fusion`.
"""

# ruff: noqa: N803
# By Triton's convention, capitals name what is known when a kernel is compiled.

from __future__ import annotations

import triton
import triton.language as tl

from ... import draw_program, instructions
from ...cpu import pack as record
from ...cpu.kernels import draw

CROP, FLIP, JITTER, ERASING = (tl.constexpr(kind) for kind in (draw.CROP, draw.FLIP, draw.JITTER, draw.ERASING))
TRIES, NUMBERS = tl.constexpr(draw.TRIES), tl.constexpr(draw_program.NUMBERS)
NOTHING, HUE = tl.constexpr(instructions.NOTHING), tl.constexpr(instructions.HUE)
HUE_OF_ANY = tl.constexpr(instructions.HUE_OF_ANY)
ARGUMENTS, KEY = tl.constexpr(instructions.ARGUMENTS), tl.constexpr(instructions.KEY)
BASE, LAST, PITCH, FLIPS = (tl.constexpr(word) for word in (record.BASE, record.LAST, record.PITCH, record.FLIPS))
BOX_H, BOX_W, FULL_H, SKIP_X = (tl.constexpr(word) for word in (record.BOX_H, record.BOX_W, record.FULL_H, record.SKIP_X))
SCALE_Y, SCALE_X = tl.constexpr(record.SCALE_Y), tl.constexpr(record.SCALE_X)
GAIN, ROWS = tl.constexpr(record.GAIN), tl.constexpr(record.ROWS)
TOP, LEFT = tl.constexpr(record.TOP), tl.constexpr(record.LEFT)
HEAD, OFF = tl.constexpr(record.HEAD), tl.constexpr(record.OFF)

ROW = tl.constexpr(9)
"""Integers of a row: kind, column, at, code, drawn, key, wide, and begin and end of its conditions; see `draw_program.Rows`."""

ORDERS, CONSTANTS = tl.constexpr(24), tl.constexpr(17)
"""Orders of a jitter's parts, and constants of `gpuaug.ops.exact.exponential`."""

ROUND = tl.constexpr(1.5 * 2**52)
"""Added and then subtracted, it rounds a float64 below 2^51 to a whole number, halves to even."""

UNIT = tl.constexpr(2.0**-32)


@triton.jit(do_not_specialize=["count", "rows", "columns", "levels", "view", "view_h", "view_w", "step"])
def draw_records(
    state, samples, images, boxes, all_rows, numbers, condition_columns, ranges, orders, kinds, all_levels, constants, affine,
    streams, table, count, rows, columns, levels, view, view_h, view_w, step, LANES: tl.constexpr,
    SHARES: tl.constexpr,
):  # fmt: skip
    """Draw for a batch and write its records, table (B, words) int32.

    state: seed and epoch, int64. samples: (B,) int64 sample indices. images: (B, 4) int64, first byte, last word of all memory,
    height and width. boxes: (B, 8) int32, as in `plan.Tables`, of whole images where a crop is drawn. all_rows: (R, ROW) int32.
    numbers, condition_columns: of `draw_program.Rows`. ranges: (C, 2), its lows and highs. orders: (24, 4) int32, of a jitter.
    kinds: int32, the kind of level of each code, 0 if it is no barrier. all_levels: (L,) int32, the kind of each level.
    constants: of `ops.exact.exponential`. affine: (6,) int32, bits of scale and bias. streams: (N, 2) int32, for each block
    of random words its view word (-1: that of view) and the bits of its block word; read if SHARES. columns: instructions of a
    program. step: see `pack.pack`.
    """
    b = tl.program_id(0) * LANES + tl.arange(0, LANES)
    real, zero = b < count, b * 0
    codes_at = HEAD + 2 * (levels + 1)
    rec = table + b.to(tl.int64) * (codes_at + columns * (1 + ARGUMENTS))
    rng = counters(state, samples, b, real, view, streams, SHARES)
    width = tl.load(images + 4 * b + 3, mask=real, other=1)
    box = boxes + 8 * b
    top, left = tl.load(box, mask=real, other=0), tl.load(box + 1, mask=real, other=0)
    box_h, box_w = tl.load(box + 2, mask=real, other=1), tl.load(box + 3, mask=real, other=1)
    k = 0
    while k < 2 * levels + 2:
        tl.store(rec + HEAD + k, zero + OFF, mask=real)
        k += 1
    flips, level = zero, zero
    row = 0
    while row < rows:
        at_row, number = all_rows + row * ROW, numbers + row * NUMBERS
        kind, column, at = tl.load(at_row), tl.load(at_row + 1), tl.load(at_row + 2)
        applied = applies(at_row, condition_columns, ranges, real, rng)
        code_at, arg = rec + codes_at + at, rec + codes_at + columns + at * ARGUMENTS
        if kind == CROP:
            down, right, box_h, box_w = crop(column, number, constants, box_h, box_w, real, rng)
            top, left = top + down, left + right  # in the box of the crop before, if there was one
        elif kind == FLIP:
            flips = flips ^ tl.where(applied, (zero + 1) << at, 0)
        elif kind == JITTER:
            level = jitter(
                column, number, orders, tl.load(at_row + 6), code_at, arg, applied, real, at, level,
                kinds, all_levels, levels, rec, rng,
            )  # fmt: skip
        else:
            code = tl.where(applied, tl.load(at_row + 3), NOTHING)
            tl.store(code_at, code, mask=real)
            instruction(kind, column, at_row, number, constants, view_h, view_w, arg, applied, real, rng)
            level = follow(code, at, level, kinds, all_levels, levels, rec)
        row += 1
    tl.store(rec + HEAD + 2 * level + 1, zero + columns, mask=real)
    tl.store(rec + FLIPS, flips, mask=real)
    pitch = step * width
    base = tl.load(images + 4 * b, mask=real, other=0) + top * pitch + left * step
    last = tl.load(images + 4 * b + 1, mask=real, other=0) - (base >> 2)
    tl.store(rec + BASE, base.to(tl.int32), mask=real)
    tl.store(rec + BASE + 1, (base >> 32).to(tl.int32), mask=real)
    tl.store(rec + LAST, tl.minimum(last, 2147483647).to(tl.int32), mask=real)
    tl.store(rec + PITCH, pitch.to(tl.int32), mask=real)
    tl.store(rec + TOP, top, mask=real)
    tl.store(rec + LEFT, left, mask=real)
    tl.store(rec + ROWS, tl.load(images + 4 * b + 2, mask=real, other=1).to(tl.int32), mask=real)
    tl.store(rec + BOX_H, box_h, mask=real)
    tl.store(rec + BOX_W, box_w, mask=real)
    k = 0
    while k <= SKIP_X - FULL_H:
        tl.store(rec + FULL_H + k, tl.load(box + 4 + k, mask=real, other=1), mask=real)
        k += 1
    store_float(rec + SCALE_Y, quotient(box_h, tl.load(box + 4, mask=real, other=1)), real)
    store_float(rec + SCALE_X, quotient(box_w, tl.load(box + 5, mask=real, other=1)), real)
    k = 0
    while k < 6:
        tl.store(rec + GAIN + k, zero + tl.load(affine + k), mask=real)
        k += 1


@triton.jit
def quotient(n_in, n_full):
    """Source pixels per output pixel. Rounded to float32, a quotient of float64 is that of float32."""
    return n_in.to(tl.float32).to(tl.float64) / n_full.to(tl.float32).to(tl.float64)


@triton.jit
def follow(code, column, level, kinds, all_levels, levels, rec):
    """Begin a pass for the images whose instruction in this column is a barrier, and end the one before.

    Takes and returns the level of each image's last barrier plus 1.
    """
    kind = tl.load(kinds + code)
    begun = code * 0
    k = 0
    while k < levels:
        begun = tl.where((kind != 0) & (begun == 0) & (level <= k) & (kind == tl.load(all_levels + k)), k + 1, begun)
        k += 1
    tl.store(rec + HEAD + 2 * level + 1, code * 0 + column, mask=begun > 0)
    tl.store(rec + HEAD + 2 * begun, code * 0 + column, mask=begun > 0)
    return tl.where(begun > 0, begun, level)


# Instructions.


@triton.jit
def jitter(
    column, number, orders, any_range, code_at, arg, applied, real, at, level, kinds, all_levels, levels, rec, rng
):  # fmt: skip
    """A ColorJitter's four instructions in their drawn order. number: lowest, span and code of each part."""
    zero = applied.to(tl.int32) * 0
    order = (uniform(zero + column, rng) * ORDERS).to(tl.int32)
    hue_is_first = zero + any_range
    n = 0
    while n < 4:
        part = tl.load(orders + 4 * order + n)
        code = tl.load(number + 3 * part + 2).to(tl.int32)
        factor = between(column + 1 + part, tl.load(number + 3 * part), tl.load(number + 3 * part + 1), rng)
        hue_is_first = tl.where((code == HUE) | (code == NOTHING), hue_is_first, 0)
        k = 1
        while k < ARGUMENTS:
            tl.store(arg + n * ARGUMENTS + k, zero, mask=real)
            k += 1
        factor = tl.where(applied & (code != NOTHING), factor, 0.0)
        tl.store(arg + n * ARGUMENTS, factor.to(tl.int32, bitcast=True), mask=real)
        code = tl.where((code == HUE) & (hue_is_first != 0), HUE_OF_ANY, code)
        code = tl.where(applied, code, NOTHING)
        tl.store(code_at + n, code, mask=real)
        level = follow(code, at + n, level, kinds, all_levels, levels, rec)
        n += 1
    return level


@triton.jit
def instruction(kind, column, at_row, number, constants, view_h, view_w, arg, applied, real, rng):
    """The arguments of the one instruction of any other op."""
    zero = applied.to(tl.int32) * 0
    k = 0
    while k < ARGUMENTS:
        store_float(arg + k, tl.where(applied, tl.load(number + k), 0.0), real)
        k += 1
    if kind == ERASING:
        h, w = zero + view_h, zero + view_w
        area = h.to(tl.float64) * w.to(tl.float64)
        box_h, box_w, _ = fitting_box(column, number + 8, constants, area, h - 1, w - 1, 0, applied, rng)
        store_float(arg, offset(zero + (column + 2 * TRIES), h - box_h, rng), applied)
        store_float(arg + 1, offset(zero + (column + 2 * TRIES + 1), w - box_w, rng), applied)
        store_float(arg + 2, box_h, applied)
        store_float(arg + 3, box_w, applied)
    elif tl.load(at_row + 4) != 0:
        store_float(arg, between(zero + column, tl.load(number + 8), tl.load(number + 9), rng), applied)
    key = tl.load(at_row + 5)
    if key >= 0:  # of every image, whether it gets noise or not
        tl.store(arg + KEY, word(zero + key, rng).to(tl.int32, bitcast=True), mask=real)
        tl.store(arg + KEY + 1, word(zero + (key + 1), rng).to(tl.int32, bitcast=True), mask=real)


@triton.jit
def store_float(at, value, where):
    tl.store(at, value.to(tl.float32).to(tl.int32, bitcast=True), mask=where)


# Random numbers.


@triton.jit
def counters(state, samples, b, real, view, streams, SHARES: tl.constexpr):
    """What `word` needs besides a column: the seed, and the last three words of each image's counter, see `gpuaug.sampling`.

    If the view shares numbers, the second of them lacks the view, which depends on the block: view, streams and SHARES follow.
    """
    sample = tl.load(samples + b, mask=real, other=0)
    epoch = sample * 0 + tl.load(state + 1)
    second = (((sample >> 32) << 16) + (0 if SHARES else view)).to(tl.uint32)
    return tl.load(state), second, sample.to(tl.uint32), epoch.to(tl.uint32), view, streams, SHARES


@triton.jit
def applies(at_row, condition_columns, ranges, real, rng):
    """Which images get the op of a row: those for which all its conditions hold."""
    zero = real.to(tl.int32) * 0
    applied, c, end = real, tl.load(at_row + 7), tl.load(at_row + 8)
    while c < end:
        u = uniform(zero + tl.load(condition_columns + c), rng)
        applied = applied & (u >= tl.load(ranges + 2 * c)) & (u < tl.load(ranges + 2 * c + 1))
        c += 1
    return applied


@triton.jit
def word(column, rng):
    """The random word of a column, one for each image."""
    block, second = (column >> 2).to(tl.uint32), rng[1]
    if rng[6]:
        stream = rng[5] + 2 * (column >> 2)
        own = tl.load(stream)
        second = second + tl.where(own < 0, rng[4], own).to(tl.uint32)
        block = tl.load(stream + 1).to(tl.uint32, bitcast=True)
    w0, w1, w2, w3 = tl.philox(rng[0], block, second, rng[2], rng[3])
    part = column & 3
    return tl.where(part == 0, w0, tl.where(part == 1, w1, tl.where(part == 2, w2, w3)))


@triton.jit
def uniform(column, rng):
    return word(column, rng).to(tl.float64) * UNIT


@triton.jit
def between(column, low, span, rng):
    """A number in [low, low + span), rounded to float32 as draws are."""
    return (uniform(column, rng) * span + low).to(tl.float32)


@triton.jit
def offset(column, free, rng):
    """A whole number in 0..free."""
    u = uniform(column, rng).to(tl.float32).to(tl.float64)
    return tl.minimum((u * (free + 1).to(tl.float64)).to(tl.int32), free)


# Boxes.


@triton.jit
def crop(column, number, constants, height, width, real, rng):
    """Boxes of a RandomResizedCrop. number: as in `fitting_box`, then the lowest and the highest ratio."""
    zero = height * 0
    h, w = height.to(tl.float64), width.to(tl.float64)
    box_h, box_w, found = fitting_box(column, number, constants, h * w, height, width, 1, real, rng)
    low, high = tl.load(number + 4), tl.load(number + 5)
    most_h = tl.maximum(tl.where(w / h < low, rounded(w / low).to(tl.int32), height), 1)
    most_w = tl.maximum(tl.where(w / h > high, rounded(h * high).to(tl.int32), width), 1)
    box_h, box_w = tl.where(found != 0, box_h, most_h), tl.where(found != 0, box_w, most_w)
    top = offset(zero + (column + 2 * TRIES), height - box_h, rng)
    left = offset(zero + (column + 2 * TRIES + 1), width - box_w, rng)
    top, left = tl.where(found != 0, top, (height - box_h) >> 1), tl.where(found != 0, left, (width - box_w) >> 1)
    return top, left, box_h, box_w


@triton.jit
def fitting_box(column, number, constants, area, most_h, most_w, smallest, wanted, rng):
    """Height and width of the first of ten drawn boxes that fits, 0 without one, and whether any did.

    column: of the ten areas, then the ten log ratios. number: lowest and span of the share of the area, and of the log ratio.
    wanted: the images that need a box; when all of them have one, no further boxes are drawn.
    """
    zero = most_h * 0
    box_h, box_w, found = zero, zero, zero
    k = 0
    missing = tl.sum(wanted.to(tl.int32), 0)
    while (k < TRIES) & (missing > 0):
        share = between(zero + (column + k), tl.load(number), tl.load(number + 1), rng)
        log_ratio = between(zero + (column + TRIES + k), tl.load(number + 2), tl.load(number + 3), rng)
        target, ratio = area * share.to(tl.float64), exponential(log_ratio.to(tl.float64), constants)
        w, h = rounded(tl.sqrt(target * ratio)), rounded(tl.sqrt(target / ratio))
        fits = (w <= most_w.to(tl.float64)) & (h <= most_h.to(tl.float64)) & (tl.minimum(w, h) >= smallest)
        fits = fits & wanted & (found == 0)
        box_h, box_w = tl.where(fits, h.to(tl.int32), box_h), tl.where(fits, w.to(tl.int32), box_w)
        found = tl.where(fits, 1, found)
        missing = tl.sum((wanted & (found == 0)).to(tl.int32), 0)
        k += 1
    return box_h, box_w, found


@triton.jit
def exponential(x, constants):
    """exp(x), the same bits as `gpuaug.ops.exact.exponential`, whose constants these are."""
    n = rounded(x * tl.load(constants))
    rest = (x - n * tl.load(constants + 1)) - n * tl.load(constants + 2)
    total = x * 0 + tl.load(constants + 3)
    k = 4
    while k < CONSTANTS:
        total = total * rest + tl.load(constants + k)
        k += 1
    return total * ((n.to(tl.int64) + 1023) << 52).to(tl.float64, bitcast=True)


@triton.jit
def rounded(x):
    return (x + ROUND) - ROUND
