"""The loss of a JPEG file: what libjpeg's encoder and decoder make of a view, to the bit (see `ops.jpeg`).

Numbers are integers. Those below 2^24 are kept as float32, which is exact; the transform multiplies pairs of 16-bit integers.
"""

from __future__ import annotations

from ......ops.jpeg import CHROMA, LUMA, TRANSFORM
from ...jit import inlined_by_llvm, kernel
from ...simd.blocks import (
    alternating,
    ones_and_twos,
    pack,
    shift_down,
    splat_pair,
    sums_of_neighbours,
    transposed,
    with_sign,
)
from ...simd.common import load, maximum, minimum, store
from ...simd.float32 import LANES, clamp, floor, splat
from ...simd.integers import as_integers
from ...simd.pixels import as_float, multiply_pairs

M = tuple(tuple(row) for row in TRANSFORM.tolist())
STEPS = 64 * LANES // 8
"""Elements of a table of steps, each row of which stands twice: for two blocks side by side."""


@inlined_by_llvm
def products(pair, low, high):
    return multiply_pairs(pair, splat_pair(low, high))


@inlined_by_llvm
def forward(x, bits):
    """The transform of columns of eight numbers, rounded to units of 2^bits."""
    a0, a1, a2, a3 = x[0] + x[7], x[1] + x[6], x[2] + x[5], x[3] + x[4]
    d0, d1, d2, d3 = x[0] - x[7], x[1] - x[6], x[2] - x[5], x[3] - x[4]
    total, rest, outer, inner = a0 + a3, a1 + a2, a0 - a3, a1 - a2
    even, odd, one, two = pack(total, rest), pack(outer, inner), pack(d0, d1), pack(d2, d3)
    return (
        shift_down(products(even, M[0][0], M[0][1]), bits),
        shift_down(products(one, M[1][0], M[1][1]) + products(two, M[1][2], M[1][3]), bits),
        shift_down(products(odd, M[2][0], M[2][1]), bits),
        shift_down(products(one, M[3][0], M[3][1]) + products(two, M[3][2], M[3][3]), bits),
        shift_down(products(even, M[4][0], M[4][1]), bits),
        shift_down(products(one, M[5][0], M[5][1]) + products(two, M[5][2], M[5][3]), bits),
        shift_down(products(odd, M[6][0], M[6][1]), bits),
        shift_down(products(one, M[7][0], M[7][1]) + products(two, M[7][2], M[7][3]), bits),
    )


@inlined_by_llvm
def inverse(x, bits):
    """The inverse transform of columns of eight numbers, rounded to units of 2^bits."""
    mean, other, one, two = pack(x[0], x[4]), pack(x[2], x[6]), pack(x[1], x[3]), pack(x[5], x[7])
    up, down = products(mean, M[0][0], M[4][0]), products(mean, M[0][1], M[4][1])
    left, right = products(other, M[2][0], M[6][0]), products(other, M[2][1], M[6][1])
    e0, e1, e2, e3 = up + left, down + right, down - right, up - left
    o0 = products(one, M[1][0], M[3][0]) + products(two, M[5][0], M[7][0])
    o1 = products(one, M[1][1], M[3][1]) + products(two, M[5][1], M[7][1])
    o2 = products(one, M[1][2], M[3][2]) + products(two, M[5][2], M[7][2])
    o3 = products(one, M[1][3], M[3][3]) + products(two, M[5][3], M[7][3])
    return (
        shift_down(e0 + o0, bits),
        shift_down(e1 + o1, bits),
        shift_down(e2 + o2, bits),
        shift_down(e3 + o3, bits),
        shift_down(e3 - o3, bits),
        shift_down(e2 - o2, bits),
        shift_down(e1 - o1, bits),
        shift_down(e0 - o0, bits),
    )


@inlined_by_llvm
def quantised(x, table, at):
    """A row of coefficients, eight times what they are, rounded to a multiple of their steps.

    A quotient is at least half a unit of its numerator away from the next integer, so float32 rounds it to the right one.
    """
    c = as_float(x)
    level = as_integers(c * load(table, at) + with_sign(load(table, at + STEPS), c))
    return as_integers(as_float(level) * load(table, at + 2 * STEPS))


