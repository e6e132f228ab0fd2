"""triton-augment: crop, flip, brightness, contrast, saturation, gray and normalize in one kernel; CUDA only."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

import torch

from gpuaug import Policy
from gpuaug import ops as op

from ..images import Photos
from .contender import Contender, MakeViews, Setting, factor, on_device


def jitter(o: op.ColorJitter) -> dict[str, Any]:
    return {part: factor(o.limits(part)) for part in ("brightness", "contrast", "saturation")}


TABLE: dict[type[op.Op], Callable[[Any], dict[str, Any]]] = {
    op.RandomHorizontalFlip: lambda o: {"horizontal_flip_p": o.p},
    op.ColorJitter: jitter,
    op.RandomGrayscale: lambda o: {"grayscale_p": o.p},
    op.Normalize: lambda o: {"mean": o.mean, "std": o.std},
}
"""Op -> arguments of the library's transform. It does not have the other ops; its views are made without them."""


def crops(policy: Policy) -> str | None:
    """`supports`: it crops without a resize, and has neither hue nor blur; the check marks that it does less work."""
    first = policy.views[0].ops[0]
    return None if isinstance(first, op.RandomResizedCrop) else f"has no {type(first).__name__}: it begins with a crop"


def prepare(policy: Policy, photos: Photos, setting: Setting) -> MakeViews:
    if len({photo.shape for photo in photos}) > 1:
        raise ValueError("takes a batch of images of one size")
    lib = import_module("triton_augment")
    torch.manual_seed(setting.seed)
    view = policy.views[0]
    given = {name: value for o in view.ops if type(o) in TABLE for name, value in TABLE[type(o)](o).items()}
    transform = lib.TritonFusedAugment(crop_size=view.size, **given)
    images = on_device(photos, setting.device)
    return lambda: cast(torch.Tensor, transform(images.float().div_(255)))


CONTENDER = Contender(
    name="triton-augment",
    modules=("triton_augment",),
    distributions=("triton-augment", "triton"),
    regime="a float32 batch on a CUDA device, made from uint8 inside the timed region",
    note="less work: a crop without resize, no hue, blur or solarize, and another contrast",
    supports=crops,
    prepare=prepare,
    devices=("cuda",),
)
