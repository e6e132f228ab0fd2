"""The data wait is the device's idle time between steps, however far the host runs ahead; on the CPU, the time in `next`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import pytest
import torch

from ssl_train.waits import DataWait

STEP, LAUNCHES = 80.0, 5.0
"""Milliseconds that a step takes on the device, and that the host takes to start all of it."""


class Queue:
    """A device that does its work in order while the host goes on. Times are in milliseconds."""

    def __init__(self) -> None:
        # The host's clock; when the stream of the steps, and that of the views, will be free; how long the first has been idle.
        self.host = self.device = self.side = self.idle = 0.0

    def work(self) -> None:
        """Start a step."""
        start = max(self.host, self.device)
        self.idle += start - self.device
        self.device = start + STEP
        self.host += LAUNCHES

    def batches(self, every: float, views: float) -> Iterator[None]:
        """A batch every so often by the host's clock. Its views take some time on their own stream, for which the stream of the
        steps waits, not the host."""
        due = self.host
        while True:
            due += every
            self.host = max(self.host, due)
            self.side = max(self.side, self.host) + views
            self.idle += max(0.0, self.side - self.device)
            self.device = max(self.device, self.side)
            yield

    def event(self) -> QueueEvent:
        return QueueEvent(self)


class QueueEvent:
    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def record(self) -> None:
        self.at = max(self.queue.host, self.queue.device)

    def query(self) -> bool:
        return self.at <= self.queue.host

    def elapsed_time(self, end: QueueEvent) -> float:
        assert self.query(), "read before it has passed: torch raises"
        assert end.query(), "read before it has passed: torch raises"
        return end.at - self.at


def run(every: float, views: float = 0.0, steps: int = 50) -> tuple[float, float]:
    """The data wait of that many steps, and the device's true idle share of their time."""
    queue = Queue()
    batches = queue.batches(every, views)
    next(batches)
    queue.work()  # a first step, which is not measured
    begin, idle = queue.device, queue.idle
    wait = DataWait(torch.device("cuda"), queue.event)
    for _ in range(steps):
        wait.next(batches)
        queue.work()
        wait.done()
    true = (queue.idle - idle) / (queue.device - begin)
    queue.host = max(queue.host, queue.device)  # torch.cuda.synchronize
    return wait.share, true


@pytest.mark.parametrize(("every", "views"), [(30, 0), (30, 60), (79, 0)])
def test_a_device_that_always_has_work_waits_for_no_data(every: float, views: float) -> None:
    assert run(every, views) == (0.0, 0.0)


@pytest.mark.parametrize(("every", "views"), [(100, 0), (160, 0), (30, 120), (160, 40)])
def test_a_starved_device_reads_its_true_gap(every: float, views: float) -> None:
    """Whether the host waits for a batch, or the device for the views of a batch that the host has."""
    read, true = run(every, views)
    assert true > 0.15
    assert read == pytest.approx(true)


def test_no_event_is_read_or_waited_for_before_it_has_passed() -> None:
    queue = Queue()
    batches, wait = queue.batches(10, 0), DataWait(torch.device("cuda"), queue.event)
    wait.next(batches)
    queue.work()
    times = wait.done()
    assert queue.host == 10 + LAUNCHES
    assert not times.passed()
    assert math.isnan(wait.share)
    queue.host = queue.device
    assert times.share() == wait.share == pytest.approx(10 / (10 + STEP))


def test_on_the_cpu_it_is_the_time_in_next() -> None:
    def slow() -> Iterator[int]:
        while True:
            time.sleep(0.02)
            yield 1

    wait = DataWait(torch.device("cpu"))
    for batches, least, most in ((slow(), 0.5, 1.0), (iter([1]), 0.0, 0.5)):
        assert wait.next(batches) == 1
        time.sleep(0.01)
        assert least <= wait.done().share() <= most
    assert 0 < wait.share < 1
