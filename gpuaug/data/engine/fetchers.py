"""Fetching: from batches of indices to decoded batches, in order, inline, by threads or by worker processes.

A fetcher is an iterator of `DecodedBatch`. Its `close()` ends all of its threads and processes.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Generator, Iterator
from typing import cast

from ..sources import Encoded, Index, Loaded, PlainReader, Reader, Source, is_encoded, is_itemized, reader_of
from ..sources.composed import is_mapped, will_need
from ..sources.streams import is_encoded_stream
from ..sources.streams.dataset import DatasetStream
from .batch import DecodedBatch, FetchConfig, Fetcher, load_batch
from .fetching.items import StreamProcessFetcher, items_inline
from .fetching.reader import StreamFetcher, stream_inline
from .fetching.threads import JOIN_SECONDS, ThreadFetcher, Work
from .order import EpochPlan
from .process_fetcher import ProcessFetcher

FORETOLD = 192
"""Samples after those of the batch that is read, of which a memory-mapped source is told at least."""


def fetch(source: Source, plan: EpochPlan, config: FetchConfig) -> Fetcher:
    """The fetcher that suits a source."""
    if plan.stream is not None and is_encoded_stream(source):
        return (StreamFetcher if config.workers else stream_inline)(source, plan.stream, config)
    if plan.stream is not None:
        return (StreamProcessFetcher if config.workers else items_inline)(cast(DatasetStream, source), plan.stream, config)
    batches = plan.batches()
    if config.workers and is_encoded(source):
        reader = reader_of(source)
        return ThreadFetcher(works(source, reader, batches, config), config, reader)
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

    The system's call takes time, since it allocates the memory and waits while the queue of the disk is full.
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
                yield Work(source, reader, index, config).here()
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


def works(source: Encoded, reader: Reader, batches: Iterator[Index], config: FetchConfig) -> Iterator[Work]:
    """The batches as work for the threads, of each of which the reader is told when it is handed out."""
    for index in batches:
        reader.will_read(index)
        yield Work(source, reader, index, config)
