"""Rows of a batch, as a caller may name them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..ops.base import Array


def chosen(rows: Any, count: int) -> Array | slice:
    """Rows of a batch of `count` samples, as a slice or as integers in 0..count-1; see `Draws.take`."""
    if isinstance(rows, slice):
        return rows
    found = on_host(rows)
    if found.dtype == np.bool_ and found.ndim == 1:
        if len(found) != count:
            raise IndexError(f"Draws: a mask must have one bool a row, {count}, got {len(found)}")
        return np.flatnonzero(found)
    if found.size == 0:
        found = found.astype(np.int64)
    if found.ndim > 1 or found.dtype.kind not in "iu":
        kind = f"{found.dtype} of {found.ndim} dimensions" if found.dtype != np.object_ else type(rows).__name__
        raise TypeError(f"Draws: rows must be a number, a slice, integers or a mask of bools, got {kind}")
    found = np.atleast_1d(found)
    outside = found[(found < -count) | (found >= count)]
    if len(outside):
        raise IndexError(f"Draws: row {outside[0]} is outside a batch of {count}")
    return np.asarray(found.astype(np.int64) % max(count, 1))


def on_host(values: Any) -> Array:
    """Numbers as a NumPy array, of objects if they are nested unevenly; a tensor may be on any device."""
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().numpy()
    try:
        return np.asarray(values)
    except ValueError:
        return np.array([*values, None], dtype=np.object_)[:-1]
