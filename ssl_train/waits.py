"""How long training steps wait for their data: on the CPU by the clock, on CUDA by events, as the device's own idle gaps.

On CUDA the host runs steps ahead, so time that it spends in `next` says nothing about the device. There an event is recorded
after the last kernel of a step, when the next batch is asked for; one before the first kernel of the step on that batch; and
one after its last. If the device still had work when the batch came, it passes the first two at once. Nothing waits for an
event: it is read once it has passed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import torch

T = TypeVar("T")


class Event(Protocol):
    """The part of torch.cuda.Event that is used here."""

    def record(self) -> None: ...

    def query(self) -> bool:
        """Whether it has passed."""
        ...

    def elapsed_time(self, end_event: Any, /) -> float:
        """Milliseconds from this event to a later one; both have passed."""
        ...


class Clock:
    """An event of a device whose work the host waits for."""

    at: float

    def record(self) -> None:
        self.at = time.perf_counter()

    def query(self) -> bool:
        return True

    def elapsed_time(self, end_event: Clock) -> float:
        return 1000 * (end_event.at - self.at)


class DeviceEvent:
    """A CUDA event on the current stream of a device, which need not be the current device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def record(self) -> None:
        self.event.record(torch.cuda.current_stream(self.device))

    def query(self) -> bool:
        return bool(self.event.query())  # type: ignore[no-untyped-call]

    def elapsed_time(self, end_event: DeviceEvent) -> float:
        return float(self.event.elapsed_time(end_event.event))


@dataclass
class StepTimes:
    """A step's events: its batch is asked for, its batch is there, its work is done."""

    asked: Event
    ready: Event
    done: Event | None = None

    def passed(self) -> bool:
        return self.done is not None and self.done.query()

    def seconds(self) -> tuple[float, float]:
        """Seconds of waiting for data, and of the whole step. All events must have passed."""
        return self.asked.elapsed_time(self.ready) / 1000, self.asked.elapsed_time(self.done) / 1000

    def share(self) -> float:
        """The step's data wait, 0 to 1. All events must have passed."""
        waited, passed = self.seconds()
        return waited / passed if passed else 0.0


class DataWait:
    """The steps of a loop: `batch = wait.next(batches)`, the step's work, `wait.done()`.

    Args:
        device: the device that the steps run on, on its current stream.
        event: makes an event; by default one of the device.
    """

    def __init__(self, device: torch.device, event: Callable[[], Event] | None = None) -> None:
        self.event: Callable[[], Event] = event or (partial(DeviceEvent, device) if device.type == "cuda" else Clock)
        self.open: deque[StepTimes] = deque()  # steps whose events have not been read
        self.waited = self.passed = 0.0  # seconds, of the steps that have been read

    def mark(self) -> Event:
        event = self.event()
        event.record()
        return event

    def next(self, batches: Iterator[T]) -> T:
        """The next batch, whose step begins."""
        asked = self.mark()
        batch = next(batches)
        self.open.append(StepTimes(asked, self.mark()))
        return batch

    def done(self) -> StepTimes:
        """End a step: all its work has been started. Returns its times, which can be read once the device is so far."""
        step = self.open[-1]
        step.done = self.mark()
        self.read()
        return step

    def read(self) -> None:
        """Add up the steps that the device has finished."""
        while self.open and self.open[0].passed():
            waited, passed = self.open.popleft().seconds()
            self.waited, self.passed = self.waited + waited, self.passed + passed

    @property
    def share(self) -> float:
        """Data wait of all steps that the device has finished, 0 to 1; NaN before the first."""
        self.read()
        return self.waited / self.passed if self.passed else float("nan")
