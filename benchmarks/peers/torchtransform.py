"""torchtransform: a batch at a time, parameters per image; what moves pixels is one resampling, colours are one matrix."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

import torch

from gpuaug import Policy
from gpuaug import ops as op
from gpuaug.ops import Op

from ..images import Photos
from .composed import COMPOSED, choices
from .contender import BOTH, Contender, MakeViews, Setting, factor, has_only, negated, on_device, spline


def jitter(lib: Any, o: op.ColorJitter) -> Any:
    ranges = {part: factor(o.limits(part)) for part in ("brightness", "contrast", "saturation")}
    return lib.ColorJitter(**ranges, hue=factor(o.limits("hue"), 0.0), p=o.p)


def affine(lib: Any, o: Any) -> Any:
    """One transform for each part, as a matrix each: its own Affine draws no shear without one of the other axis."""
    shear, (x, y) = o.shear or (0.0, 0.0), o.translate or (0.0, 0.0)
    parts = [
        lib.Shear(xy=negated(shear[:2]), yx=negated(shear[2:] or (0.0, 0.0))),
        lib.Scale(o.scale or 1.0),
        lib.Rotate(o.degrees),
        lib.Translate((-x, x), (-y, y), relative=True),
    ]
    return sometimes(lib, lib.Compose(*parts), o.p)


def elastic(lib: Any, o: Any) -> Any:
    """Cubic splines through normal numbers, as smooth and as strong on average as the truth."""
    spacing, strength = spline(o)
    return lib.ElasticWarp(strength, spacing, p=o.p)


def sometimes(lib: Any, transform: Any, p: float) -> Any:
    return transform if p == 1 else lib.Maybe(transform, p=p)


def angles(shifts: list[float]) -> list[float]:
    """A shear's pixels of shift a pixel of distance, in degrees, which count the other way."""
    return [-math.degrees(math.atan(shift)) for shift in shifts]


KINDS: dict[str, Callable[[Any, list[float]], Any]] = {
    "Identity": lambda lib, m: lib.Identity(),
    "ShearX": lambda lib, m: lib.Shear(xy=angles(m)),
    "ShearY": lambda lib, m: lib.Shear(yx=angles(m)),
    "TranslateX": lambda lib, m: lib.Translate(x=m),
    "TranslateY": lambda lib, m: lib.Translate(y=m),
    "TranslateXRel": lambda lib, m: lib.Translate(x=m, relative=True),
    "TranslateYRel": lambda lib, m: lib.Translate(y=m, relative=True),
    "Rotate": lambda lib, m: lib.Rotate(m),
    "Brightness": lambda lib, m: lib.Brightness(m),
    "Color": lambda lib, m: lib.Saturation(m),
    "Contrast": lambda lib, m: lib.Contrast(m),
    "Sharpness": lambda lib, m: lib.Sharpen([factor - 1 for factor in m], SMOOTHING),
    "Posterize": lambda lib, m: lib.Posterize(m),
    "Solarize": lambda lib, m: lib.Solarize(m),
    "AutoContrast": lambda lib, m: lib.AutoContrast(),
    "Equalize": lambda lib, m: lib.Equalize(),
}
"""Kind of an automatic op -> its class, with one of the magnitudes drawn."""

SMOOTHING = (6 / 13) ** 0.5
"""Standard deviation, in pixels, of the 3 x 3 filter with which the truth sharpens."""


def one_of(lib: Any, o: Any) -> Any:
    return lib.OneOf(*(KINDS[kind](lib, magnitudes) for kind, magnitudes in choices(o).items()))


TABLE: dict[type[Op], Callable[[Any, Any], Any]] = {
    op.CenterCrop: lambda lib, o: lib.CenterCrop(o.size),
    op.RandomResizedCrop: lambda lib, o: lib.RandomResizedCrop(o.size, o.scale, o.ratio),
    op.RandomHorizontalFlip: lambda lib, o: lib.HorizontalFlip(o.p),
    op.RandomVerticalFlip: lambda lib, o: lib.VerticalFlip(o.p),
    op.RandomAffine: affine,
    op.RandomRotation: lambda lib, o: lib.Rotate(negated(o.degrees), p=o.p),
    op.RandomPerspective: lambda lib, o: lib.Perspective(o.distortion_scale, o.p),
    op.ElasticTransform: elastic,
    op.ColorJitter: jitter,
    op.RandomGrayscale: lambda lib, o: lib.Grayscale(o.p),
    op.RandomAutocontrast: lambda lib, o: lib.AutoContrast(o.p),
    op.RandomEqualize: lambda lib, o: lib.Equalize(o.p),
    op.RandomInvert: lambda lib, o: lib.Invert(o.p),
    op.RandomPosterize: lambda lib, o: lib.Posterize(o.bits, o.p),
    op.RandomSolarize: lambda lib, o: lib.Solarize(o.threshold, o.p),
    op.RandomAdjustSharpness: lambda lib, o: lib.Sharpen(o.sharpness_factor - 1, sigma=SMOOTHING, p=o.p),
    op.GaussianBlur: lambda lib, o: lib.GaussianBlur(o.sigma, o.p),
    op.GaussianNoise: lambda lib, o: lib.GaussianNoise(o.sigma, p=o.p),
    op.JPEG: lambda lib, o: lib.JpegCompression(o.quality, p=o.p),
    op.RandAugment: lambda lib, o: lib.Compose(*(one_of(lib, o) for _ in range(o.num_ops))),
    op.TrivialAugmentWide: one_of,
    op.Normalize: lambda lib, o: lib.Normalize(o.mean, o.std),
}


def prepare(policy: Policy, photos: Photos, setting: Setting) -> MakeViews:
    lib = import_module("torchtransform")
    torch.manual_seed(setting.seed)
    ops = policy.views[0].ops
    transform = lib.Compose(*(TABLE[type(o)](lib, o) for o in ops))
    modes = {o.interpolation for o in ops if hasattr(o, "interpolation")}
    mode = next((name for name in ("bicubic", "bilinear", "nearest") if name in modes), "bilinear")

    def views(images: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, transform(lib.Image(images.float().div_(255), mode=mode)))

    if len({photo.shape for photo in photos}) > 1:  # it takes no images of different sizes in one batch
        ones = [on_device([photo], setting.device) for photo in photos]
        return lambda: torch.cat([views(one) for one in ones])
    images = on_device(photos, setting.device)
    return lambda: views(images)


CONTENDER = Contender(
    name="torchtransform",
    modules=("torchtransform",),
    distributions=("torchtransform", "torch"),
    regime="a float32 batch (B, 3, H, W), made from uint8 inside the timed region; one by one where sizes differ",
    note="crop and warps are one resampling, of one kind, antialiased from a half on; colours are one matrix",
    differs=dict.fromkeys((op.RandAugment, op.TrivialAugmentWide), f"{COMPOSED}; no steps of 8 bits"),
    supports=has_only(TABLE),
    prepare=prepare,
    devices=BOTH,
)
