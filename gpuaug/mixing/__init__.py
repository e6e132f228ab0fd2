"""Mixing the samples of a batch with each other, after their views are made: MixUp, CutMix, and a choice of them."""

from .draws import MixDraws
from .mix import CutMix, Mix, MixUp, RandomChoice

__all__ = ["CutMix", "Mix", "MixDraws", "MixUp", "RandomChoice"]
