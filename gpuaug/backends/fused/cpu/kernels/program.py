"""The steps of a program: the instructions that do something, and where a pass must stop."""

from __future__ import annotations

from ...instructions import IS_BARRIER, IS_POSITIONAL, NOTHING
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
    """The first step from `at` on that needs more than its own pixels; `count` where there is none."""
    while at < count and not IS_BARRIER[code[steps[at]]]:
        at += 1
    return at


@kernel
def next_positional(code, steps, at, end):
    """The first step from `at` on that depends on where a pixel is; `end` where there is none before it."""
    while at < end and not IS_POSITIONAL[code[steps[at]]]:
        at += 1
    return at
