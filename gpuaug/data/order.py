"""The order of an epoch: a pure function of (samples, shuffle, seed, epoch), of which every rank takes its share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from ..isolation import default_on_cpu

Index = npt.NDArray[np.int64]


class EpochOrder:
    """A sampler over 0..samples-1, in order or shuffled, for one rank of `world_size`.

    Ranks take turns along the order of the whole epoch: rank r has its samples r, r + world_size, ... An end that does not
    come out even is filled up from the order's start, or cut off with drop_last, as torch's DistributedSampler does.
    """

    def __init__(
        self, samples: int, shuffle: bool, seed: int, rank: int = 0, world_size: int = 1, drop_last: bool = False
    ) -> None:
        self.samples = samples
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.drop_last = drop_last
        self.epoch = 0

    def indices(self, epoch: int) -> Index:
        """Sample indices of a whole epoch, of all ranks, int64 (samples,)."""
        if not self.shuffle:
            return np.arange(self.samples, dtype=np.int64)
        # The raw words of a bit generator are fixed for all versions of NumPy; `Generator.permutation` is not.
        keys = np.random.Philox(key=np.array([self.seed, epoch], dtype=np.uint64)).random_raw(self.samples)
        return np.argsort(keys, kind="stable")

    def shard(self, epoch: int, start: int = 0) -> Index:
        """This rank's sample indices of an epoch of which all ranks together have had the first `start`."""
        end = start + self.share(start) * self.world_size
        return np.resize(self.indices(epoch), end)[start + self.rank :: self.world_size]

    def share(self, start: int = 0) -> int:
        """Samples left for each rank."""
        rest = max(self.samples - start, 0)
        return rest // self.world_size if self.drop_last else -(-rest // self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Make this the epoch that `iter()` of the sampler, and of its loader, gives next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.share()

    def __iter__(self) -> Iterator[int]:
        return iter(self.shard(self.epoch).tolist())


class Told(int):
    """An epoch that a loader has told a sampler: an equal number that is no Told, the loop has told it since then."""


def epoch_of(sampler: Any) -> tuple[Any, type]:
    """The epoch that a sampler stands at, None where it has none, and its type, which is `Told` where a loader has set it."""
    epoch = getattr(sampler, "epoch", None)
    return epoch, type(epoch)


def rest_of(sampler: Iterable[int], epoch: int, start: int) -> Callable[[], Iterable[int]]:
    """What gives an epoch's order from its `start`-th sample on.

    A sampler with a length is asked now, so that another `iter()` does not disturb it; our own, which is a pure function,
    later, in whichever thread needs it.
    """
    if isinstance(sampler, EpochOrder):
        return lambda: sampler.shard(epoch, start)
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(Told(epoch))
    if not hasattr(sampler, "__len__"):
        return lambda: islice(iter(sampler), start, None)
    with default_on_cpu():  # where torch's samplers have their generators
        order = np.array([int(i) for i in sampler], dtype=np.int64)
    return lambda: order[start:]


def batches(order: Callable[[], Iterable[int]], batch_size: int, drop_last: bool, samples: int) -> Iterator[Index]:
    """Index batches (B,) int64 of an order; the last may be smaller, or is dropped.

    Raises IndexError for an index outside 0..samples-1.
    """
    items = iter(order())
    while True:
        batch = np.array([int(i) for i in islice(items, batch_size)], dtype=np.int64)
        if not len(batch) or (drop_last and len(batch) < batch_size):
            return
        if batch.min() < 0 or batch.max() >= samples:
            wrong = batch[(batch < 0) | (batch >= samples)][0]
            raise IndexError(f"DataLoader: the sampler gave {wrong}, outside 0..{samples - 1}")
        yield batch
