"""Runs the kernel that crops a float batch of any number of channels, ahead of those that read floats of one size."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import ceil

import numpy as np
import torch

from ....memory import aligned, uninitialised
from ..plan import Tables
from . import launch
from .compilation import CROP_PLANES
from .dimensions import round_up
from .resample import Filter, crop
from .threads import spread


def make_view(
    batch: torch.Tensor,
    tables: Tables,
    dtype: torch.dtype,
    memory_format: torch.memory_format,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Make the view of a float32 batch (B, C, H, W) whose boxes are cropped; arguments as in `launch.make_view`.

    With other than three channels, the tables must hold crops and flips alone.
    """
    finished = not tables.codes.any() and (tables.scale == 1).all() and (tables.bias == 0).all()
    plain = dtype == torch.float32 and memory_format == torch.contiguous_format
    shape = (*batch.shape[:2], *tables.size)
    into = out if finished and plain and out is not None else uninitialised(shape, torch.float32, torch.contiguous_format)
    crop_planes(batch.contiguous(), tables, into)
    if finished:
        if out is None:
            return into.to(dtype).contiguous(memory_format=memory_format)
        return out if out is into else out.copy_(into)
    whole = np.array([0, 0, *tables.size, *tables.size, 0, 0], dtype=np.int32)
    rest = replace(tables, boxes=np.tile(whole, (len(batch), 1)), flips=np.zeros_like(tables.flips))
    return launch.make_view(into, rest, dtype, memory_format, out)


def crop_planes(batch: torch.Tensor, tables: Tables, out: torch.Tensor) -> None:
    """Crop and flip the images of a contiguous batch into `out`, with torch.get_num_threads() threads."""
    count, (height, width), boxes = len(batch), tables.size, tables.boxes
    low = high = np.zeros(count, dtype=np.float32)
    if tables.cubic:  # its overshoot is clipped to [0, 1], or to the image's range where that is wider
        low, high = (x.numpy() for x in (batch.amin((1, 2, 3)).clamp(max=0.0), batch.amax((1, 2, 3)).clamp(min=1.0)))
    support = 2 if tables.cubic else 1
    taps_y, taps_x = (2 * ceil(support * max(1.0, (boxes[:, k] / boxes[:, k + 2]).max())) + 2 for k in (2, 3))
    rows = int(boxes[:, 2].max())

    def make_part(span: tuple[int, int]) -> None:
        work = (axis_of(taps_x, width), axis_of(taps_y, height), aligned(rows * round_up(width)).reshape(rows, -1))
        crop(batch.numpy(), boxes, tables.flips, tables.cubic, low, high, *work, out.numpy(), *span)

    threads = min(torch.get_num_threads(), count)
    with CROP_PLANES.watched():
        edges = [0, count] if threads == 1 else np.linspace(0, count, min(4 * threads, count) + 1).astype(int).tolist()
        spread(make_part, list(pairwise(edges)), threads)


def axis_of(taps: int, n: int) -> Filter:
    """Memory for the filter of an axis: `taps` at most, for n output pixels."""
    stride = round_up(n)
    return Filter(
        first=np.zeros(n, dtype=np.int32),
        taps=np.zeros(n, dtype=np.int32),
        weight=aligned(taps * stride).reshape(taps, stride),
        source=aligned(taps * stride, np.int32).reshape(taps, stride),
        norm=np.zeros(n, dtype=np.float32),
    )
