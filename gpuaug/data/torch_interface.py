"""torch's DataLoader as other programs see it: class, attributes, samplers, length, epoch, copies, saved state.

Lightning, Fabric and Accelerate test for torch's class with `isinstance`. The machinery is that of `loader.DataLoader`, so
torch's `__init__` is never called.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sized
from copy import copy
from typing import Any, Self

import torch
from torch.utils import data as torch_data

from ..mixing import Mix, MixDraws
from ..policy import Policy
from ..sampling import Draws
from .arguments import check_length, check_stream, integer, labels_changed_error
from .decoding import Decoding
from .engine.cursor import EpochCursor, check_state
from .engine.fetching.order import StreamOrder
from .engine.order import EpochOrder, OwnOrder, SourceOrder, samplers_with_epoch
from .engine.pipeline import NextEpoch
from .engine.stats import Meter, Stats
from .engine.view_maker import LazyDraws
from .sources import Index, Source, has_files, is_ordered, known_length, runs_processes

FIXED = frozenset(
    (
        *("backend", "cache_dir", "cache_size", "decoder", "device", "dtype", "labels", "memory_format", "mix", "num_workers"),
        *("nvjpeg_hw_load", "policy", "scaled", "seed", "shuffle", "source"),
    )
)
"""Attributes that cannot be set later, because other parts of a loader were made from them; torch fixes some more itself."""

EPOCHS = 2**32
"""The draws' counter has 32 bits for the epoch."""


