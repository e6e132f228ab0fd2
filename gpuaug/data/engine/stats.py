"""Where the time of an epoch goes, stage by stage, and what to change."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TypeAlias

import torch

from ..process import cores

ENOUGH = 0.05
"""Share of waiting below which the loader is not worth a change."""

Stamp: TypeAlias = "float | torch.cuda.Event"


def stamp(device: torch.device) -> Stamp:
    """A point in time; on CUDA an event on the device's current stream, since kernels run after the call that launched them."""
    if device.type != "cuda":
        return perf_counter()
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


def seconds(first: Stamp, second: Stamp) -> float:
    if isinstance(first, float) or isinstance(second, float):
        return float(second) - float(first)  # type: ignore[arg-type]
    return float(first.elapsed_time(second)) / 1e3


def remedy(stage: str, workers: int, option: str = "num_workers=", cuda: str = "device='cuda'") -> str:
    """What makes a stage of the loader faster. option, cuda: how the reader spells these two settings."""
    change = {
        "read": "put the data on a faster disk, or make fewer and larger files of it",
        "decode": "store the pictures at about twice the size of the views (`gpuaug pack`)",
        "load": "speed up the Dataset's own __getitem__ or __iter__",
        "stream": "one thread reads the stream: put the data on a faster disk or nearer, or do less in the stream's own steps",
        "transfer": "store smaller pictures, or use larger batches",
        "augment": f"use {cuda} or a cheaper policy (`print(loader.augment)` shows its cost)",
    }[stage]
    if stage in ("transfer", "augment", "stream"):
        return change
    now = f"{option}{workers}, {cores()} cores"
    if workers < cores():
        return f"raise {option.rstrip('= ')} ({now}), or {change}"
    return f"{change}; more workers will not help ({now})"


@dataclass(frozen=True)
class Stats:
    """The timing of one epoch so far.

    Attributes:
        epoch: Number of the epoch.
        samples: Samples delivered.
        bad: Bad samples, which were skipped or replaced.
        workers: Threads or processes that read and decode; 0 if the consumer's own thread does.
        elapsed: Seconds since the first `next()`.
        wait: Seconds of `elapsed` spent inside `next()`.
        first_wait: Seconds spent inside the first `next()`.
        read: Seconds per sample that one worker takes to read; None if not measured. A Dataset's own code counts as reading.
        decode: Seconds per sample that one worker takes to decode; 0 for a Dataset.
        transfer: Seconds per sample for the copy to the device, and for decoding there.
        augment: Seconds per sample that one thread takes to make views; on CUDA the GPU's time.
        makers: Threads that make views; on the CPU the threads that decode do.
        first_stage: What reading is: "read" for files, "load" for a Dataset's own code, "stream" for one thread that reads a
            stream. The advice depends on it.
        decoder: The decoder of files, and why it is that one; empty if the source holds no files.
        copied: Bytes of pixels and files that were copied to the device; 0 on the CPU.
    """

    epoch: int
    samples: int
    bad: int
    workers: int
    elapsed: float
    wait: float
    first_wait: float
    read: float | None
    decode: float | None
    transfer: float | None
    augment: float | None
    makers: int = 1
    first_stage: str = "read"
    decoder: str = ""
    copied: int = 0

    @property
    def data_wait(self) -> float:
        """Share of the elapsed time that the consumer spent waiting in `next()`, 0..1."""
        return self.wait / self.elapsed if self.elapsed else 0.0

    @property
    def rates(self) -> dict[str, float]:
        """Stage -> samples/s that it would reach alone with these workers; stages that take no time are left out."""
        cost = {"read": self.read, "decode": self.decode, "transfer": self.transfer, "augment": self.augment}
        readers = 1 if self.first_stage == "stream" else max(self.workers, 1)
        parallel = {"read": readers, "decode": max(self.workers, 1), "transfer": 1, "augment": self.makers}
        return {k: parallel[k] / c for k, c in cost.items() if c}

    @property
    def bottleneck(self) -> str:
        """What limits the epoch: "consumer" if it hardly waits, "start" if the first batch took most of the wait, or a stage.

        Reading and decoding share the workers; transfer and augmentation share one thread, or the same workers on the CPU. The
        stage is the slowest one of the slower of these two groups.
        """
        if self.data_wait < ENOUGH or not self.rates:
            return "consumer"
        if self.workers and self.first_wait > self.wait / 2:
            return "start"
        groups = [["read", "decode"], ["transfer", "augment"]] if self.makers == 1 else [list(self.rates)]
        if self.first_stage == "stream" and self.workers:  # a thread of its own reads
            groups = [["read"], *([stage for stage in group if stage != "read"] for group in groups)]
        found = [[k for k in group if k in self.rates] for group in groups]
        slower = max((group for group in found if group), key=lambda group: sum(1 / self.rates[k] for k in group))
        return min(slower, key=self.rates.__getitem__)

    @property
    def advice(self) -> str:
        """The bottleneck in words, and what to change."""
        if self.bottleneck == "consumer":
            return "the training loop itself; the loader keeps up"
        if self.bottleneck == "start":
            return "the first batch; set persistent_workers=True, which begins an epoch while the one before it ends"
        stage = self.first_stage if self.bottleneck == "read" else self.bottleneck
        return f"{self.bottleneck}; {remedy(stage, self.workers)}"

    def __str__(self) -> str:
        speed = f" ({self.samples / self.elapsed:,.0f}/s)" if self.elapsed else ""
        stages = ", ".join(f"{name} {rate:,.0f}" for name, rate in self.rates.items())
        bad = f", {self.bad} bad" if self.bad else ""
        copied = f"; {self.copied / 1e6:,.0f} MB copied to the device" if self.copied else ""
        decoder = f"; decoder {self.decoder}" if self.decoder else ""
        return (
            f"epoch {self.epoch}: {self.samples:,} samples in {self.elapsed:.1f} s{speed}{bad}; "
            f"data wait {self.data_wait:.1%}, {self.first_wait:.2f} s of it for the first batch; "
            f"samples/s by stage: {stages or 'none'}{copied}{decoder}; limit: {self.advice}"
        )


