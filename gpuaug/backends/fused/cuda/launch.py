"""Allocates memory for the Triton kernels and launches them.

    records --one copy--> first_pass --> [blur_across -->] next_pass --> ... --> view

Nothing here waits for the device or reads its data. Everything runs on the current stream.
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
"""Rows and columns of pixels in a tile. 224, 96 and 32 are multiples of 32, and a warp's load then covers one row."""

WARPS = 4
"""Warps of a program: a thread then makes eight pixels, over which it spreads the cost of finding its image and tile."""

MOST = 2**31 - 1
"""Most programs of a launch, and most values of one view, since 32-bit numbers count them. A batch may have more values."""


def register_limit(kernel: str, noisy: bool, floats: bool) -> dict[str, int]:
    """Triton's option `maxnreg`, for the kernels in which the assembler would otherwise spill registers on some devices.

    By itself the assembler allocates too few registers and spills two or four. This happens in the resize with noise, to which
    it gives 128 under every Triton; in passes over floats (72 to 80); and under Triton 3.7 in later passes (64).

    Args:
        kernel: Name of the kernel.
        noisy: Whether programs may have noise.
        floats: Whether the pass reads float32.
    """
    import triton

    if noisy:
        return {"maxnreg": 168} if kernel == "first_pass" else {}
    if floats:
        return {"maxnreg": 112 if kernel == "first_pass" else 96}
    return {"maxnreg": 80} if kernel == "next_pass" and triton.__version__.startswith("3.7.") else {}


@dataclass(frozen=True)
class LaunchConfig:
    """What the launches of a stage depend on, apart from the records.

    Attributes:
        count: Images in the batch.
        size: (height, width) of the view.
        words: 32-bit words of a record.
        columns: Instructions of a program.
        levels: The barrier on each level; see `records`.
        cubic: Whether the resize filter is bicubic.
        guard: Whether the resize might read beyond the end of the pixels.
        noisy: Whether programs may have noise.
        fixed: Whether scratch is 16-bit fixed point.
        dtype: Dtype of the view.
        memory_format: Memory format of the view.
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

    An image's view does not depend on the batch, to the bit.

    Args:
        batch: `Images`, or a float32 tensor (B, 3, H, W).
        tables: What happens to each image.
        dtype: Dtype of the view: float32, float16 or bfloat16.
        memory_format: Memory format of the view.

    Returns:
        The view (B, 3, H, W).

    Raises:
        ValueError: The batch is on the CPU and Triton's interpreter is off (TRITON_INTERPRET=1 turns it on), an image has
            more than `records.MAX_IMAGE` bytes, about 2 GiB, or the views exceed MOST.
    """
    if isinstance(batch, Images) and batch.planar:
        batch = batch.packed()
    source, lead = as_source(batch)
    words, levels = records(batch, tables, None, dtype != torch.float32, lead)
    config = launch_config(words, tables, levels, runs_over(words, source.numel()), dtype, memory_format)
    return launch(source, upload(words, source.device), config)


def launch_config(
    words: Words,
    tables: Tables,
    levels: tuple[int, ...],
    guard: bool,
    dtype: torch.dtype,
    memory_format: torch.memory_format,
) -> LaunchConfig:
    count, columns = tables.codes.shape
    # Only noise uses the last argument, for half of its key. It is set for every image, whether noise is applied or not, so
    # that the launches do not depend on the draws.
    noisy = bool(tables.arguments[:, :, KEY + 1].any())
    fixed = dtype != torch.float32 and bool(words[:, SNAP].all())
    size, cubic = tables.size, tables.cubic
    return LaunchConfig(count, size, words.shape[1], columns, levels, cubic, guard, noisy, fixed, dtype, memory_format)


def as_source(batch: Any) -> tuple[torch.Tensor, int]:
    """The memory that the kernels read, aligned to 16 bytes, and how many bytes in it precede the first image.

    Kernels read whole words of four bytes, hence up to three bytes before and after the pixels. These lie in the same
    allocation, since allocators align blocks to more than that.
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
    """Copy the records to the device, without waiting for the copy."""
    table = torch.from_numpy(words)
    # torch's allocator reuses pinned memory only after the stream has finished the copy.
    return table.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else table


def launch(source: torch.Tensor, table: torch.Tensor, config: LaunchConfig) -> torch.Tensor:
    """Launch the kernels of a stage. Everything that they write is allocated here, through torch.

    Raises:
        ValueError: A view has more values, or the batch needs more programs, than MOST.
    """
    from . import kernels

    (height, width), levels, device = config.size, config.levels, source.device
    tiles = -(-height // TILE[0]) * -(-width // TILE[1])
    if 3 * height * width > MOST:
        raise ValueError(f"fused: a view of {height}x{width} has {3 * height * width} values, a view can have {MOST}")
    if config.count * tiles > MOST:
        raise ValueError(
            f"fused: {config.count} views of {height}x{width} need {config.count * tiles} programs, a launch can have {MOST}; "
            f"use batches of at most {MOST // tiles}"
        )
    out = torch.empty((config.count, 3, height, width), dtype=config.dtype, device=device, memory_format=config.memory_format)
    if not config.count:
        return out
    # Passes write `image`; the horizontal half of a blur writes `across`.
    kind = torch.int16 if config.fixed else torch.float32
    image = torch.empty((config.count if levels else 0, 3, height, width), dtype=kind, device=device)
    across = torch.empty_like(image) if BLUR in levels else image
    sums = torch.empty((config.count if CONTRAST in levels else 0, config.columns, tiles), dtype=torch.int64, device=device)

    grid = (config.count * tiles,)
    numbers = (height, width, config.words)
    passes = len(levels) + 1
    tile: dict[str, Any] = {"H": TILE[0], "W": TILE[1], "num_warps": WARPS, "enable_fp_fusion": True}
    finish: dict[str, Any] = {"NOISY": config.noisy, "CHANNELS_LAST": config.memory_format == torch.channels_last, **tile}
    resize = {"FLOATS": source.dtype == torch.float32, "CUBIC": config.cubic, "GUARD": config.guard, **finish}
    resize |= register_limit("first_pass", config.noisy, resize["FLOATS"])
    finish |= register_limit("next_pass", config.noisy, not config.fixed)
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        kernels.first_pass[grid](source, table, image, sums, out, *numbers, passes, config.columns, **resize)
        for level, barrier in enumerate(levels, start=1):
            spans = (*numbers, level, passes, config.columns)
            if barrier == BLUR:
                kernels.blur_across[grid](image, table, across, *spans, **tile)
            kernels.next_pass[grid](across if barrier == BLUR else image, table, image, sums, out, *spans, **finish)
    return out
