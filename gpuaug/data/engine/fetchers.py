"""Fetching: from batches of indices to decoded batches, in order, inline, by threads or by worker processes.

A fetcher is an iterator of `DecodedBatch`. Its `close()` ends all of its threads and processes.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeAlias, cast

import numpy as np
import torch

from ..decoders.staging import StagedBatch
from ..sources import Encoded, Index, Loaded, Source, is_encoded, is_in_memory, is_itemized
from ..sources.composed import will_need
from .assembly import assemble
from .batch import DecodedBatch, DecodedPart, FetchConfig, Fetcher, load_batch, read_part
from .process_fetcher import ProcessFetcher
from .torch_threads import limit_torch_threads

JOIN_SECONDS = 10.0
"""Seconds to wait for a thread to end; one that hangs in a dead file system is left behind as a daemon."""

PART_SIZE = 32
"""Most samples that a thread takes at a time: few enough that threads finish together and stop soon when told to."""

FORETOLD = 64
"""Samples of which a memory-mapped source is told before their batch is read: a disk is as fast with twice as many."""


def fetch(source: Source, batches: Iterator[Index], config: FetchConfig) -> Fetcher:
    """The fetcher that suits a source."""
    if config.workers and is_encoded(source):
        return ThreadFetcher(source, batches, config)
    if config.workers and is_itemized(source):
        return ProcessFetcher(source, batches, config)
    if config.workers and is_in_memory(source):
        batches = foretold(source, batches)
    return fetch_inline(source, batches, config)


def foretold(source: Source, batches: Iterator[Index]) -> Iterator[Index]:
    """The batches, the source having been told of the following ones too, so that a disk reads while views are made."""
    ahead: deque[Index] = deque()
    samples = 0
    for index in batches:
        will_need(source, index)
        ahead.append(index)
        samples += len(index)
        while samples - len(ahead[0]) >= FORETOLD:
            samples -= len(ahead[0])
            yield ahead.popleft()
    yield from ahead


def fetch_inline(source: Source, batches: Iterator[Index], config: FetchConfig) -> Generator[DecodedBatch, None, None]:
    """Fetch in the calling thread."""
    for index in batches:
        if is_encoded(source):
            out = config.maker.augment.empty(len(index)) if config.make_views else None
            staged = config.staged()
            yield assemble(source, index, [read_part(source, index, config, out, staged)], config, out, staged)
        else:
            yield load_batch(cast(Loaded, source), index, config.on_error, config.collate)


Out: TypeAlias = "list[torch.Tensor] | None"
"""Memory for the views of a batch or of a part of it; None if views are made later."""


def split_rows(out: Out, parts: Sequence[Index]) -> Sequence[Out]:
    """The rows of `out` that belong to each part."""
    if out is None:
        return [None] * len(parts)
    return [list(own) for own in zip(*(torch.split(view, [len(part) for part in parts]) for view in out), strict=True)]


class ThreadFetcher:
    """Threads that decode parts of batches and make their views.

    All threads work on the batch that is due first, so that it is ready as soon as possible. They start when the first batch is
    asked for, so an unused fetcher need not be closed.
    """

    def __init__(self, source: Encoded, batches: Iterator[Index], config: FetchConfig) -> None:
        self.source = source
        self.batches = batches
        self.config = config
        self.pending: deque[tuple[Index, list[Future[DecodedPart]], Out, StagedBatch | None]] = deque()
        self.tasks: queue.SimpleQueue[tuple[Future[DecodedPart], Index, Out, StagedBatch | None] | None] = queue.SimpleQueue()
        self.stop = threading.Event()
        self.threads: list[threading.Thread] = []

    def work(self, begun: threading.Semaphore) -> None:
        limit_torch_threads(1)
        begun.release()
        while (task := self.tasks.get()) is not None:
            if self.stop.is_set():
                continue
            future, index, out, staged = task
            try:
                future.set_result(read_part(self.source, index, self.config, out, staged))
            except BaseException as error:
                future.set_exception(error)
            del task, future, out, staged  # or the thread would hold the last part's pixels while it waits

    def start(self) -> None:
        """Start the threads and wait until all have begun, so that none changes torch's default for a moment later on."""
        begun = threading.Semaphore(0)
        for k in range(self.config.workers):
            self.threads.append(threading.Thread(target=self.work, args=(begun,), name=f"gpuaug-decode-{k}", daemon=True))
            self.threads[-1].start()
        for _ in self.threads:
            begun.acquire()

    def __iter__(self) -> Iterator[DecodedBatch]:
        return self

    def __next__(self) -> DecodedBatch:
        if not self.threads:
            self.start()
        while len(self.pending) < self.config.ahead and (index := next(self.batches, None)) is not None:
            parts = np.array_split(index, max(-(-len(index) // PART_SIZE), min(self.config.workers, len(index))))
            out = self.config.maker.augment.empty(len(index)) if self.config.make_views else None
            staged = self.config.staged()
            futures: list[Future[DecodedPart]] = [Future() for _ in parts]
            for future, part, own in zip(futures, parts, split_rows(out, parts), strict=True):
                self.tasks.put((future, part, own, staged))
            self.pending.append((index, futures, out, staged))
        if not self.pending:
            raise StopIteration
        index, futures, out, staged = self.pending.popleft()
        found = [self.result(future, index) for future in futures]
        return assemble(self.source, index, found, self.config, out, staged)

    def result(self, future: Future[DecodedPart], index: Index) -> DecodedPart:
        try:
            return future.result(self.config.timeout)
        except TimeoutError as error:
            if future.done():
                raise
            first = self.source.name(int(index[0]))
            limit = f"{self.config.timeout:g} s"
            raise TimeoutError(f"DataLoader: the batch that starts with {first} was not read within {limit}") from error

    def close(self) -> None:
        self.stop.set()
        for _ in self.threads:
            self.tasks.put(None)
        for thread in self.threads:
            thread.join(JOIN_SECONDS)
