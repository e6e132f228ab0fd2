"""torchvision v2 on uint8 tensors, as its documentation advises: image by image, on CUDA a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torchvision.datasets import ImageFolder
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from gpuaug import Policy
from gpuaug import ops as op
from gpuaug.ops import Op

from ..images import Photos
from ..sources import Arrays, Large, Source
from .contender import BOTH, Contender, Decode, Epoch, MakeViews, Setting, bytes_of, collate, epochs, factor, has_only


def crop(o: op.RandomResizedCrop) -> Any:
    mode = v2.InterpolationMode(o.interpolation)
    return v2.RandomResizedCrop(o.size, o.scale, o.ratio, interpolation=mode, antialias=True)


def jitter(o: op.ColorJitter) -> Any:
    parts = {part: limits for part in ("brightness", "contrast", "saturation") if (limits := o.limits(part))}
    return with_probability(v2.ColorJitter(**parts, hue=factor(o.limits("hue"), 0.0)), o.p)


def with_probability(transform: Any, p: float) -> Any:
    return transform if p == 1 else v2.RandomApply([transform], p)


def blur(o: op.GaussianBlur) -> Any:
    return with_probability(v2.GaussianBlur(o.kernel, o.sigma), o.p)


def warp(o: Any) -> dict[str, Any]:
    return {"interpolation": v2.InterpolationMode(o.interpolation), "fill": bytes_of(o.fill)}


def affine(o: op.RandomAffine) -> Any:
    return with_probability(v2.RandomAffine(o.degrees, o.translate, o.scale, o.shear, center=o.center, **warp(o)), o.p)


def rotation(o: op.RandomRotation) -> Any:
    return with_probability(v2.RandomRotation(o.degrees, center=o.center, **warp(o)), o.p)


def elastic(o: Any) -> Any:
    return with_probability(v2.ElasticTransform(list(o.alpha), list(o.sigma), **warp(o)), o.p)


def aug_mix(o: op.AugMix) -> Any:
    return v2.AugMix(o.severity, o.mixture_width, o.chain_depth, o.alpha, o.all_ops, **warp(o))


def normalize(o: op.Normalize) -> Any:
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(o.mean, o.std)])


def resize(o: op.Resize) -> Any:
    return v2.Resize(o.size, interpolation=v2.InterpolationMode(o.interpolation), antialias=True)


TABLE: dict[type[Op], Callable[[Any], Any]] = {
    op.Resize: resize,
    op.CenterCrop: lambda o: v2.CenterCrop(o.size),
    op.RandomResizedCrop: crop,
    op.RandomHorizontalFlip: lambda o: v2.RandomHorizontalFlip(o.p),
    op.RandomVerticalFlip: lambda o: v2.RandomVerticalFlip(o.p),
    op.RandomAffine: affine,
    op.RandomRotation: rotation,
    op.RandomPerspective: lambda o: v2.RandomPerspective(o.distortion_scale, o.p, **warp(o)),
    op.ElasticTransform: elastic,
    op.ColorJitter: jitter,
    op.RandomAutocontrast: lambda o: v2.RandomAutocontrast(o.p),
    op.RandomEqualize: lambda o: v2.RandomEqualize(o.p),
    op.RandomInvert: lambda o: v2.RandomInvert(o.p),
    op.RandomPosterize: lambda o: v2.RandomPosterize(o.bits, o.p),
    op.RandomAdjustSharpness: lambda o: v2.RandomAdjustSharpness(o.sharpness_factor, o.p),
    op.RandomGrayscale: lambda o: v2.RandomGrayscale(o.p),
    op.GaussianBlur: blur,
    op.RandomSolarize: lambda o: v2.RandomSolarize(o.threshold * 255, o.p),
    op.GaussianNoise: lambda o: with_probability(v2.GaussianNoise(o.mean, o.sigma, o.clip), o.p),
    op.JPEG: lambda o: with_probability(v2.JPEG(o.quality), o.p),
    op.RandomPhotometricDistort: lambda o: v2.RandomPhotometricDistort(o.brightness, o.contrast, o.saturation, o.hue, o.p),
    op.RandAugment: lambda o: v2.RandAugment(o.num_ops, o.magnitude, o.num_magnitude_bins, **warp(o)),
    op.TrivialAugmentWide: lambda o: v2.TrivialAugmentWide(o.num_magnitude_bins, **warp(o)),
    op.AutoAugment: lambda o: v2.AutoAugment(v2.AutoAugmentPolicy(o.policy), **warp(o)),
    op.AugMix: aug_mix,
    op.Normalize: normalize,
}


def prepare(policy: Policy, photos: Photos, setting: Setting) -> MakeViews:
    torch.manual_seed(setting.seed)
    transform = v2.Compose([TABLE[type(o)](o) for o in policy.views[0].ops])
    if setting.device == "cuda":
        batch = [torch.from_numpy(photo).permute(2, 0, 1).contiguous().to("cuda") for photo in photos]
        if len({image.shape for image in batch}) == 1:
            stacked = torch.stack(batch)
            return lambda: cast(torch.Tensor, transform(stacked))
        return lambda: torch.stack([cast(torch.Tensor, transform(image)) for image in batch])
    # Kept in the order of the decoder, which is the faster one: 560 against 400 cheap views/s.
    images = [torch.from_numpy(photo).permute(2, 0, 1) for photo in photos]
    return lambda: collate([cast(torch.Tensor, transform(image)) for image in images])


class Views:
    """Every view of a policy of a PIL image or a uint8 array (H, W, 3); picklable, for worker processes."""

    def __init__(self, policy: Policy) -> None:
        self.views = [v2.Compose([TABLE[type(o)](o) for o in view.ops]) for view in policy.views for _ in range(view.repeat)]

    def __call__(self, image: Any) -> list[torch.Tensor]:
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        return [make(tensor) for make in self.views]


class InMemory(torch.utils.data.Dataset[Any]):
    """Arrays as a Dataset."""

    def __init__(self, arrays: Arrays, transform: Views) -> None:
        self.arrays, self.transform = arrays, transform

    def __len__(self) -> int:
        return len(self.arrays[1])

    def __getitem__(self, k: int) -> Any:
        return self.transform(self.arrays[0][k]), int(self.arrays[1][k])


def decode_all(files: Sequence[Path], setting: Setting) -> Decode:
    pool = ThreadPoolExecutor(setting.threads)
    return lambda: pool.map(lambda path: decode_image(str(path), ImageReadMode.RGB), files)


def load(source: Source, policy: Policy, batch: int, setting: Setting) -> Epoch:
    views = Views(policy)
    assert isinstance(source, (Path, Large, tuple))
    folder = source.folder if isinstance(source, Large) else source
    dataset = ImageFolder(folder, views) if isinstance(folder, Path) else InMemory(folder, views)
    order = torch.Generator().manual_seed(setting.seed)
    loader = torch.utils.data.DataLoader(
        dataset,
        batch,
        shuffle=True,
        num_workers=setting.threads,
        pin_memory=setting.device == "cuda",
        drop_last=True,
        generator=order,
        persistent_workers=True,
    )
    if setting.device == "cpu":
        return epochs(loader, list)
    return epochs(loader, lambda views: [view.to("cuda", setting.dtype, non_blocking=True) for view in views])


CONTENDER = Contender(
    name="torchvision",
    modules=("torchvision",),
    distributions=("torchvision", "torch"),
    regime="uint8 tensors (3, H, W), one by one, in channels-last order; on CUDA a batch, for which it makes one draw",
    note="rounds to 8 bits between steps",
    supports=has_only(TABLE),
    prepare=prepare,
    devices=BOTH,
)

FILES = replace(
    CONTENDER,
    distributions=("torchvision", "torch", "pillow"),
    regime="ImageFolder and torch's DataLoader, a worker process a thread; decode: torchvision.io",
    decode=decode_all,
    load=load,
    takes=(Path, Large, tuple),
    processes=True,
)
