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

from ..cache import cached
from ..jit import OPTIONS, inlined_by_numba
from . import color_fixed, resize
from .program import compact
from .view import make_fixed, make_float32


@inlined_by_numba
def prepare_filters(boxes, flip, cubic, b, step, filters, height, width):
    """Compute the resize filters of image b; returns the horizontal filter's pairs of taps and reach (see `resize.across`)."""
    box_h, box_w, full_h, full_w, skip_y, skip_x = (
        boxes[b, 2], boxes[b, 3], boxes[b, 4], boxes[b, 5], boxes[b, 6], boxes[b, 7],
    )  # fmt: skip
    first, count = filters.first, filters.taps
    unit, white = np.float32(resize.UNIT), np.float32(1 / (255 * resize.UNIT))
    most = resize.compute_taps(
        box_w, full_w, skip_x, width, flip, cubic, unit, first[0], count[0], filters.norm, filters.weights_x
    )
    resize.compute_taps(box_h, full_h, skip_y, height, False, cubic, white, first[1], count[1], filters.norm, filters.weights_y)
    half = resize.pair_weights(filters.weights_x, most, width, filters.norm, filters.pairs)
    return half, resize.windows(width, first[0], step, filters.start, filters.offset)


@cached
@njit(**OPTIONS)
def make_views(source, boxes, flips, cubic, codes, args, words, work, target, begin, end):
    """Make views begin..end-1. boxes, flips, cubic, codes, args: see `plan.Tables`. words: the memory of args as uint32."""
    from_floats = source.floats.shape[0] > 0
    for b in range(begin, end):
        code, arg, flip, box = codes[b], args[b], flips[b], boxes[b]
        step_count = compact(code, work.steps)
        pairs, reach, at = 1, 0, np.int64(0)
        if not from_floats:
            pairs, reach = prepare_filters(boxes, flip[0], cubic, b, source.step, work.filters, target.height, target.width)
            at = source.offsets[b] + np.int64(box[0]) * source.pitches[b] + np.int64(box[1]) * source.step
        if step_count and not from_floats and color_fixed.fits(code, arg, work.steps, step_count):
            make_fixed(source, b, box[3], flip, code, arg, words[b], step_count, pairs, reach, at, work, work.fixed16, target)
        else:
            make_float32(source, b, box[3], flip, code, arg, words[b], step_count, pairs, reach, at, work, work.float32, target)
