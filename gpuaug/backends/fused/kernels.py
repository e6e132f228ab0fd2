"""The views of a run of images, each in as few passes over memory as its program allows.

Every image has a program: the instructions that its draws ask for, in order. A pass makes the view row by row, in a buffer
that stays in the first cache, and ends where an instruction needs more than a row: contrast wants the mean of the whole
view, blur the rows above and below. Between passes the view lies in one float buffer, which stays in the second cache.

    pixels --resize rows--> row --instructions--> row --contrast or blur next--> image buffer --next pass--> ... --> view
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from . import rows
from .plan import (
    AFFINE,
    BLUR,
    BRIGHTNESS,
    CLIPPED_NOISE,
    CONTRAST,
    ERASE,
    GRAY,
    HUE,
    INVERT,
    NOISE,
    NOTHING,
    POSTERIZE,
    SATURATION,
    SOLARIZE,
)
from .rows import ONE, ZERO, kernel
from .rows import local as inlined
from .simd import LANES


BLUR_CUT = 1e-4
"""Share of the Gaussian's mass that may be cut off with its tails; the error in the view is at most this."""

Source = namedtuple("Source", "pixels offsets pitches floats")
"""pixels, offsets (B,), pitches (B,): 8-bit images in one buffer, where each starts, its bytes a row; or floats (B, 3, H, W)."""

Work = namedtuple(
    "Work", "row line pixels ring image image2 weights_x weights_y lanes first count start norm half spare spare16 margin pitch"
)
"""Buffers of one thread; see `cpu.scratch`."""

Target = namedtuple("Target", "out out16 form channels_last aligned height width scale bias")
"""Where views go: flat arrays, the form of their elements, and the affine map of each channel on the way out."""


@kernel
def next_barrier(code, at):
    while at < code.shape[0] and code[at] != CONTRAST and code[at] != BLUR:
        at += 1
    return at


@inlined
def run(code, arg, bits, first, last, y, work, width):
    """Apply the instructions first..last-1, none of them a barrier, to the row buffer, which holds row y."""
    row, margin, pitch = work.row, work.margin, work.pitch
    for n in range(first, last):
        what = code[n]
        if what == NOTHING:
            continue
        if what == BRIGHTNESS:
            rows.scale_clamp(row, margin, pitch, width, arg[n, 0], ZERO)
        elif what == SATURATION:
            rows.saturation(row, margin, pitch, width, arg[n, 0])
        elif what == HUE:
            rows.hue(row, margin, pitch, width, arg[n, 0])
        elif what == GRAY:
            rows.grayscale(row, margin, pitch, width)
        elif what == SOLARIZE:
            rows.solarize(row, margin, pitch, width, arg[n, 0])
        elif what == POSTERIZE:
            rows.posterize(row, margin, pitch, width, arg[n, 0])
        elif what == INVERT:
            for c in range(3):
                rows.affine(row, margin, pitch, width, c, -ONE, ONE)
        elif what == AFFINE:
            for c in range(3):
                rows.affine(row, margin, pitch, width, c, arg[n, c], arg[n, 3 + c])
        elif what == NOISE or what == CLIPPED_NOISE:
            clip = what == CLIPPED_NOISE
            rows.add_noise(row, margin, pitch, width, y, arg[n, 0], arg[n, 1], clip, bits[n, 6], bits[n, 7])
        elif arg[n, 0] <= y < arg[n, 0] + arg[n, 2]:
            left, box_width = int(arg[n, 1]), int(arg[n, 3])
            if what == ERASE:
                rows.erase(row, margin, pitch, width, left, box_width, arg[n, 4:7])
            else:
                rows.erase_with_noise(row, margin, pitch, width, y, left, box_width, bits[n, 6], bits[n, 7], work.spare)


@inlined
def emit(work, target, b, y):
    """Write the row buffer as row y of view b."""
    height, width, form, aligned = target.height, target.width, target.form, target.aligned
    row, margin, pitch = work.row, work.margin, work.pitch
    if target.channels_last:
        rows.interleave(row, margin, pitch, width, target.scale, target.bias, work.line)
        to = (np.int64(b) * height + y) * width * 3
        if form == rows.FLOAT32:
            rows.write_floats(work.line, 0, 3 * width, ONE, ZERO, target.out, to, aligned)
        else:
            rows.write_narrow(work.line, 0, 3 * width, ONE, ZERO, target.out16, to, form, aligned, work.spare16)
        return
    for c in range(3):
        at = c * pitch + margin
        to = ((np.int64(b) * 3 + c) * height + y) * width
        f, o = target.scale[c], target.bias[c]
        if form == rows.FLOAT32:
            rows.write_floats(row, at, width, f, o, target.out, to, aligned)
        else:
            rows.write_narrow(row, at, width, f, o, target.out16, to, form, aligned, work.spare16)


@kernel
def radius_across(code, arg, end, half):
    """Radius of the blur with which the next pass begins, if it does, and its weights across into half[0]."""
    if end < code.shape[0] and code[end] == BLUR:
        return rows.gaussian(arg[end, 0], int(arg[end, 1]), BLUR_CUT, half[0])
    return 0


