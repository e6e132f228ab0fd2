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
    def make_view(source, b, box, flip, code, arg, bits, step_count, across, down, work, buffers, target):
        """Make view b; `views` explains passes and strips. Returns False, with the view unfinished, if it needs float32.

        across, down: slots of its filters. buffers: the part of `work` for this format.
        """
        filters, blurs, steps = work.filters, work.blur, work.steps
        height, width = target.height, target.width
        stride = buffers.inside.shape[0]
        strip, plane, image_plane, view_plane = buffers.strip, buffers.strip.shape[0] // 3, height * stride, height * width
        strip_rows = plane // stride
        ring_stride = filters.offset.shape[1]
        out, scale, bias = target.out, target.scale, target.bias
        # Whether a pass may write the view from registers, past the caches, without writing a strip first.
        streams = target.dtype == output.FLOAT32 and target.aligned and not target.channels_last and width == stride
        image, image_next = buffers.image, buffers.image_next
        framed_next, framed, pitch = buffers.framed, buffers.framed_next, stride + FRAME
        top, taps, weights_y = filters.first[1, down], filters.taps[1, down], filters.weights_y[down]
        mask = resize.ring_rows(top, taps, height, strip_rows) - 1
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
            # A warp slides rows of the image buffer, or gathers from the framed image.
            next_slides = ending == WARP and slides(arg, n)
            gathers = ending == ELASTIC or (ending == WARP and not next_slides)
            if gathers:
                barriers.frame(framed_next, pitch, height, arg[n + 1, 1:4], arg[n + 1, 0] != 0)
            across_radius = down_radius = 0
            across_weight, down_weight = blurring.weights(blurs)
            if barrier == BLUR:
                across_radius, down_radius = blurring.prepare(arg[steps[begin]], blurs)
            around = reads_around(barrier) and (barrier != WARP or sliding)
            into = buffers.kept if ending == KEEP else (image_next if around else image)
            into_strip = is_last or gathers or ending in (ADD, ADD_LAST)
            from_floats = source.floats.shape[0] > 0
            backwards = flip[1] and begin < 0 and not from_floats  # since source rows are resized from the top down
            first = begin if barrier == CONTRAST else begin + 1
            gray = 0.0
            clear(ending, buffers, work.counts)
            for s in range(0, height, strip_rows):
                rows = min(strip_rows, height - s)
                y = height - s - rows if backwards else s
                row, count, to = y * stride, rows * stride, (np.int64(b) * 3 * height + y) * width
                here, here_plane, at = strip, plane, 0  # where the rows of this pass are written
                if not into_strip:
                    here, here_plane, at = into, image_plane, row
                pixels, pixels_plane, pixels_at = here, here_plane, at
                if barrier == BLUR:
                    if fixed16 and is_last and streams and first == end:
                        blurring.blur_out(
                            image, image_plane, y, height, width, stride, rows, across_radius, down_radius,
                            across_weight, down_weight, blurs.above, blurs.below, buffers.line, blurs.margin,
                            out, view_plane, to, scale, bias,
                        )  # fmt: skip
                        continue
                    blurring.blur(
                        image, image_plane, y, height, width, stride, rows, across_radius, down_radius,
                        across_weight, down_weight, blurs.above, blurs.below, buffers.line, blurs.margin,
                        here, here_plane, at, scale, bias,
                    )  # fmt: skip
                elif begin >= 0:
                    pixels, pixels_plane, pixels_at = strip_behind(
                        barrier, arg, steps[begin], sliding, image, image_plane, framed, pitch, y, height, width, stride, rows,
                        buffers, work.place, here, here_plane, at, image_next,
                    )  # fmt: skip
                elif from_floats:
                    for r in range(rows):
                        line = height - 1 - y - r if flip[1] else y + r
                        start = (np.int64(b) * 3 * height + line) * width
                        output.read_floats(source.floats, start, view_plane, width, flip[0], here, here_plane, at + r * stride)
                else:
                    ready = resize.filter_rows(source, b, across, top, taps, box, ready, s, s + rows - 1, filters, mask)
                    if any_program and not step_count and streams:
                        resize.down_out(
                            filters.ring, mask, top, taps, weights_y, s, rows, backwards, ring_stride,
                            out, view_plane, to, width, scale, bias,
                        )  # fmt: skip
                        continue
                    resize_down(
                        filters.ring, mask, top, taps, weights_y, s, rows, backwards, ring_stride,
                        here, here_plane, at, stride, scale, bias,
                    )  # fmt: skip
                step = first
                if any_program:
                    at_position = next_positional(code, steps, step, end)
                    while at_position < end:
                        colors.run(
                            pixels, pixels_plane, pixels_at, count, here, here_plane, at, code, args, steps, step, at_position
                        )
                        pixels, pixels_plane, pixels_at = here, here_plane, at
                        k = steps[at_position]
                        apply_positional(code[k], arg[k], bits[k], here[at:], here_plane, stride, width, rows, y, work.spare)
                        step = at_position + 1
                        at_position = next_positional(code, steps, step, end)
                if fixed16 and is_last and streams:
                    colors.run_into_view(
                        pixels, pixels_plane, pixels_at, count, out, view_plane, to, scale, bias, code, args, steps, step, end
                    )
                    continue
                if step < end or barrier in IN_PLACE:
                    colors.run(pixels, pixels_plane, pixels_at, count, here, here_plane, at, code, args, steps, step, end)
                if is_last:
                    floats = work.float32.strip
                    if fixed16:
                        output.from_fixed(strip, plane, stride, rows, floats, floats.shape[0] // 3, ring_stride)
                    output.write_rows(work, target, b, y, rows, floats.shape[0] // 3, ring_stride)
                elif gathers:
                    fill, blank = arg[n + 1, 1:4], arg[n + 1, 0] != 0
                    barriers.put_rows(strip, plane, stride, width, rows, y, framed_next, pitch, fill, blank)
                elif into_strip:
                    barriers.add(
                        buffers.total, buffers.kept, image_plane, row, count, strip, plane, arg[n, 0],
                        not summed, arg[max(kept_at, 0), 0],
                    )  # fmt: skip
                else:
                    gray += gather(ending, here, here_plane, at, rows, stride, width, buffers, work.counts, work.levels)
            if gathers:
                framed, framed_next = framed_next, framed
            elif around and not into_strip and ending != KEEP:
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
