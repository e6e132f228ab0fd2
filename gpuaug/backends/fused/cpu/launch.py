"""Runs the Numba kernels on a batch, which is divided among threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ....images import Images
from ....memory import uninitialised
from ..instructions import ARGUMENTS
from ..plan import Tables
from .buffers import SCRATCH, Bytes, Floats, Halves, Longs, Source, Target
from .compilation import MAKE_VIEWS
from .dimensions import dimensions
from .kernels import views
from .kernels.output import BFLOAT16, FLOAT16, FLOAT32
from .simd.llvm import LANES
from .threads import shares, spread

DTYPES = {torch.float32: FLOAT32, torch.float16: FLOAT16, torch.bfloat16: BFLOAT16}
NO_BYTES: Bytes = np.empty(0, dtype=np.uint8)
NO_FLOATS: Floats = np.empty(0, dtype=np.float32)
NO_HALVES: Halves = np.empty(0, dtype=np.uint16)
NO_OFFSETS: Longs = np.empty(0, dtype=np.int64)


def make_view(
    batch: Any,
    tables: Tables,
    dtype: torch.dtype,
    memory_format: torch.memory_format,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Make the view that the tables describe, with torch.get_num_threads() threads.

    The number of threads does not change a bit of the view.

    Args:
        batch: `Images`, or a float32 tensor (B, 3, H, W), on the CPU.
        tables: What happens to each image.
        dtype: Dtype of the view: float32, float16 or bfloat16.
        memory_format: Memory format of the view.
        out: Tensor to write the view into, of this dtype and contiguous in this memory format; None allocates one.

    Returns:
        The view (B, 3, H, W); this is `out` if it was given.
    """
    count = len(tables.codes)
    if out is None:
        out = uninitialised((count, 3, *tables.size), dtype, memory_format)
    if not count:
        return out
    if isinstance(batch, Images):
        height, width = batch.shapes.T
        planar = batch.layout != "interleaved"
        step = 1 if planar else 3
        planes = np.multiply(height, width, dtype=np.int64) if planar else np.ones(count, dtype=np.int64)
        pitches = np.multiply(width, step, dtype=np.int64)
        source = Source(batch.buffer.numpy(), batch.offsets, pitches, step, planes, batch.layout == "yuv420", NO_FLOATS)
    else:
        source = Source(NO_BYTES, NO_OFFSETS, NO_OFFSETS, 3, NO_OFFSETS, False, batch.contiguous().reshape(-1).numpy())
    target = as_target(out, tables, memory_format)
    words = tables.arguments.view(np.uint32)

    def make_part(span: tuple[int, int]) -> None:
        work = SCRATCH.borrow(key)
        views.make_views(
            source, tables.boxes, tables.flips, tables.cubic, tables.codes, tables.arguments, words, work, target, *span
        )
        SCRATCH.give_back(key, work)

    threads = min(torch.get_num_threads(), count)
    with MAKE_VIEWS.watched():
        key = dimensions(tables)
        if threads == 1:
            make_part((0, count))
        else:
            spread(make_part, shares(count, threads), threads)
    return out


def as_target(out: torch.Tensor, tables: Tables, memory_format: torch.memory_format) -> Target:
    channels_last = memory_format == torch.channels_last
    flat = (out.permute(0, 2, 3, 1) if channels_last else out).reshape(-1)
    dtype = DTYPES[out.dtype]
    height, width = tables.size
    line = 3 * width if channels_last else width
    return Target(
        flat.numpy() if dtype == FLOAT32 else NO_FLOATS,
        NO_HALVES if dtype == FLOAT32 else flat.view(torch.uint16).numpy(),
        dtype,
        channels_last,
        line % LANES == 0 and out.data_ptr() % 64 == 0,
        height,
        width,
        tables.scale,
        tables.bias,
    )


def warm_up() -> None:
    """Compile the kernels, or load them from the cache, by making a view of one pixel; every view runs the same kernels."""
    if MAKE_VIEWS.done.is_set():
        return
    whole, ones = np.array([[0, 0, 1, 1, 1, 1, 0, 0]], dtype=np.int32), np.ones(3, dtype=np.float32)
    nothing = np.zeros((1, 0), dtype=np.uint8), np.zeros((1, 0, ARGUMENTS), dtype=np.float32)
    tables = Tables((1, 1), whole, np.zeros((1, 2), dtype=np.bool_), False, *nothing, ones, ones, radius=0)
    pixel = Images(torch.zeros(3, dtype=torch.uint8, device="cpu"), np.ones((1, 2), dtype=np.int32))
    make_view(pixel, tables, torch.float32, torch.contiguous_format)
