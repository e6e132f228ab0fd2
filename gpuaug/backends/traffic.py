"""What each stage of a plan reads and writes, as `print(augmenter)` shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ..ops import Op
from ..policy import View
from . import Backend
from .inputs import RGB, Kind


@dataclass(frozen=True)
class Stage:
    """Consecutive steps of one view that one backend applies in one call; `first` is the index of the first step."""

    backend: str
    first: int
    ops: tuple[Op, ...]


def described(
    view: View, plan: Sequence[Stage], found: Mapping[str, Backend], count: int, dtype: torch.dtype, kind: Kind
) -> list[str]:
    """The lines about `count` equal views that come out in this dtype, and their stages."""
    height, width = view.size
    lines = [f"  {count} x {height}x{width} {str(dtype).removeprefix('torch.')}"]
    moved = [traffic(view, stage, found[stage.backend], dtype, kind) for stage in plan]
    for k, (stage, (read, written)) in enumerate(zip(plan, moved, strict=True), start=1):
        lines.append(f"    {k}. {stage.backend}: " + " -> ".join(type(o).__name__ for o in stage.ops))
        lines.append(f"       a view reads {kilobytes(read)}, writes {kilobytes(written)}")
    perfect = kind.channels * height * width * (source_bytes(kind) + dtype.itemsize)
    share = perfect / sum(read + written for read, written in moved)
    return [*lines, f"    one perfect pass would move {kilobytes(perfect)}, {share:.0%} of this"]


def kilobytes(count: float) -> str:
    return f"{count / 1e3:,.0f} kB"


def source_bytes(kind: Kind) -> int:
    return 1 if kind.form in ("images", "bytes") else 4


def traffic(view: View, stage: Stage, backend: Backend, dtype: torch.dtype, kind: Kind = RGB) -> tuple[float, float]:
    """Bytes that a stage reads and writes per view, averaged over draws, for a source image with as many pixels as the view.

    The first stage reads the source's pixels, the last writes the view's dtype; everything in between is float32. Each extra
    pass of the backend writes the view in float32 and reads it again.
    """
    values = kind.channels * view.size[0] * view.size[1]
    first, last = stage.first == 0, stage.first + len(stage.ops) == len(view.steps)
    between = 4 * values * backend.extra_passes(stage.ops)
    return values * (source_bytes(kind) if first else 4) + between, values * (dtype.itemsize if last else 4) + between
