"""Contenders, one file each: a table from op to the library's own class, and how to make a batch with it."""

from __future__ import annotations

from ..contender import Contender
from . import albumentations, dali, gpuaug, kornia, torchvision, triton_augment

ALL: tuple[Contender, ...] = (
    *gpuaug.CONTENDERS,
    torchvision.CONTENDER,
    albumentations.CONTENDER,
    dali.CONTENDER,
    kornia.CONTENDER,
    triton_augment.CONTENDER,
)
"""In the order of the tables."""
