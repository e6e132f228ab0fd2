"""The views of a run of images, each in as few passes over memory as its program allows.

Every image has a program: the instructions that its draws ask for, in order. A pass makes the view strip by strip, some rows
in a buffer that stays in the first cache, and ends where an instruction needs more: contrast wants the mean of the whole
view, blur the rows above and below. Between passes the view lies in one float buffer, which stays in the second cache.

    pixels --resize--> strip --instructions--> strip --contrast or blur next--> image buffer --next pass--> ... --> view
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np
from numba import njit

from . import blur, marks, output, resize, tone
from .jit import ONE, OPTIONS, ZERO, inlined, kernel
from .plan import (
    AFFINE,
    BLUR,
    BRIGHTNESS,
    CLIPPED_NOISE,
    CONTRAST,
    ERASE,
    GRAY,
    HUE,
    HUE_OF_ANY,
    INVERT,
    NOISE,
    NOTHING,
    POSTERIZE,
    SATURATION,
    SOLARIZE,
)

BLUR_CUT = 1e-4
"""Share of the Gaussian's mass that may be cut off with its tails; the error in the view is at most this."""

Source = namedtuple("Source", "pixels offsets pitches floats")
"""pixels, offsets (B,), pitches (B,): 8-bit images in one buffer, their starts, their bytes a row; or floats (B, 3, H, W)."""

Work = namedtuple(
    "Work", "strip line bytes ring image image2 weights_x weights_y pairs index first count start norm half above below spare spare16 margin"
)
"""Buffers of one thread; see `cpu.buffers`."""

Target = namedtuple("Target", "out out16 form channels_last aligned height width scale bias")
"""Where views go: flat arrays, the form of their elements, and the affine map of each channel on the way out."""


@kernel
def next_barrier(code, at):
    while at < code.shape[0] and code[at] != CONTRAST and code[at] != BLUR:
        at += 1
    return at


@kernel
def idle(code, first, last):
    """Whether nothing is done between two barriers."""
    for n in range(first, last):
        if code[n] != NOTHING:
            return False
    return True


@inlined
def run(code, arg, bits, first, last, y, rows_here, work, plane, stride, width):
    """Apply the instructions first..last-1, none of them a barrier, to the strip, whose first row is row y of the view."""
    strip, count = work.strip, rows_here * stride
    for n in range(first, last):
        what = code[n]
        if what == NOTHING:
            continue
        if what == BRIGHTNESS:
            tone.brightness(strip, plane, count, arg[n, 0])
        elif what == SATURATION:
            tone.saturation(strip, plane, count, arg[n, 0])
        elif what == HUE:
            tone.hue(strip, plane, count, arg[n, 0])
        elif what == HUE_OF_ANY:
            tone.hue_of_any(strip, plane, count, arg[n, 0])
        elif what == GRAY:
            tone.grayscale(strip, plane, count)
        elif what == SOLARIZE:
            tone.solarize(strip, plane, count, arg[n, 0])
        elif what == POSTERIZE:
            tone.posterize(strip, plane, count, arg[n, 0])
        elif what == INVERT:
            tone.affine(strip, 0, 2 * plane + count, -ONE, ONE)
        elif what == AFFINE:
            for c in range(3):
                tone.affine(strip, c * plane, count, arg[n, c], arg[n, 3 + c])
        elif what in (NOISE, CLIPPED_NOISE):
            clip = what == CLIPPED_NOISE
            marks.add_noise(strip, plane, stride, width, rows_here, y, arg[n, 0], arg[n, 1], clip, bits[n, 6], bits[n, 7])
        elif what == ERASE:
            marks.erase(strip, plane, stride, rows_here, y, arg[n], arg[n, 4:7])
        else:
            marks.erase_with_noise(strip, plane, stride, width, rows_here, y, arg[n], bits[n, 6], bits[n, 7], work.spare)


@inlined
def emit(work, target, b, y, rows_here, plane, stride):
    """Write the strip as rows y, y + 1, ... of view b."""
    height, width, form, aligned = target.height, target.width, target.form, target.aligned
    strip = work.strip
    if target.channels_last:
        for r in range(rows_here):
            output.interleave(strip, plane, r * stride, width, target.scale, target.bias, work.line)
            to = (np.int64(b) * height + y + r) * width * 3
            if form == output.FLOAT32:
                output.write_floats(work.line, 0, 3 * width, ONE, ZERO, target.out, to, aligned)
            else:
                output.write_narrow(work.line, 0, 3 * width, ONE, ZERO, target.out16, to, form, aligned, work.spare16)
        return
    # Rows without padding follow one another in strip and view alike, and are written as one.
    runs, length = (1, rows_here * width) if stride == width else (rows_here, width)
    for c in range(3):
        f, o = target.scale[c], target.bias[c]
        for r in range(runs):
            at = c * plane + r * stride
            to = ((np.int64(b) * 3 + c) * height + y + r) * width
            if form == output.FLOAT32:
                output.write_floats(strip, at, length, f, o, target.out, to, aligned)
            else:
                output.write_narrow(strip, at, length, f, o, target.out16, to, form, aligned, work.spare16)


@kernel
def radius_across(code, arg, end, half):
    """Radius of the blur with which the next pass begins, if it does, and its weights across into half[0]."""
    if end < code.shape[0] and code[end] == BLUR:
        return blur.gaussian(arg[end, 0], int(arg[end, 1]), BLUR_CUT, half[0])
    return 0


