"""Entry point of the CPU kernels: makes the views of a range of images, each in as few passes as possible.

Every image has a program: the instructions that its draws call for, in order. A pass goes over the view strip by strip; a
strip is a few rows in a buffer that stays in the L1 cache. A pass ends at an instruction that needs more than that: contrast
needs the mean of the whole view, blur the rows above and below. Between passes the view is in an image buffer, which stays in
the L2 cache.

    pixels --resize--> strip --instructions--> image buffer --contrast or blur--> strip --> ... --> view
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ...instructions import (
    BRIGHTNESS,
    ELASTIC,
    GRAY,
    HUE,
    IS_BARRIER,
    JPEG,
    KEEP,
    POSTERIZE,
    SATURATION,
    SOLARIZE,
    WARP,
)
from ..cache import cached
from ..jit import OPTIONS, inlined_by_numba, kernel
from ..simd.pixels import prefetch
from . import color_fixed, resize
from .barriers.warp import slides
from .program import compact, reads_around
from .rows import apart
from .view import make_fixed, make_float32


@inlined_by_numba
def filter_slot(n_in, n_full, skip, n_out, flip, slots):
    """The slot of `Filters` for a filter.

    A filter of a whole box to a whole view depends on the size of the box and on the flip alone, so a workspace keeps it.
    """
    slot = 2 * n_in + (1 if flip else 0)
    return slot if skip == 0 and n_full == n_out and slot < slots else 0


@inlined_by_numba
def prepare_filters(box, skip_y, skip_x, flip, cubic, step, filters, height, width):
    """Compute the resize filters of an image's box, unless they are kept; returns their slots, horizontal and vertical."""
    slots = filters.kept.shape[1]
    across = filter_slot(box[3], box[5], skip_x, width, flip, slots)
    down = filter_slot(box[2], box[4], skip_y, height, False, slots)
    mark = 2 * step + (1 if cubic else 0)
    if across == 0 or filters.kept[0, across] != mark:
        first, taps = filters.first[0, across], filters.taps[0, across]
        most = resize.compute_taps(
            box[3], box[5], skip_x, width, flip, cubic, np.float32(resize.UNIT),
            first, taps, filters.norm, filters.weights_x,
        )  # fmt: skip
        extent, pairs = filters.extent[across], filters.pairs[across]
        extent[0] = resize.pair_weights(filters.weights_x, most, width, filters.norm, pairs)
        extent[1] = resize.windows(width, first, step, filters.start[across], filters.offset[across])
        extent[4] = step == 3 and extent[1] + 2 >= apart.WINDOW
        if extent[4]:
            extent[1] = resize.windows(width, first, 1, filters.start[across], filters.offset[across])
        ends = first[0] + taps[0], first[width - 1] + taps[width - 1]
        extent[2], extent[3] = min(first[0], first[width - 1]), max(ends[0], ends[1])
        filters.kept[0, across] = mark
    if down == 0 or filters.kept[1, down] != mark:
        resize.compute_taps(
            box[2], box[4], skip_y, height, False, cubic, np.float32(1 / (255 * resize.UNIT)),
            filters.first[1, down], filters.taps[1, down], filters.norm, filters.weights_y[down],
        )  # fmt: skip
        filters.kept[1, down] = mark
    return across, down


@kernel
def keeps_black(instruction, factor):
    """Whether an instruction changes pixels one by one, and black ones not at all."""
    return instruction in (BRIGHTNESS, SATURATION, HUE, GRAY, POSTERIZE) or (instruction == SOLARIZE and factor > 0.01)


@kernel
def first_translation(code, arg, steps, count, box, height, width):
    """The step that moves the view by whole pixels and leaves black behind, if it may as well be done first; else -1.

    A resize can do it, by beginning elsewhere: it also makes black pixels beyond the resized image, which must therefore be
    the view itself.
    """
    if box[4] != height or box[5] != width or box[6] != 0 or box[7] != 0:
        return -1
    for k in range(count):
        n = steps[k]
        if code[n] == WARP:
            black = arg[n + 1, 1] == 0 and arg[n + 1, 2] == 0 and arg[n + 1, 3] == 0
            whole = slides(arg, n) and arg[n, 1] == 0 and arg[n, 2] == np.rint(arg[n, 2])
            small = abs(arg[n, 2]) <= width and abs(arg[n, 5]) <= height
            return k if black and whole and small else -1
        if not keeps_black(code[n], arg[n, 0]):
            return -1
    return -1


