"""How a pass begins after a barrier other than a blur: with rows made from what the pass before it has written."""

from __future__ import annotations

from ....instructions import ADD, ADD_LAST, AUTOCONTRAST, CONTRAST, ELASTIC, EQUALIZE, JPEG, KEEP, SHARPNESS
from ...jit import inlined_by_numba
from . import elastic


def strip_with(barriers, any_program):
    """Make the function for one pixel format, whose kernels are in the module `barriers`; for float32 it takes any program."""

    @inlined_by_numba
    def strip_behind(
        instruction, arg, n, sliding, image, image_plane, framed, pitch, y, height, width, stride, rows, buffers, place,
        here, here_plane, at, field,
    ):  # fmt: skip
        """Apply the barrier in column n, unless it is a blur, to rows y, y + 1, ... of a view, and write them from here[at] on.

        field: where an elastic transform reads pixels. Contrast is left to the steps of the pass; JPEG and sums are ready.
        Returns the array that holds the rows, its plane, and where they begin: `here`, or the buffer itself if nothing is to be
        done.
        """
        row, out = y * stride, here[at:]
        if instruction in (CONTRAST, JPEG):
            return image, image_plane, row
        if instruction in (KEEP, ADD):
            return buffers.kept, image_plane, row
        if instruction == ADD_LAST:
            return buffers.total, image_plane, row
        if instruction == SHARPNESS:
            amount = barriers.sharpening(arg[n, 0])
            barriers.sharpen(image, image_plane, y, height, stride, width, rows, amount, out, here_plane)
        elif instruction == EQUALIZE:
            barriers.equalize(image, image_plane, row, rows * stride, out, here_plane, buffers.tables)
        elif instruction == AUTOCONTRAST:
            barriers.autocontrast(image, image_plane, row, rows * stride, out, here_plane, buffers.tables)
        elif instruction == ELASTIC:
            if any_program:
                if arg[n + 1, 0] == 0:
                    elastic.nearest(
                        framed, pitch, y, height, stride, width, rows, field, place, buffers.taps, out, here_plane
                    )  # fmt: skip
                else:
                    elastic.bilinear(
                        framed, pitch, y, height, stride, width, rows, field, arg[n + 1, 1:4], place, buffers.taps,
                        buffers.shares, out, here_plane,
                    )  # fmt: skip
        elif sliding:
            barriers.slide(image, image_plane, y, height, stride, width, rows, arg[n], arg[n + 1, 1:4], out, here_plane)
        elif arg[n + 1, 0] == 0:
            barriers.nearest(framed, pitch, y, height, stride, width, rows, arg[n], place, buffers.taps, out, here_plane)
        else:
            barriers.bilinear(
                framed, pitch, y, height, stride, width, rows, arg[n], arg[n + 1, 1:4], place, buffers.taps, buffers.shares,
                out, here_plane,
            )  # fmt: skip
        return here, here_plane, at

    return strip_behind
