"""The base class of every op: a frozen dataclass of arguments, which turns uniform numbers into parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from ..schedules import Scheduled, check_every_epoch, frozen
from ..schedules.numbers import is_integer as is_integer
from ..schedules.numbers import is_number as is_number

T = TypeVar("T")

Array = npt.NDArray[Any]
OpDraws = dict[str, Array]
"""Parameters of one op: name -> array of shape (B, ...), with one row per image."""

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Op(Scheduled):
    """One step of a view, as data: what may be drawn, not how it is computed.

    The fields of a subclass are its arguments. Its `__post_init__` checks them: gpuaug's ops raise a ValueError that names the
    op, the argument and the allowed range. Any argument of any op may be a schedule over epochs, such as `gpuaug.linear`;
    `__post_init__` is then called for the op of every epoch, which has plain values. Two conventions hold for every op:

    - A field `p` is the probability that the op is applied to an image. It is decided for each image on its own, and the
      decision is the column `apply` of the op's draws. Only if `p_of_parts` is set, `draw` decides by itself.
    - Parameters are drawn per image, from the distribution of torchvision's transform of the same name.

    Attributes:
        uniforms: How many independent uniform numbers `draw` needs per image.
        p_of_parts: Whether a field `p` is the probability of each part of the op, not that of the op as a whole.
    """

    uniforms: ClassVar[int] = 0
    p_of_parts: ClassVar[bool] = False

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "__post_init__" in vars(cls):
            setattr(cls, "__post_init__", of_every_epoch(cls.__post_init__))  # noqa: B010 - mypy forbids the assignment

    def __post_init__(self) -> None:
        if self.scheduled:
            frozen(self)
            check_every_epoch(self)

    def draw(self, u: Array) -> OpDraws:
        """Turn uniform numbers into the op's parameters, which do not depend on the images' sizes.

        Args:
            u: float64 of shape (B, uniforms), in [0, 1).

        Returns:
            Parameter name -> array of B rows.
        """
        return {}

    def bind(self, size: Size) -> Op:
        """The op with the arguments that it takes from its view filled in.

        Args:
            size: (height, width) of the view.
        """
        return self

    def output_size(self, size: Size | None) -> Size | None:
        """The images' size after the op.

        Args:
            size: (height, width) before the op, or None while images differ in size.

        Returns:
            (height, width), or None if images still differ in size.
        """
        return size

    def resized(self, before: Size, after: Size) -> Op:
        """The op for a view of another size, in which the view looks like that of the old size, shrunk or enlarged.

        An op with arguments in pixels scales them; others stay as they are. See `View.at_size`.

        Args:
            before: (height, width) of the view that the op is for.
            after: (height, width) of the other view.

        Raises:
            ValueError: No arguments do so.
        """
        return self

    def resized_draws(self, draws: OpDraws, before: Size, after: Size) -> OpDraws:
        """Draws of the op as draws of `resized`: parameters in pixels are scaled. `draws` are not changed."""
        return dict(draws)

    def __str__(self) -> str:
        shown = ((f.name, getattr(self, f.name)) for f in fields(self))
        return f"{type(self).__name__}({', '.join(f'{name}={short(value)}' for name, value in shown)})"


def of_every_epoch(check: Any) -> Any:
    """A `__post_init__` that checks an op with schedules by making the op of each epoch."""

    @wraps(check)
    def checked(op: Op, *more: Any) -> None:
        if op.scheduled:
            Op.__post_init__(op)
        else:
            check(op, *more)

    return checked


def short(value: Any) -> str:
    """A value in short form: floats with four significant digits and no trailing zeros."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        return f"({', '.join(short(v) for v in value)}{',' if len(value) == 1 else ''})"
    if isinstance(value, Op):
        return str(value)
    return repr(value)


class Wrapper(Op):
    """Says where the numbers of another op come from. It is no step of a view: the op in it is."""

    @property
    def inner(self) -> Op:
        """The op in it, which may be a wrapper too."""
        raise NotImplementedError

    @property
    def uniforms(self) -> int:  # type: ignore[override]
        return self.inner.uniforms

    def draw(self, u: Array) -> OpDraws:
        return self.inner.draw(u)

    def output_size(self, size: Size | None) -> Size | None:
        return self.inner.output_size(size)


def plain(op: Op) -> Op:
    """The op itself, without the wrappers around it."""
    while isinstance(op, Wrapper):
        op = op.inner
    return op


def walk(ops: Sequence[Op]) -> Iterator[Op]:
    """All ops in order, without wrappers; a choice such as `OneOf` comes before those of its branches."""
    for op in map(plain, ops):
        yield op
        for branch in getattr(op, "branches", ()):
            yield from walk(branch)


def leaves(ops: Sequence[Op]) -> Iterator[Op]:
    """The ops that change pixels, in order, with every branch of a choice such as `OneOf`."""
    return (op for op in walk(ops) if not hasattr(op, "branches"))


def probability(op: Op) -> float | None:
    """The op's probability per image; None if it is always applied, or if it decides on its parts by itself."""
    op = plain(op)
    p: float | None = None if op.p_of_parts else getattr(op, "p", None)
    return p


def needed(ops: Sequence[Op]) -> int:
    """How many uniform numbers a list of ops needs per image."""
    return sum(op.uniforms + (probability(op) is not None) for op in walk(ops))


def positional_or_named(kind: str, name: str, given: Sequence[T], named: Sequence[T]) -> tuple[T, ...]:
    """Items passed as positional arguments or as a sequence by the field's name, as dataclasses.replace and a repr do.

    Raises TypeError for both at once.
    """
    if given and named:
        raise TypeError(f"{kind}: give {name} as positional arguments or as {name}=, not both")
    return tuple(given or named)


def factor(before: Size, after: Size) -> float:
    """By how much a length that has no direction is scaled between views of these sizes: the root of the ratio of areas."""
    return math.sqrt(after[0] * after[1] / (before[0] * before[1]))


def scaled(lengths: Sequence[int], before: Size, after: Size, least: int = 1) -> tuple[int, ...]:
    """Lengths (height, width, height, ...) in pixels of a view of size `before`, rounded to pixels of one of size `after`."""
    return tuple(max(least, round(length * after[k % 2] / before[k % 2])) for k, length in enumerate(lengths))


def between(u: Array, low: float, high: float) -> Array:
    """Scale numbers from [0, 1) to [low, high), as float32."""
    return np.asarray(low + u * (high - low), dtype=np.float32)


def words(u: Array) -> npt.NDArray[np.uint32]:
    """The 32 random bits behind each uniform number. This is exact, since a uniform number is such a word times 2^-32."""
    return (u * 4294967296.0).astype(np.uint32)
