"""`linear`, `cosine` and `steps`: a value for every epoch."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .numbers import is_integer, is_number

MOST = 1000
"""At how many epochs, at most, the values of one schedule are checked."""


class Schedule:
    """A value that follows the epoch, in the place of a plain one. `linear`, `cosine` and `steps` make them.

    A schedule of your own is a subclass: a frozen dataclass, so that it can be compared, hashed and pickled.
    """

    def at(self, epoch: int) -> Any:
        """The value in an epoch, which is an integer from 0 on."""
        raise NotImplementedError

    def changes(self) -> tuple[int, ...]:
        """The epochs in which the value is another than in the one before, in ascending order, from 0 on.

        The values of these epochs are checked when a policy is made, so of very many give some, as ramps of more than 1,000 do.
        The last one must be given: from then on policies take the value to stay as it is.
        """
        raise NotImplementedError


def linear(start: Any, end: Any, epochs: int, *, step: float | None = None) -> Any:
    """A schedule that goes from `start` to `end` in equal steps.

    Args:
        start: The value in epoch 0: a number, or a tuple of numbers, such as a range, each of which follows the epoch.
        end: The value from epoch `epochs` on.
        epochs: At least 1.
        step: Rounds each number to `start` plus a whole multiple of this, as a size needs: `linear(128, 224, 60, step=32)`.
            Values are then integers if start, end and step are. None does not round, and values are floats.

    Returns:
        A `Schedule`. It is typed as Any, since it stands where an argument is typed as a number.

    Raises:
        ValueError: An argument is out of its range, or `end` is not `start` plus a whole multiple of `step`.
    """
    return Linear(start, end, epochs, step)


def cosine(start: Any, end: Any, epochs: int, *, step: float | None = None) -> Any:
    """A schedule that goes from `start` to `end` along half a cosine: slowly at both ends, and fastest half-way.

    Arguments, result and errors are those of `linear`.
    """
    return Cosine(start, end, epochs, step)


def steps(values: Mapping[int, Any]) -> Any:
    """A schedule that keeps each value until the epoch of the next one.

    Args:
        values: Epoch -> the value from then on. The first epoch must be 0. Values may be anything that the argument takes, and
            schedules too, whose epochs are counted from 0 as well.

    Returns:
        A `Schedule`. It is typed as Any, as that of `linear`.

    Raises:
        ValueError: `values` is no dict of epochs, or has none for epoch 0.
    """
    if not (isinstance(values, Mapping) and all(is_integer(e) and e >= 0 for e in values) and 0 in values):
        raise ValueError(f"steps: give a dict of epochs, integers from 0 on, the first of them 0, got {values!r}")
    return Steps(*zip(*((int(epoch), in_tuples(values[epoch])) for epoch in sorted(values)), strict=True))


def in_tuples(value: Any) -> Any:
    """The value with tuples in place of lists, so that it can be hashed."""
    return tuple(map(in_tuples, value)) if isinstance(value, (tuple, list)) else value


@dataclass(frozen=True)
class Ramp(Schedule):
    """A schedule from one value to another."""

    start: Any
    end: Any
    epochs: int
    step: float | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__.lower()
        for field in ("start", "end"):
            object.__setattr__(self, field, plain(getattr(self, field), name, field))
        if not (is_integer(self.epochs) and self.epochs >= 1):
            raise ValueError(f"{name}: epochs must be an integer >= 1, got {self.epochs!r}")
        object.__setattr__(self, "epochs", int(self.epochs))
        pairs = isinstance(self.start, tuple), isinstance(self.end, tuple)
        if pairs[0] != pairs[1] or (pairs[0] and len(self.start) != len(self.end)):
            raise ValueError(
                f"{name}: start and end must both be numbers, or tuples of as many numbers, got {self.start!r} and {self.end!r}"
            )
        if self.step is None:
            return
        if not (is_number(self.step) and self.step > 0):
            raise ValueError(f"{name}: step must be a number above 0, got {self.step!r}")
        object.__setattr__(self, "step", plain(self.step, name, "step"))
        for low, high in zip(elements(self.start), elements(self.end), strict=True):
            count = (high - low) / self.step
            if abs(count - round(count)) > 1e-9 * max(1.0, abs(count)):
                raise ValueError(f"{name}: end must be start plus a multiple of step={self.step!r}, got {low!r} and {high!r}")

    def share(self, time: float) -> float:
        """How much of the way has been gone, in [0, 1], after a share of the time."""
        raise NotImplementedError

    def at(self, epoch: int) -> Any:
        share = self.share(min(epoch / self.epochs, 1.0))
        pairs = zip(elements(self.start), elements(self.end), strict=True)
        found = tuple(self.between(low, high, share) for low, high in pairs)
        return found if isinstance(self.start, tuple) else found[0]

    def between(self, low: Any, high: Any, share: float) -> Any:
        """The number at a share of the way. It lies between the two, whatever is lost to rounding."""
        if self.step is not None:
            count = round((high - low) / self.step)
            done = math.floor(abs(count) * share + 0.5)
            return high if done == abs(count) else low + int(math.copysign(done, count)) * self.step
        if share in (0.0, 1.0):
            return float(high if share else low)
        return min(max(low + (high - low) * share, float(min(low, high))), float(max(low, high)))

    def changes(self) -> tuple[int, ...]:
        epochs = np.unique(np.linspace(0, self.epochs, min(self.epochs + 1, MOST)).round().astype(np.int64)).tolist()
        values = [self.at(epoch) for epoch in epochs]
        return (0, *(epoch for k, epoch in enumerate(epochs) if k and values[k] != values[k - 1]))

    def __repr__(self) -> str:
        more = "" if self.step is None else f", step={self.step!r}"
        return f"{type(self).__name__.lower()}({self.start!r}, {self.end!r}, {self.epochs}{more})"


class Linear(Ramp):
    def share(self, time: float) -> float:
        return time


class Cosine(Ramp):
    def share(self, time: float) -> float:
        # 12 digits, since the last ones of a cosine are not the same on every machine, but draws must be.
        return round((1 - math.cos(math.pi * time)) / 2, 12)


@dataclass(frozen=True)
class Steps(Schedule):
    """A schedule of values that hold from some epochs on."""

    epochs: tuple[int, ...]
    values: tuple[Any, ...]

    def at(self, epoch: int) -> Any:
        return self.values[bisect_right(self.epochs, epoch) - 1]

    def changes(self) -> tuple[int, ...]:
        return self.epochs

    def __repr__(self) -> str:
        return f"steps({{{', '.join(f'{epoch}: {value!r}' for epoch, value in zip(self.epochs, self.values, strict=True))}}})"


def elements(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def plain(value: Any, name: str, field: str) -> Any:
    """A number, or a tuple of numbers, of Python's own types. Raises ValueError for anything else."""
    found = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if not found or not all(map(is_number, found)):
        raise ValueError(f"{name}: {field} must be a number or a tuple of numbers, got {value!r}")
    numbers = tuple(int(n) if is_integer(n) else float(n) for n in found)
    return numbers if isinstance(value, (tuple, list)) else numbers[0]
