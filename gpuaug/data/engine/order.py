"""The order of an epoch: a pure function of (samples, shuffle, seed, epoch), shared out among the ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from operator import index
from typing import Any

import numpy as np
import torch
from torch.utils.data import DistributedSampler

from ...isolation import default_on_cpu
from ..shuffling import order_of, random_words
from ..sources import Index, Ordered, Source, is_ordered
from ..sources.streams import StreamPass


@dataclass(frozen=True)
class Share:
    """The share of every epoch that a process reads: that of `rank` among `world_size` processes."""

    rank: int
    world_size: int


WHOLE = Share(0, 1)


def current_share() -> Share:
    """The share that torch.distributed gives this process now; the whole if no process group is initialised."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return WHOLE
    return Share(torch.distributed.get_rank(), torch.distributed.get_world_size())


class OwnOrder:
    """What the loader's own samplers share: the epoch, and the share of it that this process reads.

    fixed: the share to read, whatever torch.distributed says. None asks torch.distributed each time, so that a sampler made
    before the process group reads its share as well.
    """

    fixed: Share | None
    epoch = 0

    @property
    def share(self) -> Share:
        return self.fixed or current_share()

    # Attributes of DistributedSampler.

    @property
    def rank(self) -> int:
        return self.share.rank

    @property
    def num_replicas(self) -> int:
        return self.share.world_size

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that the next `iter()` of the sampler or of its loader yields. Raises TypeError for no integer."""
        self.epoch = index(epoch)

    def plan(self, epoch: int, start: int, batch_size: int, drop_last: bool, samples: int) -> EpochPlan:
        """As `plan_epoch`."""
        raise NotImplementedError

    def state(self, position: int) -> dict[str, Any]:
        """What a state that is saved at a position says beside seed, number of samples and shuffle."""
        return {}


class EpochOrder(OwnOrder, DistributedSampler[int]):  # type: ignore[override]
    """A sampler over 0..samples-1, in order or shuffled, for one rank.

    Ranks take turns along the order of the whole epoch: rank r reads its samples r, r + world_size, ... If the ranks' shares
    are uneven, they are filled up from the start of the order, or cut off with drop_last, as torch's DistributedSampler does.

    The class derives from DistributedSampler because programs test for that, and replace any other sampler by their own.
    """

    bound: int | None = None
    """Sample indices are below this; None is the number of samples."""

    def __init__(self, samples: int, shuffle: bool, seed: int, fixed: Share | None = WHOLE, drop_last: bool = False) -> None:
        # DistributedSampler's own __init__ would ask for the rank now.
        self.samples = samples
        self.shuffle = shuffle
        self.seed = seed
        self.fixed = fixed
        self.drop_last = drop_last
        self.epoch = 0

    # Attributes of DistributedSampler.

    @property
    def dataset(self) -> range:  # type: ignore[override]
        return range(self.samples)

    @property
    def num_samples(self) -> int:  # type: ignore[override]
        return self.left(self.share)

    @property
    def total_size(self) -> int:  # type: ignore[override]
        return self.num_samples * self.num_replicas

    def indices(self, epoch: int) -> Index:
        """Sample indices of a whole epoch for all ranks together, int64 (samples,)."""
        if not self.shuffle:
            return np.arange(self.samples, dtype=np.int64)
        return order_of(random_words((self.seed, epoch), 0, self.samples))

    def pool(self, epoch: int) -> Sequence[int]:
        """The samples of a whole epoch for all ranks together, which replacements for bad ones are chosen from."""
        return range(self.samples)

    def plan(self, epoch: int, start: int, batch_size: int, drop_last: bool, samples: int) -> EpochPlan:
        share = self.share

        def batches() -> Iterator[Index]:
            return array_batches(self.shard(epoch, start, share), batch_size, drop_last, self.bound or samples)

        return EpochPlan(epoch, start, share, True, batches, self.left(share))

    def shard(self, epoch: int, start: int = 0, share: Share | None = None) -> Index:
        """A rank's sample indices in the rest of an epoch, after the first `start` samples of all ranks together."""
        share = share or self.share
        end = start + self.left(share, start) * share.world_size
        return np.resize(self.indices(epoch), end)[start + share.rank :: share.world_size]

    def left(self, share: Share, start: int = 0) -> int:
        """Number of samples left for each rank after the first `start` of all ranks together."""
        rest = max(self.samples - start, 0)
        return rest // share.world_size if self.drop_last else -(-rest // share.world_size)

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        order = self.shard(self.epoch)
        for at in range(0, len(order), 4096):  # never all of them as Python objects, which take ten times the memory
            yield from order[at : at + 4096].tolist()


class SourceOrder(EpochOrder):
    """The order that a source brings by itself."""

    bound = 2**48

    def __init__(self, source: Ordered, shuffle: bool, seed: int, fixed: Share | None = WHOLE, drop_last: bool = False) -> None:
        super().__init__(len(source), shuffle, seed, fixed, drop_last)
        self.source = source

    def indices(self, epoch: int) -> Index:
        return self.source.epoch_order(self.seed, epoch, self.shuffle)

    def pool(self, epoch: int) -> Sequence[int]:
        return EpochPool(self, epoch)

    def state(self, position: int) -> dict[str, Any]:
        return {"mixture": self.source.order_state()}


class EpochPool(Sequence[int]):
    """The samples of an epoch in their order, computed when the first of them is asked for."""

    def __init__(self, order: EpochOrder, epoch: int) -> None:
        self.order = order
        self.epoch = epoch

    @cached_property
    def indices(self) -> Index:
        return self.order.indices(self.epoch)

    def __len__(self) -> int:
        return self.order.samples

    def __getitem__(self, k: Any) -> Any:
        return self.indices[k]


