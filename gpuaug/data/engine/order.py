"""The order of an epoch: a pure function of (samples, shuffle, seed, epoch), of which every rank takes its share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from operator import index
from typing import Any

import numpy as np
import torch
from torch.utils.data import DistributedSampler

from ...isolation import default_on_cpu
from ..sources import Index


@dataclass(frozen=True)
class Share:
    """Which share of every epoch a process takes: that of `rank` among `world_size` processes."""

    rank: int
    world_size: int


WHOLE = Share(0, 1)


def current_share() -> Share:
    """The share that torch.distributed gives this process now; the whole where no process group is initialised."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return WHOLE
    return Share(torch.distributed.get_rank(), torch.distributed.get_world_size())


class EpochOrder(DistributedSampler[int]):
    """A sampler over 0..samples-1, in order or shuffled, for one rank.

    Ranks take turns along the order of the whole epoch: rank r has its samples r, r + world_size, ... An end that does not
    come out even is filled up from the order's start, or cut off with drop_last, as torch's DistributedSampler does.

    fixed: the share to take, whatever torch.distributed says. None asks torch.distributed each time, so that a sampler made
    before the process group takes its share as well.
    It is a DistributedSampler since programs ask for one by its class: they put a sampler of theirs in the place of any other.
    """

    def __init__(self, samples: int, shuffle: bool, seed: int, fixed: Share | None = WHOLE, drop_last: bool = False) -> None:
        # DistributedSampler's own __init__ would ask for the rank now.
        self.samples = samples
        self.shuffle = shuffle
        self.seed = seed
        self.fixed = fixed
        self.drop_last = drop_last
        self.epoch = 0

    @property
    def share(self) -> Share:
        return self.fixed or current_share()

    # What DistributedSampler calls them.

    @property
    def dataset(self) -> range:  # type: ignore[override]
        return range(self.samples)

    @property
    def rank(self) -> int:  # type: ignore[override]
        return self.share.rank

    @property
    def num_replicas(self) -> int:  # type: ignore[override]
        return self.share.world_size

    @property
    def num_samples(self) -> int:  # type: ignore[override]
        return self.left(self.share)

    @property
    def total_size(self) -> int:  # type: ignore[override]
        return self.num_samples * self.num_replicas

    def indices(self, epoch: int) -> Index:
        """Sample indices of a whole epoch, of all ranks, int64 (samples,)."""
        if not self.shuffle:
            return np.arange(self.samples, dtype=np.int64)
        # The raw words of a bit generator are fixed for all versions of NumPy; `Generator.permutation` is not.
        keys = np.random.Philox(key=np.array([self.seed, epoch], dtype=np.uint64)).random_raw(self.samples)
        return np.argsort(keys, kind="stable")

    def shard(self, epoch: int, start: int = 0, share: Share | None = None) -> Index:
        """A rank's sample indices of an epoch of which all ranks together have had the first `start`."""
        share = share or self.share
        end = start + self.left(share, start) * share.world_size
        return np.resize(self.indices(epoch), end)[start + share.rank :: share.world_size]

    def left(self, share: Share, start: int = 0) -> int:
        """Samples left for each rank."""
        rest = max(self.samples - start, 0)
        return rest // share.world_size if self.drop_last else -(-rest // share.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Make this the epoch that `iter()` of the sampler, and of its loader, gives next. Raises TypeError for no integer."""
        self.epoch = index(epoch)

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        return iter(self.shard(self.epoch).tolist())


class LoaderEpoch(int):
    """An epoch that the loader has set on a sampler. A plain int means that user code has called `set_epoch` since then."""


def epoch_of(sampler: Any) -> tuple[Any, type]:
    """The epoch that a sampler stands at, None where it has none, and its type: `LoaderEpoch` where a loader has set it."""
    epoch = getattr(sampler, "epoch", None)
    return epoch, type(epoch)


