"""How a pass begins after a barrier: with strips made from what the pass before it has written."""

from __future__ import annotations

from ....instructions import ADD, ADD_LAST, AUTOCONTRAST, CONTRAST, ELASTIC, EQUALIZE, JPEG, KEEP, SHARPNESS
from ...jit import inlined_by_numba
from . import elastic


def strip_with(barriers, any_program):
    """Make the function for one pixel format, whose kernels are in the module `barriers`; for float32 it takes any program."""

    @inlined_by_numba
    def strip_behind(
        instruction, arg, n, sliding, image, image_plane, framed, pitch, field, y, height, width, stride, rows, buffers, margin,
        place,
    ):  # fmt: skip
        """Apply the barrier in column n, unless it is a blur, to rows y, y + 1, ... of a view.

        Contrast is left to the steps of the pass, and JPEG is done. Returns the array that holds the rows, its plane, and where
        they begin: a strip, or the buffer itself if nothing is to be done.
        """
        row, strip = y * stride, buffers.strip
        plane = strip.shape[0] // 3
        if instruction in (CONTRAST, JPEG):
            return image, image_plane, row
        if instruction in (KEEP, ADD):
            return buffers.kept, image_plane, row
        if instruction == ADD_LAST:
            return buffers.total, image_plane, row
        if instruction == SHARPNESS:
            amount = barriers.sharpening(arg[n, 0])
            barriers.sharpen(
                image, image_plane, y, height, stride, width, rows, amount, buffers.line, margin, strip, plane
            )  # fmt: skip
        elif instruction == EQUALIZE:
            barriers.equalize(image, image_plane, row, rows * stride, strip, plane, buffers.tables)
        elif instruction == AUTOCONTRAST:
            barriers.autocontrast(image, image_plane, row, rows * stride, strip, plane, buffers.tables)
        elif instruction == ELASTIC:
            if any_program:
                if arg[n + 1, 0] == 0:
                    elastic.nearest(
                        framed, pitch, y, height, stride, width, rows, field, place, buffers.taps, strip, plane
                    )  # fmt: skip
                else:
                    elastic.bilinear(
                        framed, pitch, y, height, stride, width, rows, field, arg[n + 1, 1:4], place, buffers.taps,
                        buffers.shares, strip, plane,
                    )  # fmt: skip
        elif sliding:
            barriers.slide(image, image_plane, y, height, stride, width, rows, arg[n], arg[n + 1, 1:4], strip, plane)
        elif arg[n + 1, 0] == 0:
            barriers.nearest(framed, pitch, y, height, stride, width, rows, arg[n], place, buffers.taps, strip, plane)
        else:
            barriers.bilinear(
                framed, pitch, y, height, stride, width, rows, arg[n], arg[n + 1, 1:4], place, buffers.taps, buffers.shares,
                strip, plane,
            )  # fmt: skip
        return strip, plane, 0

    return strip_behind
