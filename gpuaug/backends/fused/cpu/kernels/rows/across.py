"""Filters rows of pixels horizontally, in integers, into a ring buffer of rows."""

from __future__ import annotations

from ...jit import inlined_by_llvm, kernel
from ...simd.common import load, store
from ...simd.float32 import LANES
from ...simd.pixels import (
    as_float,
    multiply_pairs,
    pick_64,
    pick_128,
    pick_any,
    pick_planar_64,
    pick_planar_128,
    prefetch,
)

SLACK = 160
"""Bytes that the filter may read beyond the pixels that it needs, not counting the bytes of each pair of taps."""

PREFETCH_ROWS = 6
"""How many rows ahead pixels are prefetched. Rows are too short for the processor's own prefetcher to detect the stream."""


def filter_with(pick, known, planar):
    """Make the kernel that filters rows horizontally; `pick` gathers pairs of pixels of each channel.

    known: how many pairs an output pixel has, if the kernel is for that number alone; 0 if not, which takes half as long again.
    planar: whether the images may be planar.
    """

    @inlined_by_llvm
    def across(source, at, pitch, step, plane, ahead, rows, start, index, pairs, half, ring, mask, ready):
        """Filter rows of pixels, `pitch` bytes apart from source[at] on, into rows ready, ready + 1, ... of the ring.

        step, plane: bytes from one pixel to the next, and from channel to channel of a pixel. ahead: bytes of a row of each
        plane that are fetched ahead, if the kernel may be for planes.
        """
        stride = start.shape[0] * LANES
        count = known if known else half
        for row in range(rows):
            to = ((ready + row) & mask) * 3 * stride
            if planar:
                for x in range(0, ahead, 64):
                    for c in range(3):
                        prefetch(source, at + (row + PREFETCH_ROWS) * pitch + c * plane + x)
            for g in range(start.shape[0]):
                x = g * LANES
                near = at + row * pitch + start[g]
                if not planar:
                    prefetch(source, near + PREFETCH_ROWS * pitch)
                i, w = load(index, x), load(pairs, x)
                r, n, b = pick(source, near, i, step, plane)
                red, green, blue = multiply_pairs(r, w), multiply_pairs(n, w), multiply_pairs(b, w)
                for j in range(1, count):
                    w = load(pairs, j * stride + x)
                    r, n, b = pick(source, near + 2 * j * step, i, step, plane)
                    red, green, blue = red + multiply_pairs(r, w), green + multiply_pairs(n, w), blue + multiply_pairs(b, w)
                store(ring, to + x, as_float(red))
                store(ring, to + stride + x, as_float(green))
                store(ring, to + 2 * stride + x, as_float(blue))

    return across


def for_pairs(pick, first, planar=False):
    """Make the kernel that filters rows with that for `first`, first + 1 or first + 2 pairs, or else that for any number."""
    one, two = filter_with(pick, first, planar), filter_with(pick, first + 1, planar)
    three, more = filter_with(pick, first + 2, planar), filter_with(pick, 0, planar)

    @inlined_by_llvm
    def across(source, at, pitch, step, plane, ahead, rows, start, index, pairs, half, ring, mask, ready):
        if half == first:
            one(source, at, pitch, step, plane, ahead, rows, start, index, pairs, half, ring, mask, ready)
        elif half == first + 1:
            two(source, at, pitch, step, plane, ahead, rows, start, index, pairs, half, ring, mask, ready)
        elif half == first + 2:
            three(source, at, pitch, step, plane, ahead, rows, start, index, pairs, half, ring, mask, ready)
        else:
            more(source, at, pitch, step, plane, ahead, rows, start, index, pairs, half, ring, mask, ready)

    return across


across_64, across_128, across_planar_64 = (
    for_pairs(pick_64, 1),
    for_pairs(pick_128, 2),
    for_pairs(pick_planar_64, 1, planar=True),
)
across_planar_128, across_any = filter_with(pick_planar_128, 0, planar=True), filter_with(pick_any, 0, planar=True)


@kernel
def across(reach, source, at, pitch, step, plane, ahead, rows, start, index, pairs, half, ring, mask, ready):
    """Filter rows horizontally with the fastest kernel that suffices; `windows` returns the reach."""
    farthest = reach if plane > 1 else reach + 2  # of interleaved pixels, one window holds all channels
    if farthest >= 128:
        across_any(source, at, pitch, step, plane, ahead, rows, start, index, pairs, half, ring, mask, ready)
    elif plane > 1:
        if farthest < 64:
            across_planar_64(source, at, pitch, step, plane, ahead, rows, start, index, pairs, half, ring, mask, ready)
        else:
            across_planar_128(source, at, pitch, step, plane, ahead, rows, start, index, pairs, half, ring, mask, ready)
    elif farthest < 64:
        across_64(source, at, pitch, step, plane, ahead, rows, start, index, pairs, half, ring, mask, ready)
    else:
        across_128(source, at, pitch, step, plane, ahead, rows, start, index, pairs, half, ring, mask, ready)


@inlined_by_llvm
def fill_ring(reach, source, at, pitch, step, plane, width, ready, need, start, index, pairs, half, ring, mask, line):
    """Filter rows ready..need-1 of a box `width` pixels wide, whose first row begins at source[at], into the ring.

    The filter reads beyond its pixels, so rows at the very end of the source are first copied into `line`.
    """
    beyond = step * width + SLACK + 2 * step * half
    last = source.shape[0] - beyond - 2 * plane
    apart = beyond if plane > 1 else 1
    inside = min(max((last - at) // pitch + 1, ready), need)
    across(
        reach, source, at + ready * pitch, pitch, step, plane, step * width, inside - ready,
        start, index, pairs, half, ring, mask, ready,
    )  # fmt: skip
    for row in range(inside, need):
        begin = at + row * pitch
        for c in range(3):
            for x in range(width):
                line[c * apart + step * x] = source[begin + c * plane + step * x]
        across(reach, line, 0, 0, step, apart, 0, 1, start, index, pairs, half, ring, mask, row)
