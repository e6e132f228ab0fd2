"""Ops that blur, sharpen, add noise or erase, and the last ops of a view: Normalize and ToDtype."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import torch

from .base import Array, Op, OpDraws, Size, between, is_integer, is_number, words
from .checks import check_number, check_probability, check_range, fail, set_field
from .crop import TRIES, fit_boxes, uniform_offset

__all__ = [
    "JPEG",
    "GaussianBlur",
    "GaussianNoise",
    "Normalize",
    "RandomAdjustSharpness",
    "RandomErasing",
    "ToDtype",
]


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
        check_range(self, "sigma", 1e-3)
        check_probability(self)

    def draw(self, u: Array) -> OpDraws:
        return {"sigma": between(u[:, 0], *self.sigma)}

    @property
    def kernel(self) -> tuple[int, int]:
        """(width, height) of the kernel in pixels."""
        return self.kernel_size if isinstance(self.kernel_size, tuple) else (self.kernel_size, self.kernel_size)

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
    value: float | tuple[float, float, float] | str = 0.0

    uniforms: ClassVar[int] = 2 * TRIES + 4

    def __post_init__(self) -> None:
        check_probability(self)
        check_range(self, "scale", 0.0, 1.0)
        check_range(self, "ratio", 1e-4, 1e4)
        if isinstance(self.value, str):
            if self.value != "random":
                raise fail(self, "value", 'a number, three numbers or "random"', self.value)
        else:
            triple: Any = (self.value,) * 3 if is_number(self.value) else self.value
            if not (isinstance(triple, (tuple, list)) and len(triple) == 3 and all(is_number(v) for v in triple)):
                raise fail(self, "value", 'a number, three numbers or "random"', self.value)
            set_field(self, "value", tuple(float(v) for v in triple))

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
class Normalize(Op):
    """Subtract `mean` and divide by `std`, per channel (torchvision `Normalize`); the defaults are ImageNet's statistics.

    Args:
        mean: One number, or one per channel, on the scale where white is 1.
        std: Likewise, above 0.
    """

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            value = getattr(self, name)
            value = (value,) * 3 if is_number(value) else tuple(value) if isinstance(value, (tuple, list)) else value
            ok = isinstance(value, tuple) and len(value) == 3 and all(is_number(v) for v in value)
            if not ok or (name == "std" and min(value) <= 0):
                raise fail(self, name, "three numbers" + (" > 0" if name == "std" else ""), getattr(self, name))
            set_field(self, name, tuple(float(v) for v in value))


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
