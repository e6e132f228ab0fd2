"""The columns of automatic ops: for each slot, which function it got, and the function's magnitude."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ...ops.automatic import KINDS, AugMix, AutoAugment, FixMatchRandAugment, RandAugment, TimmRandAugment, TrivialAugmentWide
from ...ops.automatic.fixmatch import fixmatch_space
from ...ops.automatic.kinds import CODE, FACTORS, Space, auto_space, mix_space, rand_space, wide_space
from ...ops.automatic.ops import Automatic, sub_policies
from ...ops.base import Array, OpDraws
from .boxes import Sizes
from .columns import APPLY, Column

NEUTRAL = np.zeros(len(KINDS))
"""The magnitude of each function that changes nothing."""
NEUTRAL[[CODE[kind] for kind in FACTORS]] = 1.0
NEUTRAL[CODE["Posterize"]] = 8.0
NEUTRAL[CODE["Solarize"]] = 1.0

PLAIN = np.array([kind in ("AutoContrast", "Equalize", "Invert") for kind in KINDS])
"""Functions without a magnitude, which are applied or not."""

WIDTH = len(KINDS) + 1
"""Columns of a slot."""


@lru_cache(maxsize=64)
def slot_columns(o: Automatic) -> tuple[Column, ...]:
    """Flags of the functions and the magnitude, slot by slot; of AugMix the weights, too."""
    columns = [APPLY]
    for slot in range(o.slots):
        columns += [Column(f"{slot}.{kind}", "0 or 1", neutral=float(kind == KINDS[0])) for kind in KINDS]
        columns.append(Column(f"{slot}.magnitude", "of the function, see `gpuaug.ops.KINDS`"))
    if isinstance(o, AugMix):
        names = ["image", *(f"chain.{k}" for k in range(o.mixture_width))]
        columns += [Column(f"weight.{name}", "in [0, 1]", neutral=float(name == "image")) for name in names]
    return tuple(columns)


def read_slots(o: Automatic, d: OpDraws, sizes: Sizes) -> list[Array]:
    count, slots = d["op"].shape
    rows = np.zeros((slots, WIDTH, count))
    rows[np.arange(slots)[:, None], d["op"].T, np.arange(count)] = 1.0
    rows[:, -1] = d["magnitude"].T
    weights = list(d["weights"].T) if isinstance(o, AugMix) else []
    return [*rows.reshape(slots * WIDTH, count), *weights]


def normalized(o: Automatic, rows: Array) -> Array:
    """The rows of `slot_columns` with each magnitude's distance from the neutral one, as a share of its function's largest."""
    slots = rows[1 : 1 + o.slots * WIDTH].reshape(o.slots, WIDTH, rows.shape[1])
    kind = slots[:, :-1].argmax(axis=1)
    far = largest(o)
    shares = (slots[:, -1] - NEUTRAL[kind]) / np.where(far > 0, far, 1)[kind]
    out = rows.copy()
    out[1 : 1 + o.slots * WIDTH].reshape(o.slots, WIDTH, rows.shape[1])[:, -1] = np.where(far[kind] > 0, shares, 0.0)
    out[[k for k, column in enumerate(slot_columns(o)) if column.neutral]] -= 1.0
    return out


def functions(o: Automatic, rows: Array) -> Array:
    """Whether each slot holds a function without a magnitude, (slots, B). rows: of `slot_columns`."""
    slots = rows[1 : 1 + o.slots * WIDTH].reshape(o.slots, WIDTH, rows.shape[1])
    return np.asarray(PLAIN[slots[:, :-1].argmax(axis=1)])


def spread(space: Space, bins: Array) -> Array:
    """The largest distance of each function from its neutral magnitude. bins: (K, M) of the space that may be drawn."""
    far = np.zeros(len(KINDS))
    for kind, base, own in zip(space.kinds.tolist(), space.base, bins, strict=True):
        far[kind] = max(far[kind], float(np.abs(base + own - NEUTRAL[kind]).max()))
    return far


@lru_cache(maxsize=64)
def largest(o: Automatic) -> Array:
    """For each of KINDS the largest distance from its neutral magnitude that the op's arguments allow, (18,)."""
    if isinstance(o, RandAugment):
        space = rand_space(o.num_magnitude_bins)
        return spread(space, space.bins[:, o.magnitude : o.magnitude + 1])
    if isinstance(o, TrivialAugmentWide):
        space = wide_space(o.num_magnitude_bins, o.translate)
        return spread(space, space.bins)
    if isinstance(o, AutoAugment):
        space, table = auto_space(), sub_policies(o.policy)
        used = np.zeros(space.bins.shape, dtype=bool)
        used[table.entries, table.bins] = True
        neutral = (NEUTRAL[space.kinds] - space.base)[:, None]
        return spread(space, np.where(used, space.bins, neutral))
    if isinstance(o, AugMix):
        space = mix_space(o.all_ops)
        return spread(space, space.bins[:, : o.severity])
    if isinstance(o, FixMatchRandAugment):
        return spread(fixmatch_space(), fixmatch_space().bins)
    far = np.zeros(len(KINDS))
    if isinstance(o, TimmRandAugment):
        s = o.settings
        ends = (0.0, float(s.mmax)) if s.mstd and not s.uniform else (0.0, float(min(s.m, s.mmax))) if s.uniform else (s.m, s.m)
        levels = np.clip(np.repeat(ends, 2), 0, s.mmax) / 10
        for level in s.levels.values():
            code = CODE[level.kind]
            far[code] = max(far[code], float(np.abs(level.magnitude(levels, np.array([-1.0, 1.0] * 2)) - NEUTRAL[code]).max()))
    return far
