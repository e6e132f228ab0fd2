"""Mixtures: epochs that take samples of several sources in given proportions, as a closed form of (seed, epoch).

An epoch is computed as a whole, by NumPy, from seed and epoch alone. So a position in it is all that a restart needs, for any
number of ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from fractions import Fraction
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from ...ops.base import is_integer, is_number
from ..shuffling import ARRANGEMENT, PASSES, REPLACEMENT, random_words, row_orders
from . import Index, Source
from .composed import ConcatSource

MOST = 2**48
"""Sample indices are below this, see `gpuaug.sample`."""

CHUNK = 2**22
"""Most keys of short passes that are put in order at a time."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """Samples of several sources in given proportions, as a source of `gpuaug.DataLoader`.

    Every epoch holds exactly the same number of samples of each part, its quota: `samples` shared out by the weights, rounded
    down, and the samples that are left go to the parts with the largest remainders (of equal ones to the first). Within an
    epoch parts take turns: with shuffle=False as evenly as their quotas allow, with shuffle=True at random, but so that the q
    samples of a part are due one in each q-th of the epoch. So every prefix has the proportions of the whole: of the first n
    samples, a part whose quota is the share w of the epoch has n w, give or take 1 + w (m - 2) for m >= 2 parts, and with
    shuffle=False half of that.

    A part's samples come in passes: each of them once in an order that follows from seed, part and pass (with shuffle=False in
    the part's order), then each of them once in another order. Passes run on across epochs, so no sample comes again before all
    others of its part have come. With `replacement` each sample is drawn at random from all of its part instead.

    A sample that comes several times in an epoch has other views each time. For that the loader's sample indices
    (`loader.index`, and the target where there are no labels) are k + r total: k counts through the samples of all parts, one
    part after another, total is their number, and r = 0, 1, ... is the number of the pass within the epoch, or with
    `replacement` how often the sample has come in the epoch before. `loader.dataset.locate(index)` says which sample of which
    part an index means.

    Args:
        parts: What the loader takes as a source, each with a length: paths, arrays, Datasets, other sources. A mixture cannot
            hold another one; give its parts, with the products of their weights.
        weights: A positive number for each part, in any scale.
        samples: Samples in an epoch of all ranks together, at least 1. None is the number of samples in all parts.
        replacement: Whether to draw each sample at random from its part, with replacement.

    Raises:
        TypeError: `parts` is no list, or holds a mixture.
        ValueError: There is no part; weights are not as many as parts, or not positive; `samples` is no positive integer. When
            the loader is made: a part has no samples, or so small a weight that its quota is 0.
    """

    parts: Sequence[Any]
    weights: Sequence[float]
    _: KW_ONLY
    samples: int | None = None
    replacement: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.parts, (list, tuple)):
            raise TypeError(f"Mixture: parts must be a list of sources, got {type(self.parts).__name__}")
        if not self.parts:
            raise ValueError("Mixture: parts must hold at least one source")
        for k, part in enumerate(self.parts):
            if isinstance(part, (Mixture, MixtureSource)):
                raise TypeError(
                    f"Mixture: part {k} is a Mixture itself; give its parts in its place, each with its weight, as a share of "
                    "1, times the weight that the whole of it shall have"
                )
        object.__setattr__(self, "parts", tuple(self.parts))
        object.__setattr__(self, "weights", checked_weights(self.weights, len(self.parts)))
        if self.samples is not None and (not is_integer(self.samples) or self.samples < 1):
            raise ValueError(
                f"Mixture: samples must be an integer of at least 1, or None for all samples, got {self.samples!r}"
            )
        if not isinstance(self.replacement, bool):
            raise ValueError(f"Mixture: replacement must be True or False, got {self.replacement!r}")

    def __repr__(self) -> str:
        names = ", ".join(part if isinstance(part, str) else type(part).__name__ for part in self.parts)
        more = "" if self.samples is None else f", samples={self.samples}"
        return f"Mixture([{names}], {list(self.weights)}{more}{', replacement=True' * self.replacement})"


def checked_weights(weights: Any, count: int) -> tuple[float, ...]:
    """The weights of `count` parts as floats. Raises ValueError if there are more or fewer, or one is not positive."""
    found = weights.tolist() if hasattr(weights, "tolist") else weights
    if not isinstance(found, (list, tuple)) or len(found) != count:
        got = f"{len(found)} weights" if isinstance(found, (list, tuple)) else repr(weights)
        raise ValueError(f"Mixture: weights must be one number for each of the {count} parts, got {got}")
    for k, weight in enumerate(found):
        if not is_number(weight) or not isfinite(weight) or weight <= 0:
            raise ValueError(
                f"Mixture: weights must be positive and finite, but that of part {k} is {weight!r}; leave out parts that shall "
                "not be used"
            )
    return tuple(map(float, found))


def quotas_of(weights: Sequence[float], samples: int) -> list[int]:
    """`samples` shared out by the weights: rounded down, and the rest to the largest remainders, of equal ones to the first."""
    whole = sum(map(Fraction, weights))
    exact = [samples * Fraction(weight) / whole for weight in weights]  # without rounding, so equal on every machine
    quotas = [int(share) for share in exact]
    largest = sorted(range(len(exact)), key=lambda k: quotas[k] - exact[k])
    for k in largest[: samples - sum(quotas)]:
        quotas[k] += 1
    return quotas


class MixtureSource(ConcatSource):
    """The samples of a `Mixture`, as the loader reads them; `loader.dataset` is one. It reads any index, 0 or more.

    Args:
        parts: The sources.
        weights: As in `Mixture`, as are samples and replacement.

    Attributes:
        parts: The sources of the parts.
        lengths: Number of samples in each part.
        quotas: Number of samples of each part in an epoch.
        total: Number of samples in all parts.
        starts: Number of samples in the parts before each part.

    Raises:
        TypeError: A part is a stream.
        ValueError: A part has no samples, or a quota of 0; or a sample would come so often in an epoch that indices exceed
            2^48-1.
    """

    def __init__(
        self, parts: Sequence[Source], weights: Sequence[float], samples: int | None = None, replacement: bool = False
    ) -> None:
        for k, part in enumerate(parts):
            if part.workers not in ("threads", "processes", "none"):
                raise TypeError(
                    f"Mixture: part {k}, {part!r}, is a stream, whose samples come in its own order, so that none can be "
                    "chosen; give a source that has len and []"
                )
        super().__init__(parts)
        self.replacement = replacement
        self.lengths = [len(part) for part in self.parts]
        self.total = sum(self.lengths)
        self.starts: Index = self.ends - np.array(self.lengths)
        self.samples = self.total if samples is None else samples
        if 0 in self.lengths:
            empty = self.lengths.index(0)
            raise ValueError(f"Mixture: part {empty}, {self.parts[empty]!r}, has no samples; leave it out")
        self.quotas = quotas_of(checked_weights(weights, len(self.parts)), self.samples)
        if 0 in self.quotas:
            never = self.quotas.index(0)
            raise ValueError(
                f"Mixture: part {never}, {self.parts[never]!r}, has weight {weights[never]:g} of {sum(weights):g}, which is 0 "
                f"of the epoch's {self.samples} samples; raise its weight or samples=, or leave it out"
            )
        # With replacement the number is random, but is above this less than once in 10^20 epochs.
        often = max(-(-quota // length) for quota, length in zip(self.quotas, self.lengths, strict=True)) + 1
        if (2 * often + 64 if replacement else often) * self.total > MOST:
            raise ValueError(
                f"Mixture: a sample would come {often} times in an epoch of {self.samples} samples, and the parts have "
                f"{self.total} samples, so that sample indices exceed 2^48-1; lower samples="
            )

    def __len__(self) -> int:
        return self.samples

    def find(self, i: int) -> tuple[Source, int]:
        return super().find(i % self.total)

    def by_part(self, index: Index) -> Iterator[tuple[int, Index, Index]]:
        return super().by_part(index % self.total)

    def locate(self, index: npt.ArrayLike) -> tuple[Index, Index]:
        """The part of each sample index, and the sample's number in that part.

        Args:
            index: Sample indices as in `loader.index`, 0 or more, of any shape; a tensor must be on the CPU.

        Returns:
            Two int64 arrays of that shape.

        Raises:
            ValueError: An index is negative or no integer.
        """
        found = np.asarray(index)
        if found.dtype.kind not in "iu" or (found.size and found.min() < 0):
            raise ValueError(f"MixtureSource.locate: index must be integers, 0 or more, got {index!r}")
        sample = found.astype(np.int64) % self.total
        part = np.searchsorted(self.ends, sample, side="right")
        return part, sample - self.starts[part]

    def order_state(self) -> dict[str, Any]:
        """What the order of an epoch follows from, beside seed, epoch and shuffle."""
        return {"lengths": self.lengths, "quotas": self.quotas, "replacement": self.replacement}

    def epoch_order(self, seed: int, epoch: int, shuffle: bool) -> Index:
        """Sample indices of a whole epoch for all ranks together, int64 (samples,)."""
        if len(self.parts) == 1:
            return self.drawn(0, seed, epoch) if self.replacement else self.visits(0, seed, epoch, shuffle)
        turns = self.turns(seed, epoch, shuffle)
        if self.replacement:
            return self.drawn(np.repeat(np.arange(len(self.parts)), self.quotas)[turns], seed, epoch)
        visits = [self.visits(k, seed, epoch, shuffle) for k in range(len(self.parts))]
        return np.concatenate(visits)[turns]

    def turns(self, seed: int, epoch: int, shuffle: bool) -> Index:
        """The order in which parts take turns: numbers 0..samples-1, of which the first quota are part 0's, and so on.

        Visit i of a part with quota q is due at (i + 1/2) / q of the epoch, or with shuffle at (i + u) / q, u random in [0, 1).
        """
        due: npt.NDArray[np.float64] = np.concatenate([np.arange(quota, dtype=np.float64) for quota in self.quotas])
        if shuffle:
            due += (random_words((seed, epoch), 0, self.samples, ARRANGEMENT) >> np.uint64(11)) * 2.0**-53
        else:
            due += 0.5
        for quota, end in zip(self.quotas, np.cumsum(self.quotas), strict=True):
            due[end - quota : end] /= quota
        return np.argsort(due, kind="stable")  # quick, since each part's are in order already

    def visits(self, k: int, seed: int, epoch: int, shuffle: bool) -> Index:
        """The sample indices of part k in an epoch, in their order."""
        length, quota = self.lengths[k], self.quotas[k]
        first, place = divmod(epoch * quota, length)
        passes = -(-(place + quota) // length)
        found = pass_orders(seed, k, first, passes, length) if shuffle else np.tile(np.arange(length), (passes, 1))
        found += (np.arange(passes) * self.total + int(self.starts[k]))[:, None]
        return found.reshape(-1)[place : place + quota]

    def drawn(self, part: Index | int, seed: int, epoch: int) -> Index:
        """The sample indices of an epoch with replacement. part: the part of each place, or the only one."""
        words = random_words((seed, epoch), 0, self.samples, REPLACEMENT)
        words %= np.array(self.lengths, dtype=np.uint64)[part]
        sample = words.view(np.int64)
        sample += self.starts[part]
        sample += self.total * occurrences(sample, self.total)
        return sample

    def __repr__(self) -> str:
        taken = ", ".join(f"{quota} of {part!r}" for quota, part in zip(self.quotas, self.parts, strict=True))
        return f"MixtureSource({taken}{', with replacement' * self.replacement})"


def pass_orders(seed: int, k: int, first: int, passes: int, length: int) -> Index:
    """The orders of consecutive passes through the samples of part k: int64 (passes, length)."""
    step = max(1, CHUNK // length)
    orders = []
    for at in range(0, passes, step):
        rows = min(step, passes - at)
        keys = random_words((seed, k), (first + at) * length, rows * length, PASSES)
        orders.append(row_orders(keys.reshape(rows, length)))
    return orders[0] if len(orders) == 1 else np.concatenate(orders)


def occurrences(sample: Index, total: int) -> Index:
    """How often each entry has come before in the array. total: all entries are below it."""
    count = len(sample)
    bits = max(count - 1, 0).bit_length()
    if bits + total.bit_length() > 63:
        order = np.argsort(sample, kind="stable")
        value = sample[order]
    else:  # sample and place in one word: sorting those is several times as fast
        packed = sample << bits
        packed |= np.arange(count)
        packed.sort()
        order, value = packed & (2**bits - 1), packed >> bits
    later = np.flatnonzero(value[1:] == value[:-1]) + 1  # those that are not the first of their value
    second = later.copy()
    second[1:][later[1:] == later[:-1] + 1] = 0
    found = np.zeros(count, dtype=np.int64)
    found[order[later]] = later - np.maximum.accumulate(second) + 1
    return found
