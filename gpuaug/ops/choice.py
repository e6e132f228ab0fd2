"""OneOf and SomeOf: choose one or several of some branches of ops for each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import numpy as np

from ..schedules import Schedule
from .base import Array, Op, OpDraws, Size, is_integer, is_number, plain, positional_or_named, short
from .checks import check_probability, fail, set_field
from .exact.variates import logarithm

__all__ = ["OneOf", "SomeOf"]

KEEPS_SIZE = "ops that keep the size; put crops and resizes beside the choice"


def in_drawn_order(u: Array, weights: Array) -> Array:
    """The order (B, K) in which K things of these weights are drawn without replacement, out of uniform numbers (B, K).

    Exponential variates are in this order if their rates are the weights; things of weight 0 come last.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        times = np.where(weights > 0, -logarithm(1 - u) / weights, np.inf)
    return np.argsort(times, axis=1, kind="stable")


class Choice(Op):
    """An op whose draws say which of its branches an image gets: their numbers from 0 on, in the order given; -1 for none."""

    branches: tuple[tuple[Op, ...], ...]
    weights: tuple[float, ...]
    p: float

    def takes(self, drawn: OpDraws) -> Array:
        """(B, branches) bool: whether an image gets a branch, by what `draw` returned."""
        raise NotImplementedError

    def set_fields(self, given: Sequence[Any], branches: Any, **more: Any) -> None:
        """Store the arguments, then check them."""
        if given or not isinstance(branches, Schedule):
            found = positional_or_named(type(self).__name__, "branches", given, branches)
            branches = tuple(b if isinstance(b, Schedule) else as_branch(b) for b in found)
        for name, value in {"branches": branches, **more}.items():
            set_field(self, name, value)
        self.__post_init__()

    def __post_init__(self) -> None:
        normal, weights = self.branches, cast(Sequence[float] | None, self.weights)
        if not normal or not all(isinstance(op, Op) for branch in normal for op in branch):
            raise fail(self, "branches", "one or more ops or sequences of ops", normal)
        if any(hasattr(plain(op), "size") for branch in normal for op in branch):
            raise fail(self, "branches", KEEPS_SIZE, normal)
        shares = (1.0,) * len(normal) if weights is None else weights
        if (
            not isinstance(shares, (tuple, list))
            or len(shares) != len(normal)
            or not all(is_number(w) and w >= 0 for w in shares)
            or sum(shares) <= 0
        ):
            raise fail(self, "weights", f"{len(normal)} non-negative numbers with a positive sum", weights)
        # Weights that already sum to 1 keep their exact bits, so that eval(repr(op)) equals the op.
        total = 1.0 if abs(sum(shares) - 1) < 1e-12 else sum(shares)
        set_field(self, "weights", tuple(float(w / total) for w in shares))
        check_probability(self)

    def output_size(self, size: Size | None) -> Size | None:
        for branch in self.branches:
            for op in branch:
                if op.output_size(size) != size:  # a user's op, which need not have a field `size`
                    raise fail(self, "branches", KEEPS_SIZE, self.branches)
        return size

    def resized(self, before: Size, after: Size) -> Op:
        branches = tuple(tuple(op.resized(before, after) for op in branch) for branch in self.branches)
        return replace(self, branches=branches)  # type: ignore[call-arg]

    def parts(self) -> str:
        """The branches in words, each with its weight."""
        weights: Any = self.weights
        branches = self.branches if isinstance(self.branches, tuple) else (self.branches,)
        words = [" then ".join(map(str, b)) or "nothing" if isinstance(b, tuple) else repr(b) for b in branches]
        if not (isinstance(weights, tuple) and isinstance(self.branches, tuple)):  # they are left as given beside schedules
            return "; ".join(words) + (f"; weights={weights!r}" if weights else "")
        return "; ".join(
            f"{weight!r}: {branch}" if isinstance(weight, Schedule) else f"{weight:.3g}: {branch}"
            for weight, branch in zip(weights, words, strict=True)
        )


def as_branch(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, (tuple, list)) else (given,)


