"""A view in float32: any program."""

from __future__ import annotations

import numpy as np

from ...instructions import BLUR, BLUR_CUT, CLIPPED_NOISE, CONTRAST, ERASE, KEY, NOISE, NOTHING
from ..jit import ONE, inlined, kernel
from . import blur, color, output, positional, resize
from .program import next_barrier, next_positional


@inlined
def apply_positional(what, arg, bits, strip, plane, stride, width, rows_here, y, spare):
    """Noise or erasing on the strip, whose first row is row y of the view."""
    if what in (NOISE, CLIPPED_NOISE):
        clip = what == CLIPPED_NOISE
        positional.add_noise(strip, plane, stride, width, rows_here, y, arg[0], arg[1], clip, bits[KEY], bits[KEY + 1])
    elif what == ERASE:
        positional.erase(strip, plane, stride, rows_here, y, arg, arg[4:7])
    else:
        positional.erase_with_noise(strip, plane, stride, width, rows_here, y, arg, bits[KEY], bits[KEY + 1], spare)


@kernel
def make(source, b, box_width, flip, code, arg, bits, steps, programmed, pairs, reach, begin_at, work, target):
    """Make view b: pass after pass, each strip by strip; see `views`."""
    height, width = target.height, target.width
    stride = work.index.shape[0]
    plane, image_plane = work.strip.shape[0] // 3, height * stride
    deep = plane // stride  # rows of a strip
    mask = work.ring.shape[0] // (3 * stride) - 1
    strip, weights, out, scale, bias = work.strip, work.half, target.out, target.scale, target.bias
    streams = target.form == output.FLOAT32 and target.aligned and not target.channels_last
    from_floats = source.floats.shape[0] > 0
    image, image_next = work.image, work.image2
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
        backwards = flip[1] and begin < 0 and not from_floats  # resized rows come in the order of the pixels
        first = begin if barrier == CONTRAST else begin + 1
        gray = 0.0
        for s in range(0, height, deep):
            here = min(deep, height - s)
            y = height - s - here if backwards else s
            row, count = y * stride, here * stride
            pixels, pixels_plane, at = strip, plane, 0
            if barrier == CONTRAST:
                pixels, pixels_plane, at = image, image_plane, row
            elif barrier == BLUR:
                blur.down(image, image_plane, y, height, stride, here, radius, weights[1], work.above, work.below, strip, plane)
            elif from_floats:
                for r in range(here):
                    n = height - 1 - y - r if flip[1] else y + r
                    start = (np.int64(b) * 3 * height + n) * width
                    output.read_floats(source.floats, start, height * width, width, flip[0], strip, plane, r * stride)
            else:
                ready = resize.resized(source, b, pairs, reach, begin_at, box_width, ready, s, s + here - 1, work, mask)
                top, taps, weights_y = work.first[1], work.count[1], work.weights_y
                if not programmed and streams:
                    to = (np.int64(b) * 3 * height + y) * width
                    resize.down_out(
                        work.ring, mask, top, taps, weights_y, s, here, backwards, stride,
                        out, height * width, to, stride, scale, bias,
                    )  # fmt: skip
                    continue
                resize.down(
                    work.ring, mask, top, taps, weights_y, s, here, backwards, stride, strip, plane, 0, stride, scale, bias
                )
            step = first
            at_position = next_positional(code, steps, step, end)
            while at_position < end:
                color.change(pixels, pixels_plane, at, count, strip, plane, 0, code, arg, steps, step, at_position)
                pixels, pixels_plane, at = strip, plane, 0
                n = steps[at_position]
                apply_positional(code[n], arg[n], bits[n], strip, plane, stride, width, here, y, work.spare)
                step = at_position + 1
                at_position = next_positional(code, steps, step, end)
            if ends or next_is_blur:
                if step < end:
                    color.change(pixels, pixels_plane, at, count, strip, plane, 0, code, arg, steps, step, end)
                if ends:
                    output.emit(work, target, b, y, here, plane, stride)
                else:
                    blur.across(
                        strip,
                        plane,
                        stride,
                        width,
                        here,
                        next_radius,
                        weights[0],
                        work.line,
                        work.margin,
                        into,
                        image_plane,
                        row,
                    )
            else:
                color.change(pixels, pixels_plane, at, count, into, image_plane, row, code, arg, steps, step, end)
                gray += color.gray_sum(into, image_plane, row, here, stride, work.inside)
        if barrier == BLUR:
            image, image_next = image_next, image
        if not ends and not next_is_blur:
            n = steps[end]
            arg[n, 1] = np.float32(gray / (height * width)) * (ONE - arg[n, 0])
        begin, end = end, next_barrier(code, steps, end + 1, programmed)
