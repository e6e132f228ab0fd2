"""Contenders, one file each: a table from op to the library's own class, and how to make a batch with it."""

from __future__ import annotations

from . import (
    albumentations,
    dali,
    decoders,
    ffcv,
    gpuaug,
    kornia,
    torch_compile,
    torchtransform,
    torchvision,
    triton_augment,
    turboloader,
    variopinta,
    webdataset,
)
from .contender import Contender

ALL: tuple[Contender, ...] = (
    *gpuaug.CONTENDERS,
    torchvision.CONTENDER,
    albumentations.CONTENDER,
    dali.CONTENDER,
    kornia.CONTENDER,
    variopinta.CONTENDER,
    torchtransform.CONTENDER,
    torch_compile.CONTENDER,
    triton_augment.CONTENDER,
)
"""In the order of the tables."""

FILES: tuple[Contender, ...] = (
    gpuaug.FILES,
    gpuaug.SCALED,
    *decoders.FILES,
    torchvision.FILES,
    *dali.FILES,
    kornia.FILES,
    webdataset.FILES,
    ffcv.FILES,
    turboloader.FILES,
)
"""Those of the suites `decode`, `loader` and `train`."""
