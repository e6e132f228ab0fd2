"""FixMatchRandAugment: RandAugment with a level and a probability for each function, as FixMatch has it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from ..base import Array, OpDraws
from .kinds import FACTORS, Entry, Space, as_space
from .ops import Automatic, check_integer, check_warps, without_unused

LEVELS = np.arange(1, 10)
"""Levels that may be drawn, of 10."""


@cache
def fixmatch_space() -> Space:
    entries = [
        *(Entry(kind, np.zeros(1)) for kind in ("AutoContrast", "Equalize", "Identity")),
        *(Entry(kind, LEVELS * 0.09 + 0.05 - 1) for kind in FACTORS),
        Entry("Posterize", 4 + LEVELS * 4 // 10),
        Entry("Rotate", LEVELS * 3.0, True),
        Entry("ShearX", LEVELS * 0.03, True),
        Entry("ShearY", LEVELS * 0.03, True),
        Entry("Solarize", (256 - LEVELS * 256 // 10) / 255),
        Entry("TranslateXRel", LEVELS * 0.03, True),
        Entry("TranslateYRel", LEVELS * 0.03, True),
    ]
    return as_space(entries)


@dataclass(frozen=True)
class FixMatchRandAugment(Automatic):
    """FixMatch's RandAugment, whose magnitudes are drawn (Sohn et al. 2020, arXiv 2001.07685, appendix D).

    Each of `num_ops` slots gets a function, which is applied with probability 0.5 at a level drawn from 1 to 9 tenths of the
    ranges of the paper's table 12, as in google-research/fixmatch `libml/augment.py` and kekmodel/FixMatch-pytorch
    `dataset/randaugment.py`. The draws `op` (B, num_ops) uint8 and `magnitude` (B, num_ops) float32 say what happens to each
    image; see `KINDS`.

    Args:
        num_ops: Functions per image, at least 0.
        interpolation: Of warps: "nearest" or "bilinear".
        fill: Value outside the image in [0, 1], or one per channel.
    """

    num_ops: int = 2
    interpolation: str = "nearest"
    fill: float | tuple[float, float, float] = 0.0

    def __post_init__(self) -> None:
        check_integer(self, "num_ops", 0)
        check_warps(self)

    @property
    def uniforms(self) -> int:  # type: ignore[override]
        return 4 * self.num_ops

    @property
    def slots(self) -> int:
        return self.num_ops

    @property
    def kinds(self) -> Array:
        return fixmatch_space().kinds

    def draw(self, u: Array) -> OpDraws:
        space = fixmatch_space()
        entry = (u[:, ::4] * len(space.kinds)).astype(np.intp)
        level = (u[:, 1::4] * len(LEVELS)).astype(np.intp)
        return without_unused(space.look_up(entry, level, u[:, 2::4] < 0.5), u[:, 3::4] < 0.5)
