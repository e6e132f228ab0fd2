"""The fast path: consecutive ops in as few passes over memory as possible; Numba on the CPU, Triton on CUDA."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...images import Images
from ...ops import Op, OpDraws
from .. import Backend, Batch
from .plan import FLIPS, GEOMETRY, LOWERINGS, count_supported, passes_over_view, tables

__all__ = ["BACKEND", "OPS", "apply", "count_supported", "passes_over_view", "warm_up"]

OPS: frozenset[type[Op]] = frozenset({*GEOMETRY, *FLIPS, *LOWERINGS})
"""Ops that can be fused; `count_supported` says where."""


def warm_up(kind: str) -> None:
    """Compile the kernels for the CPU, or load them from disk. Triton compiles its own when they are first called."""
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
    """Make a view of a run of steps that `count_supported` has counted.

    Args:
        batch: `Images`, or float32 (B, 3, H, W).
        ops: The steps.
        draws: Their draws, one dict of NumPy arrays a step.
        dtype: Of the view: float32, float16 or bfloat16.
        memory_format: Of the view: torch.contiguous_format or torch.channels_last.
        out: Where to write the view, of that dtype and contiguous in that memory format; None allocates it.

    Returns:
        The view (B, 3, H, W): `out`, where it is given.
    """
    assert isinstance(batch, (Images, torch.Tensor))  # `count_supported` refuses a list
    plan = tables(batch, ops, draws)
    if batch.device.type == "cuda":
        from . import cuda

        view = cuda.make_view(batch, plan, dtype, memory_format)
        return view if out is None else out.copy_(view)
    from . import cpu

    return cpu.make_view(batch, plan, dtype, memory_format, out)


BACKEND = Backend(
    OPS,
    count_supported,
    apply,
    writes_output=True,
    reads_in_place=True,
    extra_passes=passes_over_view,
    warm_up=warm_up,
    fallback="batched",
)
