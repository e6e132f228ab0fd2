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
from .plan import BLUR, CLIPPED_NOISE, CONTRAST, ERASE, ERASE_WITH_NOISE, NOISE, NOTHING

BLUR_CUT = 1e-4
"""Share of the Gaussian's mass that may be cut off with its tails; the error in the view is at most this."""

Source = namedtuple("Source", "pixels offsets pitches floats")
"""pixels, offsets (B,), pitches (B,): 8-bit images in one buffer, their starts, their bytes a row; or floats (B, 3, H, W)."""

Work = namedtuple(
    "Work", "strip line bytes ring image image2 weights_x weights_y pairs index first count start norm inside half above below steps spare spare16 margin"
)
"""Buffers of one thread; see `cpu.buffers`."""

Target = namedtuple("Target", "out out16 form channels_last aligned height width scale bias")
"""Where views go: flat arrays, the form of their elements, and the affine map of each channel on the way out."""


@kernel
def compact(code, steps):
    """The instructions that do something, into steps; returns how many."""
    count = 0
    for n in range(code.shape[0]):
        if code[n] != NOTHING:
            steps[count] = n
            count += 1
    return count


@kernel
def next_barrier(code, steps, at, count):
    """The first step from `at` on that needs more than its own pixels: contrast or blur; `count` where there is none."""
    while at < count and code[steps[at]] != CONTRAST and code[steps[at]] != BLUR:
        at += 1
    return at


@kernel
def next_mark(code, steps, at, end):
    """The first step from `at` on that depends on where a pixel is; `end` where there is none before it."""
    while at < end and not (NOISE <= code[steps[at]] <= ERASE_WITH_NOISE):
        at += 1
    return at


@inlined
def mark(what, arg, bits, strip, plane, stride, width, rows_here, y, spare):
    """Noise or erasing on the strip, whose first row is row y of the view."""
    if what in (NOISE, CLIPPED_NOISE):
        clip = what == CLIPPED_NOISE
        marks.add_noise(strip, plane, stride, width, rows_here, y, arg[0], arg[1], clip, bits[6], bits[7])
    elif what == ERASE:
        marks.erase(strip, plane, stride, rows_here, y, arg, arg[4:7])
    else:
        marks.erase_with_noise(strip, plane, stride, width, rows_here, y, arg, bits[6], bits[7], spare)


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
    top, count, steps = work.first[1], work.count[1], work.steps
    from_floats = source.floats.shape[0] > 0
    for b in range(begin_at, end_at):
        code, arg, bits = codes[b], args[b], words[b]
        upside_down = flips[b, 1]
        image, image_next = work.image, work.image2
        pairs, reach, at = 1, 0, np.int64(0)
        if not from_floats:
            pairs, reach = prepare(boxes, flips[b, 0], cubic, b, work, height, width)
            at = source.offsets[b] + np.int64(boxes[b, 0]) * source.pitches[b] + np.int64(boxes[b, 1]) * 3
        programmed = compact(code, steps)
        begin, end = -1, next_barrier(code, steps, 0, programmed)
        ready = 0
        while begin < programmed:
            ends = end == programmed
            barrier = NOTHING if begin < 0 else code[steps[begin]]
            next_is_blur = not ends and code[steps[end]] == BLUR
            radius = next_radius = 0
            if barrier == BLUR:
                radius = blur.gaussian(arg[steps[begin], 0], int(arg[steps[begin], 2]), BLUR_CUT, weights[1])
            if next_is_blur:
                next_radius = blur.gaussian(arg[steps[end], 0], int(arg[steps[end], 1]), BLUR_CUT, weights[0])
            into = image_next if barrier == BLUR else image
            backwards = upside_down and begin < 0 and not from_floats  # resized rows come in the order of the pixels
            first_step = begin if barrier == CONTRAST else begin + 1
            direct = streams and ends and first_step == end
            gray = 0.0
            for s in range(0, height, deep):
                here = min(deep, height - s)
                y = height - s - here if backwards else s
                row = y * stride
                to = (np.int64(b) * 3 * height + y) * width
                pixels, pixels_plane, pixels_at = strip, plane, 0
                if barrier == CONTRAST:
                    pixels, pixels_plane, pixels_at = image, image_plane, row
                elif barrier == BLUR:
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
                elif from_floats:
                    for r in range(here):
                        n = height - 1 - y - r if upside_down else y + r
                        start = (np.int64(b) * 3 * height + n) * width
                        output.read_floats(source.floats, start, height * width, width, flips[b, 0], strip, plane, r * stride)
                else:
                    last = s + here - 1
                    ready, need = max(ready, top[s]), top[last] + count[last]
                    resize.fill(
                        reach, source.pixels, at, source.pitches[b], boxes[b, 3], ready, need,
                        work.start, work.index, work.pairs, pairs, ring, mask, work.bytes,
                    )  # fmt: skip
                    ready = max(ready, need)
                    if direct:
                        resize.down_out(
                            ring, mask, top, count, work.weights_y, s, here, backwards, stride, out, height * width, to, scale, bias
                        )
                        continue
                    resize.down(ring, mask, top, count, work.weights_y, s, here, backwards, stride, strip, plane, 0, scale, bias)
                step = first_step
                marked = next_mark(code, steps, step, end)
                while marked < end:
                    tone.change(pixels, pixels_plane, pixels_at, here * stride, strip, plane, code, arg, steps, step, marked)
                    pixels, pixels_plane, pixels_at = strip, plane, 0
                    n = steps[marked]
                    mark(code[n], arg[n], bits[n], strip, plane, stride, width, here, y, work.spare)
                    step = marked + 1
                    marked = next_mark(code, steps, step, end)
                if ends and streams:
                    tone.finish(
                        pixels, pixels_plane, pixels_at, here * stride, out, height * width, to, scale, bias,
                        code, arg, steps, step, end,
                    )  # fmt: skip
                elif ends:
                    tone.change(pixels, pixels_plane, pixels_at, here * stride, strip, plane, code, arg, steps, step, end)
                    emit(work, target, b, y, here, plane, stride)
                elif next_is_blur:
                    tone.change(pixels, pixels_plane, pixels_at, here * stride, strip, plane, code, arg, steps, step, end)
                    blur.across(
                        strip, plane, stride, width, here, next_radius, weights[0], work.line, work.margin, into, image_plane, row
                    )
                else:
                    gray += tone.keep(
                        pixels, pixels_plane, pixels_at, here, stride, into, image_plane, row, work.inside,
                        code, arg, steps, step, end,
                    )  # fmt: skip
            if barrier == BLUR:
                image, image_next = image_next, image
            if not ends and not next_is_blur:
                n = steps[end]
                arg[n, 1] = np.float32(gray / (height * width)) * (ONE - arg[n, 0])
            begin, end = end, next_barrier(code, steps, end + 1, programmed)
