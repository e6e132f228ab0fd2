"""Applies a run of steps to a batch: image by image while sizes differ, then in parts that fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch

from ... import ops as op
from ...images import Images
from ...ops.crop import Sized
from .. import REGISTERED, Batch, BatchForm, Function, leading_where
from .resample import Pixels, unit
from .rows import apply_marked, most_pixels
from .table import CUTS, MAPS, OPS


def count_supported(steps: Sequence[op.Op], form: BatchForm) -> int:
    return leading_where(steps, lambda o: type(o) in OPS or type(o) in REGISTERED)


def apply(batch: Batch, ops: Sequence[op.Op], draws: Sequence[op.OpDraws]) -> Batch:
    """Apply a run of steps; `gpuaug.backends.Batch` describes the shapes.

    A crop or a resize to a fixed size reads images of different sizes directly. Other ops on such images run image by image
    until the sizes agree.
    """
    sizes = shapes(batch)
    alone = apart(batch, sizes, ops)
    if alone:
        images = [run(part(batch, k, k + 1), ops[:alone], rows_of(draws[:alone], slice(k, k + 1))) for k in range(len(batch))]
        if len({image.shape for image in images}) > 1:
            return [image[0] for image in images]
        batch, ops, draws = torch.cat(images), ops[alone:], draws[alone:]
        sizes = shapes(batch)
    device = batch[0].device if isinstance(batch, list) else batch.device
    rows = max(1, most_pixels(device) // area(sizes, ops))
    parts = [run(part(batch, k, k + rows), ops, rows_of(draws, slice(k, k + rows))) for k in range(0, len(batch), rows)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def run(batch: Images | torch.Tensor, ops: Sequence[op.Op], draws: Sequence[op.OpDraws]) -> torch.Tensor:
    """Apply steps to a part of a batch that fits into memory; it is (B, C, H, W) after the first step."""
    for o, step in zip(ops, draws, strict=True):
        cut = CUTS.get(type(o))
        if cut is not None:
            batch = cut(Pixels.of(batch), o, step)
        else:
            batch = apply_marked(MAPS.get(type(o)) or registered(type(o)), pixels(batch), o, step)
    return pixels(batch)


def registered(kind: type[op.Op]) -> Function:
    """A user's function with a check of its result, so that the error names this op and not a later one."""

    def checked(x: torch.Tensor, o: op.Op, d: op.OpDraws) -> torch.Tensor:
        made = REGISTERED[kind](x, o, d)
        wanted = (*x.shape[:2], *(o.output_size((x.shape[2], x.shape[3])) or x.shape[2:]))
        if not isinstance(made, torch.Tensor) or (tuple(made.shape), made.dtype, made.device) != (wanted, x.dtype, x.device):
            found = (
                f"{tuple(made.shape)} {made.dtype} on {made.device}" if isinstance(made, torch.Tensor) else type(made).__name__
            )
            raise ValueError(
                f"{kind.__name__}: its registered function must return a tensor {wanted} {x.dtype} on {x.device}, got {found}"
            )
        return made

    return checked


def pixels(batch: Images | torch.Tensor) -> torch.Tensor:
    """A batch of one size as float32 (B, 3, H, W)."""
    if isinstance(batch, torch.Tensor):
        return batch
    height, width = batch.shapes[0].tolist()
    return unit(batch.buffer.view(-1, height, width, 3).permute(0, 3, 1, 2).contiguous())


def part(batch: Batch, first: int, end: int) -> Images | torch.Tensor:
    """Some images of a batch: they share its memory, or are stacked if the batch is a list (then of one size)."""
    if isinstance(batch, Images):
        at = np.append(batch.offsets, batch.buffer.numel())
        end = min(end, len(batch))
        return Images(batch.buffer[int(at[first]) : int(at[end])], batch.shapes[first:end])
    return torch.stack(batch[first:end]) if isinstance(batch, list) else batch[first:end]


def rows_of(draws: Sequence[op.OpDraws], rows: slice) -> list[op.OpDraws]:
    return [{name: a[rows] for name, a in step.items()} for step in draws]


def shapes(batch: Batch) -> set[op.Size]:
    """The different sizes of a batch's images."""
    if isinstance(batch, Images):
        return {(int(h), int(w)) for h, w in np.unique(batch.shapes, axis=0)}
    return {(x.shape[-2], x.shape[-1]) for x in ([batch] if isinstance(batch, torch.Tensor) else batch)}


def after(o: op.Op, size: op.Size) -> op.Size:
    """Size after an op, without the checks of `Op.output_size`, since the op may not be applied to every image."""
    if isinstance(o, op.Resize):
        return o.target(*size)
    if type(o) in REGISTERED:
        return o.output_size(size) or size
    return cast(op.Size, o.size) if isinstance(o, Sized) else size


def apart(batch: Batch, sizes: set[op.Size], ops: Sequence[op.Op]) -> int:
    """Count the leading ops that must run image by image because sizes differ before them."""
    for k, o in enumerate(ops):
        fixed = isinstance(o, Sized) and isinstance(o.size, tuple)
        if len(sizes) == 1 or (k == 0 and fixed and isinstance(batch, Images)):
            return k
        sizes = {after(o, size) for size in sizes}
    return len(ops)


def area(sizes: set[op.Size], ops: Sequence[op.Op]) -> int:
    """The most pixels that an image has between ops; what a leading crop or resize reads does not count."""
    largest = [1] if ops and isinstance(ops[0], Sized) else [h * w for h, w in sizes]
    for o in ops:
        sizes = {after(o, size) for size in sizes}
        largest += [h * w for h, w in sizes]
    return max(largest)
