"""AlbumentationsX on OpenCV: NumPy arrays, image by image."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from gpuaug import Policy
from gpuaug import ops as op
from gpuaug.ops import Op

from ..images import Photos
from .contender import Contender, MakeViews, Setting, collate, factor, has_only

INTERPOLATION = {"nearest": 0, "bilinear": 1, "bicubic": 2}
"""OpenCV's numbers."""


def jitter(lib: Any, o: op.ColorJitter) -> Any:
    ranges = {f"{part}_range": factor(o.limits(part)) for part in ("brightness", "contrast", "saturation")}
    return lib.ColorJitter(**ranges, hue_range=factor(o.limits("hue"), 0.0), p=o.p)


def crop(lib: Any, o: op.RandomResizedCrop) -> Any:
    return lib.RandomResizedCrop(o.size, scale=o.scale, ratio=o.ratio, interpolation=INTERPOLATION[o.interpolation])


def blur(lib: Any, o: op.GaussianBlur) -> Any:
    width = max(o.kernel)  # a size drawn from the blur's sigma is no faster
    return lib.GaussianBlur(blur_range=(width, width), sigma_range=o.sigma, p=o.p)


def resize(lib: Any, o: op.Resize) -> Any:
    if isinstance(o.size, tuple):
        return lib.Resize(*o.size, interpolation=INTERPOLATION[o.interpolation])
    return lib.SmallestMaxSize(o.size, interpolation=INTERPOLATION[o.interpolation])


TABLE: dict[type[Op], Callable[[Any, Any], Any]] = {
    op.Resize: resize,
    op.CenterCrop: lambda lib, o: lib.CenterCrop(*o.size),
    op.RandomResizedCrop: crop,
    op.RandomHorizontalFlip: lambda lib, o: lib.HorizontalFlip(p=o.p),
    op.ColorJitter: jitter,
    op.RandomGrayscale: lambda lib, o: lib.ToGray(p=o.p),
    op.GaussianBlur: blur,
    op.RandomSolarize: lambda lib, o: lib.Solarize(threshold_range=(o.threshold, o.threshold), p=o.p),
    op.Normalize: lambda lib, o: lib.Normalize(mean=o.mean, std=o.std),
}


def prepare(policy: Policy, photos: Photos, setting: Setting) -> MakeViews:
    import_module("cv2").setNumThreads(setting.threads)
    lib = import_module("albumentations")
    to_tensor = import_module("albumentations.pytorch").ToTensorV2()
    steps = [TABLE[type(o)](lib, o) for o in policy.views[0].ops]
    transform = lib.Compose([*steps, to_tensor], seed=setting.seed, telemetry=False)
    return lambda: collate([transform(image=photo)["image"] for photo in photos])


CONTENDER = Contender(
    name="albumentationsx",
    modules=("albumentations", "cv2"),
    remedy='pip install "albumentationsx[headless]"',
    distributions=("albumentationsx", "opencv-python-headless", "opencv-python"),
    regime="uint8 arrays (H, W, 3), one by one",
    note="no antialiasing; rounds to 8 bits between steps",
    supports=has_only(TABLE),
    prepare=prepare,
)
