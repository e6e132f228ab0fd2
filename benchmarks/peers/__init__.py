"""Contenders, one file each: a table from op to the library's own class, and how to make a batch with it."""

from __future__ import annotations

from . import albumentations, dali, ffcv, gpuaug, kornia, torch_compile, torchvision, triton_augment, webdataset
from .contender import Contender, FilePeer

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

FILES: tuple[FilePeer, ...] = (*gpuaug.FILES, torchvision.FILES, *dali.FILES, webdataset.FILES, ffcv.FILES)
"""Those of the suites `decode` and `loader`."""
