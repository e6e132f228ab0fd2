"""Fetching: index batches become decoded batches, in order; here, in threads, or in worker processes.

A fetcher is an iterator of `Fetched` with `close()`, after which none of its threads or processes is left.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch.utils import data as torch_data

from ..images import Images
from .decode import Pixels
from .source import Encoded, Index, Loaded, Source, decoded
from .target import each_tensor

JOIN = 10.0
"""Seconds to wait for a thread that was told to end; one stuck in a dead file system is left behind, as a daemon."""


@dataclass(frozen=True)
class Fetched:
    """A decoded batch on the host: sample indices (B,), pixels, and targets as collated."""

    index: Index
    images: Images
    target: Any


@dataclass(frozen=True)
class Workers:
    """How to fetch. ahead: batches in the making at a time. timeout: seconds to wait for one. seed: of worker processes."""

    count: int
    ahead: int
    timeout: float
    seed: int
    init: Callable[[int], None] | None = None
    context: Any = None


class Fetcher(Protocol):
    def __iter__(self) -> Iterator[Fetched]: ...

    def __next__(self) -> Fetched: ...

    def close(self) -> None: ...


def fetch(source: Source, batches: Iterator[Index], workers: Workers) -> Fetcher:
    """The fetcher that suits a source."""
    if workers.count and source.workers == "threads":
        return ThreadFetcher(cast(Encoded, source), batches, workers)
    if workers.count and source.workers == "processes":
        return ProcessFetcher(cast(Loaded, source), batches, workers)
    return here(source, batches)


def here(source: Source, batches: Iterator[Index]) -> Generator[Fetched, None, None]:
    """Fetch in the calling thread."""
    for index in batches:
        if source.workers == "threads":
            encoded = cast(Encoded, source)
            yield Fetched(index, Images.from_list(decoded(encoded, index)), encoded.target(index))
        else:
            yield Fetched(index, *cast(Loaded, source).load(index))


class ThreadFetcher:
    """Threads that decode parts of batches: all work on the batch that is due first, so that it is ready soonest."""

    def __init__(self, source: Encoded, batches: Iterator[Index], workers: Workers) -> None:
        self.source = source
        self.batches = batches
        self.workers = workers
        self.pending: deque[tuple[Index, list[Future[list[Pixels]]]]] = deque()
        self.tasks: queue.SimpleQueue[tuple[Future[list[Pixels]], Index] | None] = queue.SimpleQueue()
        self.stop = threading.Event()
        self.threads = [
            threading.Thread(target=self.work, name=f"gpuaug-decode-{k}", daemon=True) for k in range(workers.count)
        ]
        for thread in self.threads:
            thread.start()

    def work(self) -> None:
        while (task := self.tasks.get()) is not None:
            future, index = task
            try:
                future.set_result(decoded(self.source, index, self.stop.is_set))
            except BaseException as error:
                future.set_exception(error)
            del task, future  # or the thread would keep the last part's pixels while it waits

    def __iter__(self) -> Iterator[Fetched]:
        return self

    def __next__(self) -> Fetched:
        while len(self.pending) < self.workers.ahead and (index := next(self.batches, None)) is not None:
            parts = np.array_split(index, min(self.workers.count, len(index)))
            futures: list[Future[list[Pixels]]] = [Future() for _ in parts]
            for task in zip(futures, parts, strict=True):
                self.tasks.put(task)
            self.pending.append((index, futures))
        if not self.pending:
            raise StopIteration
        index, futures = self.pending.popleft()
        pixels = [image for future in futures for image in self.result(future, index)]
        return Fetched(index, Images.from_list(pixels), self.source.target(index))

    def result(self, future: Future[list[Pixels]], index: Index) -> list[Pixels]:
        try:
            return future.result(self.workers.timeout)
        except TimeoutError as error:
            if future.done():
                raise
            first = self.source.name(int(index[0]))
            limit = f"{self.workers.timeout:g} s"
            raise TimeoutError(f"DataLoader: the batch that starts with {first} was not read within {limit}") from error

    def close(self) -> None:
        self.stop.set()
        for _ in self.threads:
            self.tasks.put(None)
        for thread in self.threads:
            thread.join(JOIN)


class ProcessFetcher:
    """Worker processes, run by torch's DataLoader; each gives whole batches, their pixels in one buffer."""

    def __init__(self, source: Loaded, batches: Iterator[Index], workers: Workers) -> None:
        generator = torch.Generator().manual_seed(workers.seed)  # or torch would draw from its global one
        loader: torch_data.DataLoader[Any] = torch_data.DataLoader(
            Batches(source),
            batch_size=None,
            sampler=Once(batches),
            num_workers=workers.count,
            prefetch_factor=workers.ahead,
            collate_fn=unchanged,
            generator=generator,
            worker_init_fn=workers.init,
            multiprocessing_context=workers.context,
        )
        self.engine: Any = iter(loader)

    def __iter__(self) -> Iterator[Fetched]:
        return self

    def __next__(self) -> Fetched:
        index, buffer, shapes, target = next(self.engine)
        # A worker's tensors lie in shared memory, one open descriptor each: too many for who collects an epoch's targets.
        return Fetched(index, Images(buffer, shapes), each_tensor(target, torch.Tensor.clone))

    def terminate(self) -> None:
        """End the processes at once, so that a thread that waits for them wakes up with an error."""
        for process in self.engine._workers:
            with contextlib.suppress(RuntimeError):  # torch's signal handler reports the death that is meant
                process.terminate()

    def close(self) -> None:
        self.engine._shutdown_workers()  # by name, since a traceback may keep the iterator alive


class Batches(torch_data.Dataset[Any]):
    """A Dataset whose items are batches, since torch's workers ask for one item at a time."""

    def __init__(self, source: Loaded) -> None:
        self.source = source

    def __getitem__(self, index: Index) -> tuple[Index, torch.Tensor, Any, Any]:
        images, target = self.source.load(index)
        return index, images.buffer, images.shapes, target


class Once(torch_data.Sampler[Index]):
    """An iterator as a sampler, for one epoch."""

    def __init__(self, batches: Iterator[Index]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Index]:
        return self.batches


def unchanged(batch: Any) -> Any:
    return batch
