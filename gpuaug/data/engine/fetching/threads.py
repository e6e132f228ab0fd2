"""Threads that read and decode parts of batches, whose samples an order names or a stream has given."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch

from ...decoders.staging import StagedBatch
from ...sources import Encoded, Index, Reader
from ..assembly import assemble
from ..batch import DecodedBatch, DecodedPart, FetchConfig, read_part
from ..torch_threads import limit_torch_threads

JOIN_SECONDS = 10.0
"""Seconds to wait for a thread to end; one that hangs in a dead file system is left behind as a daemon."""

PART_SIZE = 32
"""Most samples that a thread takes at a time: few enough that threads finish together and stop soon when told to."""

Out: TypeAlias = "list[torch.Tensor] | None"
"""Memory for the views of a batch or of a part of it; None if views are made later."""


def as_it_is(batch: DecodedBatch) -> DecodedBatch:
    return batch


@dataclass(frozen=True)
class Work:
    """A batch to decode: samples `index` of a source, read by the reader. finish: completes the decoded batch."""

    source: Encoded
    reader: Reader
    index: Index
    config: FetchConfig
    finish: Callable[[DecodedBatch], DecodedBatch] = as_it_is

    def memory(self) -> tuple[Out, StagedBatch | None]:
        """Memory for the batch's views, if the threads that decode make them, and for its pictures on their way to a device."""
        out = self.config.maker.augment.empty(len(self.index)) if self.config.make_views else None
        return out, self.config.staged()

    def assembled(self, parts: Sequence[DecodedPart], out: Out, staged: StagedBatch | None) -> DecodedBatch:
        return self.finish(assemble(self.source, self.index, parts, self.config, out, staged))

    def here(self) -> DecodedBatch:
        """The batch, decoded in the calling thread."""
        out, staged = self.memory()
        return self.assembled([read_part(self.reader, self.index, self.config, out, staged)], out, staged)


def split_rows(out: Out, parts: Sequence[Index]) -> Sequence[Out]:
    """The rows of `out` that belong to each part."""
    if out is None:
        return [None] * len(parts)
    return [list(own) for own in zip(*(torch.split(view, [len(part) for part in parts]) for view in out), strict=True)]


@dataclass(frozen=True)
class Part:
    """What a thread takes at a time."""

    work: Work
    index: Index
    out: Out
    staged: StagedBatch | None
    made: Future[DecodedPart]


class ThreadFetcher:
    """Threads that decode parts of batches and make their views.

    All threads work on the batch that is due first, so that it is ready as soon as possible. They start when the first batch is
    asked for, so an unused fetcher need not be closed. reader: what all of the work is read by, to be closed at the end.
    """

    def __init__(self, work: Iterator[Work], config: FetchConfig, reader: Reader | None = None) -> None:
        self.reader = reader
        self.work = work
        self.config = config
        self.pending: deque[tuple[Work, list[Part], Out, StagedBatch | None]] = deque()
        self.tasks: queue.SimpleQueue[Part | None] = queue.SimpleQueue()
        self.stop = threading.Event()
        self.threads: list[threading.Thread] = []

    def run(self, begun: threading.Semaphore) -> None:
        limit_torch_threads(1)
        begun.release()
        while (part := self.tasks.get()) is not None:
            if self.stop.is_set():
                continue
            try:
                work = part.work
                part.made.set_result(read_part(work.reader, part.index, work.config, part.out, part.staged))
            except BaseException as error:
                part.made.set_exception(error)
            del part, work  # or the thread would hold the last part's pixels while it waits

    def start(self) -> None:
        """Start the threads and wait until all have begun, so that none changes torch's default for a moment later on."""
        begun = threading.Semaphore(0)
        for k in range(self.config.workers):
            self.threads.append(threading.Thread(target=self.run, args=(begun,), name=f"gpuaug-decode-{k}", daemon=True))
            self.threads[-1].start()
        for _ in self.threads:
            begun.acquire()

    def __iter__(self) -> Iterator[DecodedBatch]:
        return self

    def due(self) -> Work | None:
        """The next batch to hand to the threads; None at the end, or if waiting for it would keep those pending."""
        return next(self.work, None)

    def __next__(self) -> DecodedBatch:
        if not self.threads:
            self.start()
        while len(self.pending) < self.config.ahead and (work := self.due()) is not None:
            size = len(work.index)
            indices = np.array_split(work.index, max(-(-size // PART_SIZE), min(self.config.workers, size)))
            out, staged = work.memory()
            parts = [
                Part(work, index, own, staged, Future()) for index, own in zip(indices, split_rows(out, indices), strict=True)
            ]
            for part in parts:
                self.tasks.put(part)
            self.pending.append((work, parts, out, staged))
        if not self.pending:
            raise StopIteration
        work, parts, out, staged = self.pending.popleft()
        return work.assembled([self.result(part) for part in parts], out, staged)

    def result(self, part: Part) -> DecodedPart:
        try:
            return part.made.result(self.config.timeout)
        except TimeoutError as error:
            if part.made.done():
                raise
            first = part.work.source.name(int(part.work.index[0]))
            limit = f"{self.config.timeout:g} s"
            raise TimeoutError(f"DataLoader: the batch that starts with {first} was not read within {limit}") from error

    def interrupt(self) -> None:
        """Let the threads that wait for a server go on at once, with an error."""
        if self.reader is not None:
            self.reader.close()

    def close(self) -> None:
        self.stop.set()
        self.interrupt()
        for _ in self.threads:
            self.tasks.put(None)
        for thread in self.threads:
            thread.join(JOIN_SECONDS)
