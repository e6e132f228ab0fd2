"""Kornia's own functions, for the ops where they equal torchvision's; "batched" does the other steps of a view."""

# mypy: disable-error-code="no-any-return"
# Kornia has no type hints that mypy can see.

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from kornia.enhance import invert, normalize, solarize
from kornia.geometry import hflip, vflip

from .. import ops as op
from . import Backend, Given, leading
from .batched.rows import on_marked, send

Function = Callable[[torch.Tensor, Any, op.OpDraws], torch.Tensor]
"""float32 (B, 3, H, W), the op, its draws -> float32 (B, 3, H, W)."""


def threshold(x: torch.Tensor, o: op.RandomSolarize, d: op.OpDraws) -> torch.Tensor:
    return solarize(x, send(x.device, np.full(len(x), o.threshold, np.float32))[0])


def normalized(x: torch.Tensor, o: op.Normalize, d: op.OpDraws) -> torch.Tensor:
    mean, std = send(x.device, np.array(o.mean, np.float32), np.array(o.std, np.float32))
    return normalize(x, mean, std)


OPS: dict[type[op.Op], Function] = {
    op.RandomHorizontalFlip: lambda x, o, d: hflip(x),
    op.RandomVerticalFlip: lambda x, o, d: vflip(x),
    op.RandomSolarize: threshold,
    op.RandomInvert: lambda x, o, d: invert(x, torch.ones(1, device=x.device)),
    op.Normalize: normalized,
}
"""Op -> Kornia's function, for images of one size."""


def take(steps: Sequence[op.Op], given: Given) -> int:
    return leading(steps, OPS) if given == "floats" else 0


def apply(batch: torch.Tensor, ops: Sequence[op.Op], draws: Sequence[op.OpDraws]) -> torch.Tensor:
    """Apply a run of steps that `take` has allowed to float32 (B, 3, H, W)."""
    for o, step in zip(ops, draws, strict=True):
        batch = changed(batch, o, step)
    return batch


def changed(x: torch.Tensor, o: op.Op, draws: op.OpDraws) -> torch.Tensor:
    """Apply one op to the images that are marked in its draws."""
    function = OPS[type(o)]
    return on_marked(x, draws, lambda x, d: function(x, o, d))


BACKEND = Backend(OPS, take, apply)
