"""Helpers for rows of a batch: send parameters to its device, and apply a function to some of its images."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import numpy as np
import torch

from ...ops import Op, OpDraws
from ...ops.base import Array
from .. import Function

Rows = Callable[[torch.Tensor, Array], torch.Tensor]
"""A function of images (n, C, H, W) and of their rows (n,) in the batch, by which it finds their parameters."""


def most_pixels(device: torch.device) -> int:
    """Pixels of a batch that are worked on together.

    On the CPU this is as many as stay in its cache. Elsewhere they make 200 MB of float32, of
    which an op holds a few at a time.
    """
    return 2**16 if device.type == "cpu" else 2**24


def send(device: torch.device, *arrays: Array) -> list[torch.Tensor]:
    """Copy small host arrays to a device, all in one asynchronous copy."""
    ends = list(accumulate(-(-a.nbytes // 16) * 16 for a in arrays))  # a tensor must start at a multiple of its item size
    host = torch.empty(ends[-1], dtype=torch.uint8, device="cpu", pin_memory=device.type == "cuda")
    memory = host.numpy()
    spans = []
    for array, start in zip(arrays, [0, *ends], strict=False):
        end = start + array.nbytes
        memory[start:end].view(array.dtype)[...] = array.reshape(-1)
        spans.append((start, end, array))
    there = host.to(device, non_blocking=True)
    return [there[start:end].view(getattr(torch, array.dtype.name)).view(array.shape) for start, end, array in spans]


def on_groups(x: torch.Tensor, groups: list[tuple[Array, Rows]]) -> torch.Tensor:
    """Apply each group's function to its rows. The groups cover the batch. Rows are host arrays, so nothing synchronises."""
    groups = [(rows, function) for rows, function in groups if len(rows)]
    if len(groups) == 1:
        rows, function = groups[0]
        return function(x, rows)
    out = torch.empty_like(x)
    for place, (rows, function) in zip(send(x.device, *(rows for rows, _ in groups)), groups, strict=True):
        out.index_copy_(0, place, function(x.index_select(0, place), rows))
    return out


def unchanged(x: torch.Tensor, rows: Array) -> torch.Tensor:
    return x


def column(x: torch.Tensor, values: Array) -> torch.Tensor:
    """One number per image, shaped so that it multiplies a batch."""
    return send(x.device, values.astype(np.float32))[0].view(-1, 1, 1, 1)


def on_marked(x: torch.Tensor, draws: OpDraws, function: Callable[[torch.Tensor, OpDraws], torch.Tensor]) -> torch.Tensor:
    """Apply a function of images and their draws to those images that the draws mark in `apply`."""
    marked = draws.get("apply", np.ones(len(x), dtype=bool))

    def change(x: torch.Tensor, rows: Array) -> torch.Tensor:
        return function(x, {name: a[rows] for name, a in draws.items()})

    return on_groups(x, [(np.flatnonzero(marked), change), (np.flatnonzero(~marked), unchanged)])


def apply_marked(function: Function, x: torch.Tensor, o: Op, draws: OpDraws) -> torch.Tensor:
    """Apply an op by its function to those images that its draws mark."""
    return on_marked(x, draws, lambda x, d: function(x, o, d))