@inlined_by_llvm
def load_row(plane, at):
    return as_integers(load(plane, at) - splat(128.0))


@inlined_by_llvm
def store_row(plane, at, x):
    store(plane, at, minimum(maximum(as_float(x) + splat(128.0), splat(0.0)), splat(255.0)))


@kernel
def prepare_steps(quality, luma, table, at):
    """Write three tables of STEPS elements: the factor and the term that make a coefficient a level, and its step."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    for k in range(64):
        base = LUMA[k // 8, k % 8] if luma else CHROMA[k // 8, k % 8]
        step = min(max((base * percent + 50) // 100, 1), 255)
        for half in range(LANES // 8):
            n = at + k // 8 * LANES + half * 8 + k % 8
            table[n] = 1 / (8 * step)
            table[n + STEPS] = (4 * step + 0.5) / (8 * step)
            table[n + 2 * STEPS] = step


@kernel
def code_plane(plane, at, height, columns, stride, table, steps):
    """Transform a plane of levels, quantise and transform back, two blocks at a time; below, the last row is repeated."""
    for y in range(0, height, 8):
        last = height - 1 - y
        r0, r1, r2, r3 = at + y * stride, min(1, last) * stride, min(2, last) * stride, min(3, last) * stride
        r4, r5, r6, r7 = min(4, last) * stride, min(5, last) * stride, min(6, last) * stride, min(7, last) * stride
        for x in range(0, columns, LANES):
            p = r0 + x
            rows = transposed(
                load_row(plane, p), load_row(plane, p + r1), load_row(plane, p + r2), load_row(plane, p + r3),
                load_row(plane, p + r4), load_row(plane, p + r5), load_row(plane, p + r6), load_row(plane, p + r7),
            )  # fmt: skip
            c = forward(transposed(*forward(rows, 11)), 15)
            c = (
                quantised(c[0], table, steps),
                quantised(c[1], table, steps + LANES),
                quantised(c[2], table, steps + 2 * LANES),
                quantised(c[3], table, steps + 3 * LANES),
                quantised(c[4], table, steps + 4 * LANES),
                quantised(c[5], table, steps + 5 * LANES),
                quantised(c[6], table, steps + 6 * LANES),
                quantised(c[7], table, steps + 7 * LANES),
            )
            rows = transposed(*inverse(transposed(*inverse(c, 11)), 18))
            # From the last row up: where rows are repeated, what is written last is the row that is there.
            store_row(plane, p + r7, rows[7])
            store_row(plane, p + r6, rows[6])
            store_row(plane, p + r5, rows[5])
            store_row(plane, p + r4, rows[4])
            store_row(plane, p + r3, rows[3])
            store_row(plane, p + r2, rows[2])
            store_row(plane, p + r1, rows[1])
            store_row(plane, p, rows[0])


@inlined_by_llvm
def levels(v):
    """8-bit levels as torchvision's `to_dtype` rounds them."""
    return floor(clamp(v) * splat(256 - 1e-3))


@inlined_by_llvm
def weighted(r, g, b, red, green, blue, term):
    """A weighted sum, rounded down. Weights and the term are given in units of 2^-16."""
    unit = 2.0**-16
    return floor(r * splat(red * unit) + g * splat(green * unit) + b * splat(blue * unit) + splat(term * unit))