@dataclass(frozen=True)
class EpochPlan:
    """What one epoch reads, as settled when it begins.

    share: of the epoch, where the order is `EpochOrder`'s (own), which knows how far all ranks together are. batches: makes
    the epoch's batches of sample indices, (B,) int64 each; every call begins anew, unless the sampler has no length. samples:
    of the whole epoch on this rank; of the source, where the sampler has no length.
    """

    epoch: int
    start: int
    share: Share
    own: bool
    batches: Callable[[], Iterator[Index]]
    samples: int


def plan_epoch(
    sampler: Any, batch_sampler: Any, epoch: int, start: int, batch_size: int, drop_last: bool, samples: int
) -> EpochPlan:
    """The plan of an epoch from its `start`-th sample on.

    batch_sampler: the user's own, which then decides on the batches, or None. samples: of the source.
    A sampler is asked now for as many items as it says that it has, so that another `iter()` does not disturb it. Our own
    is a pure function, and is asked later, in whichever thread needs it.
    """
    if isinstance(sampler, EpochOrder) and batch_sampler is None:
        share = sampler.share

        def own() -> Iterator[Index]:
            return index_batches(sampler.shard(epoch, start, share), batch_size, drop_last, samples)

        return EpochPlan(epoch, start, share, True, own, sampler.left(share))
    given = sampler if batch_sampler is None else batch_sampler
    set_sampler_epoch(given, epoch)
    order: Any = given
    count = samples
    if hasattr(given, "__len__"):
        with default_on_cpu():  # where torch's samplers have their generators
            items = iter(given)
            order = [item if batch_sampler is None else list(item) for item in islice(items, len(given))]
            more = list(islice(items, 1))
        count = len(order) if batch_sampler is None else sum(map(len, order))
        if more:  # it gives more than its length, perhaps without an end
            order = chain(order, more, items)

    def theirs() -> Iterator[Index]:
        if batch_sampler is not None:
            return remaining_batches(order, start, samples)
        return index_batches(islice(iter(order), start, None), batch_size, drop_last, samples)

    return EpochPlan(epoch, start, WHOLE, False, theirs, count)


def samplers_with_epoch(sampler: Any) -> list[Any]:
    """What a loop may call `set_epoch` of: a sampler or batch sampler, and the sampler inside it."""
    return [one for one in (sampler, getattr(sampler, "sampler", None)) if hasattr(one, "set_epoch")]


def set_sampler_epoch(sampler: Any, epoch: int) -> None:
    """Set the epoch wherever there is `set_epoch`."""
    for one in samplers_with_epoch(sampler):
        one.set_epoch(LoaderEpoch(epoch))


def index_batches(order: Iterable[int] | Index, batch_size: int, drop_last: bool, samples: int) -> Iterator[Index]:
    """Index batches (B,) int64 of an order; the last may be smaller, or is dropped.

    Raises IndexError for an index outside 0..samples-1.
    """
    items = iter(order)
    while True:
        batch = as_integers(islice(items, batch_size))
        if not len(batch) or (drop_last and len(batch) < batch_size):
            return
        yield check_range(batch, samples)


def remaining_batches(batches: Iterable[Iterable[int]], start: int, samples: int) -> Iterator[Index]:
    """A batch sampler's batches as arrays, without the first `start` samples. Raises IndexError as `index_batches` does."""
    for given in batches:
        whole = as_integers(given)
        batch, start = whole[start:], max(start - len(whole), 0)
        if len(batch):
            yield check_range(batch, samples)


def as_integers(items: Iterable[Any]) -> Index:
    """What a sampler gave, as int64. Raises TypeError for what is no integer."""
    found = list(items)
    try:
        return np.array([index(i) for i in found], dtype=np.int64)
    except TypeError as error:
        wrong = next(i for i in found if not hasattr(i, "__index__"))
        raise TypeError(f"DataLoader: the sampler gave {wrong!r}, which is no integer") from error


def check_range(batch: Index, samples: int) -> Index:
    if batch.min() < 0 or batch.max() >= samples:
        wrong = batch[(batch < 0) | (batch >= samples)][0]
        raise IndexError(f"DataLoader: the sampler gave {wrong}, outside 0..{samples - 1}")
    return batch
