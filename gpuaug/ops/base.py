"""What every op is: a frozen dataclass that declares its arguments and how its parameters follow from uniform numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")

Array = npt.NDArray[Any]
OpDraws = dict[str, Array]
"""Parameters of one op: name -> array of shape (B, ...), one row an image."""

Size = tuple[int, int]
"""Height and width in pixels."""

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


@dataclass(frozen=True)
class Op:
    """One step of a view: data only.

    A subclass states its arguments as fields, checks them in `__post_init__`, and says how its parameters follow from
    `uniforms` independent numbers in [0, 1). An op with a field `p` is applied to each image with that probability;
    the decision is the column `apply` of its draws.
    """

    uniforms: ClassVar[int] = 0

    def draw(self, u: Array) -> OpDraws:
        """Parameters from `u`, float64 of shape (B, uniforms) in [0, 1). They do not depend on the images' sizes."""
        return {}

    def bind(self, size: Size) -> Op:
        """The op with the arguments that it takes from its view filled in."""
        return self

    def output_size(self, size: Size | None) -> Size | None:
        """Size after the op, given the size before it; None where images keep sizes of their own."""
        return size

    def __str__(self) -> str:
        shown = ((f.name, getattr(self, f.name)) for f in fields(self))
        return f"{type(self).__name__}({', '.join(f'{name}={short(value)}' for name, value in shown)})"


def short(value: Any) -> str:
    """A value as a person writes it: four significant digits, no trailing zeros."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        return f"({', '.join(short(v) for v in value)}{',' if len(value) == 1 else ''})"
    return repr(value)


def leaves(ops: Sequence[Op]) -> Iterator[Op]:
    """The ops that touch pixels, in order: choices such as `OneOf` give all their branches."""
    for op in ops:
        nested = getattr(op, "branches", None)
        if nested is None:
            yield op
        else:
            for branch in nested:
                yield from leaves(branch)


def one_of(kind: str, name: str, given: Sequence[T], named: Sequence[T]) -> tuple[T, ...]:
    """What was given one after the other or, as dataclasses.replace and a repr give it, by the field's name.

    Raises TypeError for both at once.
    """
    if given and named:
        raise TypeError(f"{kind}: give {name} one after the other or as {name}=, not both")
    return tuple(given or named)


# Argument checks. Each returns the value in its normal form, or raises a ValueError naming op, argument and range.


def fail(op: Op, name: str, allowed: str, value: Any) -> ValueError:
    return ValueError(f"{type(op).__name__}: {name} must be {allowed}, got {value!r}")


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool) and math.isfinite(value)


def is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def set_field(op: Op, name: str, value: Any) -> None:
    object.__setattr__(op, name, value)


def check_number(op: Op, name: str, low: float = -math.inf, high: float = math.inf) -> None:
    value = getattr(op, name)
    if not (is_number(value) and low <= value <= high):
        raise fail(op, name, f"a number in [{short(low)}, {short(high)}]", value)
    set_field(op, name, float(value))


def check_probability(op: Op, name: str = "p") -> None:
    check_number(op, name, 0.0, 1.0)


def check_range(op: Op, name: str, low: float = -math.inf, high: float = math.inf) -> None:
    value = getattr(op, name)
    ok = isinstance(value, (tuple, list)) and len(value) == 2 and all(is_number(v) for v in value)
    if not (ok and low <= value[0] <= value[1] <= high):
        raise fail(op, name, f"a pair (min, max) with {short(low)} <= min <= max <= {short(high)}", value)
    set_field(op, name, (float(value[0]), float(value[1])))


def check_size(op: Op, name: str = "size", *, optional: bool = True, single: bool = False) -> None:
    """A size is (height, width) or one number for both; with `single`, one number stands for the shorter edge."""
    value = getattr(op, name)
    if value is None and optional:
        return
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if is_integer(value) and value >= 1:
        set_field(op, name, int(value) if single else (int(value), int(value)))
    elif isinstance(value, (tuple, list)) and len(value) == 2 and all(is_integer(v) and v >= 1 for v in value):
        set_field(op, name, (int(value[0]), int(value[1])))
    else:
        raise fail(op, name, "a positive integer or a pair (height, width) of them", value)


def check_interpolation(op: Op, name: str = "interpolation", allowed: Sequence[str] = INTERPOLATIONS) -> None:
    value = getattr(op, name)
    value = getattr(value, "value", value)  # torchvision's InterpolationMode is accepted
    if value not in allowed:
        raise fail(op, name, "one of " + ", ".join(repr(a) for a in allowed), value)
    set_field(op, name, value)


def check_fill(op: Op, name: str = "fill") -> None:
    """A fill is one number in [0, 1], or one a channel; it is kept as three numbers."""
    value = getattr(op, name)
    triple = (value,) * 3 if is_number(value) else value
    if not (isinstance(triple, (tuple, list)) and len(triple) == 3 and all(is_number(v) and 0 <= v <= 1 for v in triple)):
        raise fail(op, name, "a number in [0, 1] or three of them (red, green, blue)", value)
    set_field(op, name, tuple(float(v) for v in triple))


def between(u: Array, low: float, high: float) -> Array:
    """Uniform in [low, high) from uniform in [0, 1), as float32."""
    return np.asarray(low + u * (high - low), dtype=np.float32)


def words(u: Array) -> npt.NDArray[np.uint32]:
    """The 32 random bits behind each uniform number: exact, since a uniform is such a word times 2^-32."""
    return (u * 4294967296.0).astype(np.uint32)