@dataclass(frozen=True, init=False)
class OneOf(Choice):
    """Apply exactly one of several branches, drawn per image (torchvision `RandomChoice`; `p` adds `RandomApply`).

    The draw `branch` (B,) int16 is the number of each image's branch, from 0 on; -1 where `p` left the image as it is.

    Args:
        *given: The branches: each is an op, or a sequence of ops that run in order. The ops must keep the size of images, so
            crops and resizes are refused.
        branches: The branches as one sequence, instead of positional arguments.
        weights: Relative probabilities of the branches, non-negative with a positive sum; None makes them equal.
        p: Probability per image that any branch is applied.
    """

    branches: tuple[tuple[Op, ...], ...]
    weights: tuple[float, ...]
    p: float

    uniforms: ClassVar[int] = 1

    def __init__(
        self,
        *given: Op | Sequence[Op],
        branches: Sequence[Op | Sequence[Op]] = (),
        weights: Sequence[float] | None = None,
        p: float = 1.0,
    ) -> None:
        self.set_fields(given, branches, weights=weights, p=p)

    @property
    def ends(self) -> Array:
        """Branch k is taken where the uniform number is below the k-th of these, and not below the one before."""
        ends = np.cumsum(self.weights)
        ends[-1] = 1.0  # the sum may be rounded below 1
        return ends

    def draw(self, u: Array) -> OpDraws:
        return {"branch": np.searchsorted(self.ends, u[:, 0], side="right").astype(np.int16)}

    def takes(self, drawn: OpDraws) -> Array:
        return np.asarray(drawn["branch"][:, None] == np.arange(len(self.branches)))

    def __str__(self) -> str:
        return f"OneOf(p={short(self.p)}, {self.parts()})"


@dataclass(frozen=True, init=False)
class SomeOf(Choice):
    """Apply `n` different branches, drawn per image without replacement; they run in the order given.

    The draw `branches` (B, n) int16 are the numbers of each image's branches, from 0 on, in ascending order; -1 in the places
    of those that an image does not get, because fewer than the most were drawn, or because `p` left it as it is.

    Args:
        n: How many branches an image gets, or (min, max), from which the number is drawn uniformly.
        *given: The branches: each is an op, or a sequence of ops that run in order. The ops must keep the size of images, so
            crops and resizes are refused.
        branches: The branches as one sequence, instead of positional arguments.
        weights: Relative probabilities of the branches, non-negative; None makes them equal. Branches are drawn one after the
            other, each with a probability in proportion to its weight among those that are left. At least as many as an image
            may get must be above 0.
        p: Probability per image that any branch is applied.
    """

    n: int | tuple[int, int]
    branches: tuple[tuple[Op, ...], ...]
    weights: tuple[float, ...]
    p: float

    def __init__(
        self,
        n: int | tuple[int, int],
        *given: Op | Sequence[Op],
        branches: Sequence[Op | Sequence[Op]] = (),
        weights: Sequence[float] | None = None,
        p: float = 1.0,
    ) -> None:
        self.set_fields(given, branches, n=n, weights=weights, p=p)

    def __post_init__(self) -> None:
        super().__post_init__()
        n: Any = self.n
        most = len(self.branches)
        pair = (n, n) if is_integer(n) else n
        if not (
            isinstance(pair, (tuple, list))
            and len(pair) == 2
            and all(map(is_integer, pair))
            and 0 <= pair[0] <= pair[1] <= most
        ):
            raise fail(self, "n", f"an integer in 0..{most}, the number of branches, or a pair (min, max) of them", n)
        if sum(w > 0 for w in self.weights) < pair[1]:
            text = f"above 0 for at least {pair[1]} branches, which is how many an image may get"
            raise fail(self, "weights", text, self.weights)
        set_field(self, "n", int(n) if is_integer(n) else (int(pair[0]), int(pair[1])))

    @property
    def limits(self) -> tuple[int, int]:
        """Fewest and most branches of an image."""
        return self.n if isinstance(self.n, tuple) else (self.n, self.n)

    @property
    def uniforms(self) -> int:  # type: ignore[override]
        return len(self.branches) + (self.limits[0] < self.limits[1])

    def draw(self, u: Array) -> OpDraws:
        count, (low, high) = len(self.branches), self.limits
        first = in_drawn_order(u[:, :count], np.array(self.weights))[:, :high]
        if low < high:
            taken = low + (u[:, count] * (high - low + 1)).astype(np.intp)
            first = np.where(np.arange(high) < taken[:, None], first, count)
        first = np.sort(first, axis=1)
        return {"branches": np.where(first < count, first, -1).astype(np.int16)}

    def takes(self, drawn: OpDraws) -> Array:
        return np.asarray((drawn["branches"][:, :, None] == np.arange(len(self.branches))).any(axis=1))

    def __str__(self) -> str:
        n: Any = self.n
        count = f"{n[0]} to {n[1]}" if isinstance(n, tuple) and n[0] != n[1] else short(n[0] if isinstance(n, tuple) else n)
        return f"SomeOf({count}, p={short(self.p)}, {self.parts()})"
