"""The kernel of sharpness, which blends pixels with the mean of their 3 x 3 neighbours, the centre weighted fivefold."""

from __future__ import annotations

from ...jit import inlined_by_llvm, kernel
from ...simd.common import load, store
from ...simd.layout import left_of, right_of


def sharpen_with(lanes, add_rows, blend, clamp, least, most):
    """Make the kernel for one pixel format.

    add_rows(above, here, below) is a multiple of the sum of three rows that fits the format. blend(pixels, box, amount) moves
    pixels, by `amount`, towards the mean that follows from the sum of three such numbers, and clamps. Pixels at the borders are
    only clamped, to least..most, by clamp(pixels).
    """

    @inlined_by_llvm
    def column_sums(image, at, stride):
        return add_rows(load(image, at - stride), load(image, at), load(image, at + stride))

    @kernel
    def sharpen(image, image_plane, y, height, stride, width, rows, amount, strip, plane):
        """Write rows y, y + 1, ... into a strip. A view of two pixels or less on a side stays as it is."""
        large = height > 2 and width > 2
        for r in range(rows):
            row = y + r
            inner = large and 0 < row < height - 1
            for c in range(3):
                at, to = c * image_plane + row * stride, c * plane + r * stride
                if not inner:
                    for x in range(0, stride, lanes):
                        pixels = load(image, at + x)
                        store(strip, to + x, clamp(pixels) if large else pixels)
                    continue
                here = column_sums(image, at, stride)
                before = here
                for x in range(0, stride, lanes):
                    behind = column_sums(image, at + min(x + lanes, stride - lanes), stride)
                    box = left_of(before, here) + here + right_of(here, behind)
                    store(strip, to + x, blend(load(image, at + x), box, amount))
                    before, here = here, behind
                strip[to] = min(max(image[at], least), most)
                strip[to + width - 1] = min(max(image[at + width - 1], least), most)

    return sharpen