def own_order(source: Source, shuffle: bool, seed: int, fixed: Share | None, drop_last: bool) -> EpochOrder:
    """The loader's own order of a source's samples."""
    if is_ordered(source):
        return SourceOrder(source, shuffle, seed, fixed, drop_last)
    return EpochOrder(len(source), shuffle, seed, fixed, drop_last)


class LoaderEpoch(int):
    """An epoch that the loader has set on a sampler; a plain int means that user code has called `set_epoch` since."""


def epoch_of(sampler: Any) -> tuple[Any, type]:
    """A sampler's epoch, or None if it has none, and the epoch's type, which is `LoaderEpoch` if a loader has set it."""
    epoch = getattr(sampler, "epoch", None)
    return epoch, type(epoch)


@dataclass(frozen=True)
class EpochPlan:
    """What one epoch reads, settled when it begins.

    Attributes:
        epoch: Number of the epoch.
        start: Samples before the first batch.
        share: The share that this rank reads.
        own: Whether the order is the loader's `EpochOrder`, whose positions count the samples of all ranks; with a user's
            sampler they count those of this rank.
        batches: Makes the epoch's batches of sample indices, int64 (B,). Each call begins anew, unless the sampler has no
            length.
        samples: Number of samples in the whole epoch of this rank, or in the source if the sampler has no length; None for a
            stream without a length.
        stream: What to read of a stream, which has no batches of indices.
    """

    epoch: int
    start: int
    share: Share
    own: bool
    batches: Callable[[], Iterator[Index]]
    samples: int | None
    stream: StreamPass | None = None


def plan_epoch(
    sampler: Any, batch_sampler: Any, epoch: int, start: int, batch_size: int, drop_last: bool, samples: int
) -> EpochPlan:
    """The plan of an epoch from its `start`-th sample on.

    batch_sampler: the user's batch sampler, or None. samples: number of samples in the source.
    A user's sampler is read now, up to its length, so that another `iter()` does not disturb it. `EpochOrder` is a pure
    function, and is computed later by the thread that needs it.
    """
    if isinstance(sampler, OwnOrder) and batch_sampler is None:
        return sampler.plan(epoch, start, batch_size, drop_last, samples)
    given = sampler if batch_sampler is None else batch_sampler
    set_sampler_epoch(given, epoch)
    order: Any = given
    count = samples
    if hasattr(given, "__len__"):
        with default_on_cpu():  # torch's samplers use a generator on the CPU
            items = iter(given)
            order = [item if batch_sampler is None else list(item) for item in islice(items, len(given))]
            more = list(islice(items, 1))
        count = len(order) if batch_sampler is None else sum(map(len, order))
        if more:  # the sampler yields more than its length, perhaps without end
            order = chain(order, more, items)

    def sampler_batches() -> Iterator[Index]:
        if batch_sampler is not None:
            return remaining_batches(order, start, samples)
        return index_batches(islice(iter(order), start, None), batch_size, drop_last, samples)

    return EpochPlan(epoch, start, WHOLE, False, sampler_batches, count)


def samplers_with_epoch(sampler: Any) -> list[Any]:
    """The objects whose `set_epoch` a loop may call: a sampler or batch sampler, and the sampler inside it."""
    return [one for one in (sampler, getattr(sampler, "sampler", None)) if hasattr(one, "set_epoch")]


def set_sampler_epoch(sampler: Any, epoch: int) -> None:
    """Set the epoch of a sampler, and of the sampler inside it, if they have `set_epoch`."""
    for one in samplers_with_epoch(sampler):
        one.set_epoch(LoaderEpoch(epoch))


def array_batches(order: Index, batch_size: int, drop_last: bool, samples: int) -> Iterator[Index]:
    """Batches of sample indices, int64 (B,), in a given order; the last one may be smaller, or is dropped.

    Raises IndexError for an index outside 0..samples-1.
    """
    for at in range(0, len(order) - batch_size + 1 if drop_last else len(order), batch_size):
        yield check_range(order[at : at + batch_size].copy(), samples)  # a batch shall not keep the whole order


def index_batches(order: Iterable[int], batch_size: int, drop_last: bool, samples: int) -> Iterator[Index]:
    """As `array_batches`, in the order of a user's sampler."""
    items = iter(order)
    while True:
        batch = as_integers(islice(items, batch_size))
        if not len(batch) or (drop_last and len(batch) < batch_size):
            return
        yield check_range(batch, samples)


def remaining_batches(batches: Iterable[Iterable[int]], start: int, samples: int) -> Iterator[Index]:
    """The batches of a batch sampler as arrays, without the first `start` samples. Raises what `index_batches` raises."""
    for given in batches:
        whole = as_integers(given)
        batch, start = whole[start:], max(start - len(whole), 0)
        if len(batch):
            yield check_range(batch, samples)


def as_integers(items: Iterable[Any]) -> Index:
    """The items of a sampler as int64. Raises TypeError if one is no integer."""
    found = list(items)
    try:
        return np.array([index(i) for i in found], dtype=np.int64)
    except TypeError as error:
        wrong = next(i for i in found if not hasattr(i, "__index__"))
        raise TypeError(f"DataLoader: the sampler yielded {wrong!r}, which is not an integer") from error


def check_range(batch: Index, samples: int) -> Index:
    if batch.min() < 0 or batch.max() >= samples:
        wrong = batch[(batch < 0) | (batch >= samples)][0]
        raise IndexError(f"DataLoader: the sampler yielded {wrong}, outside 0..{samples - 1}")
    return batch
