"""A view, pass after pass, in 16-bit fixed point or in float32: one loop, compiled for each of the two."""

from __future__ import annotations

import numpy as np

from ...instructions import BLUR, CLIPPED_NOISE, CONTRAST, ERASE, KEY, NOISE, NOTHING
from ..jit import inlined, kernel
from . import blur, blur_fixed, color, color_fixed, output, positional, resize
from .program import next_barrier, next_positional


@inlined
def apply_positional(what, arg, bits, strip, plane, stride, width, rows, y, spare):
    """Noise or erasing on the strip, whose first row is row y of the view."""
    if what in (NOISE, CLIPPED_NOISE):
        clip = what == CLIPPED_NOISE
        positional.add_noise(strip, plane, stride, width, rows, y, arg[0], arg[1], clip, bits[KEY], bits[KEY + 1])
    elif what == ERASE:
        positional.erase(strip, plane, stride, rows, y, arg, arg[4:7])
    else:
        positional.erase_with_noise(strip, plane, stride, width, rows, y, arg, bits[KEY], bits[KEY + 1], spare)


def view_with(fixed16):
    """The kernel that makes a view in fixed point (for programs that `color_fixed.fits` allows), or in float32 (for any)."""
    colors, blurring = (color_fixed, blur_fixed) if fixed16 else (color, blur)
    resize_down = resize.down_fixed if fixed16 else resize.down
    any_program = not fixed16

    @kernel
    def make(source, b, box_width, flip, code, arg, bits, programmed, pairs, reach, begin_at, work, strips, target):
        """Make view b, each pass strip by strip; see `views`. strips: of `work`, for this format."""
        filters, blurs, steps = work.filters, work.blur, work.steps
        height, width = target.height, target.width
        stride = strips.inside.shape[0]
        strip, plane, image_plane, view_plane = strips.strip, strips.strip.shape[0] // 3, height * stride, height * width
        deep = plane // stride  # rows of a strip
        ring_stride = filters.offset.shape[0]
        mask = filters.ring.shape[0] // (3 * ring_stride) - 1
        out, scale, bias = target.out, target.scale, target.bias
        # Whether a pass may write the view from registers, past the caches, instead of by way of a strip.
        streams = target.form == output.FLOAT32 and target.aligned and not target.channels_last and width == stride
        image, image_next = strips.image, strips.image_next
        args = colors.arguments(code, arg, steps, programmed, work.values)
        begin, end = -1, next_barrier(code, steps, 0, programmed)
        ready = 0
        while begin < programmed:
            ends = end == programmed
            barrier = NOTHING if begin < 0 else code[steps[begin]]
            next_is_blur = not ends and code[steps[end]] == BLUR
            radius = next_radius = 0
            weights = blurring.half_kernels(blurs)
            if barrier == BLUR:
                radius = blurring.gaussian(arg[steps[begin], 0], int(arg[steps[begin], 2]), blurs, 1)
            if next_is_blur:
                next_radius = blurring.gaussian(arg[steps[end], 0], int(arg[steps[end], 1]), blurs, 0)
            into = image_next if barrier == BLUR else image
            from_floats = source.floats.shape[0] > 0
            backwards = flip[1] and begin < 0 and not from_floats  # resized rows come in the order of the pixels
            first = begin if barrier == CONTRAST else begin + 1
            gray = 0.0
            for s in range(0, height, deep):
                here = min(deep, height - s)
                y = height - s - here if backwards else s
                row, count, to = y * stride, here * stride, (np.int64(b) * 3 * height + y) * width
                pixels, pixels_plane, at = strip, plane, 0
                if barrier == CONTRAST:
                    pixels, pixels_plane, at = image, image_plane, row
                elif barrier == BLUR:
                    if fixed16 and ends and streams and first == end:
                        blurring.down_out(
                            image, image_plane, y, height, stride, here, radius, weights[1], blurs.above, blurs.below,
                            out, view_plane, to, scale, bias,
                        )  # fmt: skip
                        continue
                    blurring.down(
                        image, image_plane, y, height, stride, here, radius, weights[1], blurs.above, blurs.below,
                        strip, plane, 0, scale, bias,
                    )  # fmt: skip
                elif from_floats:
                    for r in range(here):
                        n = height - 1 - y - r if flip[1] else y + r
                        start = (np.int64(b) * 3 * height + n) * width
                        output.read_floats(source.floats, start, view_plane, width, flip[0], strip, plane, r * stride)
                else:
                    ready = resize.resized(source, b, pairs, reach, begin_at, box_width, ready, s, s + here - 1, filters, mask)
                    top, taps, weights_y = filters.first[1], filters.taps[1], filters.weights_y
                    if any_program and not programmed and streams:
                        resize.down_out(
                            filters.ring, mask, top, taps, weights_y, s, here, backwards, ring_stride,
                            out, view_plane, to, width, scale, bias,
                        )  # fmt: skip
                        continue
                    resize_down(
                        filters.ring, mask, top, taps, weights_y, s, here, backwards, ring_stride,
                        strip, plane, 0, stride, scale, bias,
                    )  # fmt: skip
                step = first
                if any_program:
                    at_position = next_positional(code, steps, step, end)
                    while at_position < end:
                        colors.run(pixels, pixels_plane, at, count, strip, plane, 0, code, args, steps, step, at_position)
                        pixels, pixels_plane, at = strip, plane, 0
                        n = steps[at_position]
                        apply_positional(code[n], arg[n], bits[n], strip, plane, stride, width, here, y, work.spare)
                        step = at_position + 1
                        at_position = next_positional(code, steps, step, end)
                if fixed16 and ends and streams:
                    colors.finish(
                        pixels, pixels_plane, at, count, out, view_plane, to, scale, bias, code, args, steps, step, end
                    )
                elif not ends and not next_is_blur:
                    colors.run(pixels, pixels_plane, at, count, into, image_plane, row, code, args, steps, step, end)
                    gray += colors.gray_sum(into, image_plane, row, here, stride, strips.inside)
                else:
                    if step < end:
                        colors.run(pixels, pixels_plane, at, count, strip, plane, 0, code, args, steps, step, end)
                    if next_is_blur:
                        blurring.across(
                            strip, plane, stride, width, here, next_radius, weights[0], strips.line, blurs.margin,
                            into, image_plane, row,
                        )  # fmt: skip
                    else:
                        floats = work.float32.strip
                        if fixed16:
                            output.from_fixed(strip, plane, stride, here, floats, floats.shape[0] // 3, ring_stride)
                        output.emit(work, target, b, y, here, floats.shape[0] // 3, ring_stride)
            if barrier == BLUR:
                image, image_next = image_next, image
            if not ends and not next_is_blur:
                colors.keep_mean(args, steps[end], gray / (height * width))
            begin, end = end, next_barrier(code, steps, end + 1, programmed)

    return make


make_fixed, make_float32 = view_with(True), view_with(False)
