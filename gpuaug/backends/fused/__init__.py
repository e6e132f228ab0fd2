"""The fast path: consecutive ops in as few passes over memory as possible; Numba on the CPU, Triton on CUDA."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...images import Images
from ...ops import Op, OpDraws
from .. import Batch
from .plan import FLIPS, GEOMETRY, LOWERINGS, passes_over_view, tables, take

__all__ = ["OPS", "apply", "passes_over_view", "prepare", "take"]

OPS: frozenset[type[Op]] = frozenset({*GEOMETRY, *FLIPS, *LOWERINGS})
"""Ops that can be fused; `take` says where."""


def prepare(kind: str) -> None:
    """Compile the kernels for the CPU, or load them; Triton's are compiled for what they are called with, so by their calls."""
    if kind == "cpu":
        from . import cpu

        cpu.prepare()


def apply(
    batch: Batch,
    ops: Sequence[Op],
    draws: Sequence[OpDraws],
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Make a view (B, 3, H, W) of a run of steps that `take` has allowed; see `gpuaug.backends` for the shapes.

    out: where to write it, of that dtype and contiguous in that memory format.
    """
    assert isinstance(batch, (Images, torch.Tensor))  # `take` refuses a list
    plan = tables(batch, ops, draws)
    if batch.device.type == "cuda":
        from . import cuda

        view = cuda.make_view(batch, plan, dtype, memory_format)
        return view if out is None else out.copy_(view)
    from . import cpu

    return cpu.make_view(batch, plan, dtype, memory_format, out)