@inlined
def prepare(boxes, flip, cubic, near, b, work, height, width):
    """Filters of the resize of image b; returns the taps of a row and whether sixteen outputs read at most 32 pixels."""
    box_h, box_w, full_h, full_w, skip_y, skip_x = (
        boxes[b, 2], boxes[b, 3], boxes[b, 4], boxes[b, 5], boxes[b, 6], boxes[b, 7],
    )  # fmt: skip
    most = rows.taps(box_w, full_w, skip_x, width, flip, cubic, ONE, work.first[0], work.count[0], work.norm, work.weights_x)
    white = np.float32(1 / 255)
    rows.taps(box_h, full_h, skip_y, height, False, cubic, white, work.first[1], work.count[1], work.norm, work.weights_y)
    widest = rows.windows(width, most, work.first[0], work.start, work.lanes)
    return most, near and widest <= 2 * LANES


@inlined
def resize_until(source, boxes, b, work, ready, need, most, near, stride):
    """Resize rows ready..need-1 of image b across, into the ring; returns need.

    Pixels are read one row ahead of the filter: a load right behind the narrower stores that it overlaps would stall.
    """
    pitch = work.pixels.shape[0] // 6
    box_w = boxes[b, 3]
    at = source.offsets[b] + np.int64(boxes[b, 0]) * source.pitches[b] + np.int64(boxes[b, 1]) * 3
    mask = work.ring.shape[0] // (3 * stride) - 1
    lanes, weights = work.lanes.reshape(-1), work.weights_x.reshape(-1)
    while ready < need:
        pixels = work.pixels[(ready & 1) * 3 * pitch : ((ready & 1) + 1) * 3 * pitch]
        rows.read_pixels(source.pixels, at + np.int64(ready) * source.pitches[b], box_w, pixels, pitch)
        into = work.ring[(ready & mask) * 3 * stride : ((ready & mask) + 1) * 3 * stride]
        if near:
            rows.resize_near(pixels, pitch, most, work.start, lanes, weights, into, stride)
        else:
            rows.resize_far(pixels, pitch, most, work.start, lanes, weights, into, stride)
        ready += 1
    return ready


@kernel
def views(source, boxes, flips, cubic, near, codes, args, words, work, target, first, last):
    """Make views first..last-1.

    boxes, flips, cubic, codes, args: see `plan.Tables`. words: the memory of args as uint32. near: whether `simd.permute` may
    be used.
    """
    height, width = target.height, target.width
    stride = work.lanes.shape[1]
    ring_mask = work.ring.shape[0] // (3 * stride) - 1
    row, margin, pitch, half = work.row, work.margin, work.pitch, work.half
    from_floats = source.floats.shape[0] > 0
    for b in range(first, last):
        code, arg, bits = codes[b], args[b], words[b]
        image, image_next = work.image, work.image2
        most, fits = 1, False
        if not from_floats:
            most, fits = prepare(boxes, flips[b, 0], cubic, near, b, work, height, width)
        begin, end = -1, next_barrier(code, 0)
        ready = 0
        total = 0.0
        while begin < code.shape[0]:
            blurring = begin >= 0 and code[begin] == BLUR
            down = rows.gaussian(arg[begin, 0], int(arg[begin, 2]), BLUR_CUT, half[1]) if blurring else 0
            across = radius_across(code, arg, end, half)
            factor = arg[begin, 0] if begin >= 0 else ONE
            rest = np.float32(total / (height * width)) * (ONE - factor)
            total = 0.0
            for n in range(height):
                y = n
                if blurring:
                    rows.blur_down(image, n, height, stride, width, down, half[1], row, margin, pitch)
                elif begin >= 0:
                    rows.fetch(image, n * 3 * stride, stride, row, margin, pitch, width)
                    rows.scale_clamp(row, margin, pitch, width, factor, rest)
                elif from_floats:
                    y = height - 1 - n if flips[b, 1] else n
                    at = (np.int64(b) * 3 * height + n) * width
                    rows.read_floats(source.floats, at, height * width, width, flips[b, 0], row, margin, pitch)
                else:
                    y = height - 1 - n if flips[b, 1] else n
                    top, count = work.first[1, n], work.count[1, n]
                    ready = resize_until(source, boxes, b, work, max(ready, top), top + count, most, fits, stride)
                    rows.mix_rows(work.ring, ring_mask, top, count, work.weights_y, n, stride, width, row, margin, pitch)
                run(code, arg, bits, begin + 1, end, y, work, width)
                if end == code.shape[0]:
                    emit(work, target, b, y)
                elif code[end] == CONTRAST:
                    rows.keep(row, margin, pitch, width, image_next if blurring else image, y * 3 * stride, stride)
                    total += rows.gray_sum(row, margin, pitch, width)
                else:
                    into = image_next if blurring else image
                    rows.blur_across(row, margin, pitch, width, across, half[0], into[y * 3 * stride :], stride)
            if blurring:
                image, image_next = image_next, image
            begin, end = end, next_barrier(code, end + 1)
