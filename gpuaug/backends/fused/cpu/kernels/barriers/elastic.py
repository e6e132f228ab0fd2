"""Where the pixels of an elastic transform are read: noise, blurred by a Gaussian (see `ops.geometric.ElasticTransform`)."""

from __future__ import annotations

import math

from ....instructions import KEY
from ...jit import inlined_by_llvm, kernel
from ...simd.common import load, store
from ...simd.float32 import LANES, splat
from ...simd.integers import lane_numbers
from ...simd.random import uniforms
from . import float32, warp

ALPHA, SIGMA, RADIUS = 0, 2, 4
"""Where the arguments of ELASTIC begin that there are two of, for displacements across and down."""


@kernel
def half_gaussian(sigma, radius, weight):
    """Half a Gaussian kernel, its centre first. Unlike that of a blur it keeps its tails, since alpha multiplies errors."""
    total = 0.0
    for k in range(radius + 1):
        weight[k] = math.exp(-0.5 * (k / sigma) ** 2) if k else 1.0
        total += weight[k] * (2.0 if k else 1.0)
    for k in range(radius + 1):
        weight[k] /= total


@inlined_by_llvm
def tap(source, p, before, behind):
    return load(source, p + before) + load(source, p + behind)


@kernel
def filter_row(source, at, count, radius, weight, before, behind, into, to, scale, start, step):
    """Filter `count` numbers from source[at] on by a symmetric kernel, and write them from into[to] on, by an affine map.

    before, behind: offsets of the neighbours at each distance. Filtered number n becomes scale times it, + start + step * n.
    """
    centre, s, lanes = splat(weight[0]), splat(scale), lane_numbers() * splat(step)
    x = 0
    while x + 4 * LANES <= count:  # four at a time, so that sums do not wait for each other
        p = at + x
        a, b = load(source, p) * centre, load(source, p + LANES) * centre
        c, d = load(source, p + 2 * LANES) * centre, load(source, p + 3 * LANES) * centre
        for k in range(1, radius + 1):
            w, u, v = splat(weight[k]), before[k], behind[k]
            a = a + tap(source, p, u, v) * w
            b = b + tap(source, p + LANES, u, v) * w
            c = c + tap(source, p + 2 * LANES, u, v) * w
            d = d + tap(source, p + 3 * LANES, u, v) * w
        store(into, to + x, a * s + (lanes + splat(start + step * x)))
        store(into, to + x + LANES, b * s + (lanes + splat(start + step * (x + LANES))))
        store(into, to + x + 2 * LANES, c * s + (lanes + splat(start + step * (x + 2 * LANES))))
        store(into, to + x + 3 * LANES, d * s + (lanes + splat(start + step * (x + 3 * LANES))))
        x += 4 * LANES
    while x < count:
        a = load(source, at + x) * centre
        for k in range(1, radius + 1):
            a = a + tap(source, at + x, before[k], behind[k]) * splat(weight[k])
        store(into, to + x, a * s + (lanes + splat(start + step * x)))
        x += LANES


@kernel
def noise_across(height, width, stride, arg, bits, blurs, line, field, plane):
    """Write the noise of both displacements, blurred across, into the first two planes of `field`."""
    before, behind, margin = blurs.above, blurs.below, blurs.margin
    for k in range(before.shape[0]):
        before[k], behind[k] = -k, k
    for c in range(2):
        half_gaussian(arg[SIGMA], int(arg[RADIUS + c]), blurs.half[c])
    pitch = line.shape[0] // 3
    for y in range(height):
        for x in range(0, width, LANES):
            u, v = uniforms(y * width + x, bits[KEY], bits[KEY + 1])
            store(line, margin + x, u)
            store(line, pitch + margin + x, v)
        for c in range(2):
            first, radius = c * pitch + margin, int(arg[RADIUS + c])
            end = first + width - 1
            for k in range(1, radius + 1):
                line[first - k] = line[first + k]
                line[end + k] = line[end - k]
            filter_row(
                line, first, stride, radius, blurs.half[c], before, behind, field, c * plane + y * stride, 1.0, 0.0, 0.0
            )  # fmt: skip


@kernel
def positions(height, width, stride, arg, bits, blurs, line, field):
    """Write the row at which each pixel is read into the first plane of `field`, and the column into the third one.

    line: scratch for three planes of a row, each with a margin on either side.
    """
    plane = field.shape[0] // 3
    noise_across(height, width, stride, arg, bits, blurs, line, field, plane)
    before, behind = blurs.above, blurs.below
    for c in range(2):
        radius, scale = int(arg[RADIUS + c]), 0.5 * arg[ALPHA + c]
        half_gaussian(arg[SIGMA + 1], radius, blurs.half[c])
        for y in range(height):
            for k in range(radius + 1):
                before[k] = (abs(y - k) - y) * stride
                behind[k] = (height - 1 - abs(height - 1 - y - k) - y) * stride
            at = y * stride
            start, step = (y, 0.0) if c else (0.0, 1.0)
            to = at if c else 2 * plane + at  # the noise of the first displacement is in the first plane, of the second behind
            filter_row(field, c * plane + at, stride, radius, blurs.half[c], before, behind, field, to, scale, start, step)


@kernel
def read_at(field, stride, y, x):
    """Where sixteen pixels of row y, from column x on, are read: their columns and rows."""
    at = y * stride + x
    return load(field, field.shape[0] // 3 * 2 + at), load(field, at)


nearest, bilinear = warp.gather_with(
    read_at, LANES, float32.encode, splat, store, float32.between, float32.over
)  # fmt: skip
