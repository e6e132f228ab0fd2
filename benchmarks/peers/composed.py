"""RandAugment and TrivialAugmentWide for libraries that have the parts and a choice among them, but not the whole."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpuaug.ops.automatic.kinds import FACTORS, KINDS

DRAWS = 2**16
"""Draws that the magnitudes are read off, some 75 for each kind, bin and sign."""

COMPOSED = "put together from its parts"


def choices(o: Any) -> dict[str, list[float]]:
    """Kind -> magnitudes that a slot of an automatic op may get; kinds, and a kind's magnitudes, are equally probable."""
    draws = o.draw(np.random.default_rng(0).random((DRAWS, o.uniforms)))
    code, magnitude = draws["op"][:, 0], draws["magnitude"][:, 0]
    return {KINDS[k]: np.unique(magnitude[code == k]).tolist() for k in np.unique(code)}


def sides(kind: str, magnitudes: list[float]) -> list[tuple[float, float]]:
    """The ranges below and above the magnitude that changes nothing, for libraries that draw from one range."""
    neutral = 1.0 if kind in FACTORS else 0.0
    parts = [m for m in magnitudes if m < neutral], [m for m in magnitudes if m >= neutral]
    return [(part[0], part[-1]) for part in parts if part]
