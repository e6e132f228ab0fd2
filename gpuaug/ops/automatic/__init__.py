"""Automatic augmentation: ops that choose, for each image, which functions change it, in which order and how much.

ops.py            the ops        kinds.py    the functions that they choose from, and their magnitudes
sub_policies.py   the pairs of functions that AutoAugment chooses from
"""

from .ops import AugMix, AutoAugment, RandAugment, TrivialAugmentWide

__all__ = [
    "AugMix",
    "AutoAugment",
    "RandAugment",
    "TrivialAugmentWide",
]
