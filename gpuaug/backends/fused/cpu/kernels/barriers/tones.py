"""Kernels of equalize and autocontrast: histograms, their tables, and the range of each channel."""

from __future__ import annotations

import numpy as np

from ...jit import kernel
from ...simd.common import load, maximum, minimum, store

LEVELS = 256
TABLES = 4
"""Histograms of each channel that are counted side by side, since a count that has just been written is slow to read."""


@kernel
def clear_counts(counts):
    for k in range(counts.shape[0]):
        counts[k] = 0


def count_with(lanes, store_level):
    """Make the kernel that counts levels; store_level(bytes, at, pixels) writes the levels of a vector of pixels."""

    @kernel
    def count_levels(source, plane, at, rows, stride, width, levels, counts):
        """Add the levels of some rows to the histograms. levels: scratch for the bytes of a row."""
        for c in range(3):
            base = TABLES * LEVELS * c
            for r in range(rows):
                first = c * plane + at + r * stride
                for x in range(0, stride, lanes):
                    store_level(levels, x, load(source, first + x))
                whole = width - width % TABLES
                for x in range(0, whole, TABLES):
                    counts[np.uint64(base + levels[x])] += 1
                    counts[np.uint64(base + LEVELS + levels[x + 1])] += 1
                    counts[np.uint64(base + 2 * LEVELS + levels[x + 2])] += 1
                    counts[np.uint64(base + 3 * LEVELS + levels[x + 3])] += 1
                for x in range(whole, width):
                    counts[np.uint64(base + levels[x])] += 1

    return count_levels


@kernel
def equalizing_table(counts, c, tables):
    """Write the levels that those of channel c become into its table, by PIL's integer arithmetic.

    As many pixels as there are below the brightest level are divided among 255 levels; a channel where this is 0 stays as it is.
    """
    first = TABLES * LEVELS * c
    total, of_brightest = 0, 0
    for level in range(LEVELS):
        n = counts[first + level]
        for k in range(1, TABLES):
            n += counts[first + k * LEVELS + level]
        counts[first + level] = n
        total += n
        of_brightest = n if n else of_brightest
    step = (total - of_brightest) // (LEVELS - 1)
    below = 0
    for level in range(LEVELS):
        tables[c * LEVELS + level] = min((below + step // 2) // step, LEVELS - 1) if step else level
        below += counts[first + level]


def range_with(lanes, inside_or):
    """Make the kernel of the range; inside_or(inside, pixels, other) is `other` in the padding of a row."""

    @kernel
    def widen_range(source, plane, at, rows, stride, inside, low, high):
        """Widen the range of each channel, from low[c] to high[c], by the pixels of some rows; both have room for vectors."""
        for c in range(3):
            lowest, highest = load(low, c * lanes), load(high, c * lanes)
            for start in range(c * plane + at, c * plane + at + rows * stride, stride):
                for x in range(0, stride, lanes):
                    v, here = load(source, start + x), load(inside, x)
                    lowest = minimum(lowest, inside_or(here, v, lowest))
                    highest = maximum(highest, inside_or(here, v, highest))
            store(low, c * lanes, lowest)
            store(high, c * lanes, highest)

    return widen_range


@kernel
def least(values, first, count):
    out = values[first]
    for k in range(first + 1, first + count):
        out = min(out, values[k])
    return out


@kernel
def most(values, first, count):
    out = values[first]
    for k in range(first + 1, first + count):
        out = max(out, values[k])
    return out


def change_with(lanes, change):
    """Make the kernel that changes the pixels of a strip's rows; change(pixels, table, channel) is the change of a vector."""

    @kernel
    def change_rows(image, image_plane, at, count, strip, plane, table):
        for c in range(3):
            for x in range(0, count, lanes):
                store(strip, c * plane + x, change(load(image, c * image_plane + at + x), table, c))

    return change_rows
