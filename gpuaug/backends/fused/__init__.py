"""The fast backend: consecutive ops in as few passes over memory as possible, by Numba on the CPU and Triton on CUDA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch

from ...images import Images
from ...ops import Op, OpDraws
from .. import Backend, Batch
from . import draw_program
from .lowering import passes_over_view
from .plan import OPS, compose_warps, count_supported, tables

__all__ = ["BACKEND", "OPS", "apply", "count_supported", "passes_over_view", "warm_up"]


def warm_up(kind: str) -> None:
    """Compile the kernels ahead of the first batch, or load them from disk.

    Args:
        kind: Type of device. Triton compiles the kernels for "cuda" when they are first called; those that run on the CPU
            for it, which draw parameters and pack records, are compiled here.
    """
    draw_program.warm_up()
    if kind == "cpu":
        from . import cpu

        cpu.warm_up()
    elif kind == "cuda":
        from .cuda import records

        records.warm_up()


def apply(
    batch: Batch,
    ops: Sequence[Op],
    draws: Sequence[OpDraws],
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
    out: torch.Tensor | None = None,
    *,
    composed: bool = False,
) -> torch.Tensor:
    """Run one fused stage on a batch.

    Args:
        batch: `Images`, or a float32 tensor (B, 3, H, W).
        ops: Steps of one view, as many as `count_supported` has counted.
        draws: One dict of NumPy arrays for each step.
        dtype: Dtype of the result: float32, float16 or bfloat16.
        memory_format: Memory format of the result: torch.contiguous_format or torch.channels_last.
        out: Tensor to write the result into. It has this dtype and is contiguous in this memory format. None: a new one.
        composed: Whether warps that follow one another become one.

    Returns:
        The view (B, 3, H, W); this is `out` if it was given.
    """
    assert isinstance(batch, (Images, torch.Tensor))  # `count_supported` never accepts a list
    plan = draw_program.drawn_tables(batch, draws) or tables(batch, ops, draws)
    if composed:
        compose_warps(plan)
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
BACKEND = replace(BACKEND, composing=replace(BACKEND, apply=partial(apply, composed=True)))
