"""The DataLoader: the arguments and behaviour of torch's, with augmented views as its batches."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import torch

from ..augmenter import Augmenter
from ..memory import trim
from ..mixing import Mix
from ..policy import Policy
from .arguments import (
    available_device,
    check_batch_sampler,
    check_labelled_mix,
    check_labels_argument,
    check_mix,
    choice,
    fixed_share,
    fraction,
    integer,
    loader_order,
    policy_of_transform,
    refuse_unsupported,
    seconds,
    shown_dataset,
    source_and_policy,
    warn_share,
    warn_unused,
)
from .decoders import DECODERS
from .decoders.pillow import MAX_PIXELS
from .decoders.regions import starts_with_crop
from .decoding import Decoding, check_decoder, check_scaled, warn_unscaled
from .engine.bad_samples import MODES, BadSampleCounter, OnError
from .engine.batch import DecodedBatch, FetchConfig
from .engine.cursor import EpochCursor
from .engine.fetchers import fetch
from .engine.fetching.order import Place
from .engine.order import EpochOrder, EpochPlan, Share, plan_epoch
from .engine.pipeline import Delivery, InlinePipeline, ThreadPipeline, transfer_and_augment
from .engine.view_maker import LazyDraws, ViewMaker
from .sources import Index, has_files, is_in_memory, known_length, runs_processes
from .sources.composed import known_labelled, set_max_pixels
from .sources.remote.cache import CACHE_SIZE
from .sources.resolve import as_source, size_of
from .targets import check_mixable, collate_by_torch, collate_nothing
from .torch_interface import TorchInterface

LOG = logging.getLogger("gpuaug")


class DataLoader(TorchInterface):
    """Batches of augmented views on the device: `for views, target in loader`.

    A policy with several views gives `([view, ...], target)`, a policy with one view `(view, target)`. Each view is a tensor
    (B, 3, H, W). The target is int64 (B,), or what torch's `default_collate` makes of a Dataset's targets. Without labels the
    sample indices, int64 (B,), stand in its place; `labelled` says which of the two a batch holds.

    A sample's views depend on (seed, epoch, sample index, view) alone. Each pass over the loader is the next epoch, starting
    at 0. The first `next()` settles which epoch it is, so an iterator that is never used does not count.

    The loader is a torch DataLoader by class, because Lightning, Fabric and Accelerate test for that. All of torch's public
    attributes have torch's meaning, except `collate_fn`, which raises TypeError: no function of the dataset's items makes
    a batch of views. A loader can be copied and pickled if its source, its sampler and its functions can.

    Args:
        source: Path of an image folder, of tar shards, or of a folder that `gpuaug pack` wrote; a Dataset, IterableDataset,
            Hugging Face dataset or WebDataset; a pair of arrays (images, targets); or images. docs/data.md lists all.
        policy: A `Policy`, or the name of one. It replaces the transform of a torchvision dataset. None converts that
            transform, as `gpuaug.from_torchvision` does. With schedules, a pass over epoch e uses `policy.at(e)`.
        batch_size: Samples in a batch, at least 1.
        shuffle: Whether each epoch has another random order.
        sampler: Sample indices of an epoch, in place of `shuffle`.
        num_workers: For files, threads that read and decode; for a Dataset, worker processes; for pixels in memory, threads
            that augment. With 0 everything happens inside `next()`.
        drop_last: Whether to drop a last batch with fewer than `batch_size` samples.
        device: Where views and targets are delivered.
        seed: Seed of the order and of the draws, 0..2^64-1.
        backend: As in `gpuaug.Augmenter`.
        dtype: As in `gpuaug.Augmenter`.
        memory_format: As in `gpuaug.Augmenter`.
        prefetch_factor: Batches that are kept ready, and as many in the making; 2 by default. No effect without workers.
        timeout: Seconds to wait for a batch before TimeoutError; 0 is no limit. The time to compile the CPU kernels, which
            happens once per machine, does not count.
        worker_init_fn: As in torch. Where there are no worker processes, a warning says that it is not used.
        multiprocessing_context: As `worker_init_fn`.
        decoder: "libjpeg", "dali" or "pillow", with the same pixels; "nvjpeg", on CUDA, whose pixels differ a little. "auto" is
            the first of these that works; on CUDA the fastest, measured before the first batch (docs/data.md, decoders).
        scaled: "auto" decodes JPEGs much larger than the views at 1/2, 1/4 or 1/8 of their size, each at the smallest at which
            every crop is at least twice its view; the views differ a little (docs/data.md). False decodes at full size.
        nvjpeg_hw_load: Share of the JPEGs, 0..1, that "nvjpeg" gives to the GPU's JPEG engine, if there is one.
        on_error: What to do with a sample that cannot be read or decoded: "raise", "skip" (its batch gets smaller), or
            "replace" by another sample, which is chosen by seed, epoch and index.
        max_bad: Share of an epoch's samples, 0..1, above which bad samples raise DecodeError in any case.
        max_pixels: Largest number of pixels in a picture, checked in its header before it is decoded.
        rank: Which share of an epoch this process reads, 0..world_size-1. None asks torch.distributed when an epoch begins
            and logs a warning, because torch's DataLoader reads all samples; rank=0, world_size=1 reads all.
        world_size: Number of processes that share an epoch; given together with `rank`.
        cache_dir: Folder in which remote shards are kept whole; processes may share it (docs/data.md, remote shards).
        cache_size: Bytes above which those that were used least recently are deleted.
        labels: None uses the labels that the source has. False leaves them out, and takes all images of a folder, inside and
            outside of class folders. True raises if the source has no labels.
        target_collate_fn: Makes one target of the list of a batch's targets, in place of torch's `default_collate`.
        mix: `gpuaug.MixUp`, `CutMix` or `RandomChoice`, which mixes the samples of each batch with each other. The targets,
            which must be integer classes (B,), become soft labels, float32 (B, num_classes). Its docstring says which partner
            a sample gets.
        persistent_workers: Whether to begin reading the next epoch while the last batches of this one are used. A Dataset's
            worker processes are new in each epoch all the same.
        pin_memory: No effect: staging memory is page-locked whenever the device is CUDA.
        dataset: torch's name for `source`.
        batch_sampler: Batches of sample indices, in place of `batch_size`, `shuffle`, `sampler` and `drop_last`.
        collate_fn: None or torch's `default_collate`.
        generator: None; the order and the draws follow from `seed`.
        pin_memory_device: No effect.
        in_order: No effect: batches always come in order.

    Attributes:
        dataset: The source as given. For a path, arrays or a mixture, the source object that the loader made of them.
        index: Sample indices of the batch delivered last, int64 (B,).
        bad_files: Name and reason of every bad sample so far, in all epochs.

    Raises:
        ValueError: An argument is out of its range, or does not go with another one.
        TypeError: An argument is of the wrong type, or the source is of no known kind.
        OSError: Files are missing, as the source says (see the table of errors in docs/data.md).
    """

    index: Index

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
        scaled: str | bool = False,
        nvjpeg_hw_load: float = 1.0,
        on_error: str = "raise",
        max_bad: float = 0.01,
        max_pixels: int = MAX_PIXELS,
        rank: int | None = None,
        world_size: int | None = None,
        labels: bool | None = None,
        target_collate_fn: Callable[[list[Any]], Any] | None = None,
        mix: Mix | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_size: int = CACHE_SIZE,
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
        self.worker_init_fn, self.multiprocessing_context = worker_init_fn, multiprocessing_context
        self.persistent_workers, self.pin_memory = bool(persistent_workers), bool(pin_memory)
        self.decoder = choice("decoder", decoder, DECODERS)
        self.on_error = choice("on_error", on_error, MODES)
        self.max_bad, self.max_pixels = fraction("max_bad", max_bad), integer("max_pixels", max_pixels, 1)
        self.nvjpeg_hw_load = fraction("nvjpeg_hw_load", nvjpeg_hw_load)
        fixed = fixed_share(rank, world_size, sampler is not None or batch_sampler is not None)
        self.scaled = check_scaled(scaled, self.decoder)
        check_decoder(self.decoder, device)
        self.device = available_device(device)
        self.decoding = Decoding(
            self.decoder, self.max_pixels, self.device, self.num_workers, self.nvjpeg_hw_load, bool(self.scaled)
        )
        self.labels, self.target_collate_fn = check_labels_argument(labels, target_collate_fn), target_collate_fn
        self.mix = check_mix(mix, self.labels)
        self.cache_dir, self.cache_size = cache_dir, integer("cache_size", cache_size, 1)
        cache = {"cache_dir": cache_dir, "cache_size": self.cache_size}
        self.source, transform = as_source(found, own is not None, self.labels, cache)
        self.settled = check_labelled_mix(self.mix, known_labelled(self.source) if self.labels is None else self.labels)
        set_max_pixels(self.source, self.max_pixels)
        self.dataset = shown_dataset(self.source, source if dataset is None else dataset)
        if self.num_workers and not runs_processes(self.source):
            warn_unused(worker_init_fn=worker_init_fn, multiprocessing_context=multiprocessing_context)
        self.policy = own if own is not None else policy_of_transform(transform, size_of(self.source))
        warn_unscaled(self.scaled, self.source, self.policy)
        self.backend, self.dtype, self.memory_format = backend, dtype, memory_format
        self.augment = Augmenter(self.policy, backend, self.device, dtype, memory_format)
        self.shuffle = bool(shuffle)
        order = loader_order(self.source, self.shuffle, self.seed, fixed, self.size, self.drop_last, self.num_workers)
        self.set_samplers(order, sampler, batch_sampler)
        self.check_length()
        self.warned_share: Share | None = None
        self.lazy_draws = None
        self.bad_files: dict[str, str] = {}
        if self.device.type == "cpu" and has_files(self.source):
            self.view_threads = max(1, self.num_workers)
        self.pin_memory_device, self.in_order = pin_memory_device, in_order
        self.cursor = EpochCursor(self.epoch_samplers)
        self.reset_runtime()
        self.freeze()

    def __iter__(self) -> Iterator[tuple[Any, Any]]:  # type: ignore[override]
        self.cursor.follow_samplers()
        epoch, start = self.cursor.reached = self.cursor.upcoming
        plan = self.plan(epoch, start)
        self.check_length()
        if (plan.own or plan.stream) and plan.share != self.warned_share:
            warn_share(self.sampler)
            self.warned_share = plan.share
        self.cursor.move(epoch + 1)
        yield from self.run(plan)

    def plan(self, epoch: int, start: int) -> EpochPlan:
        """What an epoch reads from its `start`-th sample on."""
        own = self.batch_sampler if self.own_batches else None
        return plan_epoch(self.sampler, own, epoch, start, self.size, self.drop_last, known_length(self.source) or 0)

    def run(self, plan: EpochPlan) -> Iterator[tuple[Any, Any]]:
        """The batches of one epoch."""
        maker = self.view_maker(plan.epoch)
        self.decoding.settle(self.source, maker.regional)
        self.meter = meter = self.new_meter(plan.epoch)
        tally = BadSampleCounter(self.bad_files, self.max_bad, plan.samples, plan.epoch)
        position = plan.start
        pipeline = self.next_epoch.pop(plan) or self.pipeline(plan)
        try:
            maker.augment.prepare()  # compiles kernels, which shall not count against `timeout`
            while True:
                began = perf_counter()
                pipeline.start()
                delivery = pipeline.get(self.timeout)
                if pipeline.finished:
                    self.begin_early(plan.epoch + 1)
                meter.waited(began)
                if delivery is None:
                    break
                tally.add(delivery.bad, delivery.asked)
                meter.add(
                    len(delivery.index), len(delivery.bad), delivery.read, delivery.decode, delivery.stamps, delivery.copied
                )
                position += delivery.asked * plan.share.world_size
                if delivery.views:
                    yield self.deliver(delivery, plan, position, maker)
        finally:
            pipeline.close()
            if has_files(self.source):  # batches of files differ in size, so some blocks will not be used again
                trim()
        self.cursor.reached = (plan.epoch + 1, 0)
        LOG.info("%s", meter)

    def pipeline(self, plan: EpochPlan) -> ThreadPipeline | InlinePipeline:
        """The pipeline that makes the batches of an epoch; `start()` starts its threads."""

        def augmented(fetched: DecodedBatch) -> Delivery:
            check_mixable(maker.mix, fetched.target, fetched.index, source.name)
            return transfer_and_augment(fetched, maker, device)

        # A thread that held `self` would keep the loader alive.
        maker, device, source = self.view_maker(plan.epoch), self.device, self.source
        fetcher = fetch(self.source, plan, self.fetch_config(maker, plan))
        if not self.num_workers:
            return InlinePipeline(fetcher, augmented)
        threads = max(1, (torch.get_num_threads() - self.num_workers) // 2)  # the other half is left to the training step
        if is_in_memory(self.source):
            threads = self.num_workers  # nothing is decoded
        return ThreadPipeline(fetcher, augmented, self.prefetch_factor, device, threads)

    def fetch_config(self, maker: ViewMaker, plan: EpochPlan) -> FetchConfig:
        """The options by which an epoch's batches are fetched."""
        pool: Sequence[int] | Index = self.sampler.pool(maker.epoch) if plan.own else range(known_length(self.source) or 0)
        if self.on_error == "replace" and not plan.own:  # a sampler may name only some samples
            pool = np.unique(np.concatenate([np.empty(0, np.int64), *plan.batches()]))
        return FetchConfig(
            self.num_workers,
            self.prefetch_factor,
            self.timeout,
            (self.seed + maker.epoch) % 2**63,  # seeds the worker processes, for Datasets that draw random numbers
            self.decoding.decode,
            OnError(self.on_error, self.seed, maker.epoch, pool),
            maker,
            starts_with_crop(maker.augment.policy),
            self.device.type == "cpu" and self.decoding.staging is None,
            self.worker_init_fn,
            self.multiprocessing_context,
            collate_nothing if self.labels is False else self.target_collate_fn or collate_by_torch,
            self.decoding.staging,
        )

    def begin_early(self, epoch: int) -> None:
        """Start the threads of the next epoch before the loop asks for it, where `persistent_workers` allows it.

        Only the loader's own order is known in advance; asking a user's sampler twice might change it.
        """
        if not (self.persistent_workers and self.num_workers and self.cursor.upcoming == (epoch, 0)):
            return
        if isinstance(self.sampler, EpochOrder) and not self.own_batches:
            plan = self.plan(epoch, 0)
            if not self.next_epoch.has(plan):
                self.next_epoch.begin(plan, self.pipeline(plan))

    def deliver(self, delivery: Delivery, plan: EpochPlan, position: int, maker: ViewMaker) -> tuple[Any, Any]:
        """Record a batch as delivered, and return its views and target."""
        delivery.receive()
        self.index = delivery.index
        self.lazy_draws = LazyDraws(maker, delivery.index, delivery.shapes)
        if plan.own:
            position = min(position, self.sampler.samples)  # at an uneven end some samples are delivered twice
        self.cursor.reached = (plan.epoch, position if plan.stream is None else Place(position, delivery.resume))
        self.settle_labels(delivery.labelled, delivery.index)
        views = delivery.views
        return views if len(views) > 1 else views[0], delivery.target

    def view_maker(self, epoch: int) -> ViewMaker:
        """The maker of the views of an epoch."""
        return ViewMaker(self.augment.at(epoch), self.seed, epoch, self.mix)
