"""Kornia's own classes in its own container: a batch at a time, parameters per image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch

from gpuaug import CenterCrop, Policy, Resize, View
from gpuaug import ops as op
from gpuaug.ops import Op

from ..images import Photos
from ..sources import Raw, Source
from .contender import BOTH, SIDE, Contender, Epoch, MakeViews, Setting, factor, has_only, on_device
from .gpuaug import load as load_pictures


def jitter(lib: Any, o: op.ColorJitter) -> Any:
    ranges = {part: factor(o.limits(part)) for part in ("brightness", "contrast", "saturation")}
    return lib.ColorJitter(**ranges, hue=factor(o.limits("hue"), 0.0), p=o.p)  # the one with torchvision's formulas


def crop(lib: Any, o: op.RandomResizedCrop) -> Any:
    return lib.RandomResizedCrop(o.size, o.scale, o.ratio, resample=o.interpolation)


def affine(lib: Any, o: Any) -> Any:
    shear = o.shear and torch.tensor([o.shear[:2], o.shear[2:] or (0.0, 0.0)])
    return lib.RandomAffine(o.degrees, o.translate, o.scale, shear, resample=o.interpolation, p=o.p)


def elastic(lib: Any, o: Any) -> Any:
    across, down = (strength / SIDE for strength in o.alpha)
    kernel = (o.kernels[0],) * 2
    return lib.RandomElasticTransform(kernel, o.sigma, (across, down), resample=o.interpolation, p=o.p)


def blur(lib: Any, o: op.GaussianBlur) -> Any:
    width, height = o.kernel
    return lib.RandomGaussianBlur((height, width), o.sigma, p=o.p)


def resize(lib: Any, o: op.Resize) -> Any:
    return lib.Resize(o.size, resample=o.interpolation, side="short", antialias=True)


def auto() -> Any:
    return import_module("kornia.augmentation.auto")


TABLE: dict[type[Op], Callable[[Any, Any], Any]] = {
    op.Resize: resize,
    op.CenterCrop: lambda lib, o: lib.CenterCrop(o.size),
    op.RandomResizedCrop: crop,
    op.RandomHorizontalFlip: lambda lib, o: lib.RandomHorizontalFlip(p=o.p),
    op.RandomVerticalFlip: lambda lib, o: lib.RandomVerticalFlip(p=o.p),
    op.RandomAffine: affine,
    op.RandomRotation: lambda lib, o: lib.RandomRotation(o.degrees, o.interpolation, p=o.p),
    op.RandomPerspective: lambda lib, o: lib.RandomPerspective(o.distortion_scale, o.interpolation, p=o.p),
    op.ElasticTransform: elastic,
    op.ColorJitter: jitter,
    op.RandomAutocontrast: lambda lib, o: lib.RandomAutoContrast(p=o.p),
    op.RandomEqualize: lambda lib, o: lib.RandomEqualize(p=o.p),
    op.RandomInvert: lambda lib, o: lib.RandomInvert(p=o.p),
    op.RandomPosterize: lambda lib, o: lib.RandomPosterize((o.bits, o.bits), p=o.p),
    op.RandomAdjustSharpness: lambda lib, o: lib.RandomSharpness((o.sharpness_factor,) * 2, p=o.p),
    op.RandomGrayscale: lambda lib, o: lib.RandomGrayscale(p=o.p),
    op.GaussianBlur: blur,
    op.RandomSolarize: lambda lib, o: lib.RandomSolarize(thresholds=(o.threshold,) * 2, additions=(0.0, 0.0), p=o.p),
    op.GaussianNoise: lambda lib, o: lib.RandomGaussianNoise(o.mean, o.sigma, p=o.p),
    op.JPEG: lambda lib, o: lib.RandomJPEG(tuple(map(float, o.quality)), p=o.p),
    op.RandAugment: lambda lib, o: auto().RandAugment(o.num_ops, round(30 * o.magnitude / (o.num_magnitude_bins - 1))),
    op.TrivialAugmentWide: lambda lib, o: auto().TrivialAugment(),
    op.AutoAugment: lambda lib, o: auto().AutoAugment(o.policy),
    op.Normalize: lambda lib, o: lib.Normalize(torch.tensor(o.mean), torch.tensor(o.std)),
}


def container(view: View, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Kornia's container for a view: float32 (B, 3, H, W) in [0, 1] on the device -> a view in float32."""
    lib = import_module("kornia.augmentation")
    made = lib.AugmentationSequential(*(TABLE[type(o)](lib, o) for o in view.ops), data_keys=["input"])
    return cast(Callable[[torch.Tensor], torch.Tensor], made.to(device))


def prepare(policy: Policy, photos: Photos, setting: Setting) -> MakeViews:
    torch.manual_seed(setting.seed)
    transform = container(policy.views[0], setting.device)

    def views(images: torch.Tensor) -> torch.Tensor:
        return transform(images.float().div_(255))

    if len({photo.shape for photo in photos}) > 1:  # it takes no images of different sizes in one batch
        ones = [on_device([photo], setting.device) for photo in photos]
        return lambda: torch.cat([views(one) for one in ones])
    images = on_device(photos, setting.device)
    return lambda: views(images)


CONTENDER = Contender(
    name="kornia",
    modules=("kornia",),
    distributions=("kornia", "torch"),
    regime="a float32 batch (B, 3, H, W), made from uint8 inside the timed region; one by one where sizes differ",
    note="no antialiasing; one order of the jitter's parts a batch",
    differs={
        op.RandAugment: "one choice of ops a batch; 15 ops of its own, none of which does nothing, no op twice",
        op.TrivialAugmentWide: "one op a batch; 12 ops with smaller ranges of its own",
        op.AutoAugment: "one sub-policy a batch",
    },
    supports=has_only(TABLE),
    prepare=prepare,
    devices=BOTH,
)


def load(source: Source, policy: Policy, batch: int, setting: Setting) -> Epoch:
    """gpuaug's loader makes whole pictures of one size, and Kornia makes the views of them on the device."""
    transforms = [container(view, setting.device) for view in policy.views for _ in range(view.repeat)]
    size = max(policy.views[0].size)
    side = size if size <= 64 else round(size * 256 / 224)
    whole = Policy(View(side, Resize(side), CenterCrop()))
    epoch_of = load_pictures(source, whole, batch, replace(setting, dtype=torch.float32))

    def epoch() -> Iterator[Sequence[torch.Tensor]]:
        for (pixels,) in epoch_of():
            yield [transform(pixels).to(setting.dtype) for transform in transforms]

    return epoch


FILES = replace(
    CONTENDER,
    regime="gpuaug.DataLoader for pictures of one size, Kornia's container for the views on the GPU",
    load=load,
    takes=(Path, Raw, tuple),
    devices=("cuda",),
)
