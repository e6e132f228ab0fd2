"""What a pass gathers for the barrier at its end."""

from __future__ import annotations

from ....instructions import AUTOCONTRAST, CONTRAST, ELASTIC, EQUALIZE, JPEG
from ...jit import inlined_by_numba
from . import elastic, jpeg, tones


def gather_with(colors, barriers):
    """Make the functions for one pixel format, whose kernels are in the modules `colors` and `barriers`."""

    @inlined_by_numba
    def clear(instruction, buffers, counts):
        """Before the first strip of a pass that ends at this instruction."""
        if instruction == EQUALIZE:
            tones.clear_counts(counts)
        elif instruction == AUTOCONTRAST:
            barriers.clear_range(buffers.low, buffers.high)

    @inlined_by_numba
    def gather(instruction, image, plane, at, rows, stride, width, buffers, counts, levels):
        """Gather what the instruction needs from some rows of the image buffer; return the sum of their grays for contrast."""
        gray = 0.0
        if instruction == CONTRAST:
            gray = colors.gray_sum(image, plane, at, rows, stride, buffers.inside)
        elif instruction == EQUALIZE:
            barriers.count_levels(image, plane, at, rows, stride, width, levels, counts)
        elif instruction == AUTOCONTRAST:
            barriers.widen_range(image, plane, at, rows, stride, buffers.inside, buffers.low, buffers.high)
        return gray

    @inlined_by_numba
    def finish(instruction, args, n, gray, buffers, counts):
        """Prepare the instruction in column n from what was gathered; return whether the pixel format is accurate enough."""
        enough = True
        if instruction == CONTRAST:
            colors.set_contrast_mean(args, n, gray)
        elif instruction == EQUALIZE:
            barriers.equalizing(counts, buffers.tables)
        elif instruction == AUTOCONTRAST:
            enough = barriers.stretching(buffers.low, buffers.high, buffers.tables)
        return enough

    return clear, gather, finish


@inlined_by_numba
def finish_whole(instruction, arg, n, bits, image, spare, height, width, stride, buffers, blurs):
    """Change the whole view in float32, or find where its pixels are read; `spare` is the other image buffer, for scratch."""
    if instruction == JPEG:
        jpeg.jpeg(
            image, height * stride, height, width, stride, int(arg[n, 0]), spare, buffers.line, blurs.margin, buffers.tables
        )  # fmt: skip
    elif instruction == ELASTIC:
        elastic.positions(height, width, stride, arg[n], bits[n], blurs, buffers.line, spare)
