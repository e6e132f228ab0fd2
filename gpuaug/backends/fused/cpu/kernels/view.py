"""Makes one view, pass by pass; the same loop is compiled for 16-bit fixed point and for float32."""

from __future__ import annotations

import numpy as np

from ...instructions import ADD, ADD_LAST, BLUR, CLIPPED_NOISE, CONTRAST, ELASTIC, ERASE, JPEG, KEEP, KEY, NOISE, NOTHING, WARP
from ..jit import inlined_by_numba, kernel
from . import blur, blur_fixed, color, color_fixed, output, positional, resize
from .barriers import fixed16 as barriers_fixed
from .barriers import float32 as barriers_float
from .barriers.begin import strip_with
from .barriers.end import finish_whole, gather_with
from .barriers.warp import FRAME, slides
from .program import next_barrier, next_positional, reads_around

IN_PLACE = (CONTRAST, JPEG, KEEP, ADD, ADD_LAST)
"""After these a pass begins with the pixels of a buffer as they are."""


@inlined_by_numba
def apply_positional(instruction, arg, bits, strip, plane, stride, width, rows, y, spare):
    """Apply noise or erasing to a strip whose first row is row y of the view."""
    if instruction in (NOISE, CLIPPED_NOISE):
        clip = instruction == CLIPPED_NOISE
        positional.add_noise(strip, plane, stride, width, rows, y, arg[0], arg[1], clip, bits[KEY], bits[KEY + 1])
    elif instruction == ERASE:
        positional.erase(strip, plane, stride, rows, y, arg, arg[4:7])
    else:
        positional.erase_with_noise(strip, plane, stride, width, rows, y, arg, bits[KEY], bits[KEY + 1], spare)


