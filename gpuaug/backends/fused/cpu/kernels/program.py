"""Steps of a program: finding them, finding where a pass must end, and running them on pixels.

A step is the column of an instruction that is not NOTHING.
"""

from __future__ import annotations

from ...instructions import BLUR, ELASTIC, IS_BARRIER, IS_POSITIONAL, NOTHING, SHARPNESS, WARP
from ..jit import inlined_by_llvm, kernel
from ..simd.common import load, store, total


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


@kernel
def reads_around(instruction):
    """Whether the result of a barrier at a pixel depends on the image buffer elsewhere, which then must not be overwritten."""
    return instruction in (BLUR, SHARPNESS, WARP, ELASTIC)


def run_with(apply, lanes):
    """Make `load_and_run` and `run` for one pixel format; apply(code, arguments, p, q) takes twice `lanes` pixels at a time.

    Each of p and q is a vector of red, one of green and one of blue. Two of them share the work of finding the instruction.
    """

    @inlined_by_llvm
    def load_and_run(source, plane, one, other, code, arg, steps, first, last):
        """Load the vectors of pixels at `one` and `other` and apply steps first..last-1 to them."""
        p = load(source, one), load(source, plane + one), load(source, 2 * plane + one)
        q = load(source, other), load(source, plane + other), load(source, 2 * plane + other)
        for step in range(first, last):
            n = steps[step]
            p, q = apply(code[n], arg[n], p, q)
        return p, q

    @kernel
    def run(source, source_plane, at, count, into, plane, to, code, arg, steps, first, last):
        """Apply steps first..last-1 to the `count` pixels from source[at] on, and write them from into[to] on."""
        for x in range(0, count, 2 * lanes):
            y = min(x + lanes, count - lanes)  # the last vector twice, if it has no second one
            p, q = load_and_run(source, source_plane, at + x, at + y, code, arg, steps, first, last)
            store(into, to + x, p[0])
            store(into, plane + to + x, p[1])
            store(into, 2 * plane + to + x, p[2])
            store(into, to + y, q[0])
            store(into, plane + to + y, q[1])
            store(into, 2 * plane + to + y, q[2])

    return load_and_run, run


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
