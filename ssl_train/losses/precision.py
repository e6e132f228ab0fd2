"""What every loss shares: float32 arithmetic whatever the network ran in, and the weighted mean over a batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import torch

P = ParamSpec("P")


def widen(x: Any) -> Any:
    """bfloat16 and float16 tensors as float32, float64 as it is; other values, and tensors of integers, untouched."""
    if isinstance(x, torch.Tensor) and x.is_floating_point():
        return x.to(torch.promote_types(x.dtype, torch.float32))
    return [widen(v) for v in x] if isinstance(x, (list, tuple)) else x


def in_float32(loss: Callable[P, torch.Tensor]) -> Callable[P, torch.Tensor]:
    """A loss that leaves autocast and computes in float32, or in float64 where it is given float64."""

    @wraps(loss)
    def wrapped(*given: P.args, **options: P.kwargs) -> torch.Tensor:
        first: Any = given[0]
        device = (first[0] if isinstance(first, (list, tuple)) else first).device.type
        call: Callable[..., torch.Tensor] = loss
        with torch.autocast(device, enabled=False):
            return call(*map(widen, given), **{name: widen(value) for name, value in options.items()})

    return wrapped


def mean(terms: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Mean of weights * terms, both (N,); plain mean without weights."""
    return (terms if weights is None else terms * weights).mean()
