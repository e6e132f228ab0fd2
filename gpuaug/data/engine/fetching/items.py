"""Streams of a user's samples: torch's DataLoader runs the IterableDataset, and our collate function makes the batches."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from torch.utils import data as torch_data

from ....isolation import default_on_cpu
from ...decoders.pillow import DecodeError, Pixels
from ...sources import Index, collate_samples
from ...sources.dataset import as_sample
from ...sources.streams import StreamPass, ended_early, set_stream_epoch
from ...sources.streams.dataset import DatasetStream
from ..bad_samples import read_good
from ..batch import DecodedBatch, FetchConfig
from ..process_fetcher import ProcessFetcher, handed_over
from .reader import failed


class Arriving:
    """A pickled batch that becomes the batch when the message arrives that holds it, even if its turn is later.

    Its shared memory is handed over by the worker, which ends as soon as its stream does and all of its messages have arrived.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return ForkingPickler.loads, (self.data,)


class StreamCollate:
    """Makes a batch of the items that a worker has read; each worker has a copy, which counts the samples of that worker.

    Batches that were delivered before the pass was resumed are not made. Workers take turns, so a worker knows this of all of
    them but those that other workers have left to it by ending early.
    """

    def __init__(self, source: DatasetStream, what: StreamPass, config: FetchConfig) -> None:
        self.name = source.name
        self.what = what
        self.on_error, self.collate, self.ahead = config.on_error, config.collate, config.workers * config.ahead
        self.workers = config.workers
        self.samples = self.batches = 0
        self.ended: float | None = None
        """Processor time of the worker when its last batch was made; wall time would count its waiting for orders."""

    def __call__(self, items: Sequence[Any]) -> Any:
        worker = torch_data.get_worker_info()
        place, places = (0, 1) if worker is None else (worker.id, worker.num_workers)
        readers = places * self.what.world_size
        first, number = self.samples, self.batches * places + place
        self.samples, self.batches = first + len(items), self.batches + 1
        index = np.arange(first, first + len(items)) * readers + self.what.rank * places + place
        if number * self.what.batch_size < self.what.start:
            return len(items)
        if worker is None:
            return self.batch(items, index)
        read = 0.0 if self.ended is None else process_time() - self.ended
        made = handed_over(lambda: replace(self.batch(items, index), read=read), len(items), self.ahead)
        self.ended = process_time()
        return Arriving(made) if isinstance(made, bytes) else made

    def batch(self, items: Sequence[Any], index: Index) -> DecodedBatch:
        def item(i: int) -> tuple[Pixels, Any] | OSError:
            try:
                return as_sample(by_index[i], lambda: self.name(i))
            except OSError as error:  # of a PIL image that is read only now
                return DecodeError(f"{self.name(i)}: {error}")

        by_index = dict(zip(index.tolist(), items, strict=True))
        found = read_good(index.tolist(), lambda samples: [item(i) for i in samples], self.name, self.on_error)
        images, target = collate_samples(found.items, found.index, self.collate, self.name)
        return DecodedBatch(np.array(found.index, np.int64), images, target, len(index), tuple(found.bad))


def torch_loader(source: DatasetStream, what: StreamPass, config: FetchConfig) -> torch_data.DataLoader[Any]:
    """torch's DataLoader of a stream, seeded by the epoch."""
    set_stream_epoch(source.dataset, what.epoch)
    return torch_data.DataLoader(
        source.dataset,
        batch_size=what.batch_size,
        drop_last=what.drop_last,
        num_workers=config.workers,
        prefetch_factor=config.ahead if config.workers else None,
        collate_fn=StreamCollate(source, what, config),
        generator=torch.Generator().manual_seed(config.seed),
        worker_init_fn=config.worker_init_fn,
        multiprocessing_context=config.context if config.workers else None,
    )


class Dropping:
    """Counts the samples of a pass, and those that an earlier pass has delivered."""

    def __init__(self, source: DatasetStream, what: StreamPass) -> None:
        self.source, self.what = source, what
        self.given = 0

    def is_new(self, made: int | DecodedBatch) -> bool:
        """Whether a batch has not been delivered before. Raises ValueError if the place that was saved lies within it."""
        before, count = self.given, made if isinstance(made, int) else made.asked
        self.given += count
        if before < self.what.start < self.given:
            raise ValueError(
                f"DataLoader: the state was saved after {self.what.start} samples, which is inside a batch of this stream, so "
                "it belongs to another stream, or to one in another order"
            )
        return before >= self.what.start

    def end(self) -> None:
        if self.given < self.what.start and self.what.same_rank:
            raise ended_early(self.given, self.what.start)

    def note(self, error: Exception) -> None:
        error.add_note(failed(self.source, self.what, self.given))


def items_inline(source: DatasetStream, what: StreamPass, config: FetchConfig) -> Generator[DecodedBatch, None, None]:
    """Run the stream in the calling thread."""
    seen = Dropping(source, what)
    with default_on_cpu():
        engine = iter(torch_loader(source, what, config))
    while True:
        began = perf_counter()
        try:
            made = next(engine, None)
        except Exception as error:
            seen.note(error)
            raise
        if made is None:
            return seen.end()
        if seen.is_new(made):
            yield replace(made, read=perf_counter() - began)


class StreamProcessFetcher(ProcessFetcher):
    """Worker processes of torch's DataLoader that run a user's IterableDataset."""

    def __init__(self, source: DatasetStream, what: StreamPass, config: FetchConfig) -> None:
        self.seen = Dropping(source, what)
        self.begin(torch_loader(source, what, config))

    def __next__(self) -> DecodedBatch:
        while True:
            try:
                made = self.made()
            except StopIteration:
                self.seen.end()
                raise
            except Exception as error:
                self.seen.note(error)
                raise
            if self.seen.is_new(made) and not isinstance(made, int):
                return self.kept(made)
