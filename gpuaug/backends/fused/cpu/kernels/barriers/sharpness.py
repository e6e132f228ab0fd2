"""The kernel of sharpness, which blends pixels with the mean of their 3 x 3 neighbours, the centre weighted fivefold."""

from __future__ import annotations

from ...jit import kernel
from ...simd.common import load, store


def sharpen_with(lanes, add_rows, blend):
    """Make the kernel for one pixel format.

    add_rows(above, here, below) is a multiple of the sum of three rows that fits the format. blend(pixels, box, amount) moves
    pixels, by `amount`, towards the mean that follows from the sum of three such numbers.
    """

    @kernel
    def sharpen(image, image_plane, y, height, stride, width, rows, amount, line, margin, strip, plane):
        """Write rows y, y + 1, ... into a strip. Pixels at the borders stay as they are. `line` is scratch for a row."""
        for r in range(rows):
            row = y + r
            inner = 0 < row < height - 1 and width > 2
            for c in range(3):
                at, to = c * image_plane + row * stride, c * plane + r * stride
                if not inner:
                    for x in range(0, stride, lanes):
                        store(strip, to + x, load(image, at + x))
                    continue
                for x in range(0, stride, lanes):
                    above, below = load(image, at - stride + x), load(image, at + stride + x)
                    store(line, margin + x, add_rows(above, load(image, at + x), below))
                for x in range(0, stride, lanes):
                    box = load(line, margin + x - 1) + load(line, margin + x) + load(line, margin + x + 1)
                    store(strip, to + x, blend(load(image, at + x), box, amount))
                strip[to], strip[to + width - 1] = image[at], image[at + width - 1]

    return sharpen
