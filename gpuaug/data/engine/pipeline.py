"""The pipeline of one epoch: fetch -> transfer -> augment -> mix, in the consumer's thread or some batches ahead of it.

fetcher --DecodedBatch--> producer thread: transfer, views, mix (side stream) --Delivery--> bounded queue --> consumer

On the CPU the threads that decode make the views as well.
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
from time import perf_counter
from typing import Any

import torch

from ..decoders.regions import Boxes
from ..sources import Index
from ..targets import tensors, to_device
from .bad_samples import BadSample
from .batch import DecodedBatch, Fetcher
from .fetching.threads import JOIN_SECONDS, ThreadFetcher
from .order import EpochPlan, Share
from .process_fetcher import ProcessFetcher
from .stats import Stamp, stamp
from .torch_threads import limit_torch_threads
from .view_maker import ViewMaker


@dataclass(frozen=True)
class Delivery:
    """A batch that is ready for the consumer; without views if all of its samples are bad.

    Attributes:
        views: The views, each (B, 3, H, W).
        target: The targets on the device, or the sample indices.
        index: As in `DecodedBatch`.
        asked: As in `DecodedBatch`.
        bad: As in `DecodedBatch`.
        read: As in `DecodedBatch`.
        decode: As in `DecodedBatch`.
        stamps: Before transfer, between transfer and augmentation, and after it.
        done: CUDA event after the last kernel on the side stream, or None.
        labelled: Whether the target holds labels; otherwise it holds the sample indices.
        copied: Bytes of pixels and files that were copied to the device.
        shapes: Height and width of each picture, (B, 2).
        resume: As in `DecodedBatch`.
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
    copied: int = 0
    shapes: Boxes | None = None
    resume: Any = None

    def receive(self) -> None:
        """Make the consumer's stream wait for the side stream, and tell the allocator that it uses the tensors."""
        if self.done is None or not self.views:
            return
        stream = torch.cuda.current_stream(self.views[0].device)
        stream.wait_event(self.done)
        for tensor in [*self.views, *tensors(self.target)]:
            if tensor.is_cuda:
                tensor.record_stream(stream)


def transfer_and_augment(fetched: DecodedBatch, maker: ViewMaker, device: torch.device) -> Delivery:
    """Transfer, augment and mix one batch on the device's current stream; its views may have been made already."""
    return replace(views_of(fetched, maker, device), resume=fetched.resume)


def views_of(fetched: DecodedBatch, maker: ViewMaker, device: torch.device) -> Delivery:
    counts = (fetched.index, fetched.asked, fetched.bad, fetched.read, fetched.decode)
    if not len(fetched.index):
        return Delivery([], None, *counts)
    images, target, copied = fetched.images, fetched.target, 0
    labelled = target is not None
    if not labelled:
        target = torch.from_numpy(fetched.index.copy())
    if fetched.views is not None:
        began = perf_counter()
        views, target = maker.mixed(fetched.views, target, fetched.index)
        spent = fetched.augment + perf_counter() - began
        return Delivery(views, target, *counts, stamps=(0.0, 0.0, spent), labelled=labelled, shapes=fetched.picture_shapes)
    start = stamp(device) if fetched.began is None else fetched.began
    if fetched.staged is not None:
        images, copied = fetched.staged.send(fetched.places), fetched.staged.copied
    elif device.type != "cpu":
        if device.type == "cuda":
            images = images.pin_memory()  # for an asynchronous copy; torch keeps the pinned memory until it is done
        images, copied = images.to(device, non_blocking=True), images.buffer.numel()
    if device.type != "cpu":
        target = to_device(target, device)
    middle = stamp(device)
    views = maker.views(images, maker.draws(fetched.index), fetched.frames)
    if fetched.staged is not None:
        fetched.staged.finish()
    views, target = maker.mixed(views, target, fetched.index)
    stamps = (start, middle, stamp(device))
    return Delivery(views, target, *counts, stamps=stamps, labelled=labelled, copied=copied, shapes=fetched.picture_shapes)


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
        # Keeping the last batch until the next is made stops malloc from returning and requesting memory for every batch.
        self.last = next(self.fetcher, None)
        return None if self.last is None else self.augment(self.last)

    def close(self) -> None:
        self.fetcher.close()