class Meter:
    """Counts one epoch in the consumer's thread, so without locks."""

    def __init__(self, epoch: int, workers: int, makers: int = 1, first_stage: str = "read", decoder: str = "") -> None:
        self.epoch = epoch
        self.workers = workers
        self.makers = makers
        self.first_stage = first_stage
        self.decoder = decoder
        self.samples = self.bad = self.timed = self.copied = 0
        self.began: float | None = None
        self.ended = self.wait = self.first_wait = 0.0
        self.read = self.decode = self.transfer = self.augment = 0.0
        self.pending: deque[tuple[int, Sequence[Stamp]]] = deque()

    def waited(self, began: float) -> None:
        """Count a `next()` that the consumer entered at `began` and has just left."""
        self.ended = perf_counter()
        if self.began is None:
            self.began, self.first_wait = began, self.ended - began
        self.wait += self.ended - began

    def add(self, samples: int, bad: int, read: float, decode: float, stamps: Sequence[Stamp], copied: int = 0) -> None:
        """Count a batch. stamps: before transfer, between transfer and augmentation, and after it. copied: bytes."""
        self.samples += samples
        self.copied += copied
        self.bad += bad
        self.read += read
        self.decode += decode
        if samples:
            self.pending.append((samples, stamps))
        while self.pending and done(self.pending[0][1][-1]):
            count, (start, middle, end) = self.pending.popleft()
            self.timed += count
            self.transfer += seconds(start, middle)
            self.augment += seconds(middle, end)

    def stats(self) -> Stats:
        def each(total: float, count: int) -> float | None:
            return total / count if count else None

        n, timed = self.samples, self.timed
        return Stats(
            self.epoch,
            n,
            self.bad,
            self.workers,
            self.ended - self.began if self.began is not None else 0.0,
            self.wait,
            self.first_wait,
            each(self.read, n),
            each(self.decode, n),
            each(self.transfer, timed),
            each(self.augment, timed),
            self.makers,
            self.first_stage,
            self.decoder,
            self.copied,
        )

    def __str__(self) -> str:
        return str(self.stats())


def done(stamp: Stamp) -> bool:
    return isinstance(stamp, float) or bool(stamp.query())  # type: ignore[no-untyped-call]
