"""Bad samples: what becomes of samples that cannot be read, and when there are too many."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from ..decoders.pillow import DecodeError
from ..sources import Index

T = TypeVar("T")

MODES = ("raise", "skip", "replace")

TRIES = 16
"""Replacements that are tried for a bad sample before an error is raised."""

FEW = 1000
"""Samples of a stream without a length of which `max_bad` is the share at first, so that one bad sample does not end it."""

LOG = logging.getLogger("gpuaug")


@dataclass(frozen=True)
class BadSample:
    """A sample that could not be read, and the one that replaced it, or None."""

    name: str
    reason: str
    instead: str | None = None


@dataclass(frozen=True)
class OnError:
    """What to do about bad samples; `mode` is one of MODES. pool: the samples that replacements are chosen from."""

    mode: str
    seed: int
    epoch: int
    pool: Sequence[int] | Index

    def candidates(self, i: int) -> Iterator[int]:
        """Samples to try in place of sample i, in order; they depend on seed, epoch, i and the pool alone."""
        # EpochOrder uses the same key with counters below 2^192; each i has its own counter above that.
        counter = np.array([0, 0, i, 1], dtype=np.uint64)
        numbers = np.random.Philox(key=np.array([self.seed, self.epoch], dtype=np.uint64), counter=counter)
        for number in numbers.random_raw(TRIES).tolist():
            other = int(self.pool[number % len(self.pool)])
            if other != i:
                yield other


@dataclass(frozen=True)
class GoodSamples(Generic[T]):
    """What was read: indices of the good samples, an item for each, and the bad samples among those that were asked for."""

    index: list[int] = field(default_factory=list)
    items: list[T] = field(default_factory=list)
    bad: list[BadSample] = field(default_factory=list)


def read_good(
    index: Sequence[int], read: Callable[[Sequence[int]], Sequence[T | OSError]], name: Callable[[int], str], on_error: OnError
) -> GoodSamples[T]:
    """Read samples in order by `read`, which returns an item or an OSError for each; raise, skip or replace the bad ones.

    Raises the first OSError with mode "raise", and DecodeError if no replacement can be read either.
    """
    out: GoodSamples[T] = GoodSamples()
    for i, item in zip(index, read(index), strict=True):
        if not isinstance(item, OSError):
            out.index.append(i)
            out.items.append(item)
        elif on_error.mode == "raise":
            raise item
        elif on_error.mode == "skip":
            out.bad.append(BadSample(name(i), reason(item, name(i))))
        else:
            other, found = replacement(i, item, read, name, on_error)
            out.index.append(other)
            out.items.append(found)
            out.bad.append(BadSample(name(i), reason(item, name(i)), name(other)))
    return out


def replacement(
    i: int,
    error: OSError,
    read: Callable[[Sequence[int]], Sequence[T | OSError]],
    name: Callable[[int], str],
    on_error: OnError,
) -> tuple[int, T]:
    """The first candidate that can be read, and its item."""
    tried = []
    for other in on_error.candidates(i):
        (found,) = read([other])
        if not isinstance(found, OSError):
            return other, found
        tried.append(name(other))
    raise DecodeError(
        f"{name(i)}: {reason(error, name(i))}; none of the {len(tried)} samples tried in its place can be read either"
        f"{': ' if tried else ''}{', '.join(tried[:3])}"
    ) from error


def reason(error: OSError, name: str) -> str:
    """The message of an error, without the name of the file if it begins with that."""
    return str(error).removeprefix(f"{name}: ") or type(error).__name__


class BadSampleCounter:
    """Counts the bad samples of one epoch as they reach the consumer.

    files: name -> reason, for all epochs; new ones are added. share: largest share of the epoch's `samples` that may be bad;
    without a length, of the samples asked for so far, or of the first `FEW` if those are more.
    """

    def __init__(self, files: dict[str, str], share: float, samples: int | None, epoch: int) -> None:
        self.files = files
        self.share = share
        self.samples = samples
        self.epoch = epoch
        self.names: list[str] = []
        self.count = self.asked = 0

    def add(self, found: Sequence[BadSample], asked: int) -> None:
        """Log each new file, and raise DecodeError once there are too many bad samples. asked: size of the batch as ordered."""
        self.asked += asked
        for bad in found:
            if bad.name not in self.files:
                self.files[bad.name] = bad.reason
                LOG.warning("%s: %s; %s", bad.name, bad.reason, f"replaced by {bad.instead}" if bad.instead else "skipped")
            if len(self.names) < 3:
                self.names.append(bad.name)
        self.count += len(found)
        samples = max(self.asked, FEW) if self.samples is None else self.samples
        if found and self.count > self.share * samples:
            first = ", ".join(f"{name} ({self.files[name]})" for name in self.names)
            of = f"first {samples}" if self.samples is None else str(samples)
            raise DecodeError(
                f"DataLoader: {self.count} of the {of} samples of epoch {self.epoch} are bad so far, more than "
                f"max_bad={self.share:g} of them; the first: {first}. Repair or remove the files in loader.bad_files, or raise "
                "max_bad"
            )
