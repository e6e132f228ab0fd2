"""The pipeline of one epoch: fetch -> transfer -> augment, in the consumer's thread or one batch or more ahead of it.

fetcher --Fetched--> producer thread: transfer, views (side stream) --Delivery--> bounded queue --> consumer

On the CPU, threads that decode make the views as well.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch

from ..sources import Index
from ..sources.targets import tensors, to_device
from .bad_samples import BadSample
from .batch import DecodedBatch, Fetcher
from .fetchers import JOIN_SECONDS
from .order import EpochPlan, Share
from .process_fetcher import ProcessFetcher
from .stats import Stamp, stamp
from .torch_threads import limit_torch_threads
from .view_maker import ViewMaker


@dataclass(frozen=True)
class Delivery:
    """A batch ready for the consumer; without views where every sample of it is bad.

    asked, bad, read, decode: as in `DecodedBatch`. stamps: before transfer, between, and after augmentation. done: recorded
    after the last kernel of the side stream that made it, or None. labelled: whether the target is the samples' own; else it
    is their indices.
    """

    views: list[torch.Tensor]
    target: Any
    index: Index
    asked: int
    bad: tuple[BadSample, ...]
    read: float
    decode: float
    stamps: tuple[Stamp, ...] = ()
    done: torch.cuda.Event | None = None
    labelled: bool = True

    def receive(self) -> None:
        """Make the consumer's stream wait for the side stream, and own the tensors from now on."""
        if self.done is None or not self.views:
            return
        stream = torch.cuda.current_stream(self.views[0].device)
        stream.wait_event(self.done)
        for tensor in [*self.views, *tensors(self.target)]:
            if tensor.is_cuda:
                tensor.record_stream(stream)


def transfer_and_augment(fetched: DecodedBatch, maker: ViewMaker, device: torch.device) -> Delivery:
    """Transfer and augment one batch, on the device's current stream, as far as that has not been done."""
    counts = (fetched.index, fetched.asked, fetched.bad, fetched.read, fetched.decode)
    if not len(fetched.index):
        return Delivery([], None, *counts)
    images, target = fetched.images, fetched.target
    labelled = target is not None
    if not labelled:
        target = torch.from_numpy(fetched.index.copy())
    if fetched.views is not None:
        return Delivery(fetched.views, target, *counts, stamps=(0.0, 0.0, fetched.augment), labelled=labelled)
    start = stamp(device)
    if device.type == "cuda":
        images = images.pin_memory()  # the copy then waits for nothing; torch keeps the staging until it is done
    if device.type != "cpu":
        images, target = images.to(device, non_blocking=True), to_device(target, device)
    middle = stamp(device)
    views = maker.views(images, maker.draws(fetched.index), fetched.frames)
    return Delivery(views, target, *counts, stamps=(start, middle, stamp(device)), labelled=labelled)


class InlinePipeline:
    """The pipeline without workers: everything happens in `get`."""

    finished = False

    def __init__(self, fetcher: Fetcher, augment: Callable[[DecodedBatch], Delivery]) -> None:
        self.fetcher = fetcher
        self.augment = augment
        self.last: DecodedBatch | None = None

    def start(self) -> None:
        pass

    def get(self, timeout: float) -> Delivery | None:
        # The last batch stays until the next is made, or malloc would give memory back and fetch it again for every batch.
        self.last = next(self.fetcher, None)
        return None if self.last is None else self.augment(self.last)

    def close(self) -> None:
        self.fetcher.close()


