"""Fetching: from batches of indices to decoded batches, in order, inline, by threads or by worker processes.

A fetcher is an iterator of `DecodedBatch`. Its `close()` ends all of its threads and processes.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeAlias, cast

import numpy as np
import torch

from ..decoders.staging import StagedBatch
from ..sources import Encoded, Index, Loaded, PlainReader, Reader, Source, is_encoded, is_itemized, reader_of
from ..sources.composed import is_mapped, will_need
from .assembly import assemble
from .batch import DecodedBatch, DecodedPart, FetchConfig, Fetcher, load_batch, read_part
from .process_fetcher import ProcessFetcher
from .torch_threads import limit_torch_threads

JOIN_SECONDS = 10.0
"""Seconds to wait for a thread to end; one that hangs in a dead file system is left behind as a daemon."""

PART_SIZE = 32
"""Most samples that a thread takes at a time: few enough that threads finish together and stop soon when told to."""

FORETOLD = 192
"""Samples after those of the batch that is read, of which a memory-mapped source is told at least."""


def fetch(source: Source, batches: Iterator[Index], config: FetchConfig) -> Fetcher:
    """The fetcher that suits a source."""
    if config.workers and is_encoded(source):
        return ThreadFetcher(source, batches, config)
    if config.workers and is_itemized(source):
        return ProcessFetcher(source, batches, config)
    if is_mapped(source):
        batches = foretold(source, batches) if config.workers else told(source, batches)
    return fetch_inline(source, batches, config)


def told(source: Source, batches: Iterator[Index]) -> Generator[Index, None, None]:
    """The batches, the source being told of each before it is read."""
    for index in batches:
        will_need(source, index)
        yield index


def foretold(source: Source, batches: Iterator[Index]) -> Generator[Index, None, None]:
    """The batches; a thread tells the source of later ones, so that the disk works while views are made.

    Without the thread the loader is only four fifths as fast from a cold disk, since the system's call takes time: it allocates
    the memory, and waits while the queue of the disk is full.
    """
    tasks: queue.SimpleQueue[Index | None] = queue.SimpleQueue()

    def tell() -> None:
        while (index := tasks.get()) is not None:
            with contextlib.suppress(IndexError, ValueError):  # a sampler's fault, which reading the batch will name
                will_need(source, index)

    thread = threading.Thread(target=tell, name="gpuaug-ahead", daemon=True)
    thread.start()
    try:
        ahead: deque[Index] = deque()
        samples = 0
        for index in batches:
            tasks.put(index)
            ahead.append(index)
            samples += len(index)
            while samples - len(ahead[0]) >= FORETOLD:
                samples -= len(ahead[0])
                yield ahead.popleft()
        yield from ahead
    finally:
        tasks.put(None)
        thread.join(JOIN_SECONDS)


def fetch_inline(source: Source, batches: Iterator[Index], config: FetchConfig) -> Generator[DecodedBatch, None, None]:
    """Fetch in the calling thread."""
    try:
        if not is_encoded(source):
            for index in batches:
                yield load_batch(cast(Loaded, source), index, config.on_error, config.collate)
            return
        with contextlib.closing(reader_of(source)) as reader:
            for index in announced(batches, reader, config.ahead):
                out = config.maker.augment.empty(len(index)) if config.make_views else None
                staged = config.staged()
                yield assemble(source, index, [read_part(reader, index, config, out, staged)], config, out, staged)
    finally:
        if isinstance(batches, Generator):
            batches.close()  # ends its thread


def announced(batches: Iterator[Index], reader: Reader, ahead: int) -> Iterator[Index]:
    """The batches, each of which the reader knows of while the `ahead` ones before it are made."""
    if isinstance(reader, PlainReader):  # and a sampler is not asked earlier than it need be
        yield from batches
        return
    waiting: deque[Index] = deque()
    for index in batches:
        reader.will_read(index)
        waiting.append(index)
        if len(waiting) > ahead:
            yield waiting.popleft()
    yield from waiting


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
        self.reader = reader_of(source)
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
                future.set_result(read_part(self.reader, index, self.config, out, staged))
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
            self.reader.will_read(index)
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

    def interrupt(self) -> None:
        """Let the threads that wait for a server go on at once, with an error."""
        self.reader.close()

    def close(self) -> None:
        self.stop.set()
        self.reader.close()
        for _ in self.threads:
            self.tasks.put(None)
        for thread in self.threads:
            thread.join(JOIN_SECONDS)