class ThreadPipeline:
    """A thread that keeps up to `depth` deliveries ready. `close()` ends it and its fetcher; a second close does nothing.

    threads: cores that torch's operations in this thread may use, if the device is a CPU. finished: whether the last batch has
    been fetched.
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
        """Start the thread, unless it has been started."""
        if self.thread.ident is not None:
            return
        self.owner = os.getpid()
        LIVE.add(self)
        self.thread.start()

    def run(self) -> None:
        try:
            if self.device.type == "cpu":
                limit_torch_threads(self.threads)
            if self.closed:  # before this thread had begun; the closed fetcher would wait for parts that nobody reads
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
        """Wait until fewer than `depth` items are ready, then add one; False if the consumer has left."""
        with self.changed:
            while not (self.closed or len(self.ready) < self.depth):
                self.changed.wait(CLOSE_SECONDS)  # and check again, in case Ctrl-C kept `close` from notifying
            if not self.closed:
                self.ready.append(item)
                self.changed.notify_all()
            return not self.closed

    def get(self, timeout: float) -> Delivery | None:
        """The next delivery, None at the end. Raises the producer's error, TimeoutError, or RuntimeError after a fork."""
        if self.owner not in (None, os.getpid()):
            raise RuntimeError(
                "DataLoader: this iterator was begun before the process was forked, and threads do not survive a fork; "
                "call iter(loader) in the new process"
            )
        with self.changed:
            if not self.changed.wait_for(lambda: self.ready, timeout):
                raise TimeoutError(f"DataLoader: no batch within {timeout:g} s; the source hangs, or needs a longer timeout=")
            item = self.ready.popleft()
            self.changed.notify_all()
        if isinstance(item, BaseException):
            try:
                raise item
            finally:
                del item  # or the error and its traceback would keep each other alive, and the batch with them
        return item

    def close(self) -> None:
        if self.owner not in (None, os.getpid()):  # a thread that the fork did not copy may hold a lock
            return
        self.closed = True  # before the lock, since Ctrl-C may strike in the next line
        with self.changed:
            self.ready.clear()
            self.changed.notify_all()
        if self.thread.ident is None:
            self.fetcher.close()
            return
        if isinstance(self.fetcher, ThreadFetcher):
            self.fetcher.interrupt()
        if self.thread is threading.current_thread():  # the garbage collector may close a generator in any thread
            return
        self.thread.join(CLOSE_SECONDS)
        if self.thread.is_alive() and isinstance(self.fetcher, ProcessFetcher):
            self.fetcher.terminate()
        for _ in range(2):  # torch's signal handler may raise here for the workers that were ended
            with contextlib.suppress(RuntimeError):
                self.thread.join(JOIN_SECONDS)


class NextEpoch:
    """The pipeline of at most one epoch that began before the loop asked for it, and the pipeline that the loop now uses.

    Ctrl-C may strike between any two lines, so pipelines with running threads are referenced here until they are closed.
    """

    def __init__(self) -> None:
        self.begun: tuple[int, Share, int] | None = None
        self.pipeline: ThreadPipeline | InlinePipeline | None = None
        self.taken: ThreadPipeline | InlinePipeline | None = None

    def has(self, plan: EpochPlan) -> bool:
        return self.begun == (plan.epoch, plan.share, os.getpid())  # threads do not survive a fork

    def begin(self, plan: EpochPlan, pipeline: ThreadPipeline | InlinePipeline) -> None:
        self.discard()
        self.begun, self.pipeline = (plan.epoch, plan.share, os.getpid()), pipeline
        pipeline.start()

    def pop(self, plan: EpochPlan) -> ThreadPipeline | InlinePipeline | None:
        """The pipeline that was begun for exactly this plan, or None; any other one is closed."""
        if plan.start or not self.has(plan):
            self.discard()
        self.taken = self.pipeline
        self.pipeline = self.begun = None
        return self.taken

    def discard(self) -> None:
        """Close the pipeline that was begun early."""
        if self.pipeline is not None:
            self.pipeline.close()
        self.pipeline = self.begun = None

    def close(self) -> None:
        """Close both pipelines, when the loader is deleted."""
        self.discard()
        if self.taken is not None:
            self.taken.close()


CLOSE_SECONDS = 2.0
"""Seconds that worker processes have to finish their batch when the consumer leaves; then they are terminated."""

LIVE: weakref.WeakSet[ThreadPipeline] = weakref.WeakSet()


@atexit.register
def close_all() -> None:
    """Close pipelines that are still alive when the program ends, so that no thread runs into the interpreter's shutdown."""
    for producer in list(LIVE):
        producer.close()


@cache
def stream_of(device: torch.device) -> torch.cuda.Stream:
    """The one side stream of all epochs and loaders on a CUDA device.

    torch's allocator reuses memory only on the stream on which it was freed, and torch hands out 32 streams per device in turn.
    With a new stream each epoch, 32 of them would each keep the memory of an epoch.
    """
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def side_stream(device: torch.device) -> Iterator[torch.cuda.Stream | None]:
    """A CUDA stream beside the consumer's, so that transfer and augmentation overlap its kernels; None on other devices."""
    if device.type != "cuda":
        yield None
        return
    stream = stream_of(device)
    with torch.cuda.device(device), torch.cuda.stream(stream):
        yield stream
