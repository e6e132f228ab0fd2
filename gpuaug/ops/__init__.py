"""Every op: a frozen dataclass with the name and arguments of torchvision v2, which draws its own parameters."""

from .base import Op, OpDraws, Size, leaves
from .choice import OneOf
from .color import (
    ColorJitter,
    RandomAutocontrast,
    RandomEqualize,
    RandomGrayscale,
    RandomInvert,
    RandomPosterize,
    RandomSolarize,
)
from .crop import CenterCrop, RandomCrop, RandomResizedCrop, Resize
from .filter import GaussianBlur, GaussianNoise, Normalize, RandomAdjustSharpness, RandomErasing, ToDtype
from .geometric import RandomAffine, RandomHorizontalFlip, RandomPerspective, RandomRotation, RandomVerticalFlip

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "GaussianBlur",
    "GaussianNoise",
    "Normalize",
    "OneOf",
    "Op",
    "OpDraws",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomAutocontrast",
    "RandomCrop",
    "RandomEqualize",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterize",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomSolarize",
    "RandomVerticalFlip",
    "Resize",
    "Size",
    "ToDtype",
    "leaves",
]
