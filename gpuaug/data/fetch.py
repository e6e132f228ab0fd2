"""Fetching: index batches become decoded batches, in order; here, in threads, or in worker processes.

A fetcher is an iterator of `Fetched` with `close()`, after which none of its threads or processes is left.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import torch
from torch.utils import data as torch_data

from ..images import Images
from .decode import Decoder, Pixels
from .faults import Bad, OnError, Sound, sound
from .source import Encoded, Index, Itemized, Loaded, Source, collate
from .target import each_tensor

T = TypeVar("T")

JOIN = 10.0
"""Seconds to wait for a thread that was told to end; one stuck in a dead file system is left behind, as a daemon."""

PART = 16
"""Most samples that a thread takes at a time: few enough that threads come out even and end soon when told to."""


@dataclass(frozen=True)
class Fetched:
    """A decoded batch on the host: sample indices (B,), pixels, and targets as collated.

    asked: samples that the order named, of which `bad` could not be read. read, decode: seconds, summed over workers; a
    Dataset's own code counts as read.
    """

    index: Index
    images: Images
    target: Any
    asked: int
    bad: tuple[Bad, ...] = ()
    read: float = 0.0
    decode: float = 0.0


@dataclass(frozen=True)
class Workers:
    """How to fetch. ahead: batches in the making at a time. timeout: seconds to wait for one. seed: of worker processes."""

    count: int
    ahead: int
    timeout: float
    seed: int
    decode: Decoder
    on_error: OnError
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
        return ProcessFetcher(cast(Itemized, source), batches, workers)
    return here(source, batches, workers)


def here(source: Source, batches: Iterator[Index], workers: Workers) -> Generator[Fetched, None, None]:
    """Fetch in the calling thread."""
    for index in batches:
        if source.workers == "threads":
            encoded = cast(Encoded, source)
            yield assembled(encoded, index, [read_part(encoded, index, workers)])
        else:
            yield load_batch(cast(Loaded, source), index, workers.on_error)


def load_batch(source: Loaded, index: Index, on_error: OnError) -> Fetched:
    """A batch of a source of pixels, sample by sample where a bad one among them shall not be an error."""
    began = perf_counter()
    if on_error.mode == "raise" or source.workers == "none":
        images, target = source.load(index)
        return Fetched(index, images, target, len(index), read=perf_counter() - began)
    items = cast(Itemized, source)

    def read(samples: Sequence[int]) -> list[tuple[Pixels, Any] | OSError]:
        return [attempt(items.item, i) for i in samples]

    found = sound(index.tolist(), read, source.name, on_error)
    images, target = collate(found.items)
    kept = np.array(found.index, dtype=np.int64)
    return Fetched(kept, images, target, len(index), tuple(found.bad), perf_counter() - began)


def attempt(read: Callable[[int], T], i: int) -> T | OSError:
    try:
        return read(i)
    except OSError as error:
        return error


@dataclass(frozen=True)
class Part:
    """Some samples of a batch as a thread has read and decoded them, and the seconds for each."""

    found: Sound[Pixels]
    read: float
    decode: float


def read_part(source: Encoded, index: Index, workers: Workers) -> Part:
    """Read, then decode; what is bad is dealt with here, so that a replacement is read by the same thread."""
    spent = [0.0, 0.0]

    def pixels(samples: Sequence[int]) -> list[Pixels | OSError]:
        began = perf_counter()
        files = [attempt(source.read, i) for i in samples]
        names = [source.name(i) for i in samples]
        read = perf_counter()
        whole = [(data, name) for data, name in zip(files, names, strict=True) if not isinstance(data, OSError)]
        decoded = iter(workers.decode([data for data, _ in whole], [name for _, name in whole]))
        out = [data if isinstance(data, OSError) else next(decoded) for data in files]
        spent[0] += read - began
        spent[1] += perf_counter() - read
        return out

    return Part(sound(index.tolist(), pixels, source.name, workers.on_error), *spent)


def assembled(source: Encoded, index: Index, parts: Sequence[Part]) -> Fetched:
    """A batch of its parts."""
    kept = np.array([i for part in parts for i in part.found.index], dtype=np.int64)
    images = Images.from_list([item for part in parts for item in part.found.items])
    bad = tuple(bad for part in parts for bad in part.found.bad)
    target = source.target(kept) if len(kept) else None
    seconds = sum(part.read for part in parts), sum(part.decode for part in parts)
    return Fetched(kept, images, target, len(index), bad, *seconds)


class ThreadFetcher:
    """Threads that decode parts of batches: all work on the batch that is due first, so that it is ready soonest.

    They start with the first batch asked for, so that a fetcher which nobody uses needs no end.
    """

    def __init__(self, source: Encoded, batches: Iterator[Index], workers: Workers) -> None:
        self.source = source
        self.batches = batches
        self.workers = workers
        self.pending: deque[tuple[Index, list[Future[Part]]]] = deque()
        self.tasks: queue.SimpleQueue[tuple[Future[Part], Index] | None] = queue.SimpleQueue()
        self.stop = threading.Event()
        self.threads: list[threading.Thread] = []

    def work(self) -> None:
        while (task := self.tasks.get()) is not None:
            if self.stop.is_set():
                continue
            future, index = task
            try:
                future.set_result(read_part(self.source, index, self.workers))
            except BaseException as error:
                future.set_exception(error)
            del task, future  # or the thread would keep the last part's pixels while it waits

    def start(self) -> None:
        for k in range(self.workers.count):
            self.threads.append(threading.Thread(target=self.work, name=f"gpuaug-decode-{k}", daemon=True))
            self.threads[-1].start()

    def __iter__(self) -> Iterator[Fetched]:
        return self

    def __next__(self) -> Fetched:
        if not self.threads:
            self.start()
        while len(self.pending) < self.workers.ahead and (index := next(self.batches, None)) is not None:
            parts = np.array_split(index, max(-(-len(index) // PART), min(self.workers.count, len(index))))
            futures: list[Future[Part]] = [Future() for _ in parts]
            for task in zip(futures, parts, strict=True):
                self.tasks.put(task)
            self.pending.append((index, futures))
        if not self.pending:
            raise StopIteration
        index, futures = self.pending.popleft()
        return assembled(self.source, index, [self.result(future, index) for future in futures])

    def result(self, future: Future[Part], index: Index) -> Part:
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

    def __init__(self, source: Itemized, batches: Iterator[Index], workers: Workers) -> None:
        generator = torch.Generator().manual_seed(workers.seed)  # or torch would draw from its global one
        loader: torch_data.DataLoader[Any] = torch_data.DataLoader(
            Batches(source, workers.on_error),
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
        fetched: Fetched = next(self.engine)
        # A worker's tensors lie in shared memory, one open descriptor each: too many for who collects an epoch's targets.
        return replace(fetched, target=each_tensor(fetched.target, torch.Tensor.clone))

    def terminate(self) -> None:
        """End the processes at once, so that a thread that waits for them wakes up with an error."""
        for process in self.engine._workers:
            with contextlib.suppress(RuntimeError):  # torch's signal handler reports the death that is meant
                process.terminate()

    def close(self) -> None:
        self.engine._shutdown_workers()  # by name, since a traceback may keep the iterator alive


class Batches(torch_data.Dataset[Any]):
    """A Dataset whose items are batches, since torch's workers ask for one item at a time."""

    def __init__(self, source: Loaded, on_error: OnError) -> None:
        self.source = source
        self.on_error = on_error

    def __getitem__(self, index: Index) -> Fetched:
        return load_batch(self.source, index, self.on_error)


class Once(torch_data.Sampler[Index]):
    """An iterator as a sampler, for one epoch."""

    def __init__(self, batches: Iterator[Index]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Index]:
        return self.batches


def unchanged(batch: Any) -> Any:
    return batch
