"""Kernel that draws a view's parameters and writes them into the tables of a stage, image by image.

It computes the same bits as `gpuaug.sampling`, the ops' `draw` and `plan.tables`, but in one pass.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ...instructions import HUE, HUE_OF_ANY, KEY, NOTHING
from ..cache import cached
from ..jit import OPTIONS, kernel

CROP, FLIP, JITTER, INSTRUCTION, ERASING, CHOICE = range(6)
"""What a row of a draw program does; see `draw_program.Rows`."""

TRIES = 10
"""Boxes that are drawn for a crop or an erasing; the first that fits is taken."""


@kernel
def fill_words(streams, view, index, epoch, seed0, seed1, words):
    """All random words of an image, by Philox4x32-10 as in `gpuaug.philox`: word k of block n is in words[k, n].

    streams: (3, N), of each block the view word, 0 where it is that of the view itself; the block word; and 1 where the view's
    own word is used. view: that word.
    Everything is masked to 32 bits, so that the compiler multiplies the low halves of several blocks at once.
    """
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    i = np.uint64(index)
    above, own = (i >> half) << np.uint64(16), np.uint64(view)
    first2, first3 = i & low, np.uint64(epoch) & low
    for block in range(words.shape[1]):
        second = streams[0, block] + own * streams[2, block] + above
        c0, c1, c2, c3 = streams[1, block] & low, second & low, first2, first3
        k0, k1 = np.uint64(seed0) & low, np.uint64(seed1) & low
        for _ in range(10):
            a, b = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
            c0, c1, c2, c3 = (b >> half) ^ c1 ^ k0, b & low, (a >> half) ^ c3 ^ k1, a & low
            k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
        words[0, block], words[1, block], words[2, block], words[3, block] = c0, c1, c2, c3


@kernel
def word(column, words):
    return words[column & 3, column >> 2]


@kernel
def uniform(column, words):
    return np.float64(word(column, words)) * 2.0**-32


@kernel
def between(column, low, span, words):
    """A number in [low, low + span), rounded to float32 as draws are."""
    return np.float32(low + uniform(column, words) * span)


@kernel
def offset(column, free, words):
    """A whole number in 0..free."""
    u = np.float64(np.float32(uniform(column, words)))
    return min(math.floor(u * (free + 1.0)), free)


@kernel
def exponential(x, constants):
    """exp(x), the same bits as `gpuaug.ops.exact.exponential`, whose constants these are."""
    n = np.rint(x * constants[0])
    rest = (x - n * constants[1]) - n * constants[2]
    total = constants[3]
    for k in range(4, constants.shape[0]):
        total = total * rest + constants[k]
    return math.ldexp(total, int(n))


@kernel
def fitting_box(column, numbers, constants, area, most_h, most_w, smallest, words):
    """Height and width of the first of ten drawn boxes that fits, and whether any did.

    column: of the ten areas, then the ten log ratios. numbers: lowest and span of the share of the area, and of the log ratio.
    """
    for k in range(TRIES):
        target = area * np.float64(between(column + k, numbers[0], numbers[1], words))
        ratio = exponential(np.float64(between(column + TRIES + k, numbers[2], numbers[3], words)), constants)
        w, h = np.rint(math.sqrt(target * ratio)), np.rint(math.sqrt(target / ratio))
        if w <= most_w and h <= most_h and min(w, h) >= smallest:
            return h, w, True
    return 0.0, 0.0, False


@kernel
def crop(column, numbers, constants, box, words):
    """Draw a RandomResizedCrop in a box, which becomes the crop's.

    numbers: as in `fitting_box`, then the lowest and the highest ratio.
    """
    height, width = np.float64(box[2]), np.float64(box[3])
    h, w, found = fitting_box(column, numbers, constants, height * width, height, width, 1.0, words)
    if found:
        top = offset(column + 2 * TRIES, height - h, words)
        left = offset(column + 2 * TRIES + 1, width - w, words)
    else:
        aspect = width / height
        h = max(np.rint(width / numbers[4]) if aspect < numbers[4] else height, 1.0)
        w = max(np.rint(height * numbers[5]) if aspect > numbers[5] else width, 1.0)
        top, left = (height - h) // 2.0, (width - w) // 2.0
    box[0], box[1], box[2], box[3] = box[0] + np.int32(top), box[1] + np.int32(left), np.int32(h), np.int32(w)


@kernel
def jitter(column, numbers, orders, wide, code, arg, at, words):
    """A ColorJitter's four instructions in their drawn order. numbers: lowest, span and code of each part."""
    row = int(np.uint8(uniform(column, words) * orders.shape[0]))
    hue_is_first = True
    for n in range(4):
        part = int(orders[row, n])
        what = np.uint8(numbers[3 * part + 2])
        if what != NOTHING:
            arg[at + n, 0] = between(column + 1 + part, numbers[3 * part], numbers[3 * part + 1], words)
        if what == HUE and wide and hue_is_first:
            what = np.uint8(HUE_OF_ANY)
        elif what not in (HUE, NOTHING):
            hue_is_first = False
        code[at + n] = what


