"""Timing: interleaved rounds (A B C, C A B, ...), so that whatever drifts hits every contender alike."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil

import torch

WARM_UP = 2
"""Untimed calls before the rounds, besides the first call and those of the check."""

MOST_CALLS = 1000

LEAST_ROUNDS = 3
"""Rounds that are always made, however little time is left."""

Call = Callable[[], object]


@dataclass
class Timing:
    """A contender on a workload, ready to be timed.

    Attributes:
        device: "cuda" if a call only starts work that must be waited for.
        calls: Calls in a repeat.
        before: What to do before each call, which is not timed.
        seconds: Time of one call by the clock, for each repeat.
        processor: Processor time of one call, for each repeat.
    """

    make: Call
    device: str = "cpu"
    calls: int = 1
    before: Call | None = None
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    error: Exception | None = None


def synchronize(device: str) -> None:
    """Wait until the device has finished its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def timed(make: Call, calls: int = 1, device: str = "cpu", before: Call | None = None) -> tuple[float, float]:
    """Seconds of one call, as the mean of several in a row: by the clock, until the device has finished, and of processor time,
    summed over the process's threads. before: what to do first, which is not timed."""
    if before is not None:
        before()
    synchronize(device)
    processor, start = time.process_time(), time.perf_counter()
    for _ in range(calls):
        make()
    synchronize(device)
    return (time.perf_counter() - start) / calls, (time.process_time() - processor) / calls


def rounds(
    timings: Sequence[Timing],
    repeats: int,
    seconds: float,
    progress: Callable[[str], None],
    late: Callable[[], bool] = lambda: False,
) -> None:
    """Time every call once a round, in a new order each time, since a timing leaves the processor hot for the next one.

    Args:
        timings: What to time; a call that fails drops out.
        repeats: Rounds.
        seconds: Least length of a repeat, in which a fast timing is called several times.
        progress: Is told which round begins.
        late: Whether no time is left for a further round.
    """
    turns = random.Random(0)
    with no_collection():
        for timing in timings:
            guarded(timing, lambda timing: calibrate(timing, seconds))
        for k in range(repeats):
            if k >= LEAST_ROUNDS and late():
                return
            progress(f"round {k + 1} of {repeats}")
            for timing in turns.sample(timings, len(timings)):
                guarded(timing, repeat)


def guarded(timing: Timing, step: Callable[[Timing], None]) -> None:
    if timing.error is None:
        try:
            step(timing)
        except Exception as error:  # a library may raise anything; its cell says what
            timing.error = error


def calibrate(timing: Timing, seconds: float) -> None:
    one = min(timed(timing.make, device=timing.device)[0] for _ in range(WARM_UP))
    timing.calls = 1 if timing.before else max(1, min(MOST_CALLS, ceil(seconds / one)))


def repeat(timing: Timing) -> None:
    wall, processor = timed(timing.make, timing.calls, timing.device, timing.before)
    timing.seconds.append(wall)
    timing.processor.append(processor)


@contextmanager
def no_collection() -> Iterator[None]:
    """Without garbage collection, which would fall on whichever timing happens to be timed."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