def view_with(fixed16):
    """Make the kernel for fixed point, which runs programs that `color_fixed.fits` allows, or for float32, which runs any."""
    colors, blurring, barriers = (color_fixed, blur_fixed, barriers_fixed) if fixed16 else (color, blur, barriers_float)
    resize_down = resize.down_fixed if fixed16 else resize.down
    any_program = not fixed16
    strip_behind, (clear, gather, finish) = strip_with(barriers, any_program), gather_with(colors, barriers)

    @kernel
    def make_view(source, b, box_width, flip, code, arg, bits, step_count, across, down, box_start, work, buffers, target):
        """Make view b; `views` explains passes and strips. Returns False, with the view unfinished, if it needs float32.

        across, down: slots of its filters. buffers: the part of `work` for this format.
        """
        filters, blurs, steps = work.filters, work.blur, work.steps
        height, width = target.height, target.width
        stride = buffers.inside.shape[0]
        strip, plane, image_plane, view_plane = buffers.strip, buffers.strip.shape[0] // 3, height * stride, height * width
        strip_rows = plane // stride
        ring_stride = filters.offset.shape[1]
        mask = filters.ring.shape[0] // (3 * ring_stride) - 1
        out, scale, bias = target.out, target.scale, target.bias
        # Whether a pass may write the view from registers, past the caches, without writing a strip first.
        streams = target.dtype == output.FLOAT32 and target.aligned and not target.channels_last and width == stride
        image, image_next = buffers.image, buffers.image_next
        framed_next, framed, pitch = buffers.framed, buffers.framed_next, stride + FRAME
        top, taps, weights_y = filters.first[1, down], filters.taps[1, down], filters.weights_y[down]
        args = colors.prepare_arguments(code, arg, steps, step_count, work.values)
        begin, end = -1, next_barrier(code, steps, 0, step_count)
        ready, kept_at, summed, sliding = 0, -1, False, False
        while begin < step_count:
            is_last = end == step_count
            barrier = NOTHING if begin < 0 else code[steps[begin]]
            ending, n = NOTHING, -1
            if not is_last:
                n = steps[end]
                ending = code[n]
            next_is_blur = ending == BLUR
            in_place = barrier in IN_PLACE
            # A warp slides rows of the image buffer, or gathers from the framed image.
            next_slides = ending == WARP and slides(arg, n)
            next_gathers = ending == ELASTIC or (ending == WARP and not next_slides)
            if next_gathers:
                barriers.frame(framed_next, pitch, height, arg[n + 1, 1:4], arg[n + 1, 0] != 0)
            radius = next_radius = 0
            weights = blurring.half_kernels(blurs)
            if barrier == BLUR:
                radius = blurring.gaussian(arg[steps[begin], 0], int(arg[steps[begin], 2]), blurs, 1)
            if next_is_blur:
                next_radius = blurring.gaussian(arg[n, 0], int(arg[n, 1]), blurs, 0)
            around = barrier != NOTHING and reads_around(barrier) and (barrier != WARP or sliding) and barrier != ELASTIC
            into = buffers.kept if ending == KEEP else (image_next if around else image)
            into_strip = is_last or ending in (BLUR, ADD, ADD_LAST) or next_gathers
            from_floats = source.floats.shape[0] > 0
            backwards = flip[1] and begin < 0 and not from_floats  # since source rows are resized from the top down
            first = begin if barrier == CONTRAST else begin + 1
            gray = 0.0
            clear(ending, buffers, work.counts)
            for s in range(0, height, strip_rows):
                rows = min(strip_rows, height - s)
                y = height - s - rows if backwards else s
                row, count, to = y * stride, rows * stride, (np.int64(b) * 3 * height + y) * width
                pixels, pixels_plane, at = strip, plane, 0
                if barrier == BLUR:
                    if fixed16 and is_last and streams and first == end:
                        blurring.down_out(
                            image, image_plane, y, height, stride, rows, radius, weights[1], blurs.above, blurs.below,
                            out, view_plane, to, scale, bias,
                        )  # fmt: skip
                        continue
                    blurring.down(
                        image, image_plane, y, height, stride, rows, radius, weights[1], blurs.above, blurs.below,
                        strip, plane, 0, scale, bias,
                    )  # fmt: skip
                elif begin >= 0:
                    pixels, pixels_plane, at = strip_behind(
                        barrier, arg, steps[begin], sliding, image, image_plane, framed, pitch, image_next, y, height, width,
                        stride, rows, buffers, blurs.margin, work.place,
                    )  # fmt: skip
                elif from_floats:
                    for r in range(rows):
                        line = height - 1 - y - r if flip[1] else y + r
                        start = (np.int64(b) * 3 * height + line) * width
                        output.read_floats(source.floats, start, view_plane, width, flip[0], strip, plane, r * stride)
                else:
                    ready = resize.filter_rows(
                        source, b, across, top, taps, box_start, box_width, ready, s, s + rows - 1, filters, mask
                    )
                    if any_program and not step_count and streams:
                        resize.down_out(
                            filters.ring, mask, top, taps, weights_y, s, rows, backwards, ring_stride,
                            out, view_plane, to, width, scale, bias,
                        )  # fmt: skip
                        continue
                    resize_down(
                        filters.ring, mask, top, taps, weights_y, s, rows, backwards, ring_stride,
                        strip, plane, 0, stride, scale, bias,
                    )  # fmt: skip
                step = first
                if any_program:
                    at_position = next_positional(code, steps, step, end)
                    while at_position < end:
                        colors.run(pixels, pixels_plane, at, count, strip, plane, 0, code, args, steps, step, at_position)
                        pixels, pixels_plane, at = strip, plane, 0
                        k = steps[at_position]
                        apply_positional(code[k], arg[k], bits[k], strip, plane, stride, width, rows, y, work.spare)
                        step = at_position + 1
                        at_position = next_positional(code, steps, step, end)
                if fixed16 and is_last and streams:
                    colors.run_into_view(
                        pixels, pixels_plane, at, count, out, view_plane, to, scale, bias, code, args, steps, step, end
                    )
                elif into_strip:
                    if step < end or in_place:
                        colors.run(pixels, pixels_plane, at, count, strip, plane, 0, code, args, steps, step, end)
                    if is_last:
                        floats = work.float32.strip
                        if fixed16:
                            output.from_fixed(strip, plane, stride, rows, floats, floats.shape[0] // 3, ring_stride)
                        output.write_rows(work, target, b, y, rows, floats.shape[0] // 3, ring_stride)
                    elif ending == BLUR:
                        blurring.across(
                            strip, plane, stride, width, rows, next_radius, weights[0], buffers.line, blurs.margin,
                            into, image_plane, row,
                        )  # fmt: skip
                    elif next_gathers:
                        fill, blank = arg[n + 1, 1:4], arg[n + 1, 0] != 0
                        barriers.put_rows(strip, plane, stride, width, rows, y, framed_next, pitch, fill, blank)
                    else:
                        barriers.add(
                            buffers.total, buffers.kept, image_plane, row, count, strip, plane, arg[n, 0],
                            not summed, arg[max(kept_at, 0), 0],
                        )  # fmt: skip
                else:
                    colors.run(pixels, pixels_plane, at, count, into, image_plane, row, code, args, steps, step, end)
                    gray += gather(ending, into, image_plane, row, rows, stride, width, buffers, work.counts, work.levels)
            if next_gathers:
                framed, framed_next = framed_next, framed
            elif around and ending not in (KEEP, ADD, ADD_LAST):
                image, image_next = image_next, image
            sliding = next_slides
            if ending == KEEP:
                kept_at, summed = n, False
            summed = summed or ending == ADD
            if not finish(ending, args, n, gray / (height * width), buffers, work.counts):
                return False
            if any_program:
                finish_whole(ending, arg, n, bits, image, image_next, height, width, stride, buffers, blurs)
            begin, end = end, next_barrier(code, steps, end + 1, step_count)
        return True

    return make_view


make_fixed, make_float32 = view_with(True), view_with(False)