@kernel
def choice(program, column, numbers, code, arg, at, words):
    """Look up one of a row's choices. numbers: that of the first, of the column that says whether it is taken, of the digits,
    and then the column and the count of each digit; see `lowering.Choices`."""
    n, taken = 0, int(numbers[1])
    for k in range(int(numbers[2])):
        n = n * int(numbers[4 + 2 * k]) + int(uniform(column + int(numbers[3 + 2 * k]), words) * numbers[4 + 2 * k])
    n += int(numbers[0])
    if taken >= 0 and uniform(column + taken, words) >= program.shares[n]:
        return
    for k in range(2):
        code[at + k] = program.choice_codes[n, k]
        for j in range(arg.shape[1]):
            arg[at + k, j] = program.choice_arguments[n, k, j]


@kernel
def applies(program, row, words):
    """Whether the image gets the op of a row: whether all its conditions hold."""
    for c in range(program.conditions[row, 0], program.conditions[row, 1]):
        u = uniform(program.condition_columns[c], words)
        if not (program.lows[c] <= u < program.highs[c]):
            return False
    return True


@cached
@njit(**OPTIONS)
def fill_tables(
    program, orders, constants, seed, epoch, streams, views, index, size, words, boxes, flips, codes, args, bits, begin, end
):  # fmt: skip
    """Draw for images begin..end-1 of a batch, and fill their rows of the tables.

    program: `draw_program.Rows`. orders: (24, 4), the orders of a jitter's parts. constants: of `ops.exact.exponential`. seed:
    two words. streams: as in `fill_words`. views: (B,) the number of the view in each image's counter. index: (B,) sample
    indices. size: height and width of the view. words: (4, n), for the random words of an image. boxes, flips, codes, args: as
    in `plan.Tables`; boxes have those of the images where crops are drawn. bits: the memory of args as uint32.
    """
    for b in range(begin, end):
        fill_words(streams, views[b], index[b], epoch, seed[0], seed[1], words)
        code, arg, flip = codes[b], args[b], flips[b]
        code[:], arg[:], flip[:] = NOTHING, 0.0, False
        for row in range(program.kinds.shape[0]):
            kind, column, at, numbers = program.kinds[row], program.columns[row], program.at[row], program.numbers[row]
            key = program.keys[row]
            if key >= 0:  # of every image, so that the launches on CUDA do not depend on which images get noise
                bits[b, at, KEY] = np.uint32(word(key, words))
                bits[b, at, KEY + 1] = np.uint32(word(key + 1, words))
            if not applies(program, row, words):
                continue
            if kind == CROP:
                crop(column, numbers, constants, boxes[b], words)
            elif kind == FLIP:
                flip[at] ^= True
            elif kind == JITTER:
                jitter(column, numbers, orders, program.wide[row], code, arg, at, words)
            elif kind == CHOICE:
                choice(program, column, numbers, code, arg, at, words)
            else:
                code[at] = program.codes[row]
                for n in range(arg.shape[1] if key < 0 else KEY):
                    arg[at, n] = np.float32(numbers[n])
                if kind == ERASING:
                    height, width = np.float64(size[0]), np.float64(size[1])
                    h, w, _ = fitting_box(column, numbers[8:], constants, height * width, height - 1, width - 1, 0.0, words)
                    arg[at, 0] = offset(column + 2 * TRIES, height - h, words)
                    arg[at, 1] = offset(column + 2 * TRIES + 1, width - w, words)
                    arg[at, 2], arg[at, 3] = h, w
                elif program.drawn[row]:
                    arg[at, 0] = between(column, numbers[8], numbers[9], words)
