"""variopinta: a pipeline compiled to Rust kernels, for the CPU; NumPy arrays, image by image."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from gpuaug import Policy
from gpuaug import ops as op
from gpuaug.ops import Op

from ..images import Photos
from .contender import Contender, MakeViews, Setting, bytes_of, collate, factor, has_only, negated


def interpolation(lib: Any, o: Any) -> Any:
    return lib.Interpolation("nearest" if o.interpolation == "nearest" else "bilinear")


def crop(lib: Any, o: Any) -> Any:
    kind = interpolation(lib, o)
    ranges = {"area_range": o.scale, "aspect_ratio_range": o.ratio}
    return lib.RandomResizedCrop(*o.size, **ranges, interpolation=kind, antialias=kind.value == "bilinear")


def jitter(lib: Any, o: op.ColorJitter) -> Any:
    ranges = {f"{part}_range": factor(o.limits(part)) for part in ("brightness", "contrast", "saturation")}
    return lib.ColorJitter(**ranges, hue_range=factor(o.limits("hue"), 0.0), p=o.p)


def warp(lib: Any, o: Any) -> dict[str, Any]:
    return {"interpolation": interpolation(lib, o), "fill": bytes_of(o.fill), "p": o.p}


def affine(lib: Any, o: Any) -> Any:
    x, y = (o.shear[:2], o.shear[2:] or (0.0, 0.0)) if o.shear else ((0.0, 0.0),) * 2
    ranges = {"degrees_range": o.degrees, "scale_range": o.scale or (1.0, 1.0), "shear_x_range": x, "shear_y_range": y}
    return lib.Affine(**ranges, translate_max_fraction=o.translate or (0.0, 0.0), **warp(lib, o))


def rotation(lib: Any, o: Any) -> Any:
    return lib.RandomRotation(negated(o.degrees), **warp(lib, o))


def perspective(lib: Any, o: op.RandomPerspective) -> Any:
    """Its corners move by shares of the whole image, the truth's by shares of a half."""
    share = min(o.distortion_scale / 2, 0.499)
    return lib.Perspective(distortion_scale_range=(share, share), **warp(lib, o))


def noise(lib: Any, o: op.GaussianNoise) -> Any:
    mean, sigma = 255 * o.mean, 255 * o.sigma
    return lib.GaussianNoise(mean_range=(mean, mean), std_range=(sigma, sigma), p=o.p)


def sharpness(lib: Any, o: op.RandomAdjustSharpness) -> Any:
    """With the truth's weight of the centre, which it takes from 4 neighbours in place of 8."""
    share = 2 / 13 * (o.sharpness_factor - 1)
    return lib.Sharpen(blend_weight_range=(share, share), strength_range=(1.0, 1.0), p=o.p)


TABLE: dict[type[Op], Callable[[Any, Any], Any]] = {
    op.CenterCrop: lambda lib, o: lib.CenterCrop(*o.size),
    op.RandomResizedCrop: crop,
    op.RandomHorizontalFlip: lambda lib, o: lib.HorizontalFlip(p=o.p),
    op.RandomVerticalFlip: lambda lib, o: lib.VerticalFlip(p=o.p),
    op.RandomAffine: affine,
    op.RandomRotation: rotation,
    op.RandomPerspective: perspective,
    op.ColorJitter: jitter,
    op.RandomGrayscale: lambda lib, o: lib.Grayscale(p=o.p),
    op.RandomInvert: lambda lib, o: lib.Invert(p=o.p),
    op.RandomPosterize: lambda lib, o: lib.Posterize(o.bits, p=o.p),
    op.RandomSolarize: lambda lib, o: lib.Solarize(round(255 * o.threshold), p=o.p),
    op.RandomAdjustSharpness: sharpness,
    op.GaussianBlur: lambda lib, o: lib.GaussianBlur(kernel_size=max(o.kernel), sigma_range=o.sigma, p=o.p),
    op.GaussianNoise: noise,
    op.Normalize: lambda lib, o: lib.Normalize(mean=o.mean, std=o.std),
}


def prepare(policy: Policy, photos: Photos, setting: Setting) -> MakeViews:
    lib = import_module("variopinta")
    image = lib.Image(name="image", output_specs=lib.ReturnTensor(name="view"))
    steps = [TABLE[type(o)](lib, o) for o in policy.views[0].ops]
    pipeline = lib.Pipeline(steps, seed=setting.seed, targets=image).compile()
    return lambda: collate([pipeline(image=image.bind(photo)).image.view for photo in photos])


CONTENDER = Contender(
    name="variopinta",
    modules=("variopinta",),
    distributions=("variopinta",),
    regime="uint8 arrays (H, W, 3), one by one, to tensors",
    note="no bicubic filter, a bilinear one instead; sharpens with 4 neighbours; rounds to 8 bits between steps",
    supports=has_only(TABLE),
    prepare=prepare,
)
