"""Fetching: from batches of indices to decoded batches, in order, inline, by threads or by worker processes.

A fetcher is an iterator of `DecodedBatch`. Its `close()` ends all of its threads and processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from typing import cast

from ..sources import Index, Loaded, Source, is_encoded, is_in_memory, is_itemized
from ..sources.composed import will_need
from ..sources.streams import is_encoded_stream
from ..sources.streams.dataset import DatasetStream
from .batch import DecodedBatch, FetchConfig, Fetcher, load_batch
from .fetching.items import StreamProcessFetcher, items_inline
from .fetching.reader import StreamFetcher, stream_inline
from .fetching.threads import ThreadFetcher, Work
from .order import EpochPlan
from .process_fetcher import ProcessFetcher

FORETOLD = 64
"""Samples of which a memory-mapped source is told before their batch is read: a disk is as fast with twice as many."""


def fetch(source: Source, plan: EpochPlan, config: FetchConfig) -> Fetcher:
    """The fetcher that suits a source."""
    if plan.stream is not None and is_encoded_stream(source):
        return (StreamFetcher if config.workers else stream_inline)(source, plan.stream, config)
    if plan.stream is not None:
        return (StreamProcessFetcher if config.workers else items_inline)(cast(DatasetStream, source), plan.stream, config)
    batches = plan.batches()
    if config.workers and is_encoded(source):
        return ThreadFetcher((Work(source, index, config) for index in batches), config)
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
            yield Work(source, index, config).here()
        else:
            yield load_batch(cast(Loaded, source), index, config.on_error, config.collate)
