"""Timing on the device: interleaved rounds, by CUDA events, or the clock on a CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil

import torch

from ..measure import no_collection

LEAST = 0.05
"""Seconds that a round of a lane lasts, by calling a fast one several times."""

MOST_CALLS = 200


@dataclass
class Lane:
    """One way to do something. seconds: of one call, each round's."""

    name: str
    make: Callable[[], object]
    calls: int = 1
    seconds: list[float] = field(default_factory=list)
    error: Exception | None = None


def timed(make: Callable[[], object], calls: int, device: str) -> float:
    """Seconds of one call, the mean of several in a row."""
    if device != "cuda":
        start = time.perf_counter()
        for _ in range(calls):
            make()
        return (time.perf_counter() - start) / calls
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    before.record()
    for _ in range(calls):
        make()
    after.record()
    after.synchronize()
    return float(before.elapsed_time(after)) / 1e3 / calls


def synchronize(device: str) -> None:
    """Wait until the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def rounds(lanes: Sequence[Lane], repeats: int, device: str, left: Callable[[], float], least: float = LEAST) -> None:
    """Time every lane once a round, for `repeats` rounds or as long as time is left (three at least)."""
    with no_collection():
        for lane in lanes:
            guarded(lane, lambda lane: calibrate(lane, device, least))
        for k in range(repeats):
            if k >= 3 and left() <= 0:
                return
            for lane in lanes:
                guarded(lane, lambda lane: lane.seconds.append(timed(lane.make, lane.calls, device)))


def guarded(lane: Lane, step: Callable[[Lane], None]) -> None:
    if lane.error is None:
        try:
            step(lane)
        except Exception as error:  # a library may raise anything; its row says what
            lane.error = error


def calibrate(lane: Lane, device: str, least: float) -> None:
    one = min(timed(lane.make, 1, device) for _ in range(2))
    lane.calls = max(1, min(MOST_CALLS, ceil(least / one)))
