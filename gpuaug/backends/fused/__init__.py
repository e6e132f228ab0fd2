"""The fast backend: consecutive ops in as few passes over memory as possible, by Numba on the CPU and Triton on CUDA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch

from ...images import Images
from ...ops import Op, OpDraws
from ...ops.channels import three_of
from .. import Backend, Batch
from . import draw_program
from .lowering import passes_over_view
from .plan import OPS, compose_warps, count_supported, geometry_length, tables

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
        batch: `Images`, or a float32 tensor (B, 3, H, W); on the CPU also uint8 (B, C, H, W), and
            float32 of C channels for crops and flips alone.
        ops: Steps of one view, as many as `count_supported` has counted.
        draws: One dict of NumPy arrays for each step.
        dtype: Dtype of the result: float32, float16 or bfloat16.
        memory_format: Memory format of the result: torch.contiguous_format or torch.channels_last.
        out: Tensor to write the result into. It has this dtype and is contiguous in this memory format. None: a new one.
        composed: Whether warps that follow one another become one.

    Returns:
        The view (B, C, H, W); this is `out` if it was given.
    """
    assert isinstance(batch, (Images, torch.Tensor))  # `count_supported` never accepts a list
    if isinstance(batch, torch.Tensor) and batch.dtype == torch.uint8:
        view = in_threes(batch, ops, draws, dtype, memory_format)
        return view.contiguous(memory_format=memory_format) if out is None else out.copy_(view)
    plan = draw_program.drawn_tables(batch, draws) or tables(batch, ops, draws)
    if composed:
        compose_warps(plan)
    if batch.device.type == "cuda":
        from . import cuda

        view = cuda.make_view(batch, plan, dtype, memory_format)
        return view if out is None else out.copy_(view)
    from . import cpu

    if isinstance(batch, torch.Tensor) and geometry_length(ops):
        return cpu.make_view_of_floats(batch, plan, dtype, memory_format, out)
    return cpu.make_view(batch, plan, dtype, memory_format, out)


def in_threes(
    batch: torch.Tensor, ops: Sequence[Op], draws: Sequence[OpDraws], dtype: torch.dtype, memory_format: torch.memory_format
) -> torch.Tensor:
    """A view of uint8 (B, C, H, W): three channels at a time, as RGB images with the same draws.

    The last channel fills up the last three. This beats the general path, which has any number of channels, by far.
    """
    channels = batch.shape[1]
    lack = -channels % 3
    if lack:
        batch = torch.cat([batch, batch[:, -1:].expand(-1, lack, -1, -1)], dim=1)
    tables = list(draws)  # not the draws of a policy, whose ops are for all channels
    views = [
        apply(Images.from_tensor(batch[:, k : k + 3]), [three_of(o, k) for o in ops], tables, dtype, memory_format)
        for k in range(0, channels, 3)
    ]
    return (views[0] if len(views) == 1 else torch.cat(views, dim=1))[:, :channels]


BACKEND = Backend(
    OPS,
    count_supported,
    apply,
    writes_output=True,
    reads_in_place=True,
    extra_passes=passes_over_view,
    warm_up=warm_up,
    any_channels=("cpu",),
    fallback="batched",
)
BACKEND = replace(BACKEND, composing=replace(BACKEND, apply=partial(apply, composed=True)))