@kernel
def split_colors(image, plane, height, width, stride, small, small_plane):
    """Write brightness over the first plane, and the two colours at half resolution into the planes of `small`."""
    offset = (128 << 16) + 32767
    for y in range(0, height, 2):
        for k in range(2):
            row = min(y + k, height - 1) * stride
            for c in range(3):
                end = image[c * plane + row + width - 1]
                for x in range(width, stride):
                    image[c * plane + row + x] = end
        near, next_row, to = y * stride, min(y + 1, height - 1) * stride, y // 2 * stride
        for x in range(0, stride, LANES):
            p, q = near + x, next_row + x
            r, g, b = levels(load(image, p)), levels(load(image, p + plane)), levels(load(image, p + 2 * plane))
            r2, g2, b2 = levels(load(image, q)), levels(load(image, q + plane)), levels(load(image, q + 2 * plane))
            store(image, q, weighted(r2, g2, b2, 19595.0, 38470.0, 7471.0, 32768.0))
            store(image, p, weighted(r, g, b, 19595.0, 38470.0, 7471.0, 32768.0))
            blue = weighted(r, g, b, -11059.0, -21709.0, 32768.0, offset) + weighted(
                r2, g2, b2, -11059.0, -21709.0, 32768.0, offset
            )
            red = weighted(r, g, b, 32768.0, -27439.0, -5329.0, offset) + weighted(
                r2, g2, b2, 32768.0, -27439.0, -5329.0, offset
            )
            quarter = splat(0.25)
            store(small, to + x // 2, floor((sums_of_neighbours(blue) + ones_and_twos()) * quarter))
            store(small, small_plane + to + x // 2, floor((sums_of_neighbours(red) + ones_and_twos()) * quarter))


@kernel
def enlarge_row(small, at, y, height, columns, width, stride, line, to, between):
    """Write row y of a colour at full resolution into `line` from `to` on, by a triangle filter.

    height, columns: those of the small plane. between: where `line` has room for a row of it, and an element on either side.
    """
    near = y // 2
    far = min(near + 1, height - 1) if y % 2 else max(near - 1, 0)
    near, far = at + near * stride, at + far * stride
    if columns <= 2:
        for x in range(width):
            line[to + x] = small[near + x // 2]
        return
    for x in range(0, columns, LANES):
        store(line, between + x, splat(3.0) * load(small, near + x) + load(small, far + x))
    line[between - 1], line[between + columns] = line[between], line[between + columns - 1]
    sixteenth = splat(1 / 16)
    for x in range(0, width, LANES):
        p = between + x // 2
        three = splat(3.0) * load(line, p)
        left = floor((three + load(line, p - 1) + splat(8.0)) * sixteenth)
        right = floor((three + load(line, p + 1) + splat(7.0)) * sixteenth)
        store(line, to + x, alternating(left, right))


@inlined_by_llvm
def bounded(v):
    return minimum(maximum(v, splat(0.0)), splat(255.0)) * splat(1 / 255)


@kernel
def join_colors(image, plane, height, width, stride, small, small_plane, line, margin):
    """Make red, green and blue out of brightness and the colours at half resolution."""
    pitch = line.shape[0] // 3
    rows, columns = (height + 1) // 2, (width + 1) // 2
    first, second, between = margin, pitch + margin, 2 * pitch + margin
    for y in range(height):
        enlarge_row(small, 0, y, rows, columns, width, stride, line, first, between)
        enlarge_row(small, small_plane, y, rows, columns, width, stride, line, second, between)
        for x in range(0, width, LANES):
            p = y * stride + x
            level, shift = load(image, p), splat(128.0)
            blue, red = load(line, first + x) - shift, load(line, second + x) - shift
            unit = 2.0**-16
            half = splat(0.5)
            r = floor(red * splat(91881 * unit) + half)
            g = floor(blue * splat(-22554 * unit) + red * splat(-46802 * unit) + half)
            b = floor(blue * splat(116130 * unit) + half)
            store(image, p, bounded(level + r))
            store(image, p + plane, bounded(level + g))
            store(image, p + 2 * plane, bounded(level + b))


@kernel
def jpeg(image, plane, height, width, stride, quality, small, line, margin, table):
    """Replace a view by what is left of it in a JPEG file.

    small: scratch for two planes of half the resolution, with rows `stride` elements apart. line: scratch for three planes of a
    row, each with `margin` elements on either side. table: scratch for 6 * STEPS elements.
    """
    small_plane = (height + 1) // 2 * stride
    chroma = 3 * STEPS
    prepare_steps(quality, True, table, 0)
    prepare_steps(quality, False, table, chroma)
    split_colors(image, plane, height, width, stride, small, small_plane)
    code_plane(image, 0, height, width, stride, table, 0)
    rows, columns = (height + 1) // 2, (width + 1) // 2
    code_plane(small, 0, rows, columns, stride, table, chroma)
    code_plane(small, small_plane, rows, columns, stride, table, chroma)
    join_colors(image, plane, height, width, stride, small, small_plane, line, margin)
