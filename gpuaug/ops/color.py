"""Ops on colour and tone: every pixel stays where it is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import ClassVar

import numpy as np

from .base import (
    Array,
    Op,
    OpDraws,
    between,
    check_number,
    check_probability,
    check_range,
    fail,
    is_integer,
    is_number,
    set_field,
)

PARTS = ("brightness", "contrast", "saturation", "hue")
ORDERS = np.array(list(permutations(range(4))), dtype=np.uint8)
"""(24, 4): the orders in which the four parts of a jitter can run, as indices into PARTS; draws hold the row."""

FLAT = 0.5 / 255
"""A range of values that 8 bits do not know: far above the rounding of any filter, and below the step from level to level."""


@dataclass(frozen=True)
class ColorJitter(Op):
    """Change brightness, contrast, saturation and hue, in an order drawn per image (torchvision `ColorJitter`).

    brightness, contrast, saturation: a number v draws the factor from [max(0, 1 - v), 1 + v]; a pair gives the range.
    hue: a number v in [0, 0.5] draws the shift from [-v, v] of a full turn; a pair gives the range in [-0.5, 0.5].
    A part whose argument is 0 is left out. p: probability per image that the jitter is applied.
    """

    brightness: float | tuple[float, float] = 0.0
    contrast: float | tuple[float, float] = 0.0
    saturation: float | tuple[float, float] = 0.0
    hue: float | tuple[float, float] = 0.0
    p: float = 1.0

    uniforms: ClassVar[int] = 5

    def __post_init__(self) -> None:
        for name in PARTS:
            value = getattr(self, name)
            low, high = (-0.5, 0.5) if name == "hue" else (0.0, np.inf)
            if not is_number(value):
                check_range(self, name, low, high)
            elif value < 0 or value > high:
                raise fail(self, name, "a number in [0, 0.5] or a pair" if name == "hue" else "a number >= 0 or a pair", value)
            else:
                set_field(self, name, float(value))
        check_probability(self)

    def limits(self, part: str) -> tuple[float, float] | None:
        """Range of the factor, or of the hue's shift; None where the part is left out."""
        value = getattr(self, part)
        neutral = 0.0 if part == "hue" else 1.0
        if not isinstance(value, tuple):
            value = (max(0.0, 1 - value), 1 + value) if part != "hue" else (-value, value)
        return None if value == (neutral, neutral) else value

    def draw(self, u: Array) -> OpDraws:
        draws = {"order": (u[:, 0] * len(ORDERS)).astype(np.uint8)}
        for k, part in enumerate(PARTS, start=1):
            limits = self.limits(part)
            if limits is not None:
                draws[part] = between(u[:, k], *limits)
        return draws


@dataclass(frozen=True)
class RandomGrayscale(Op):
    """Replace all three channels by 0.2989 R + 0.587 G + 0.114 B with probability p (torchvision `RandomGrayscale`)."""

    p: float = 0.1

    def __post_init__(self) -> None:
        check_probability(self)


@dataclass(frozen=True)
class RandomSolarize(Op):
    """Invert the values at or above a threshold (torchvision `RandomSolarize`).

    threshold: in [0, 1]; published 8-bit thresholds are divided by 255. p: probability per image.
    """

    threshold: float = 128 / 255
    p: float = 0.5

    def __post_init__(self) -> None:
        check_number(self, "threshold", 0.0, 1.0)
        check_probability(self)


@dataclass(frozen=True)
class RandomPosterize(Op):
    """Keep the highest bits of each channel (torchvision `RandomPosterize`).

    bits: in 0..8; 8 changes nothing, also between the levels of 8-bit pixels. p: probability per image.
    """

    bits: int
    p: float = 0.5

    def __post_init__(self) -> None:
        if not (is_integer(self.bits) and 0 <= self.bits <= 8):
            raise fail(self, "bits", "an integer in 0..8", self.bits)
        set_field(self, "bits", int(self.bits))
        check_probability(self)


@dataclass(frozen=True)
class RandomEqualize(Op):
    """Equalize each channel's histogram of 256 bins with probability p (torchvision `RandomEqualize`)."""

    p: float = 0.5

    def __post_init__(self) -> None:
        check_probability(self)


@dataclass(frozen=True)
class RandomAutocontrast(Op):
    """Stretch each channel to the full range [0, 1] with probability p (torchvision `RandomAutocontrast`).

    A channel whose own range is below `FLAT`, half a level of 8 bits, stays as it is: what a filter's rounding has left of a
    flat area is nothing to stretch.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        check_probability(self)


@dataclass(frozen=True)
class RandomInvert(Op):
    """Replace x by 1 - x with probability p (torchvision `RandomInvert`)."""

    p: float = 0.5

    def __post_init__(self) -> None:
        check_probability(self)
