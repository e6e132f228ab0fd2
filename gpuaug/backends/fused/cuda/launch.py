"""The fused backend on a CUDA device: memory and launches around the Triton kernels.

    records --one copy--> first_pass --> [blur_across -->] next_pass --> ... --> view

Nothing here waits for the device or looks at its data; all runs on the current stream.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from ....images import Images
from ..instructions import BLUR, CONTRAST, KEY
from ..plan import Tables
from .records import SNAP, Words, records, runs_over

TILE = (32, 32)
"""Rows and columns of the pixels that a program makes: 224, 96 and 32 are multiples of 32, and a warp's loads are one row."""

WARPS = 4
"""Of a program: eight pixels a thread, over which it spreads what it must know of its image and tile."""


def register_limit(kernel: str, noisy: bool, floats: bool) -> dict[str, int]:
    """Triton's option `maxnreg` for a kernel whose registers the assembler, left to itself, would spill for some devices.

    It takes too few, and spills two of them: for the resize with noise 128 under any Triton, and under Triton 3.7 alone 80 for
    a first pass over floats and 64 for a later pass.
    """
    import triton

    if noisy:
        return {"maxnreg": 168} if kernel == "first_pass" else {}
    if not triton.__version__.startswith("3.7."):
        return {}
    return {"maxnreg": 80} if kernel == "next_pass" else {"maxnreg": 112} if floats else {}


@dataclass(frozen=True)
class Form:
    """What the launches of a stage depend on; the rest is in the records.

    words: of a record. guard: whether reading may run over the end of the pixels. noisy: whether there may be noise.
    fixed: whether scratch is 16-bit fixed point.
    """

    count: int
    size: tuple[int, int]
    words: int
    columns: int
    levels: tuple[int, ...]
    cubic: bool
    guard: bool
    noisy: bool
    fixed: bool
    dtype: torch.dtype
    memory_format: torch.memory_format


def make_view(batch: Any, tables: Tables, dtype: torch.dtype, memory_format: torch.memory_format) -> torch.Tensor:
    """Make the view that the tables describe, on the device of the batch.

    An image's view is the same bits in any batch.

    Args:
        batch: `Images`, or float32 (B, 3, H, W).
        tables: What is done to each image.
        dtype: Of the view: float32, float16 or bfloat16.
        memory_format: Of the view.

    Returns:
        The view (B, 3, H, W).

    Raises:
        ValueError: The batch is on the CPU and Triton's interpreter does not run (TRITON_INTERPRET=1), or one of its images
            has 2 GiB or more.
    """
    if isinstance(batch, Images) and batch.planar:
        batch = batch.packed()
    source, lead = as_source(batch)
    words, levels = records(batch, tables, None, dtype != torch.float32, lead)
    form = form_of(words, tables, levels, runs_over(words, tables.cubic, source.numel()), dtype, memory_format)
    return launch(source, upload(words, source.device), form)


def form_of(
    words: Words,
    tables: Tables,
    levels: tuple[int, ...],
    guard: bool,
    dtype: torch.dtype,
    memory_format: torch.memory_format,
) -> Form:
    count, columns = tables.codes.shape
    # Only noise has the last argument, half of its key, and has it for every image, whether applied or not.
    noisy = bool(tables.arguments[:, :, KEY + 1].any())
    fixed = dtype != torch.float32 and bool(words[:, SNAP].all())
    size, cubic = tables.size, tables.cubic
    return Form(count, size, words.shape[1], columns, levels, cubic, guard, noisy, fixed, dtype, memory_format)


def as_source(batch: Any) -> tuple[torch.Tensor, int]:
    """The memory that the kernels read, from a multiple of 16 bytes on, and the bytes in it before the first image.

    They read whole words of four bytes, so up to three bytes on either side, which an allocator never gives to others.
    """
    tensor: torch.Tensor = batch.buffer if isinstance(batch, Images) else batch.contiguous()
    if tensor.device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(f"fused: the Triton kernels run on CUDA devices, the images are on {tensor.device}")
    lead = tensor.data_ptr() % 16
    if lead == 0:
        return tensor, 0
    if not isinstance(batch, Images) or tensor.storage_offset() < lead:
        return tensor.clone(), 0
    return tensor.as_strided((tensor.numel() + lead,), (1,), tensor.storage_offset() - lead), lead


def upload(words: Words, device: torch.device) -> torch.Tensor:
    """The records on the device, by one copy that the host does not wait for."""
    table = torch.from_numpy(words)
    # torch's allocator gives pinned memory out again only when the stream has passed the copy.
    return table.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else table


def launch(source: torch.Tensor, table: torch.Tensor, form: Form) -> torch.Tensor:
    """Launch the kernels of a stage; everything that they write is allocated here, through torch."""
    from . import kernels

    (height, width), levels, device = form.size, form.levels, source.device
    out = torch.empty((form.count, 3, height, width), dtype=form.dtype, device=device, memory_format=form.memory_format)
    if not form.count:
        return out
    tiles = -(-height // TILE[0]) * -(-width // TILE[1])
    # Passes leave what they made in `image`; the first half of a blur goes to `across`.
    kind = torch.int16 if form.fixed else torch.float32
    image = torch.empty((form.count if levels else 0, 3, height, width), dtype=kind, device=device)
    across = torch.empty_like(image) if BLUR in levels else image
    sums = torch.empty((form.count if CONTRAST in levels else 0, form.columns, tiles), dtype=torch.float32, device=device)

    grid = (form.count * tiles,)
    numbers = (height, width, form.words)
    passes = len(levels) + 1
    tile: dict[str, Any] = {"H": TILE[0], "W": TILE[1], "num_warps": WARPS, "enable_fp_fusion": True}
    finish: dict[str, Any] = {"NOISY": form.noisy, "CHANNELS_LAST": form.memory_format == torch.channels_last, **tile}
    resize = {"FLOATS": source.dtype == torch.float32, "CUBIC": form.cubic, "GUARD": form.guard, **finish}
    resize |= register_limit("first_pass", form.noisy, resize["FLOATS"])
    finish |= register_limit("next_pass", form.noisy, False)
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        kernels.first_pass[grid](source, table, image, sums, out, *numbers, passes, form.columns, **resize)
        for level, barrier in enumerate(levels, start=1):
            spans = (*numbers, level, passes, form.columns)
            if barrier == BLUR:
                kernels.blur_across[grid](image, table, across, *spans, **tile)
            kernels.next_pass[grid](across if barrier == BLUR else image, table, image, sums, out, *spans, **finish)
    return out
