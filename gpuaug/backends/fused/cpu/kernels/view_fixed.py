"""A view in fixed point: the programs that `color_fixed.fits` allows, at about two thirds of the time."""

from __future__ import annotations

import numpy as np

from ...instructions import BLUR, BLUR_CUT, CONTRAST, NOTHING
from ..jit import kernel
from ..simd.int16 import ONE
from . import blur, blur_fixed, color_fixed, output, resize
from .program import next_barrier


@kernel
def make(source, b, box_width, flip, code, arg, steps, programmed, pairs, reach, begin_at, work, target):
    """Make view b: pass after pass, each strip by strip; see `views`."""
    height, width = target.height, target.width
    stride, pitch = work.index.shape[0], work.inside16.shape[0]
    float_plane, plane, image_plane = work.strip.shape[0] // 3, work.strip16.shape[0] // 3, height * pitch
    deep = plane // pitch  # rows of a strip
    mask = work.ring.shape[0] // (3 * stride) - 1
    strip, halves, weights, values = work.strip16, work.half, work.half16, work.values
    out, scale, bias = target.out, target.scale, target.bias
    streams = target.form == output.FLOAT32 and target.aligned and not target.channels_last and width == pitch
    image, image_next = work.image16, work.image16_next
    color_fixed.arguments(code, arg, steps, programmed, values)
    begin, end = -1, next_barrier(code, steps, 0, programmed)
    ready = 0
    while begin < programmed:
        ends = end == programmed
        barrier = NOTHING if begin < 0 else code[steps[begin]]
        next_is_blur = not ends and code[steps[end]] == BLUR
        radius = next_radius = 0
        if barrier == BLUR:
            radius = blur.gaussian(arg[steps[begin], 0], int(arg[steps[begin], 2]), BLUR_CUT, halves[1])
            blur_fixed.weights(halves[1], radius, weights[1])
        if next_is_blur:
            next_radius = blur.gaussian(arg[steps[end], 0], int(arg[steps[end], 1]), BLUR_CUT, halves[0])
            blur_fixed.weights(halves[0], next_radius, weights[0])
        into = image_next if barrier == BLUR else image
        backwards = flip[1] and begin < 0  # resized rows come in the order of the pixels
        first = begin if barrier == CONTRAST else begin + 1
        gray = 0.0
        for s in range(0, height, deep):
            here = min(deep, height - s)
            y = height - s - here if backwards else s
            row, to = y * pitch, (np.int64(b) * 3 * height + y) * width
            pixels, pixels_plane, at = strip, plane, 0
            if barrier == CONTRAST:
                pixels, pixels_plane, at = image, image_plane, row
            elif barrier == BLUR:
                if ends and streams and first == end:
                    blur_fixed.down_out(
                        image, image_plane, y, height, pitch, here, radius, weights[1], work.above, work.below,
                        out, height * width, to, scale, bias,
                    )  # fmt: skip
                    continue
                blur_fixed.down(
                    image, image_plane, y, height, pitch, here, radius, weights[1], work.above, work.below,
                    strip, plane, 0, scale, bias,
                )  # fmt: skip
            else:
                ready = resize.resized(source, b, pairs, reach, begin_at, box_width, ready, s, s + here - 1, work, mask)
                resize.down_fixed(
                    work.ring, mask, work.first[1], work.count[1], work.weights_y, s, here, backwards, stride,
                    strip, plane, 0, pitch, scale, bias,
                )  # fmt: skip
            count = here * pitch
            if ends and streams:
                color_fixed.finish(
                    pixels, pixels_plane, at, count, out, height * width, to, scale, bias, code, values, steps, first, end
                )
            elif not ends and not next_is_blur:
                color_fixed.change(pixels, pixels_plane, at, count, into, image_plane, row, code, values, steps, first, end)
                gray += color_fixed.gray_sum(into, image_plane, row, here, pitch, work.inside16)
            else:
                if first < end:
                    color_fixed.change(pixels, pixels_plane, at, count, strip, plane, 0, code, values, steps, first, end)
                if ends:
                    output.from_fixed(strip, plane, pitch, here, work.strip, float_plane, stride)
                    output.emit(work, target, b, y, here, float_plane, stride)
                else:
                    blur_fixed.across(
                        strip,
                        plane,
                        pitch,
                        width,
                        here,
                        next_radius,
                        weights[0],
                        work.line16,
                        work.margin,
                        into,
                        image_plane,
                        row,
                    )
        if barrier == BLUR:
            image, image_next = image_next, image
        if not ends and not next_is_blur:
            values[steps[end], 1] = int(np.floor(gray / (height * width) * ONE + 0.5))
        begin, end = end, next_barrier(code, steps, end + 1, programmed)
