"""The DataLoader: torch.utils.data.DataLoader's arguments and habits, with views that follow from the draws."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler

from ..augmenter import Augmenter
from ..memory import trim
from ..policy import Policy
from ..sampling import Draws
from .arguments import (
    available_device,
    check_batch_sampler,
    check_labels_argument,
    fixed_share,
    fraction,
    integer,
    labels_changed_error,
    one_of,
    policy_of_transform,
    refuse_unsupported,
    seconds,
    source_and_policy,
    warn_rank_share,
    warn_unused,
)
from .decoders import DECODERS, decoder_of
from .decoders.pillow import MAX_PIXELS
from .decoders.regions import starts_with_crop
from .engine.bad_samples import MODES, BadSampleCounter, OnError
from .engine.batch import DecodedBatch, FetchConfig
from .engine.cursor import EpochCursor
from .engine.fetchers import fetch
from .engine.order import EpochOrder, EpochPlan, Share, plan_epoch
from .engine.pipeline import Delivery, InlinePipeline, NextEpoch, ThreadPipeline, transfer_and_augment
from .engine.stats import Meter, Stats
from .engine.view_maker import LazyDraws, ViewMaker
from .sources import Index, is_encoded, is_in_memory, is_itemized
from .sources.composed import known_labelled, set_max_pixels
from .sources.resolve import as_source, size_of
from .sources.targets import collate_by_torch, collate_nothing
from .torch_interface import TorchInterface

LOG = logging.getLogger("gpuaug")


class DataLoader(TorchInterface):
    """Batches of views, made on the device: `for views, target in loader`.

    source: path of an image folder (one folder a class, as torchvision's ImageFolder), of tar shards, or of what `gpuaug pack`
        made; a map-style Dataset of (image, target), the image a PIL image or uint8 (H, W, 3) or (3, H, W); a Hugging Face
        data set; or a pair of arrays (images uint8 (N, H, W, 3) or (N, 3, H, W), targets). Without labels: a folder or a list
        of image files, a Dataset of images or of (image, None), an array alone. dataset: torch's name for it.
    policy: a `Policy` or a policy's name. It takes the place of a torchvision dataset's transform; None converts that
        transform (see `gpuaug.from_torchvision`).
    batch_size, shuffle, sampler, batch_sampler, num_workers, drop_last, worker_init_fn, multiprocessing_context: as torch's.
        Workers are threads that decode for a folder, processes for a Dataset, and threads that make views where pixels are
        in memory, or packed raw; with 0, all is done in `next()`. The last two matter to processes alone; a warning is logged
        elsewhere.
    device: where views and targets come out. seed: 0..2^64-1, of the order and of the draws.
    backend, dtype, memory_format: as `gpuaug.Augmenter`.
    prefetch_factor: batches kept ready ahead of the consumer, and as many in the making, 2 unless given; no effect without
        workers. timeout: seconds to wait for a batch before TimeoutError; 0 is no limit; compiling kernels for the CPU, once
        a machine, does not count.
    decoder: of files, "pillow" or "dali", which give the same pixels; "auto" takes DALI where it is installed.
    on_error: "raise" for a sample that cannot be read or decoded, "skip" to leave it out of its batch, which gets smaller, or
        "replace" to put another sample in its place, which follows from seed, epoch and index. max_bad: share of an epoch's
        samples, 0..1, above which bad ones are an error all the same. max_pixels: of one picture, by its header.
    rank, world_size: which share of the epoch this process takes. None asks torch.distributed whenever an epoch begins, so
        that it does not matter whether the loader or the process group is made first, and logs a warning, since torch's
        DataLoader takes all; 0 and 1 are the whole.
    labels: None takes the labels that the source has; False leaves them out, and takes every image of a folder, in class
        folders or beside them; True raises where the source has none. target_collate_fn: makes one target of the list of a
        batch's, in place of torch's default_collate; `list` keeps the list.
    persistent_workers: begin reading the next epoch while the last batches of one are used; a Dataset's processes are new ones
        each epoch all the same, and what they keep, such as an open file, is made anew. pin_memory, pin_memory_device,
        in_order: taken and ignored; staging memory is page-locked whenever device is CUDA, and batches come in order.
    collate_fn, generator: torch's defaults alone are taken.

    A batch is (views, target): views a list of (B, 3, H, W) tensors, one a view, or the tensor itself where the policy has
    one view; target int64 (B,), or what torch's default_collate makes of a Dataset's targets. Without labels a batch is
    (views, index): the sample indices, int64 (B,), on the device, stand where the target would; `labelled` (bool) says which.
    Each pass is the next epoch, from 0; which epoch it is, is settled by the first `next()`, so that an iterator that is
    never used counts as none. A sample's views depend on (seed, epoch, sample index, view) alone.

    It is a torch DataLoader by its class alone, since programs ask for that; what runs is its own. Every public attribute of
    torch's is there with torch's meaning, except `collate_fn`, which raises TypeError, since nobody can make a batch of views
    from the dataset's items by one.

    draws, index: `Draws` and sample indices (B,) int64 of the batch delivered last. dataset: the source as given.
    bad_files: name -> reason of every bad sample so far, of all epochs. A loader can be copied and pickled, if its source, its
    sampler and its functions can.
    Raises ValueError or TypeError for an argument that cannot be, naming it, and what the source raises (see `gpuaug.data`).
    """

    index: Index
    settled: bool | None
    """Whether batches hold targets; None until that is known (see `labelled`)."""

    def __init__(
        self,
        source: Any = None,
        policy: Policy | str | None = None,
        batch_size: int = 1,
        shuffle: bool = False,
        sampler: Iterable[int] | None = None,
        num_workers: int = 0,
        drop_last: bool = False,
        *,
        device: torch.device | str = "cpu",
        seed: int = 0,
        backend: str = "auto",
        dtype: torch.dtype | None = None,
        memory_format: torch.memory_format = torch.contiguous_format,
        prefetch_factor: int | None = None,
        timeout: float = 300.0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        decoder: str = "auto",
        on_error: str = "raise",
        max_bad: float = 0.01,
        max_pixels: int = MAX_PIXELS,
        rank: int | None = None,
        world_size: int | None = None,
        labels: bool | None = None,
        target_collate_fn: Callable[[list[Any]], Any] | None = None,
        persistent_workers: bool = False,
        pin_memory: bool = False,
        dataset: Any = None,
        batch_sampler: Iterable[Iterable[int]] | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        generator: torch.Generator | None = None,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        refuse_unsupported(collate_fn=collate_fn, generator=generator)
        found, own = source_and_policy(source, dataset, policy)
        if batch_sampler is not None:
            check_batch_sampler(batch_size, shuffle, sampler, drop_last)
        self.batch_size = integer("batch_size", batch_size, 1) if batch_sampler is None else None
        self.num_workers = integer("num_workers", num_workers, 0)
        self.prefetch_factor = integer("prefetch_factor", 2 if prefetch_factor is None else prefetch_factor, 1)
        self.seed = integer("seed", seed, 0, 2**64 - 1)
        if sampler is not None and shuffle:
            raise ValueError("DataLoader: sampler decides on the order, so shuffle must stay False with it")
        self.timeout = seconds("timeout", timeout)
        self.drop_last = bool(drop_last)
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.persistent_workers = bool(persistent_workers)
        self.pin_memory = bool(pin_memory)
        self.decoder = one_of("decoder", decoder, DECODERS)
        self.on_error = one_of("on_error", on_error, MODES)
        self.max_bad = fraction("max_bad", max_bad)
        self.max_pixels = integer("max_pixels", max_pixels, 1)
        self.decode = decoder_of(self.decoder, self.max_pixels)
        fixed = fixed_share(rank, world_size, sampler is not None or batch_sampler is not None)
        self.device = available_device(device)
        self.labels = check_labels_argument(labels, target_collate_fn)
        self.target_collate_fn = target_collate_fn
        self.source, transform = as_source(found, own is not None, self.labels)
        self.settled = known_labelled(self.source) if self.labels is None else self.labels
        set_max_pixels(self.source, self.max_pixels)
        given = source if dataset is None else dataset
        itself = isinstance(given, (str, tuple, list)) or hasattr(given, "__fspath__")
        self.dataset = self.source if itself else given
        if self.num_workers and not is_itemized(self.source):
            warn_unused(worker_init_fn=worker_init_fn, multiprocessing_context=multiprocessing_context)
        self.policy = own if own is not None else policy_of_transform(transform, size_of(self.source))
        self.backend, self.dtype, self.memory_format = backend, dtype, memory_format
        self.augment = Augmenter(self.policy, backend, self.device, dtype, memory_format)
        self.shuffle = bool(shuffle)
        order = EpochOrder(len(self.source), self.shuffle, self.seed, fixed, self.drop_last)
        self.set_samplers(order if sampler is None else sampler, batch_sampler)
        self.check_length()
        self.warned_share: Share | None = None
        self.bad_files: dict[str, str] = {}
        self.makers = 1  # threads that make views
        if self.device.type == "cpu" and is_encoded(self.source):
            self.makers = max(1, self.num_workers)
        self.pin_memory_device, self.in_order = pin_memory_device, in_order
        self.cursor = EpochCursor(self.epoch_samplers)
        self.reset_runtime()
        self.freeze()

    def reset_runtime(self) -> None:
        """Nothing runs, nothing is counted."""
        self.meter = Meter(0, self.num_workers, self.makers)
        self.next_epoch = NextEpoch()
        weakref.finalize(self, self.next_epoch.close)

    def __getstate__(self) -> dict[str, Any]:
        """All but what runs: a copy of the loader goes on at the epoch that comes next here."""
        return {name: value for name, value in vars(self).items() if name not in ("meter", "next_epoch")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.reset_runtime()

    def __copy__(self) -> DataLoader:
        """A loader over the same data, with a place in the order of its own."""
        other = type(self).__new__(type(self))
        state: dict[str, Any] = {**self.__getstate__(), "bad_files": dict(self.bad_files)}
        if isinstance(self.sampler, EpochOrder):
            state["sampler"] = copy(self.sampler)
            if not self.own_batches:
                state["batch_sampler"] = BatchSampler(state["sampler"], self.size, self.drop_last)
        other.__setstate__(state)
        other.cursor = self.cursor.of(other.epoch_samplers)
        return other

    def __iter__(self) -> Iterator[tuple[Any, Any]]:  # type: ignore[override]
        self.cursor.follow_samplers()
        epoch, start = self.cursor.reached = self.cursor.upcoming
        plan = self.plan(epoch, start)
        self.check_length()
        if plan.own and plan.share != self.warned_share:
            warn_rank_share(self.sampler)
            self.warned_share = plan.share
        self.cursor.move(epoch + 1)
        yield from self.run(plan)

    def plan(self, epoch: int, start: int) -> EpochPlan:
        own = self.batch_sampler if self.own_batches else None
        return plan_epoch(self.sampler, own, epoch, start, self.size, self.drop_last, len(self.source))

    def run(self, plan: EpochPlan) -> Iterator[tuple[Any, Any]]:
        """The batches of one epoch."""
        self.meter = meter = Meter(plan.epoch, self.num_workers, self.makers)
        tally = BadSampleCounter(self.bad_files, self.max_bad, plan.samples, plan.epoch)
        position = plan.start
        pipeline = self.next_epoch.pop(plan) or self.pipeline(plan)
        try:
            self.augment.prepare()  # before the clock of `timeout` runs
            while True:
                began = perf_counter()
                pipeline.start()
                delivery = pipeline.get(self.timeout)
                if pipeline.finished:
                    self.begin(plan.epoch + 1)
                meter.waited(began)
                if delivery is None:
                    break
                tally.add(delivery.bad)
                meter.add(len(delivery.index), len(delivery.bad), delivery.read, delivery.decode, delivery.stamps)
                position += delivery.asked * plan.share.world_size
                if delivery.views:
                    yield self.deliver(delivery, plan, position)
        finally:
            pipeline.close()
            if is_encoded(self.source):  # then batches differ in size
                trim()
        self.cursor.reached = (plan.epoch + 1, 0)
        LOG.info("%s", meter)

    def pipeline(self, plan: EpochPlan) -> ThreadPipeline | InlinePipeline:
        """What makes the batches of an epoch; its threads begin with `start()`."""

        def augmented(fetched: DecodedBatch) -> Delivery:
            return transfer_and_augment(fetched, maker, device)

        maker, device = self.maker(plan.epoch), self.device  # the thread must not keep the loader alive
        fetcher = fetch(self.source, plan.batches(), self.workers(maker, plan))
        if not self.num_workers:
            return InlinePipeline(fetcher, augmented)
        threads = max(1, (torch.get_num_threads() - self.num_workers) // 2)  # half of what decoding leaves to the consumer
        if is_in_memory(self.source):
            threads = self.num_workers  # there is nothing to decode
        return ThreadPipeline(fetcher, augmented, self.prefetch_factor, device, threads)

    def workers(self, maker: ViewMaker, plan: EpochPlan) -> FetchConfig:
        pool: range | Index = range(len(self.source))
        if self.on_error == "replace" and not plan.own:  # a sampler may leave samples out
            pool = np.unique(np.concatenate([np.empty(0, np.int64), *plan.batches()]))
        return FetchConfig(
            self.num_workers,
            self.prefetch_factor,
            self.timeout,
            (self.seed + maker.epoch) % 2**63,  # of the workers' own generators, for Datasets that draw by themselves
            self.decode,
            OnError(self.on_error, self.seed, maker.epoch, pool),
            maker,
            starts_with_crop(self.policy),
            self.device.type == "cpu",
            self.worker_init_fn,
            self.multiprocessing_context,
            collate_nothing if self.labels is False else self.target_collate_fn or collate_by_torch,
        )

    def begin(self, epoch: int) -> None:
        """Let the threads of an epoch begin before it is asked for, if it will be, and where its order is known."""
        if not (self.persistent_workers and self.num_workers and self.cursor.upcoming == (epoch, 0)):
            return
        if isinstance(self.sampler, EpochOrder) and not self.own_batches:
            plan = self.plan(epoch, 0)
            if not self.next_epoch.has(plan):
                self.next_epoch.begin(plan, self.pipeline(plan))

    def deliver(self, delivery: Delivery, plan: EpochPlan, position: int) -> tuple[Any, Any]:
        delivery.receive()
        self.index = delivery.index
        self.lazy_draws = LazyDraws(self.maker(plan.epoch), delivery.index)
        if plan.own:
            position = min(position, self.sampler.samples)  # of an uneven end, ranks have had samples twice
        self.cursor.reached = (plan.epoch, position)
        if self.settled is None:
            self.settled = delivery.labelled
        if delivery.labelled != self.settled:
            raise labels_changed_error(self.source.name(int(delivery.index[0])), delivery.labelled)
        views = delivery.views
        return views if len(views) > 1 else views[0], delivery.target

    @property
    def labelled(self) -> bool:
        """Whether batches hold targets, or the sample indices in their place.

        Of a Dataset of one's own, the first batch decides; asked before, it is the first sample, which is read for that.
        """
        if self.settled is None:
            self.settled = self.source.labelled
        return self.settled

    @property
    def draws(self) -> Draws:
        """Of the batch delivered last."""
        return self.lazy_draws.draws

    def maker(self, epoch: int) -> ViewMaker:
        return ViewMaker(self.augment, self.seed, epoch)

    def stats(self) -> Stats:
        """What the epoch that was begun last has spent its time on so far; see `gpuaug.data.Stats`."""
        return self.meter.stats()

    def __repr__(self) -> str:
        ranks = f", rank {self.rank} of {self.world_size}" if self.world_size > 1 else ""
        name = self.policy.name or "policy"
        return f"DataLoader({self.source!r}, {name!r}, batch_size={self.batch_size}, {self.device}{ranks})"
