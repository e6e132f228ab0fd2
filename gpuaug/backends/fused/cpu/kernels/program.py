"""The steps of a program: the instructions that do something, and where a pass must stop."""

from __future__ import annotations

from ...instructions import BLUR, CONTRAST, ERASE_WITH_NOISE, NOISE, NOTHING
from ..jit import kernel


@kernel
def compact(code, steps):
    """The instructions that do something, into steps; returns how many."""
    count = 0
    for n in range(code.shape[0]):
        if code[n] != NOTHING:
            steps[count] = n
            count += 1
    return count


@kernel
def next_barrier(code, steps, at, count):
    """The first step from `at` on that needs more than its own pixels: contrast or blur; `count` where there is none."""
    while at < count and code[steps[at]] != CONTRAST and code[steps[at]] != BLUR:
        at += 1
    return at


@kernel
def next_mark(code, steps, at, end):
    """The first step from `at` on that depends on where a pixel is; `end` where there is none before it."""
    while at < end and not (NOISE <= code[steps[at]] <= ERASE_WITH_NOISE):
        at += 1
    return at
