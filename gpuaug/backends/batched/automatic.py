"""RandAugment and its relatives: for each slot, images are grouped by the function that they get."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import torch

from ... import ops as op
from ...ops.automatic.kinds import CODE, DARK, WARPING, warp_matrices
from ...ops.automatic.ops import Automatic
from ...ops.base import Array
from . import color, warp
from .rows import Rows, column, on_groups, send, unchanged

CHANGES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "Brightness": color.brightness,
    "Color": color.saturation,
    "Contrast": color.contrast,
    "Sharpness": color.sharpness,
    "Solarize": lambda x, m: torch.where(x >= m, 1 - x, x),
    "SolarizeAdd": lambda x, m: torch.where(x < DARK, (x + m).clamp(0, 1), x),
    "AutoContrast": lambda x, m: color.autocontrast(x),
    "Equalize": lambda x, m: color.equalize(x),
    "Invert": lambda x, m: 1 - x,
}
"""Kind -> function of images and of one magnitude for each, (n, 1, 1, 1)."""


def apply(x: torch.Tensor, o: Automatic, d: op.OpDraws) -> torch.Tensor:
    for slot in range(d["op"].shape[1]):
        x = one_slot(x, o, d["op"][:, slot], d["magnitude"][:, slot])
    return x


def one_slot(x: torch.Tensor, o: Automatic, kinds: Array, magnitudes: Array) -> torch.Tensor:
    """Apply to each image the function of its kind (B,) with its magnitude (B,)."""

    def warps(x: torch.Tensor, rows: Array) -> torch.Tensor:
        matrices = warp_matrices(kinds[rows], magnitudes[rows], x.shape[2], x.shape[3])
        return warp.affine(x, matrices, o.interpolation, cast(tuple[float, ...], o.fill))

    def change(function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Rows:
        return lambda x, rows: function(x, column(x, magnitudes[rows]))

    posterized = kinds == CODE["Posterize"]
    groups: list[tuple[Array, Rows]] = [(np.flatnonzero(np.isin(kinds, WARPING)), warps)]
    groups += [(np.flatnonzero(kinds == CODE[kind]), change(function)) for kind, function in CHANGES.items()]
    groups += [
        (np.flatnonzero(posterized & (magnitudes == bits)), lambda x, rows, bits=bits: color.posterize(x, bits))  # type: ignore[misc]
        for bits in range(8)
    ]
    still = (kinds == CODE["Identity"]) | (posterized & (magnitudes == 8))
    return on_groups(x, [*groups, (np.flatnonzero(still), unchanged)])


def mix(x: torch.Tensor, o: op.AugMix, d: op.OpDraws) -> torch.Tensor:
    (weights,) = send(x.device, d["weights"])
    weights = weights[:, :, None, None, None]
    mixed = weights[:, 0] * x
    for k in range(o.mixture_width):
        chain = slice(k * o.depth, (k + 1) * o.depth)
        mixed = mixed + weights[:, k + 1] * apply(x, o, {name: d[name][:, chain] for name in ("op", "magnitude")})
    return mixed
