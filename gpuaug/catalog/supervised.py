"""Supervised training of classifiers."""

from __future__ import annotations

from ..ops import (
    ColorJitter,
    GaussianBlur,
    Normalize,
    OneOf,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomSolarize,
)
from ..ops.base import Size
from ..policy import Policy, View


def supervised(size: int | Size = 224) -> Policy:
    """Supervised training (torchvision `references/classification/presets.py`)."""
    view = View(size, RandomResizedCrop(), RandomHorizontalFlip(), Normalize())
    return Policy(view, name="supervised", source="torchvision references/classification/presets.py")


def three_augment(size: int | Size = 224) -> Policy:
    """3-Augment (Touvron et al. 2022, arXiv 2204.07118; facebookresearch/deit `augment.py`)."""
    view = View(
        size,
        RandomResizedCrop(interpolation="bicubic"),
        RandomHorizontalFlip(),
        OneOf(RandomGrayscale(1.0), RandomSolarize(p=1.0), GaussianBlur(p=1.0)),
        ColorJitter(0.3, 0.3, 0.3),
        Normalize(),
    )
    return Policy(view, name="three_augment", source="arXiv 2204.07118; facebookresearch/deit augment.py")
