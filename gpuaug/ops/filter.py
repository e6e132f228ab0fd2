"""Ops that blur, sharpen, add noise or erase, and the last ops of a view: Normalize and ToDtype."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import numpy as np
import torch

from .base import Array, Op, OpDraws, Size, between, factor, is_integer, is_number, words
from .checks import check_number, check_probability, check_range, fail, per_channel, set_field
from .crop import TRIES, fit_boxes, uniform_offset

__all__ = [
    "Cutout",
    "JPEG",
    "GaussianBlur",
    "GaussianNoise",
    "Normalize",
    "RandomAdjustSharpness",
    "RandomErasing",
    "ToDtype",
]

LEAST_SIGMA = 1e-3


@dataclass(frozen=True)
class GaussianBlur(Op):
    """Blur with a truncated Gaussian and reflect padding (torchvision `GaussianBlur`).

    Args:
        kernel_size: Odd width in pixels, or (width, height). Images must be larger than half of it.
        sigma: Range of the standard deviation in pixels, drawn uniformly, or one number; at least 0.001.
        p: Probability per image.
    """

    kernel_size: int | tuple[int, int] = 23
    sigma: tuple[float, float] = (0.1, 2.0)
    p: float = 0.5

    uniforms: ClassVar[int] = 1

    def __post_init__(self) -> None:
        value = self.kernel_size
        pair: Any = (value, value) if is_integer(value) else value
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and all(is_integer(n) and n > 0 and n % 2 for n in pair)):
            raise fail(self, "kernel_size", "an odd integer >= 1, or a pair (width, height) of them", value)
        set_field(self, "kernel_size", int(pair[0]) if pair[0] == pair[1] else (int(pair[0]), int(pair[1])))
        if is_number(self.sigma):
            set_field(self, "sigma", (self.sigma, self.sigma))
        check_range(self, "sigma", LEAST_SIGMA)
        check_probability(self)

    def draw(self, u: Array) -> OpDraws:
        return {"sigma": between(u[:, 0], *self.sigma)}

    @property
    def kernel(self) -> tuple[int, int]:
        """(width, height) of the kernel in pixels."""
        return self.kernel_size if isinstance(self.kernel_size, tuple) else (self.kernel_size, self.kernel_size)

    def resized(self, before: Size, after: Size) -> Op:
        ratios = after[1] / before[1], after[0] / before[0]
        width, height = (
            n if n == 1 else max(3, 2 * round((n * r - 1) / 2) + 1) for n, r in zip(self.kernel, ratios, strict=True)
        )
        low, high = (max(LEAST_SIGMA, s * factor(before, after)) for s in self.sigma)
        return replace(self, kernel_size=(width, height), sigma=(low, high))

    def resized_draws(self, draws: OpDraws, before: Size, after: Size) -> OpDraws:
        return {**draws, "sigma": np.maximum(draws["sigma"] * factor(before, after), LEAST_SIGMA).astype(draws["sigma"].dtype)}

    def output_size(self, size: Size | None) -> Size | None:
        width, height = self.kernel
        if size is not None and (size[0] <= height // 2 or size[1] <= width // 2):
            raise ValueError(
                f"GaussianBlur: kernel_size {self.kernel_size} needs images larger than half of it, "
                f"but they are {size[0]}x{size[1]} here; use a smaller kernel"
            )
        return size


@dataclass(frozen=True)
class GaussianNoise(Op):
    """Add normal noise, then clip to [0, 1] (torchvision `GaussianNoise`).

    The noise is a function of a drawn key (see `gpuaug.philox`), so every backend adds the same noise.

    Args:
        mean: Mean of the noise, where white is 1.
        sigma: Standard deviation of the noise, where white is 1.
        clip: Whether to clip the result to [0, 1].
        p: Probability per image.
    """

    mean: float = 0.0
    sigma: float = 0.1
    clip: bool = True
    p: float = 1.0

    uniforms: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_number(self, "mean")
        check_number(self, "sigma", 0.0)
        set_field(self, "clip", bool(self.clip))
        check_probability(self)

    def draw(self, u: Array) -> OpDraws:
        return {"key": words(u)}


@dataclass(frozen=True)
class JPEG(Op):
    """Encode as a JPEG file and decode it (torchvision `JPEG`): the loss is that of libjpeg at 4:2:0 subsampling of colours.

    Pixels are first clipped to [0, 1] and rounded to 8 bits as torchvision's `to_dtype(torch.uint8, scale=True)` does it, which
    is floor(255.999 x).

    Args:
        quality: An integer in 1..100, or a range (min, max) of them; each in the range is drawn equally often.
        p: Probability per image, in [0, 1].
    """

    quality: int | tuple[int, int]
    p: float = 1.0

    uniforms: ClassVar[int] = 1

    def __post_init__(self) -> None:
        value: Any = self.quality
        pair = (value, value) if is_integer(value) else value
        ok = isinstance(pair, (tuple, list)) and len(pair) == 2 and all(is_integer(q) for q in pair)
        if not (ok and 1 <= pair[0] <= pair[1] <= 100):
            raise fail(self, "quality", "an integer in 1..100, or a pair (min, max) of them", value)
        set_field(self, "quality", (int(pair[0]), int(pair[1])))
        check_probability(self)

    def draw(self, u: Array) -> OpDraws:
        """`quality` (B,) uint8."""
        low, high = cast(tuple[int, int], self.quality)
        return {"quality": (low + np.floor(u[:, 0] * (high - low + 1))).astype(np.uint8)}


@dataclass(frozen=True)
class RandomAdjustSharpness(Op):
    """Blend with a 3x3 smoothing of the inner pixels (torchvision `RandomAdjustSharpness`).

    Args:
        sharpness_factor: At least 0: 0 smooths, 1 changes nothing, 2 doubles the sharpness.
        p: Probability per image.
    """

    sharpness_factor: float
    p: float = 0.5

    def __post_init__(self) -> None:
        check_number(self, "sharpness_factor", 0.0)
        check_probability(self)


@dataclass(frozen=True)
class RandomErasing(Op):
    """Overwrite one random box (torchvision `RandomErasing`; Zhong et al. 2020, arXiv 1708.04896).

    Ten boxes are drawn, and the first that fits is erased. If none fits, the image stays as it is.

    Args:
        p: Probability per image.
        scale: Range of the box's area as a share of the image's, drawn uniformly.
        ratio: Range of height / width, drawn log-uniformly.
        value: A number in any range (after Normalize, 0 is the mean), one per channel, or "random" for standard normal noise.
    """

    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    value: float | tuple[float, ...] | str = 0.0

    uniforms: ClassVar[int] = 2 * TRIES + 4

    def __post_init__(self) -> None:
        check_probability(self)
        check_range(self, "scale", 0.0, 1.0)
        check_range(self, "ratio", 1e-4, 1e4)
        if isinstance(self.value, str):
            if self.value != "random":
                raise fail(self, "value", 'a number, one per channel or "random"', self.value)
        else:
            values = per_channel(self.value)
            if values is None:
                raise fail(self, "value", 'a number, one per channel or "random"', self.value)
            set_field(self, "value", values)

    def draw(self, u: Array) -> OpDraws:
        return {
            "area": between(u[:, :TRIES], *self.scale),
            # torchvision's ratio is height / width here and width / height in the crop; fit_boxes expects the latter.
            "log_ratio": between(u[:, TRIES : 2 * TRIES], -math.log(self.ratio[0]), -math.log(self.ratio[1])),
            "top": u[:, -4].astype(np.float32),
            "left": u[:, -3].astype(np.float32),
            "key": words(u[:, -2:]),
        }

    def boxes(self, draws: OpDraws, height: Array, width: Array) -> Array:
        """Boxes to erase (B, 4) int32 as (top, left, height, width); height and width are 0 where none fits."""
        height, width = height.astype(np.float64), width.astype(np.float64)
        # torchvision refuses a box as large as the image and accepts an empty one.
        h, w, _ = fit_boxes(draws, height * width, height - 1, width - 1, smallest=0)
        top, left = uniform_offset(draws["top"], height - h), uniform_offset(draws["left"], width - w)
        return np.stack([top, left, h, w], axis=1).astype(np.int32)


@dataclass(frozen=True)
class Cutout(Op):
    """Overwrite one square whose centre is any pixel of the image, so that it may reach over the edge.

    DeVries and Taylor 2017, arXiv 1708.04552; uoguelph-mlrg/Cutout `util/cutout.py`. An odd length is rounded down to an even
    one, as there.

    Args:
        length: Side of the square in pixels, at least 2.
        value: A number in any range (after Normalize, 0 is the mean), or one per channel.
        p: Probability per image.
    """

    length: int
    value: float | tuple[float, ...] = 0.0
    p: float = 1.0

    uniforms: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not is_integer(self.length) or self.length < 2:
            raise fail(self, "length", "an integer >= 2", self.length)
        set_field(self, "length", int(self.length))
        values = per_channel(self.value)
        if values is None:
            raise fail(self, "value", "a number or one per channel", self.value)
        set_field(self, "value", values)
        check_probability(self)

    def draw(self, u: Array) -> OpDraws:
        return {"row": u[:, 0].astype(np.float32), "column": u[:, 1].astype(np.float32)}

    def resized(self, before: Size, after: Size) -> Op:
        return replace(self, length=2 * max(1, round(self.length // 2 * factor(before, after))))

    def boxes(self, draws: OpDraws, height: Array, width: Array) -> Array:
        """Boxes to erase (B, 4) int32 as (top, left, height, width), cut off at the edges of the image."""
        half = self.length // 2
        row, column = uniform_offset(draws["row"], height - 1), uniform_offset(draws["column"], width - 1)
        top, left = np.maximum(row - half, 0), np.maximum(column - half, 0)
        bottom, right = np.minimum(row + half, height), np.minimum(column + half, width)
        return np.stack([top, left, bottom - top, right - left], axis=1).astype(np.int32)


@dataclass(frozen=True)
class Normalize(Op):
    """Subtract `mean` and divide by `std`, per channel (torchvision `Normalize`); the defaults are ImageNet's statistics.

    Args:
        mean: One number, or one per channel, on the scale where white is 1.
        std: Likewise, above 0.
    """

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            values = per_channel(getattr(self, name))
            if values is None or (name == "std" and min(values) <= 0):
                allowed = "a number > 0, or one per channel" if name == "std" else "a number, or one per channel"
                raise fail(self, name, allowed, getattr(self, name))
            set_field(self, name, values)
        if len(self.mean) != len(self.std) and len(set(self.mean)) > 1 and len(set(self.std)) > 1:
            raise fail(self, "mean", f"as many numbers as std has, {len(self.std)}", self.mean)


DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class ToDtype(Op):
    """Set the dtype of the view (torchvision `ToDtype(scale=True)`).

    Wherever the op stands, arithmetic stays in float32 and only the finished view is cast. A view has at most one.

    Args:
        dtype: torch.float32, torch.float16 or torch.bfloat16.
    """

    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise fail(self, "dtype", "torch.float32, torch.float16 or torch.bfloat16", self.dtype)
