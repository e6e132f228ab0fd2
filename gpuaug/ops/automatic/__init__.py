"""Automatic augmentation: ops that choose, for each image, which functions change it, in which order and how much.

ops.py            torchvision's ops        kinds.py       the functions that they choose from, and their magnitudes
timm.py           timm's RandAugment       fixmatch.py    FixMatch's
sub_policies.py   the pairs of functions that AutoAugment chooses from
"""

from .fixmatch import FixMatchRandAugment
from .kinds import KINDS
from .ops import AugMix, AutoAugment, RandAugment, TrivialAugmentWide
from .timm import TimmRandAugment

__all__ = [
    "KINDS",
    "AugMix",
    "AutoAugment",
    "FixMatchRandAugment",
    "RandAugment",
    "TimmRandAugment",
    "TrivialAugmentWide",
]
