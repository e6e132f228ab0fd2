"""Contenders, one file each: a table from op to the library's own class, and how to make a batch with it."""

from __future__ import annotations

from . import albumentations, dali, decoders, ffcv, gpuaug, kornia, torch_compile, torchvision, triton_augment, webdataset
from .contender import Contender

ALL: tuple[Contender, ...] = (
    *gpuaug.CONTENDERS,
    torchvision.CONTENDER,
    albumentations.CONTENDER,
    dali.CONTENDER,
    kornia.CONTENDER,
    torch_compile.CONTENDER,
    triton_augment.CONTENDER,
)
"""In the order of the tables."""

FILES: tuple[Contender, ...] = (
    gpuaug.FILES,
    *decoders.FILES,
    torchvision.FILES,
    *dali.FILES,
    kornia.FILES,
    webdataset.FILES,
    ffcv.FILES,
)
"""Those of the suites `decode`, `loader` and `train`."""
