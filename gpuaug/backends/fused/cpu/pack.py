"""Kernel that packs tables into the records of the CUDA kernels, image by image; `cuda.records` says what a record is."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..instructions import ARGUMENTS, BLUR, CONTRAST, ELASTIC, IS_BARRIER, JPEG
from .cache import cached
from .jit import OPTIONS, kernel

# Words of the head of a record. The first two form one 64-bit number, the byte at which the box begins.
BASE, LAST, PITCH, BOX_H, BOX_W, FULL_H, FULL_W, SKIP_Y, SKIP_X, FLIPS, SCALE_Y, SCALE_X = 0, *range(2, 13)
GAIN, BIAS = 13, 16
# Where the box lies in its picture, and rows of the picture: what planes are read by. The picture's columns are PITCH then.
TOP, LEFT, ROWS, HEAD = 19, 20, 21, 22

OFF = -1
"""Stored as the begin and end of a pass that an image skips."""

ANY = 63
"""Kind of a level on which an image may have any barrier but those that need launches of their own."""

KINDS = (CONTRAST, BLUR, JPEG, ELASTIC, ANY)
"""Every kind of level."""

PACKED, TOO_LARGE, NO_LEVEL = range(3)
"""How `pack` can end."""


@cached
@njit(**OPTIONS)
def find_levels(codes, kinds, last, levels):
    """Write a sequence of levels that contains, in order, one for the barriers of each image; return how many there are.

    codes: (B, N) of the programs. kinds: the kind of level of each code, 0 for one that is no barrier. last: (B,), for the
    level on which each image had its last barrier so far. levels: room for N of each kind.
    """
    count = 0
    last[:] = -1
    for n in range(codes.shape[1]):
        present = np.uint64(0)  # one bit for each kind of level
        for b in range(codes.shape[0]):
            present |= np.uint64(1) << np.uint64(kinds[codes[b, n]])
        for kind in KINDS:
            if not (present >> np.uint64(kind)) & np.uint64(1):
                continue
            free = count > 0 and levels[count - 1] == kind
            if free:
                for b in range(codes.shape[0]):
                    free = free and not (kinds[codes[b, n]] == kind and last[b] == count - 1)
            if not free:
                levels[count] = kind
                count += 1
            for b in range(codes.shape[0]):
                if kinds[codes[b, n]] == kind:
                    last[b] = count - 1
    return count


@kernel
def write_passes(record, code, kinds, levels):
    """Begin and end of every pass; return whether the levels have every barrier of the program.

    Each is the column of a barrier; the first pass begins at -1, and the last one ends behind the program.
    """
    for k in range(2 * levels.shape[0] + 2):
        record[HEAD + k] = OFF
    level = 0
    for n in range(code.shape[0]):
        if IS_BARRIER[code[n]]:
            end = HEAD + 2 * level + 1
            while level < levels.shape[0] and levels[level] != kinds[code[n]]:
                level += 1
            if level == levels.shape[0]:
                return False
            level += 1
            record[end] = n
            record[HEAD + 2 * level] = n
    record[HEAD + 2 * level + 1] = code.shape[0]
    return True


@cached
@njit(**OPTIONS)
def pack(
    starts, shapes, step, lead, size, most, boxes, flips, codes, arguments, scale, bias, kinds, levels, words, floats
):  # fmt: skip
    """Write the records of a batch; return how that ended.

    starts: (B,) bytes at which the images begin; empty if each begins where the one before ends. shapes: (B, 2) heights and
    widths; empty for a batch of floats. step: 3, or 1 for planes of brightness and colours (see `gpuaug.yuv`). lead, size:
    bytes before the first image, and of all memory. most: most bytes of an image. boxes, flips, codes, scale, bias: as in
    `plan.Tables`. arguments: those of `Tables` as (B, 8 N) int32. kinds: as for `find_levels`. levels: the kind of each level.
    words: (B, words of a record) int32. floats: the same memory as float32.
    """
    columns = codes.shape[1]
    codes_at = HEAD + 2 * (levels.shape[0] + 1)
    args_at = codes_at + columns
    next_start = np.int64(0)
    for b in range(codes.shape[0]):
        record, real, box, code = words[b], floats[b], boxes[b], codes[b]
        record[:BOX_H] = 0
        record[TOP:HEAD] = 0
        if shapes.shape[0]:
            height, width = np.int64(shapes[b, 0]), np.int64(shapes[b, 1])
            pitch = step * width
            image = pitch * height
            if step == 1:
                image += 2 * ((height + 1) // 2) * ((width + 1) // 2)
            if image > most:
                return TOO_LARGE
            base = lead + (starts[b] if starts.shape[0] else next_start) + box[0] * pitch + box[1] * step
            next_start += image
            record[BASE], record[BASE + 1] = np.int32(base & 0xFFFFFFFF), np.int32(base >> 32)
            record[LAST] = min((size - 1) // 4 - base // 4, 2**31 - 1)
            record[PITCH] = pitch
            record[TOP], record[LEFT], record[ROWS] = box[0], box[1], height
        for k in range(6):
            record[BOX_H + k] = box[2 + k]
        record[FLIPS] = flips[b, 0] + 2 * flips[b, 1]
        for k in range(2):  # source pixels per output pixel, in float32 as torch computes it
            real[SCALE_Y + k] = np.float32(box[2 + k]) / np.float32(box[4 + k])
        for k in range(3):
            real[GAIN + k], real[BIAS + k] = scale[k], bias[k]
        if not write_passes(record, code, kinds, levels):
            return NO_LEVEL
        for n in range(columns):
            record[codes_at + n] = code[n]
        for n in range(ARGUMENTS * columns):
            record[args_at + n] = arguments[b, n]
    return PACKED