MOST_BYTES = 192
"""Longest row of an image that is fetched ahead: that of 64 pixels."""


@kernel
def prefetch_box(source, boxes, b):
    """Start to fetch the rows of image b that its box covers, if they are short.

    The processor does not foresee where the next image is, and a small one is done before its first rows have arrived.
    """
    if source.pitches[b] > MOST_BYTES:
        return
    top, rows, pitch = np.int64(boxes[b, 0]), np.int64(boxes[b, 2]), source.pitches[b]
    begin, apart = source.offsets[b], source.planes[b]
    for plane in range(3 if source.step == 1 else 1):
        for line in range(begin + top * pitch, begin + (top + rows) * pitch, 64):
            prefetch(source.pixels, line)
        begin += apart
        if source.halved and plane == 0:
            height = apart // pitch
            pitch = (pitch + 1) // 2
            apart = (height + 1) // 2 * pitch
            top, rows = top // 2, rows // 2 + 1


@cached
@njit(**OPTIONS)
def extremes(boxes, codes, args):
    """What the sizes of a workspace depend on, for a batch's boxes, codes and arguments.

    Returns the largest ratio of a box's height to its resized height, the same of widths, the largest height, the largest
    width, whether some pass needs a second image buffer, how many warps an image has at most, whether some image is kept for a
    sum, and the largest radius of an elastic transform's blur.
    """
    ratio_y = ratio_x = 0.0
    height = width = warps = radius = 0
    second = mixes = False
    for b in range(boxes.shape[0]):
        box, code = boxes[b], codes[b]
        ratio_y, ratio_x = max(ratio_y, box[2] / box[4]), max(ratio_x, box[3] / box[5])
        height, width = max(height, box[2]), max(width, box[3])
        around, count = False, 0
        for n in range(code.shape[0]):
            second = second or (around and IS_BARRIER[code[n]]) or code[n] in (JPEG, ELASTIC)
            around = around or reads_around(code[n])
            mixes = mixes or code[n] == KEEP
            count += code[n] in (WARP, ELASTIC)
            if code[n] == ELASTIC:
                radius = max(radius, int(max(args[b, n, 4], args[b, n, 5])))
        warps = max(warps, count)
    return ratio_y, ratio_x, height, width, second, warps, mixes, radius


@cached
@njit(**OPTIONS)
def make_views(source, boxes, flips, cubic, codes, args, words, work, target, begin, end):
    """Make views begin..end-1. boxes, flips, cubic, codes, args: see `plan.Tables`. words: the memory of args as uint32."""
    from_floats = source.floats.shape[0] > 0
    for b in range(begin, end):
        code, arg, flip, box = codes[b], args[b], flips[b], boxes[b]
        step_count = compact(code, work.steps)
        across, down = 0, 0
        if not from_floats:
            if work.filters.kept.shape[1] > 1 and b + 1 < end:
                prefetch_box(source, boxes, b + 1)
            skip_y, skip_x = box[6], box[7]
            moved = first_translation(code, arg, work.steps, step_count, box, target.height, target.width)
            if moved >= 0:
                n = work.steps[moved]
                skip_y = np.int32(-arg[n, 5] if flip[1] else arg[n, 5])
                skip_x = np.int32(-arg[n, 2] if flip[0] else arg[n, 2])
                step_count -= 1
                for k in range(moved, step_count):
                    work.steps[k] = work.steps[k + 1]
            across, down = prepare_filters(
                box, skip_y, skip_x, flip[0], cubic, source.step, work.filters, target.height, target.width
            )  # fmt: skip
        done = False
        if step_count and not from_floats and color_fixed.fits(code, arg, work.steps, step_count):
            done = make_fixed(
                source, b, box, flip, code, arg, words[b], step_count, across, down, work, work.fixed16, target
            )  # fmt: skip
        if not done:
            make_float32(source, b, box, flip, code, arg, words[b], step_count, across, down, work, work.float32, target)