class ThreadPipeline:
    """A thread that keeps up to `depth` deliveries ready. `close()` ends it and its fetcher; a second close does nothing.

    threads: cores that its own torch operations may use, where the device is a CPU. finished: it has fetched its last batch.
    """

    def __init__(
        self, fetcher: Fetcher, augment: Callable[[DecodedBatch], Delivery], depth: int, device: torch.device, threads: int
    ) -> None:
        self.fetcher = fetcher
        self.augment = augment
        self.depth = depth
        self.device = device
        self.ready: deque[Delivery | BaseException | None] = deque()
        self.closed = self.finished = False
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self.run, name="gpuaug-producer", daemon=True)
        self.threads = threads
        self.owner: int | None = None

    def start(self) -> None:
        """Begin, if that has not been done."""
        if self.thread.ident is not None:
            return
        self.owner = os.getpid()
        LIVE.add(self)
        self.thread.start()

    def run(self) -> None:
        try:
            if self.device.type == "cpu":
                limit_torch_threads(self.threads)
            if self.closed:  # before this thread had begun: its fetcher is closed, and would wait for parts that nobody reads
                return
            with contextlib.closing(self.fetcher), side_stream(self.device) as stream:
                for fetched in self.fetcher:
                    delivery = self.augment(fetched)
                    if stream is not None:
                        delivery = replace(delivery, done=stream.record_event())
                    if not self.put(delivery):
                        return
            self.finished = True
            self.put(None)
        except BaseException as error:
            self.put(error)

    def put(self, item: Delivery | BaseException | None) -> bool:
        """Wait for room, then add; False where the consumer has left."""
        with self.changed:
            while not (self.closed or len(self.ready) < self.depth):
                self.changed.wait(CLOSE_SECONDS)  # and look again, should Ctrl-C have kept `close` from its notice
            if not self.closed:
                self.ready.append(item)
                self.changed.notify_all()
            return not self.closed

    def get(self, timeout: float) -> Delivery | None:
        """The next delivery, None at the end. Raises what the producer met, TimeoutError, or RuntimeError after a fork."""
        if self.owner not in (None, os.getpid()):
            raise RuntimeError(
                "DataLoader: this iterator was begun before the process was forked, and its threads did not follow; call "
                "iter(loader) in the new process"
            )
        with self.changed:
            if not self.changed.wait_for(lambda: self.ready, timeout):
                raise TimeoutError(
                    f"DataLoader: no batch within {timeout:g} s; the source hangs, or it needs a longer timeout="
                )
            item = self.ready.popleft()
            self.changed.notify_all()
        if isinstance(item, BaseException):
            try:
                raise item
            finally:
                del item  # or the error and its traceback would hold each other, and the batch with them
        return item

    def close(self) -> None:
        if self.owner not in (None, os.getpid()):  # a lock may be held by a thread that is not here
            return
        self.closed = True  # before the lock: Ctrl-C may strike in the next line
        with self.changed:
            self.ready.clear()
            self.changed.notify_all()
        if self.thread.ident is None:
            self.fetcher.close()
            return
        if self.thread is threading.current_thread():  # the garbage collector may run a generator's end in any thread
            return
        self.thread.join(CLOSE_SECONDS)
        if self.thread.is_alive() and isinstance(self.fetcher, ProcessFetcher):
            self.fetcher.terminate()
        for _ in range(2):  # torch's signal handler may report the workers' death here
            with contextlib.suppress(RuntimeError):
                self.thread.join(JOIN_SECONDS)


class NextEpoch:
    """The pipeline of an epoch that has begun before the loop asks for it, at most one, and the one that the loop has taken.

    Ctrl-C may strike between any two lines, so a pipeline with running threads is referred to from here until it is closed.
    """

    def __init__(self) -> None:
        self.begun: tuple[int, Share, int] | None = None
        self.pipeline: ThreadPipeline | InlinePipeline | None = None
        self.taken: ThreadPipeline | InlinePipeline | None = None

    def has(self, plan: EpochPlan) -> bool:
        return self.begun == (plan.epoch, plan.share, os.getpid())  # threads do not follow into a forked process

    def begin(self, plan: EpochPlan, pipeline: ThreadPipeline | InlinePipeline) -> None:
        self.discard()
        self.begun, self.pipeline = (plan.epoch, plan.share, os.getpid()), pipeline
        pipeline.start()

    def pop(self, plan: EpochPlan) -> ThreadPipeline | InlinePipeline | None:
        """The pipeline of this epoch from its first sample on, or None; one of another epoch, share or process is ended."""
        if plan.start or not self.has(plan):
            self.discard()
        self.taken = self.pipeline
        self.pipeline = self.begun = None
        return self.taken

    def discard(self) -> None:
        """End what was begun early."""
        if self.pipeline is not None:
            self.pipeline.close()
        self.pipeline = self.begun = None

    def close(self) -> None:
        """End all, when nobody will ask for more."""
        self.discard()
        if self.taken is not None:
            self.taken.close()


CLOSE_SECONDS = 2.0
"""Seconds that worker processes have to finish their batch when the consumer leaves, before they are ended."""

LIVE: weakref.WeakSet[ThreadPipeline] = weakref.WeakSet()


@atexit.register
def close_all() -> None:
    """End producers whose iterators are still alive when the program ends: a thread must not run into the shutdown."""
    for producer in list(LIVE):
        producer.close()


@cache
def stream_of(device: torch.device) -> torch.cuda.Stream:
    """The one stream of all epochs and loaders on a CUDA device.

    torch's allocator gives memory out again only on the stream that it was freed on; torch has 32 streams a device, in turn,
    so that with a new one each epoch 32 of them would each keep an epoch's memory.
    """
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def side_stream(device: torch.device) -> Iterator[torch.cuda.Stream | None]:
    """A CUDA stream beside the consumer's, so that transfer and augmentation overlap its kernels; None elsewhere."""
    if device.type != "cuda":
        yield None
        return
    stream = stream_of(device)
    with torch.cuda.device(device), torch.cuda.stream(stream):
        yield stream
