"""Ops that change the colours of pixels and leave every pixel where it is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import ClassVar

import numpy as np

from .base import Array, Op, OpDraws, between, is_integer, is_number
from .checks import check_number, check_probability, check_range, fail, set_field

__all__ = [
    "ColorJitter",
    "RandomAutocontrast",
    "RandomChannelPermutation",
    "RandomEqualize",
    "RandomGrayscale",
    "RandomInvert",
    "RandomPhotometricDistort",
    "RandomPosterize",
    "RandomSolarize",
]

PARTS = ("brightness", "contrast", "saturation", "hue")
ORDERS = np.array(list(permutations(range(4))), dtype=np.uint8)
"""(24, 4): every order of a jitter's four parts, as indices into PARTS. The parameter `order` is a row of this table."""

GRAY = (0.2989, 0.587, 0.114)
"""torchvision's weights of red, green and blue in gray. The compiled kernels have the same ones as `GRAY_WEIGHTS`."""

CHANNELS = np.array(list(permutations(range(3))), dtype=np.uint8)
"""(6, 3): the orders of three channels, in their own order first; channel k becomes the channel CHANNELS[row, k]."""

FLAT = 0.5 / 255
"""Half a level of 8 bits. A channel with a smaller range is flat: the range is the rounding error of a filter."""


@dataclass(frozen=True)
class ColorJitter(Op):
    """Change brightness, contrast, saturation and hue, in an order drawn per image (torchvision `ColorJitter`).

    Args:
        brightness: The factor is drawn from [max(0, 1 - v), 1 + v] for a number v >= 0, or from the range (min, max). 0 leaves
            this part out.
        contrast: Likewise.
        saturation: Likewise.
        hue: The shift, in turns of the colour wheel, is drawn from [-v, v] for a number v in [0, 0.5], or from a range within
            [-0.5, 0.5]. 0 leaves this part out.
        p: Probability per image.
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
        """Range of a part's factor, or of the shift of the hue; None if the part is left out."""
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
    """Replace all channels by 0.2989 R + 0.587 G + 0.114 B, with probability `p` (torchvision `RandomGrayscale`)."""

    p: float = 0.1

    def __post_init__(self) -> None:
        check_probability(self)


@dataclass(frozen=True)
class RandomSolarize(Op):
    """Invert the values at or above a threshold (torchvision `RandomSolarize`).

    Args:
        threshold: In [0, 1]; divide a published 8-bit threshold by 255.
        p: Probability per image.
    """

    threshold: float = 128 / 255
    p: float = 0.5

    def __post_init__(self) -> None:
        check_number(self, "threshold", 0.0, 1.0)
        check_probability(self)


@dataclass(frozen=True)
class RandomPosterize(Op):
    """Keep only the highest bits of each channel (torchvision `RandomPosterize`).

    Args:
        bits: How many bits to keep, in 0..8; 8 changes nothing, not even values between two 8-bit levels.
        p: Probability per image.
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
    """Equalize each channel's histogram of 256 bins, with probability `p` (torchvision `RandomEqualize`)."""

    p: float = 0.5

    def __post_init__(self) -> None:
        check_probability(self)


@dataclass(frozen=True)
class RandomAutocontrast(Op):
    """Stretch each channel to the full range [0, 1], with probability `p` (torchvision `RandomAutocontrast`).

    A channel whose range is below half a level of 8 bits (0.5 / 255) stays as it is. Such a range is the rounding error that a
    filter leaves in a flat image, and torchvision would stretch it to noise from black to white.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        check_probability(self)


@dataclass(frozen=True)
class RandomInvert(Op):
    """Replace x by 1 - x, with probability `p` (torchvision `RandomInvert`)."""

    p: float = 0.5

    def __post_init__(self) -> None:
        check_probability(self)


@dataclass(frozen=True)
class RandomChannelPermutation(Op):
    """Put the channels into an order drawn per image (torchvision `RandomChannelPermutation`).

    Args:
        p: Probability per image, in [0, 1].
    """

    p: float = 1.0

    uniforms: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_probability(self)

    def draw(self, u: Array) -> OpDraws:
        """`channels` (B, 3) uint8: which channel of the image each channel of the result is."""
        return {"channels": CHANNELS[(u[:, 0] * len(CHANNELS)).astype(np.intp)]}


@dataclass(frozen=True)
class RandomPhotometricDistort(Op):
    """Change brightness, contrast, saturation and hue, and the order of the channels (torchvision `RandomPhotometricDistort`).

    This is the distortion of SSD (Liu et al. 2016, arXiv 1512.02325). Brightness comes first, then saturation and hue, and the
    order of the channels last; contrast comes in half of the images before saturation, in the others after hue.

    Args:
        brightness: Range of the factor, which is at least 0.
        contrast: Likewise.
        saturation: Likewise.
        hue: Range of the shift in turns of the colour wheel, within [-0.5, 0.5].
        p: Probability of each of the five parts, in [0, 1]. Each is decided per image on its own.
    """

    brightness: tuple[float, float] = (0.875, 1.125)
    contrast: tuple[float, float] = (0.5, 1.5)
    saturation: tuple[float, float] = (0.5, 1.5)
    hue: tuple[float, float] = (-0.05, 0.05)
    p: float = 0.5

    uniforms: ClassVar[int] = 2 * len(PARTS) + 3
    p_of_parts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in PARTS:
            check_range(self, name, *((-0.5, 0.5) if name == "hue" else (0.0, np.inf)))
        check_probability(self)

    def draw(self, u: Array) -> OpDraws:
        """What happens to each image.

        `parts` (B, 4) bool says which of brightness, contrast, saturation and hue are applied, with the factors (B,) float32 of
        these names. `contrast_first` (B,) bool: whether contrast comes before saturation. `channels` (B, 3) uint8: which
        channel of the image each channel of the result is.
        """
        count = len(PARTS)
        draws: OpDraws = {"parts": u[:, :count] < self.p}
        for k, part in enumerate(PARTS):
            draws[part] = between(u[:, count + k], *getattr(self, part))
        draws["contrast_first"] = u[:, -3] < 0.5
        order = (u[:, -1] * len(CHANNELS)).astype(np.intp)
        draws["channels"] = CHANNELS[np.where(u[:, -2] < self.p, order, 0)]
        return draws
