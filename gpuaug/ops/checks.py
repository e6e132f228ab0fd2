"""Checks of an op's arguments: each stores the argument in one form, or raises a ValueError naming op and range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .base import Op, is_integer, is_number, short

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


def fail(op: Op, name: str, allowed: str, value: Any) -> ValueError:
    return ValueError(f"{type(op).__name__}: {name} must be {allowed}, got {value!r}")


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
    """A size is (height, width) or one number for both edges; with `single`, one number means the shorter edge."""
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


def per_channel(value: Any) -> tuple[float, ...] | None:
    """A number, or one per channel, as a tuple; None if it is neither.

    Equal numbers fit any number of channels, and are stored as three. Others are as many as the images have channels.
    """
    values = (value,) * 3 if is_number(value) else value
    if not (isinstance(values, (tuple, list)) and values and all(is_number(v) for v in values)):
        return None
    stored = tuple(float(v) for v in values)
    return stored[:1] * 3 if len(set(stored)) == 1 else stored


def check_fill(op: Op, name: str = "fill") -> None:
    """A fill is a number in [0, 1] or one per channel."""
    values = per_channel(getattr(op, name))
    if values is None or not all(0 <= v <= 1 for v in values):
        raise fail(op, name, "a number in [0, 1] or one per channel", getattr(op, name))
    set_field(op, name, values)
