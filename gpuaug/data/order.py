"""The order of an epoch: a pure function of (samples, shuffle, seed, epoch), so that a restart or a rank can compute it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt

Index = npt.NDArray[np.int64]


class EpochOrder:
    """A sampler over 0..samples-1, in order or shuffled; `indices(epoch)` is the whole order, which ranks may slice."""

    def __init__(self, samples: int, shuffle: bool, seed: int) -> None:
        self.samples = samples
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0

    def indices(self, epoch: int) -> Index:
        """Sample indices of an epoch, int64 (samples,)."""
        if not self.shuffle:
            return np.arange(self.samples, dtype=np.int64)
        # The raw words of a bit generator are fixed for all versions of NumPy; `Generator.permutation` is not.
        keys = np.random.Philox(key=np.array([self.seed, epoch], dtype=np.uint64)).random_raw(self.samples)
        return np.argsort(keys, kind="stable")

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.samples

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices(self.epoch).tolist())


def epoch_order(sampler: Iterable[int], epoch: int) -> Iterable[int]:
    """An epoch's order: computed now where its length is known, so that another `iter()` does not disturb it."""
    if isinstance(sampler, EpochOrder):
        return sampler.indices(epoch)
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(epoch)
    return np.array([int(i) for i in sampler], dtype=np.int64) if hasattr(sampler, "__len__") else iter(sampler)


def batches(order: Iterable[int], start: int, batch_size: int, drop_last: bool, samples: int) -> Iterator[Index]:
    """Index batches (B,) int64 of an order from its `start`-th sample on; the last may be smaller, or is dropped.

    Raises IndexError for an index outside 0..samples-1.
    """
    rest = order[start:] if isinstance(order, np.ndarray) else islice(order, start, None)
    items = iter(rest)
    while True:
        batch = np.array([int(i) for i in islice(items, batch_size)], dtype=np.int64)
        if not len(batch) or (drop_last and len(batch) < batch_size):
            return
        if batch.min() < 0 or batch.max() >= samples:
            wrong = batch[(batch < 0) | (batch >= samples)][0]
            raise IndexError(f"DataLoader: the sampler gave {wrong}, outside 0..{samples - 1}")
        yield batch
