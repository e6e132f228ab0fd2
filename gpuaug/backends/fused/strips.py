"""What both ways of making a view share: their buffers, the steps of a program, and strips from pixels and into the view."""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from . import output, resize
from .jit import ONE, ZERO, inlined, kernel
from .plan import BLUR, CONTRAST, ERASE_WITH_NOISE, NOISE, NOTHING

BLUR_CUT = 1e-4
"""Share of the Gaussian's mass that may be cut off with its tails; the error in the view is at most this."""

Source = namedtuple("Source", "pixels offsets pitches step planes floats")
"""8-bit images in one buffer: pixels, their starts offsets (B,), bytes from a row to the next pitches (B,), from a pixel to the
next step, from one of its channels to the next planes (B,); or floats (B, 3, H, W)."""

Work = namedtuple(
    "Work",
    "strip line image image2 inside strip16 line16 image16 image16_next inside16 bytes ring weights_x weights_y pairs index "
    "first count start norm half half16 above below steps values spare spare16 margin",
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
def resized(source, b, pairs, reach, begin, width, ready, first, last, work, mask):
    """Filter the rows of image b that output rows first..last need and the ring has not yet; returns the rows done.

    begin: where the part of the image that is read starts; width: its pixels a row; ready: rows done before.
    """
    top, count = work.first[1], work.count[1]
    ready, need = max(ready, top[first]), top[last] + count[last]
    resize.fill(
        reach, source.pixels, begin, source.pitches[b], source.step, source.planes[b], width, ready, need,
        work.start, work.index, work.pairs, pairs, work.ring, mask, work.bytes,
    )  # fmt: skip
    return max(ready, need)


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
