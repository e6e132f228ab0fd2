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
class Lane:
    """A contender on a workload, ready to be timed.

    Attributes:
        device: "cuda" if a call only starts work that must be waited for.
        calls: Calls in a repeat.
        seconds: Time of one call by the clock, for each repeat.
        processor: Processor time of one call, for each repeat.
    """

    make: Call
    device: str = "cpu"
    calls: int = 1
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    error: Exception | None = None


def synchronize(device: str) -> None:
    """Wait until the device has finished its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def timed(make: Call, calls: int = 1, device: str = "cpu") -> tuple[float, float]:
    """Seconds of one call, as the mean of several in a row: by the clock, until the device has finished, and of processor time,
    summed over the process's threads."""
    synchronize(device)
    processor, start = time.process_time(), time.perf_counter()
    for _ in range(calls):
        make()
    synchronize(device)
    return (time.perf_counter() - start) / calls, (time.process_time() - processor) / calls


def rounds(
    lanes: Sequence[Lane],
    repeats: int,
    seconds: float,
    progress: Callable[[str], None],
    late: Callable[[], bool] = lambda: False,
) -> None:
    """Time every lane once a round, in a new order each time, since a lane leaves the processor hot for the next one.

    Args:
        lanes: What to time; a lane that fails drops out.
        repeats: Rounds.
        seconds: Least length of a repeat, in which a fast lane is called several times.
        progress: Is told which round begins.
        late: Whether no time is left for a further round.
    """
    turns = random.Random(0)
    with no_collection():
        for lane in lanes:
            guarded(lane, lambda lane: calibrate(lane, seconds))
        for k in range(repeats):
            if k >= LEAST_ROUNDS and late():
                return
            progress(f"round {k + 1} of {repeats}")
            for lane in turns.sample(lanes, len(lanes)):
                guarded(lane, repeat)


def guarded(lane: Lane, step: Callable[[Lane], None]) -> None:
    if lane.error is None:
        try:
            step(lane)
        except Exception as error:  # a library may raise anything; its cell says what
            lane.error = error


def calibrate(lane: Lane, seconds: float) -> None:
    one = min(timed(lane.make, device=lane.device)[0] for _ in range(WARM_UP))
    lane.calls = max(1, min(MOST_CALLS, ceil(seconds / one)))


def repeat(lane: Lane) -> None:
    wall, processor = timed(lane.make, lane.calls, lane.device)
    lane.seconds.append(wall)
    lane.processor.append(processor)


@contextmanager
def no_collection() -> Iterator[None]:
    """Without garbage collection, which would fall on whichever lane happens to be timed."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
