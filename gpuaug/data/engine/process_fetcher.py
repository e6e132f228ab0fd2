"""Fetching by worker processes, for Datasets that run a user's Python code."""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import wait
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from torch.utils import data as torch_data

from ...isolation import default_on_cpu
from ..sources import Index, Itemized, Loaded
from ..targets import Collate, each_tensor
from .bad_samples import OnError
from .batch import DecodedBatch, FetchConfig, load_batch

SHARED_MEMORY = "/dev/shm"
"""Where Linux keeps shared memory; Docker gives a container 64 MB of it by default."""

DEATH_SECONDS = 1.0
"""Seconds that a killed process may take to end."""


class ProcessFetcher:
    """Worker processes of torch's DataLoader; each makes whole batches, with their pixels in one buffer."""

    def __init__(self, source: Itemized, batches: Iterator[Index], config: FetchConfig) -> None:
        generator = torch.Generator().manual_seed(config.seed)  # or torch would draw from its global generator
        loader: torch_data.DataLoader[Any] = torch_data.DataLoader(
            BatchDataset(source, config.on_error, config.collate, config.workers * config.ahead),
            batch_size=None,
            sampler=OneEpochSampler(batches),
            num_workers=config.workers,
            prefetch_factor=config.ahead,
            collate_fn=unchanged,
            generator=generator,
            worker_init_fn=config.worker_init_fn,
            multiprocessing_context=config.context,
        )
        self.begin(loader)

    def begin(self, loader: torch_data.DataLoader[Any]) -> None:
        """Start the processes."""
        # An interrupt would leave some processes behind. torch draws seeds on the default device, which workers inherit.
        with uninterrupted(), default_on_cpu():
            self.engine: Any = iter(loader)

    def __iter__(self) -> Iterator[DecodedBatch]:
        return self

    def __next__(self) -> DecodedBatch:
        made: DecodedBatch = self.made()
        return self.kept(made)

    def made(self) -> Any:
        """What a worker has made next."""
        try:
            made: Any = next(self.engine)
            if isinstance(made, RuntimeError):
                raise made
            return ForkingPickler.loads(made) if isinstance(made, bytes) else made
        except (ConnectionError, EOFError, FileNotFoundError) as error:
            # The worker may die while its batch's memory is handed over, after torch has checked that it is alive.
            if "in DataLoader worker process" in str(error) or not wait(self.sentinels(), DEATH_SECONDS):
                raise
            raise RuntimeError("DataLoader: a worker process died before it had handed over its batch") from error

    @staticmethod
    def kept(made: DecodedBatch) -> DecodedBatch:
        # A worker's tensors hold one open descriptor each, too many for a loop that collects the targets of an epoch.
        return replace(made, target=each_tensor(made.target, torch.Tensor.clone))

    def sentinels(self) -> list[int]:
        """Handles that become ready when a worker dies."""
        return [process.sentinel for process in self.engine._workers]

    def terminate(self) -> None:
        """Terminate the processes, so that a thread that waits for them wakes up with an error."""
        for process in self.engine._workers:
            with contextlib.suppress(RuntimeError):  # torch's signal handler reports the intended death
                process.terminate()

    def close(self) -> None:
        self.engine._shutdown_workers()  # called directly, since a traceback may keep the iterator alive


class BatchDataset(torch_data.Dataset[Any]):
    """A Dataset whose items are whole batches, since torch's workers ask for one item at a time.

    Batches are pickled here, with their tensors as handles of shared memory. torch would pickle them in a thread, where an
    error loses the batch and the consumer waits for it in vain. ahead: batches that may be in shared memory at a time.
    """

    def __init__(self, source: Loaded, on_error: OnError, collate: Collate, ahead: int) -> None:
        self.source = source
        self.on_error = on_error
        self.collate = collate
        self.ahead = ahead

    def __getitem__(self, index: Index) -> bytes | RuntimeError:
        return handed_over(lambda: load_batch(self.source, index, self.on_error, self.collate), len(index), self.ahead)


def handed_over(make: Callable[[], DecodedBatch], count: int, ahead: int) -> bytes | RuntimeError:
    """A batch of `count` samples, pickled; an error if it does not fit into shared memory. ahead: as in `BatchDataset`."""
    needed = ""
    try:
        fetched = make()
        needed = f", whose pixels are {fetched.images.buffer.numel() / 2**20:.1f} MiB,"
        return bytes(ForkingPickler.dumps(fetched))
    except RuntimeError as error:
        if "shared memory" not in str(error):
            raise
        return RuntimeError(f"DataLoader: a batch of {count}{needed} {crowded(error, ahead)}")


def crowded(error: RuntimeError, ahead: int) -> str:
    """The rest of the message if a batch does not fit into shared memory."""
    try:
        whole, _, free = (f"{size / 2**20:.1f} MiB" for size in shutil.disk_usage(SHARED_MEMORY))
        where = f"{SHARED_MEMORY}, which has {whole}, {free} of them free"
    except OSError:  # not Linux
        where = "shared memory"
    return (
        f"did not fit into {where} ({error}). Worker processes hand batches over there, up to num_workers x "
        f"prefetch_factor = {ahead} of them at a time. Give the container more, as `docker run --shm-size=8g` does, "
        "or choose a smaller prefetch_factor, batch_size or num_workers; num_workers=0 needs no shared memory"
    )


class OneEpochSampler(torch_data.Sampler[Index]):
    """An iterator as a sampler that can be iterated once."""

    def __init__(self, batches: Iterator[Index]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Index]:
        return self.batches


def unchanged(batch: Any) -> Any:
    return batch


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C until the block is left; only the main thread receives it."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    struck: list[Any] = []
    signal.signal(signal.SIGINT, lambda *how: struck.append(how))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if struck:
            signal.raise_signal(signal.SIGINT)