class TorchInterface(torch_data.DataLoader[Any]):
    """torch's DataLoader by class, with torch's attributes and their meaning, except `collate_fn`, which raises TypeError."""

    _is_accelerate_prepared = True
    """Tells `Accelerator.prepare` to keep the loader as it is, where it would build another one of this one's parts."""

    # Private attributes that torch's own methods and iterators read.
    _dataset_kind = 0  # map-style
    _iterator = None
    _IterableDataset_len_called = None
    prefetch_factor: int

    generator = None
    source: Source
    dataset: Any
    """The source as given; for a path or arrays, the source object that the loader made of them."""
    on_error: str
    bad_files: dict[str, str]
    settled: bool | None
    """Whether batches hold targets; None until this is known (see `labelled`)."""
    policy: Policy
    device: torch.device
    sampler: Any
    batch_sampler: Any
    seed: int
    shuffle: bool
    cursor: EpochCursor
    meter: Meter
    view_threads: int = 1
    """Threads that make views."""
    next_epoch: NextEpoch
    lazy_draws: LazyDraws | None
    """The draws of the batch delivered last."""
    mix: Mix | None
    decoding: Decoding
    own_batches: bool
    """Whether the user gave a batch sampler."""

    def set_samplers(
        self, order: OwnOrder, sampler: Iterable[int] | None, batch_sampler: Iterable[Iterable[int]] | None
    ) -> None:
        """Set `sampler` and `batch_sampler` as torch does. sampler, batch_sampler: the user's, or None.

        A program that makes a loader from another one's attributes gives that one's own sampler.
        """
        check_stream(self.source, self.shuffle, sampler, batch_sampler, self.on_error)
        own = sampler is None or (isinstance(sampler, SourceOrder) and sampler.source is self.source)
        if is_ordered(self.source) and (batch_sampler is not None or not own):
            raise ValueError(
                "DataLoader: a Mixture brings its own order, so it goes with neither sampler nor batch_sampler; for an order "
                "of your own give a ConcatDataset of its parts"
            )
        self.own_batches = batch_sampler is not None
        self._dataset_kind = int(self.source.workers == "stream")
        if batch_sampler is not None:
            self.sampler = torch_data.SequentialSampler(range(len(self.source)))  # unused, as in torch
            self.batch_sampler = batch_sampler
        else:
            self.sampler = order if sampler is None or isinstance(sampler, StreamOrder) else sampler
            self.batch_sampler = torch_data.BatchSampler(self.sampler, self.size, self.drop_last)

    def freeze(self) -> None:
        """Make torch's `__setattr__` refuse new values of batch_size, sampler and the like from now on."""
        self._DataLoader__initialized = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIXED and getattr(self, "_DataLoader__initialized", False):
            raise ValueError(
                f"DataLoader: {name} cannot be changed once the loader is made; make another loader with another {name}"
            )
        super().__setattr__(name, value)

    def _get_iterator(self) -> Iterator[Any]:  # type: ignore[override]
        return iter(self)

    def __len__(self) -> int:
        """Batches in a whole epoch of this rank, for the current state of torch.distributed."""
        given = self.batch_sampler if self.own_batches else self.sampler
        if not isinstance(given, Sized):
            raise TypeError(f"DataLoader: {type(given).__name__} has no length, so the loader has none either")
        if self.own_batches:
            return len(given)
        return len(given) // self.size if self.drop_last else -(-len(given) // self.size)

    def check_length(self) -> None:
        """Raise if an epoch has no batch on this rank; asked for each epoch, since the rank may have changed."""
        if isinstance(self.sampler, StreamOrder):  # only its end tells how long it was
            return
        given = self.batch_sampler if self.own_batches else self.sampler
        check_length(given, len(self.source), 1 if self.own_batches else self.size, self.drop_last, self.on_error)

    def reset_runtime(self) -> None:
        """Start without threads and with all counts at 0."""
        self.meter = self.new_meter(0)
        self.next_epoch = NextEpoch()
        weakref.finalize(self, self.next_epoch.close)

    def new_meter(self, epoch: int) -> Meter:
        """A meter of an epoch, with all counts at 0."""
        decoder = str(self.decoding) if has_files(self.source) else ""
        stage = "load" if runs_processes(self.source) else "stream" if self.source.workers == "stream" else "read"
        return Meter(epoch, self.num_workers, self.view_threads, stage, decoder)

    def __repr__(self) -> str:
        ranks = f", rank {self.rank} of {self.world_size}" if self.world_size > 1 else ""
        name = self.policy.name or "policy"
        return f"DataLoader({self.source!r}, {name!r}, batch_size={self.batch_size}, {self.device}{ranks})"

    def __getstate__(self) -> dict[str, Any]:
        """All but what is running: a copy begins with the epoch that comes next here."""
        return {name: value for name, value in vars(self).items() if name not in ("meter", "next_epoch")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.reset_runtime()

    def __copy__(self) -> Self:
        """A loader over the same data that counts its own epochs."""
        other = type(self).__new__(type(self))
        state: dict[str, Any] = {**self.__getstate__(), "bad_files": dict(self.bad_files), "decoding": copy(self.decoding)}
        if isinstance(self.sampler, OwnOrder):
            state["sampler"] = copy(self.sampler)
            if not self.own_batches:
                state["batch_sampler"] = torch_data.BatchSampler(state["sampler"], self.size, self.drop_last)
        other.__setstate__(state)
        other.cursor = self.cursor.for_samplers(other.epoch_samplers)
        return other

    @property
    def size(self) -> int:
        """Samples in a full batch; 1 if a batch sampler makes the batches."""
        return self.batch_size or 1

    @property
    def epoch_samplers(self) -> list[Any]:
        """The objects whose `set_epoch` a loop may call: the sampler, or the user's batch sampler and the sampler inside it."""
        return samplers_with_epoch(self.batch_sampler if self.own_batches else self.sampler)

    @property
    def labelled(self) -> bool:
        """Whether batches hold targets rather than sample indices.

        For a user's Dataset the first batch decides. Before that, this property reads the Dataset's first sample.
        """
        if self.settled is None:
            self.settled = self.source.labelled
        return self.settled

    def settle_labels(self, labelled: bool, index: Index) -> None:
        """Let the first batch say whether batches hold targets. Raises TypeError if a later one differs."""
        if self.settled is None:
            self.settled = labelled
        if labelled != self.settled:
            raise labels_changed_error(self.source.name(int(index[0])), labelled)

    @property
    def draws(self) -> Draws:
        """Parameters of the views of the batch delivered last. Raises RuntimeError before the first one."""
        if self.lazy_draws is None:
            raise RuntimeError("DataLoader: no batch has been delivered yet, so there are no draws")
        return self.lazy_draws.draws

    @property
    def mix_draws(self) -> MixDraws:
        """Partner, lambda and box of each sample of the batch delivered last. Raises RuntimeError without `mix`, or batch."""
        found = None if self.lazy_draws is None else self.lazy_draws.mix
        if found is None:
            lacking = "mix= was not given" if self.mix is None else "no batch has been delivered yet"
            raise RuntimeError(f"DataLoader: {lacking}, so there are no draws of a mix")
        return found

    def stats(self) -> Stats:
        """Where the time of the current or latest epoch went so far; see `gpuaug.data.Stats`."""
        return self.meter.stats()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next pass, which may also be that of an iterator that has not been used yet.

        `loader.sampler.set_epoch` does the same. If `load_state_dict` has just restored this epoch, its position is kept. A
        user's sampler that has `set_epoch` gets the epoch when the pass begins.

        Args:
            epoch: 0..2^32-1.

        Raises:
            ValueError: `epoch` is not an integer in that range.
        """
        self.cursor.jump_to_epoch(integer("epoch", epoch, 0, EPOCHS - 1))

    def state_dict(self) -> dict[str, Any]:
        """The place of the iterator that was used last; after its end, the start of the next epoch.

        Returns:
            A dict of plain values: seed, epoch, position, samples (of the source) and shuffle; for a mixture also what its
            order follows from; on CUDA also the decoder, None if decoder="auto" has not chosen yet; and scaled, if it is on.
            `position` counts the samples of the epoch that all ranks together have delivered, bad ones included, if each rank
            has delivered as many batches as this one. With a user's sampler it counts the samples that this rank has delivered.
            For a stream, samples is None if it has no length, and the key "stream" says what the rest of the pass depends on:
            rank, world_size and, for a torch IterableDataset, num_workers, batch_size and drop_last.
        """
        epoch, position = self.cursor.reached
        return {
            "seed": self.seed,
            "epoch": epoch,
            "position": int(position),
            "samples": known_length(self.source),
            "shuffle": self.shuffle,
            **(self.sampler.state(position) if isinstance(self.sampler, OwnOrder) else {}),
            **self.decoding.state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the next `iter()` yield the rest of a saved epoch, for any batch size, number of workers and number of ranks.

        A user's sampler must yield the same order again. In the middle of a pass over a stream the number of ranks must be the
        same, and what else the state says that the pass depends on.

        Args:
            state: A result of `state_dict()`.

        Raises:
            ValueError: `state` is no such dict, or its seed, shuffle, number of samples or mixture differ from this loader's,
                or what a pass over a stream depends on.
        """
        check_state(state, {name: value for name, value in self.state_dict().items() if name not in ("decoder", "scaled")})
        most = self.sampler.samples if isinstance(self.sampler, EpochOrder) else None
        epoch = integer("epoch", state["epoch"], 0, EPOCHS - 1)
        position = integer("position", state["position"], 0, most)
        if isinstance(self.sampler, StreamOrder):
            position = self.sampler.restored(position, state["stream"])
        self.next_epoch.discard()
        self.decoding.restore(state)
        self.cursor.jump(epoch, position)

    @property
    def rank(self) -> int:
        """Rank of this process, 0..world_size-1; 0 with a user's sampler, which decides for itself what each rank reads."""
        return self.sampler.rank if isinstance(self.sampler, OwnOrder) else 0

    @property
    def world_size(self) -> int:
        """Number of processes that share an epoch: as given, or that of torch.distributed now."""
        return self.sampler.num_replicas if isinstance(self.sampler, OwnOrder) else 1

    @property
    def collate_fn(self) -> Any:  # type: ignore[override]
        """Raises TypeError: a program that asks for it is about to build another loader of this one's parts."""
        raise TypeError(
            "gpuaug.DataLoader has no collate_fn, because it decodes and augments by itself; another loader cannot be made of "
            "its parts. Give the loader itself to the loop (in a process group each rank reads its share). To go on in the "
            "middle of an epoch, save loader.state_dict() and call loader.load_state_dict(state), instead of skipping batches"
        )
