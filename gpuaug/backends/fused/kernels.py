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
    HUE_OF_ANY,
    INVERT,
    NOISE,
    NOTHING,
    POSTERIZE,
    SATURATION,
    SOLARIZE,
)
from .rows import ONE, OPTIONS, ZERO, inlined, kernel
from .simd import LANES

BLUR_CUT = 1e-4
"""Share of the Gaussian's mass that may be cut off with its tails; the error in the view is at most this."""

Source = namedtuple("Source", "pixels offsets pitches floats")
"""pixels, offsets (B,), pitches (B,): 8-bit images in one buffer, their starts, their bytes a row; or floats (B, 3, H, W)."""

Work = namedtuple(
    "Work", "strip line pixels ring image image2 weights_x weights_y lanes first count start norm half spare spare16 margin"
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
def run(code, arg, bits, first, last, y, rows_here, work, plane, stride, width):
    """Apply the instructions first..last-1, none of them a barrier, to the strip, whose first row is row y of the view."""
    strip, count = work.strip, rows_here * stride
    for n in range(first, last):
        what = code[n]
        if what == NOTHING:
            continue
        if what == BRIGHTNESS:
            rows.brightness(strip, plane, count, arg[n, 0])
        elif what == SATURATION:
            rows.saturation(strip, plane, count, arg[n, 0])
        elif what == HUE:
            rows.hue(strip, plane, count, arg[n, 0])
        elif what == HUE_OF_ANY:
            rows.hue_of_any(strip, plane, count, arg[n, 0])
        elif what == GRAY:
            rows.grayscale(strip, plane, count)
        elif what == SOLARIZE:
            rows.solarize(strip, plane, count, arg[n, 0])
        elif what == POSTERIZE:
            rows.posterize(strip, plane, count, arg[n, 0])
        elif what == INVERT:
            rows.affine(strip, 0, 2 * plane + count, -ONE, ONE)
        elif what == AFFINE:
            for c in range(3):
                rows.affine(strip, c * plane, count, arg[n, c], arg[n, 3 + c])
        elif what in (NOISE, CLIPPED_NOISE):
            clip = what == CLIPPED_NOISE
            rows.add_noise(strip, plane, stride, width, rows_here, y, arg[n, 0], arg[n, 1], clip, bits[n, 6], bits[n, 7])
        elif what == ERASE:
            rows.erase(strip, plane, stride, rows_here, y, arg[n], arg[n, 4:7])
        else:
            rows.erase_with_noise(strip, plane, stride, width, rows_here, y, arg[n], bits[n, 6], bits[n, 7], work.spare)


@inlined
def emit(work, target, b, y, rows_here, plane, stride):
    """Write the strip as rows y, y + 1, ... of view b."""
    height, width, form, aligned = target.height, target.width, target.form, target.aligned
    strip = work.strip
    if target.channels_last:
        for r in range(rows_here):
            rows.interleave(strip, plane, r * stride, width, target.scale, target.bias, work.line)
            to = (np.int64(b) * height + y + r) * width * 3
            if form == rows.FLOAT32:
                rows.write_floats(work.line, 0, 3 * width, ONE, ZERO, target.out, to, aligned)
            else:
                rows.write_narrow(work.line, 0, 3 * width, ONE, ZERO, target.out16, to, form, aligned, work.spare16)
        return
    # Rows without padding follow one another in strip and view alike, and are written as one.
    runs, length = (1, rows_here * width) if stride == width else (rows_here, width)
    for c in range(3):
        f, o = target.scale[c], target.bias[c]
        for r in range(runs):
            at = c * plane + r * stride
            to = ((np.int64(b) * 3 + c) * height + y + r) * width
            if form == rows.FLOAT32:
                rows.write_floats(strip, at, length, f, o, target.out, to, aligned)
            else:
                rows.write_narrow(strip, at, length, f, o, target.out16, to, form, aligned, work.spare16)


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


# The cache is renewed when this file changes, not when the functions that it calls do: see CONTRIBUTING.
@njit(cache=True, **OPTIONS)
def views(source, boxes, flips, cubic, near, codes, args, words, work, target, first, last):
    """Make views first..last-1.

    boxes, flips, cubic, codes, args: see `plan.Tables`. words: the memory of args as uint32. near: whether `simd.permute` may
    be used.
    """
    height, width = target.height, target.width
    stride = work.lanes.shape[1]
    plane, image_plane = work.strip.shape[0] // 3, height * stride
    deep = plane // stride  # rows of a strip
    ring_mask = work.ring.shape[0] // (3 * stride) - 1
    strip, half, margin = work.strip, work.half, work.margin
    from_floats = source.floats.shape[0] > 0
    for b in range(first, last):
        code, arg, bits = codes[b], args[b], words[b]
        upside_down = flips[b, 1]
        image, image_next = work.image, work.image2
        most, fits = 1, False
        if not from_floats:
            most, fits = prepare(boxes, flips[b, 0], cubic, near, b, work, height, width)
        begin, end = -1, next_barrier(code, 0)
        ready = 0
        gray = 0.0
        while begin < code.shape[0]:
            blurring = begin >= 0 and code[begin] == BLUR
            down = rows.gaussian(arg[begin, 0], int(arg[begin, 2]), BLUR_CUT, half[1]) if blurring else 0
            across = radius_across(code, arg, end, half)
            factor = arg[begin, 0] if begin >= 0 else ONE
            bias = np.float32(gray / (height * width)) * (ONE - factor)
            gray = 0.0
            into = image_next if blurring else image
            backwards = upside_down and begin < 0 and not from_floats  # resized rows come in the order of the pixels
            for s in range(0, height, deep):
                here = min(deep, height - s)
                y = height - s - here if backwards else s
                if begin >= 0 and not blurring:
                    rows.contrast(image, image_plane, y * stride, strip, plane, here * stride, factor, bias)
                else:
                    for k in range(here):
                        r = here - 1 - k if backwards else k
                        if blurring:
                            for c in range(3):
                                to = c * plane + r * stride
                                rows.blur_down(image, c * image_plane, y + r, height, stride, down, half[1], strip, to)
                        elif from_floats:
                            n = height - 1 - y - r if upside_down else y + r
                            at = (np.int64(b) * 3 * height + n) * width
                            rows.read_floats(source.floats, at, height * width, width, flips[b, 0], strip, plane, r * stride)
                        else:
                            n = s + k
                            top, count = work.first[1, n], work.count[1, n]
                            ready = resize_until(source, boxes, b, work, max(ready, top), top + count, most, fits, stride)
                            rows.mix_rows(work.ring, ring_mask, top, count, work.weights_y, n, stride, strip, plane, r * stride)
                run(code, arg, bits, begin + 1, end, y, here, work, plane, stride, width)
                if end == code.shape[0]:
                    emit(work, target, b, y, here, plane, stride)
                elif code[end] == CONTRAST:
                    rows.keep(strip, plane, here * stride, into, image_plane, y * stride)
                    gray += rows.gray_sum(strip, plane, stride, width, here)
                else:
                    for c in range(3):
                        for r in range(here):
                            to = c * image_plane + (y + r) * stride
                            at = c * plane + r * stride
                            rows.blur_across(strip, at, width, across, half[0], work.line, margin, into, to)
            if blurring:
                image, image_next = image_next, image
            begin, end = end, next_barrier(code, end + 1)
