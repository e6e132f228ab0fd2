"""Steps of a program: finding them, finding where a pass must end, and running them on pixels.

A step is the column of an instruction that is not NOTHING.
"""

from __future__ import annotations

from ...instructions import IS_BARRIER, IS_POSITIONAL, NOTHING
from ..jit import inlined_by_llvm, kernel
from ..simd.common import load, store, total

BLOCK = 4
"""Vectors of pixels for which an instruction is looked up once. More would not fit into registers, three vectors each."""


@kernel
def compact(code, steps):
    """Write the columns of all instructions that are not NOTHING into `steps`, and return how many there are."""
    count = 0
    for n in range(code.shape[0]):
        if code[n] != NOTHING:
            steps[count] = n
            count += 1
    return count


@kernel
def next_barrier(code, steps, at, count):
    """The first step from `at` on that is a barrier; `count` if there is none."""
    while at < count and not IS_BARRIER[code[steps[at]]]:
        at += 1
    return at


@kernel
def next_positional(code, steps, at, end):
    """The first step from `at` on that depends on the position of a pixel; `end` if there is none before it."""
    while at < end and not IS_POSITIONAL[code[steps[at]]]:
        at += 1
    return at


def run_with(apply, lanes):
    """Make `load_and_run` and `run` for one pixel format; apply(code, arguments, *pixels) takes BLOCK times `lanes` pixels.

    Each of the pixels is a vector of red, one of green and one of blue. They share the work of finding the instruction.
    """

    @inlined_by_llvm
    def load_pixels(source, plane, at):
        return load(source, at), load(source, plane + at), load(source, 2 * plane + at)

    @inlined_by_llvm
    def places(x, count):
        """Where the four vectors of a block begin: at x and behind, or the last vector again where there are no more."""
        last = count - lanes
        return x, min(x + lanes, last), min(x + 2 * lanes, last), min(x + 3 * lanes, last)

    @inlined_by_llvm
    def load_and_run(source, plane, at, block, code, arg, steps, first, last):
        """Load four vectors of pixels, at the places `block` counted from `at`, and apply steps first..last-1 to them."""
        a, b, c, d = block
        p, q = load_pixels(source, plane, at + a), load_pixels(source, plane, at + b)
        r, s = load_pixels(source, plane, at + c), load_pixels(source, plane, at + d)
        for step in range(first, last):
            n = steps[step]
            p, q, r, s = apply(code[n], arg[n], p, q, r, s)
        return p, q, r, s

    @kernel
    def run(source, source_plane, at, count, into, plane, to, code, arg, steps, first, last):
        """Apply steps first..last-1 to the `count` pixels from source[at] on, and write them from into[to] on."""
        for x in range(0, count, BLOCK * lanes):
            block = places(x, count)
            p, q, r, s = load_and_run(source, source_plane, at, block, code, arg, steps, first, last)
            a, b, c, d = block
            for channel in range(3):
                base = channel * plane + to
                store(into, base + a, p[channel])
                store(into, base + b, q[channel])
                store(into, base + c, r[channel])
                store(into, base + d, s[channel])

    return places, load_and_run, run


def gray_sum_with(zeros, add_gray, lanes, unit, exact):
    """Make the kernel that sums gray values, for one pixel format, in which pixels are stored as multiples of `unit`.

    exact: whether the sums of a whole strip are exact, so that the lanes need to be added only once.
    """

    @kernel
    def gray_sum(source, plane, at, rows, stride, inside):
        """Sum of the gray values of some rows, as float64. inside: 1 for the pixels of a row, 0 for its padding."""
        out = 0.0
        sums = zeros()
        for start in range(at, at + rows * stride, stride):
            for x in range(0, stride, lanes):
                p = start + x
                r, g, b = load(source, p), load(source, plane + p), load(source, 2 * plane + p)
                sums = add_gray(sums, r, g, b, load(inside, x))
            if not exact:
                out += total(sums)
                sums = zeros()
        if exact:
            out += total(sums)
        return out * unit

    return gray_sum
