"""Dividing a view's steps into stages, one backend each, and running these in order."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache

import torch

from .. import backends
from ..images import Images
from ..ops import Op, OpDraws, Size, ToDtype
from ..policy import View
from . import Backend, Batch, BatchForm, lacking
from .inputs import as_floats
from .traffic import Stage

LOG = logging.getLogger("gpuaug")


def select(backend: str, kind: str, approximate: bool = False, compose_warps: bool = False) -> dict[str, Backend]:
    """The backends to use on this type of device, best first."""
    if backend == "auto":
        names = [name for name in backends.AUTOMATIC if backends.installed(name, kind)]
    else:
        fallback = backends.load(backend, kind).fallback
        names = [backend, *([fallback] if fallback else [])]
    found = {name: backends.load(name, kind) for name in names}
    if compose_warps and not any(chosen.composing for chosen in found.values()):
        advice = lacking(kind).get("fused", 'use backend="fused"')
        raise ValueError(f"Augmenter: compose_warps needs backend 'fused', got {backend!r}; {advice}")
    chosen_by = {name: (approximate and chosen.approximate) or chosen for name, chosen in found.items()}
    return {name: (compose_warps and chosen.composing) or chosen for name, chosen in chosen_by.items()}


def warn_of_missing_packages(plan: Sequence[Sequence[Stage]], kind: str) -> None:
    """Log, once per process, which missing packages would let a faster backend do some of the plan's stages."""
    order = backends.AUTOMATIC
    worst = max(order.index(stage.backend) for stages in plan for stage in stages)
    for name, words in lacking(kind).items():
        if order.index(name) < worst:
            warn_once(words)


@cache
def warn_once(words: str) -> None:
    LOG.warning("%s", words)


def stages(
    steps: Sequence[Op], found: dict[str, Backend], form: BatchForm = "images", later: BatchForm = "floats"
) -> tuple[Stage, ...]:
    """Divide steps into stages, in order: each step goes to the first backend that supports it.

    form: what the first step starts from. later: what the others start from, once the images have one size. Raises ValueError
    for a step that no backend supports.
    """
    out: list[Stage] = []
    size: Size | None = None
    at = 0
    while at < len(steps):
        state = form if at == 0 else "ragged" if size is None and form in ("images", "ragged") else later
        name = next((name for name, backend in found.items() if backend.count_supported(steps[at:], state)), None)
        if name is None:
            raise ValueError(f"Augmenter: no backend of {', '.join(found)} has {steps[at]}; {remedy(steps[at], found)}")
        # The best backend gets every step that it can do, the others one at a time, so that the best one continues after it.
        best = name == next(iter(found))
        count = found[name].count_supported(steps[at:], state) if best else 1
        for op in steps[at : at + count]:
            size = op.output_size(size)
        if not best and out and out[-1].backend == name:
            out[-1] = Stage(name, out[-1].first, (*out[-1].ops, *steps[at : at + count]))
        else:
            out.append(Stage(name, at, tuple(steps[at : at + count])))
        at += count
    return tuple(out)


def remedy(step: Op, found: dict[str, Backend]) -> str:
    """What to do about a step that no backend supports."""
    if "batched" not in found:
        own = ", or approximate=True if DALI has one of its own that will do" if "dali" in found else ""
        return f"use backend='auto'{own}"
    kind = type(step).__name__
    return f"give it a function of a batch with gpuaug.register({kind}, function), in the module that defines {kind}"


def run(
    batch: Batch,
    plan: Sequence[Stage],
    found: dict[str, Backend],
    draws: Sequence[OpDraws],
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Apply the stages in order and return the view in the dtype and memory format asked for, in `out` if it is given."""
    for stage in plan:
        backend = found[stage.backend]
        steps = draws[stage.first : stage.first + len(stage.ops)]
        if isinstance(batch, Images) and not backend.reads_in_place:
            batch = batch.packed()
        elif isinstance(batch, torch.Tensor) and batch.dtype == torch.uint8 and not backend.reads_in_place:
            batch = as_floats(batch)
        if backend.writes_output and stage is plan[-1]:
            batch = backend.apply(batch, stage.ops, steps, dtype, memory_format, out)
            assert isinstance(batch, torch.Tensor)
            return batch
        batch = backend.apply(batch, stage.ops, steps)
    assert isinstance(batch, torch.Tensor)  # View checked that its ops end at one size
    if out is not None:
        return out.copy_(batch)
    return batch.to(dtype).contiguous(memory_format=memory_format)


def output_dtype(view: View) -> torch.dtype:
    return next((op.dtype for op in view.steps if isinstance(op, ToDtype)), torch.float32)
