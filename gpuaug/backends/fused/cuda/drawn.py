"""Draws of a stage on the device: everything that the kernel of `draw` reads, and its launch."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch

from ....images import Images
from ....ops.base import Array
from ....ops.color import ORDERS
from ....ops.exact.exponential import EXPONENTIAL
from ..draw_program import DrawProgram, boxes_to_crop
from ..plan import geometry
from .records import check_sizes, kinds_of_levels, words_of

LANES = 32
"""Images of a program, one a thread of its only warp."""

OPTIONS = {"num_warps": 1, "enable_fp_fusion": False}


class Inputs(NamedTuple):
    """Tensors on the device, in the order and with the names of the first arguments of `draw.draw_records`; see there.

    Attributes:
        state: (2,) int64, the seed (its bits) and the epoch. The caller may write other numbers.
        samples: (B,) int64 sample indices, each in 0..2^48-1. The caller writes other numbers for each batch.
    """

    state: torch.Tensor
    samples: torch.Tensor
    images: torch.Tensor
    boxes: torch.Tensor
    all_rows: torch.Tensor
    numbers: torch.Tensor
    condition_columns: torch.Tensor
    ranges: torch.Tensor
    orders: torch.Tensor
    kinds: torch.Tensor
    all_levels: torch.Tensor
    constants: torch.Tensor
    affine: torch.Tensor
    streams: torch.Tensor


def inputs(program: DrawProgram, batch: Images, lead: int, levels: tuple[int, ...], device: torch.device) -> Inputs:
    """What the draws of a batch follow from, with seed, epoch and sample indices all 0.

    Args:
        program: How the stage is drawn.
        batch: The images, whose sizes and places in memory must not change.
        lead: Bytes before the first image in the memory that the kernels read.
        levels: The levels that any draws can need.
        device: Where the draws are to be made.

    Raises:
        ValueError: An image is too large for the kernels.
    """
    check_sizes(batch)
    count, shapes, rows = len(batch), batch.shapes, program.rows
    images = np.empty((count, 4), dtype=np.int64)
    images[:, 0], images[:, 1], images[:, 2:] = lead + batch.offsets, (lead + batch.buffer.numel() - 1) // 4, shapes
    if program.geometry:
        _, boxes, _ = geometry(shapes, program.geometry, [{}] * len(program.geometry))
    else:
        boxes = boxes_to_crop(shapes, program.size)
    columns = (rows.kinds, rows.columns, rows.at, rows.codes, rows.drawn, rows.keys, rows.wide)
    arrays = (
        np.zeros(2, dtype=np.int64),
        np.zeros(count, dtype=np.int64),
        images,
        boxes,
        np.concatenate([np.stack(columns, axis=1), rows.conditions], axis=1, dtype=np.int32),
        rows.numbers,
        rows.condition_columns,
        np.stack([rows.lows, rows.highs], axis=1),
        ORDERS.astype(np.int32),
        kinds_of_levels(program.possible).astype(np.int32),
        np.array(levels, dtype=np.int32),
        EXPONENTIAL,
        np.concatenate([program.scale, program.bias]).view(np.int32),
        np.stack([program.layout.views, program.layout.blocks], axis=1).astype(np.uint32).view(np.int32),
    )
    return Inputs(*(on_device(a, device) for a in arrays))


def on_device(array: Array, device: torch.device) -> torch.Tensor:
    """A copy of an array, with at least one element, so that it has an address."""
    tensor = torch.from_numpy(array if array.size else np.zeros(1, dtype=array.dtype))
    return tensor.clone() if device.type == "cpu" else tensor.to(device)


def draw_records(given: Inputs, program: DrawProgram, view: int, levels: int, step: int = 3) -> torch.Tensor:
    """Draw for a batch, on the current stream, and return its records, (B, words) int32.

    They equal those of `records` with the same levels. step: of `records.step_of` the images.
    """
    from .kernels.draw import draw_records as kernel

    count, columns = len(given.samples), program.instructions
    table = torch.empty((count, words_of(levels, columns)), dtype=torch.int32, device=given.samples.device)
    if count:
        numbers = (count, len(program.rows.kinds), columns, levels, view, *program.size, step)
        options: dict[str, Any] = {"LANES": LANES, "SHARES": program.layout.shares, **OPTIONS}
        with torch.cuda.device(table.device) if table.device.type == "cuda" else nullcontext():
            kernel[(-(-count // LANES),)](*given, table, *numbers, **options)
    return table