@inlined
def prepare(boxes, flip, cubic, b, work, height, width):
    """Filters of the resize of image b; returns the pairs of taps across and how far they reach (see `resize.across`)."""
    box_h, box_w, full_h, full_w, skip_y, skip_x = (
        boxes[b, 2], boxes[b, 3], boxes[b, 4], boxes[b, 5], boxes[b, 6], boxes[b, 7],
    )  # fmt: skip
    first, count = work.first, work.count
    unit, white = np.float32(resize.UNIT), np.float32(1 / (255 * resize.UNIT))
    most = resize.taps(box_w, full_w, skip_x, width, flip, cubic, unit, first[0], count[0], work.norm, work.weights_x)
    resize.taps(box_h, full_h, skip_y, height, False, cubic, white, first[1], count[1], work.norm, work.weights_y)
    half = resize.in_pairs(work.weights_x, most, width, work.norm, work.pairs)
    return half, resize.windows(width, first[0], work.start, work.index)


# The cache is renewed when this file changes, not when the functions that it calls do: see CONTRIBUTING.
@njit(cache=True, **OPTIONS)
def views(source, boxes, flips, cubic, codes, args, words, work, target, begin_at, end_at):
    """Make views begin_at..end_at-1.

    boxes, flips, cubic, codes, args: see `plan.Tables`. words: the memory of args as uint32.
    """
    height, width = target.height, target.width
    stride = work.index.shape[0]
    plane, image_plane = work.strip.shape[0] // 3, height * stride
    deep = plane // stride  # rows of a strip
    mask = work.ring.shape[0] // (3 * stride) - 1
    strip, ring, weights = work.strip, work.ring, work.half
    out, scale, bias = target.out, target.scale, target.bias
    streams = target.form == output.FLOAT32 and target.aligned and not target.channels_last
    first, count = work.first[1], work.count[1]
    from_floats = source.floats.shape[0] > 0
    for b in range(begin_at, end_at):
        code, arg, bits = codes[b], args[b], words[b]
        upside_down = flips[b, 1]
        image, image_next = work.image, work.image2
        pairs, reach, at = 1, 0, np.int64(0)
        if not from_floats:
            pairs, reach = prepare(boxes, flips[b, 0], cubic, b, work, height, width)
            at = source.offsets[b] + np.int64(boxes[b, 0]) * source.pitches[b] + np.int64(boxes[b, 1]) * 3
        begin, end = -1, next_barrier(code, 0)
        ready = 0
        gray = 0.0
        while begin < code.shape[0]:
            blurring = begin >= 0 and code[begin] == BLUR
            radius = blur.gaussian(arg[begin, 0], int(arg[begin, 2]), BLUR_CUT, weights[1]) if blurring else 0
            next_radius = radius_across(code, arg, end, weights)
            factor = arg[begin, 0] if begin >= 0 else ONE
            shift = np.float32(gray / (height * width)) * (ONE - factor)
            gray = 0.0
            into = image_next if blurring else image
            backwards = upside_down and begin < 0 and not from_floats  # resized rows come in the order of the pixels
            direct = streams and end == code.shape[0] and idle(code, begin + 1, end)
            for s in range(0, height, deep):
                here = min(deep, height - s)
                y = height - s - here if backwards else s
                to = (np.int64(b) * 3 * height + y) * width
                if blurring:
                    if direct:
                        blur.down_out(
                            image, image_plane, y, height, stride, here, radius, weights[1], work.above, work.below,
                            out, height * width, to, scale, bias,
                        )  # fmt: skip
                        continue
                    blur.down(
                        image, image_plane, y, height, stride, here, radius, weights[1], work.above, work.below,
                        strip, plane, 0, scale, bias,
                    )  # fmt: skip
                elif begin >= 0:
                    tone.contrast(image, image_plane, y * stride, strip, plane, here * stride, factor, shift)
                elif from_floats:
                    for r in range(here):
                        n = height - 1 - y - r if upside_down else y + r
                        start = (np.int64(b) * 3 * height + n) * width
                        output.read_floats(source.floats, start, height * width, width, flips[b, 0], strip, plane, r * stride)
                else:
                    last = s + here - 1
                    ready, need = max(ready, first[s]), first[last] + count[last]
                    resize.fill(
                        reach, source.pixels, at, source.pitches[b], boxes[b, 3], ready, need,
                        work.start, work.index, work.pairs, pairs, ring, mask, work.bytes,
                    )  # fmt: skip
                    ready = max(ready, need)
                    if direct:
                        resize.down_out(
                            ring, mask, first, count, work.weights_y, s, here, backwards, stride, out, height * width, to, scale, bias
                        )
                        continue
                    resize.down(ring, mask, first, count, work.weights_y, s, here, backwards, stride, strip, plane, 0, scale, bias)
                run(code, arg, bits, begin + 1, end, y, here, work, plane, stride, width)
                if end == code.shape[0]:
                    emit(work, target, b, y, here, plane, stride)
                elif code[end] == CONTRAST:
                    gray += tone.keep(strip, plane, stride, width, here, into, image_plane, y * stride)
                else:
                    at_row = y * stride
                    blur.across(
                        strip, plane, stride, width, here, next_radius, weights[0], work.line, work.margin, into, image_plane, at_row
                    )
            if blurring:
                image, image_next = image_next, image
            begin, end = end, next_barrier(code, end + 1)
