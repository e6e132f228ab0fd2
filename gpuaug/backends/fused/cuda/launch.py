"""Allocates memory for the Triton kernels and launches them.

    records --one copy--> first_pass --> [blur_across -->] next_pass, or general_pass --> ... --> view

Nothing here waits for the device or reads its data. Everything runs on the current stream.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from ....images import Images
from ....ops.jpeg import CHROMA, LUMA, TRANSFORM
from ..cpu.pack import ANY
from ..instructions import BLUR, CONTRAST, ELASTIC, GENERAL, JPEG, KEEP, RANDOM
from ..plan import Tables
from .records import Words, columns_read, records, step_of
from .sizes import BLOCKS, GENERAL_TILE, STRIP_REGISTERS, TILE, WARPS, Strips, register_limit, strips_for

PLACE, PLACES = 3 * 256 // 2, 3
"""64-bit words for the statistics of a barrier in the general form of the kernels: three histograms, in 32 bits; and how many
places an image has for them at most: for its barrier, for the next one, and one that is cleared."""

MOST = 2**31 - 1
"""Most programs of a launch, and most values of one view, since 32-bit numbers count them. A batch may have more values."""


@dataclass(frozen=True)
class LaunchConfig:
    """What the launches of a stage depend on, apart from the records.

    Attributes:
        count: Images in the batch.
        size: (height, width) of the view.
        words: 32-bit words of a record.
        columns: Instructions of a program.
        levels: The kind of each level; see `records`.
        cubic: Whether the resize filter is bicubic.
        strips: How the kernels in `strips` divide their work, or None if the device cannot run them.
        span: Most columns of an image that a strip reads.
        noisy: Whether programs may have noise.
        general: Whether programs may have any of `instructions.GENERAL`.
        mixes: Whether programs may mix views.
        yuv: Whether images are planes of brightness and colours.
        radius: Largest radius of any blur, in pixels.
        dtype: Dtype of the view.
        memory_format: Memory format of the view.
    """

    count: int
    size: tuple[int, int]
    words: int
    columns: int
    levels: tuple[int, ...]
    cubic: bool
    strips: Strips | None
    span: int
    noisy: bool
    general: bool
    mixes: bool
    yuv: bool
    radius: int
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
    if isinstance(batch, Images) and not readable(batch):
        batch = batch.packed()
    source, lead = as_source(batch)
    words, levels = records(batch, tables, None, lead)
    config = launch_config(words, tables, levels, source.device, None, dtype, memory_format, step_of(batch) == 1)
    return launch(source, upload(words, source.device), config)


def launch_config(
    words: Words,
    tables: Tables,
    levels: tuple[int, ...],
    device: torch.device,
    span: int | None,
    dtype: torch.dtype,
    memory_format: torch.memory_format,
    yuv: bool = False,
) -> LaunchConfig:
    count, columns = tables.codes.shape
    size, cubic, possible = tables.size, tables.cubic, tables.possible
    noisy, general, mixes = bool(possible & RANDOM), bool(possible & GENERAL), KEEP in possible
    strips = strips_for(capability_of(device), noisy)
    if span is None:
        span = columns_read(words, cubic, strips.columns) if strips else 0
    return LaunchConfig(
        count, size, words.shape[1], columns, levels, cubic, strips, span, noisy, general, mixes, yuv, tables.radius, dtype,
        memory_format,
    )  # fmt: skip


def capability_of(device: torch.device) -> tuple[int, int]:
    """The compute capability of a device; Hopper's in the interpreter."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else (9, 0)


def readable(images: Images) -> bool:
    """Whether the kernels read images as they are: with interleaved channels, or in strips as brightness and colours."""
    if images.layout == "yuv420":
        return strips_for(capability_of(images.device), False) is not None
    return images.layout == "interleaved"


def as_source(batch: Any) -> tuple[torch.Tensor, int]:
    """The memory that the kernels read, aligned to 16 bytes, and how many bytes in it precede the first image.

    It is the batch's own unless that is not aligned, or is a batch of floats in another memory order; then it is a copy.

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
    (height, width), levels, device = config.size, config.levels, source.device
    tiles = tiles_of(config.size, GENERAL_TILE if config.general else TILE)
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
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        run = Launches(source, table, config, out)
        run.first()
        for level, kind in enumerate(levels, start=1):
            run.blur(level) if kind == BLUR else run.next_pass(level, kind)
    return out


@cache
def jpeg_tables(device: torch.device) -> torch.Tensor:
    """The tables of `jpeg_blocks` on a device. The first call waits for the device; a CUDA graph is captured after it."""
    return torch.from_numpy(np.concatenate([TRANSFORM.ravel(), LUMA.ravel(), CHROMA.ravel()]).astype(np.int32)).to(device)


def tiles_of(size: tuple[int, int], tile: tuple[int, int]) -> int:
    return -(-size[0] // tile[0]) * -(-size[1] // tile[1])


class Launches:
    """The launches of one stage, and the memory that they share.

    Args:
        source: The memory that the first launch reads, see `as_source`.
        table: The records, on the same device.
        config: What the launches depend on.
        out: Where the view is written.
    """

    def __init__(self, source: torch.Tensor, table: torch.Tensor, config: LaunchConfig, out: torch.Tensor) -> None:
        count, (height, width), levels, strips = config.count, config.size, config.levels, config.strips
        self.source, self.table, self.config, self.out = source, table, config, out
        self.floats = source.dtype == torch.float32
        # Whether blurs are made in strips, from scratch in float16. Otherwise they are made tap by tap.
        self.in_strips = BLUR in levels and strips is not None and config.dtype != torch.float32
        # Scratch has another half if a pass follows a blur or another barrier that reads neighbours; see `scratch_of`.
        self.half = count * 3 * height * width if {BLUR, ELASTIC, ANY} & {*levels[:-1]} else 0
        kind = torch.float32 if config.dtype == torch.float32 else torch.float16
        self.scratch = self.empty(1 + (self.half > 0), count if levels else 0, 3, height, width, dtype=kind)
        apart = (BLUR in levels and not self.in_strips) or JPEG in levels
        self.across = self.empty(count if apart else 0, 3, height, width, dtype=kind)
        self.field = self.empty(count if ELASTIC in levels else 0, 4, height, width, dtype=torch.float32)
        known = (min(len(levels), PLACES), PLACE) if config.general else (config.columns,)
        summed = count if levels and (config.general or CONTRAST in levels) else 0
        self.sums = self.empty(summed, *known, dtype=torch.int64).zero_()
        mixed = (count if config.mixes else 0, 3, height, width)
        self.mix = self.empty(*mixed, dtype=kind), self.empty(*mixed, dtype=torch.float32)
        self.tiles = (count * tiles_of(config.size, TILE),)
        self.numbers, self.places = (height, width, config.words), (len(levels) + 1, config.columns)
        self.options: dict[str, Any] = {"num_warps": WARPS, "enable_fp_fusion": True}
        self.general = {"GENERAL": config.general}
        self.finish = {"NOISY": config.noisy, "CHANNELS_LAST": config.memory_format == torch.channels_last, **self.options}
        self.tile = {"H": TILE[0], "W": TILE[1]}
        if strips:
            # A strip of a blur begins up to 7 columns early, at a multiple of 8.
            columns = max(0 if self.floats else config.span, strips.columns + 2 * config.radius + 7 if self.in_strips else 0)
            self.chunks = -(-columns // strips.chunk_columns)
            self.strips = (count * -(-width // strips.columns),)
            self.weights = self.empty(*self.strips, self.chunks, 2, strips.columns, strips.chunk_columns, dtype=torch.float16)
            self.strip = {"H": strips.rows, "W": strips.columns, "KY": strips.chunk_rows, "KX": strips.chunk_columns}
            self.strip["maxnreg"] = STRIP_REGISTERS[config.dtype]

    def empty(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device=self.source.device)

    def first(self) -> None:
        """From the source to the first barrier."""
        from .kernels import strips, tiles

        config = self.config
        if self.floats or not config.strips:
            tiles.first_pass[self.tiles](
                self.source, self.table, self.scratch, self.sums, self.out, *self.numbers, *self.places,
                FLOATS=self.floats, CUBIC=config.cubic, maxnreg=register_limit(config.noisy), **self.tile, **self.general,
                **self.finish,
            )  # fmt: skip
        else:
            strips.strip_pass[self.strips](
                self.source, self.table, self.weights, self.scratch, self.sums, self.out, *self.numbers, self.chunks,
                *self.places, CUBIC=config.cubic, YUV=config.yuv, **self.strip, **self.general, **self.finish,
            )  # fmt: skip

    def blur(self, level: int) -> None:
        """A blur, and on to the next barrier."""
        from .kernels import strips, tiles

        if self.in_strips:
            strips.blur_pass[self.strips](
                self.scratch, self.table, self.weights, self.sums, self.out, *self.numbers, level, self.chunks,
                *self.places, self.half, **self.strip, **self.general, **self.finish,
            )  # fmt: skip
        else:
            tiles.blur_across[self.tiles](
                self.scratch, self.table, self.across, *self.numbers, level, *self.places, self.half,
                **self.tile, **self.general, **self.options,
            )  # fmt: skip
            self.next_pass(level, BLUR)

    def before(self, level: int, kind: int) -> None:
        """What a barrier needs of the whole view that no pass before it has made."""
        from .kernels import elastic, jpeg

        height, width = self.config.size
        if kind == JPEG:
            jpeg.jpeg_blocks[(self.config.count * tiles_of((height, width), (BLOCKS, BLOCKS)),)](
                self.scratch, self.table, self.across, jpeg_tables(self.source.device), *self.numbers, level, *self.places,
                self.half, SIDE=BLOCKS, **self.options,
            )  # fmt: skip
        if kind == ELASTIC:
            for kernel in (elastic.elastic_noise, elastic.elastic_across):
                kernel[self.tiles](self.table, self.field, *self.numbers, level, *self.places, **self.tile, **self.options)

    def next_pass(self, level: int, kind: int) -> None:
        """Any other barrier, or the second half of a blur that is made tap by tap, and on to the next barrier."""
        from .kernels import general, tiles

        if self.config.general:
            self.before(level, kind)
            rows, columns = GENERAL_TILE
            general.general_pass[(self.config.count * tiles_of(self.config.size, GENERAL_TILE),)](
                self.across, self.field, self.table, self.scratch, self.sums, *self.mix, self.out, *self.numbers, level,
                *self.places, self.half, maxnreg=register_limit(self.config.noisy), KIND=kind, H=rows, W=columns,
                **self.finish,
            )  # fmt: skip
            return
        tiles.next_pass[self.tiles](
            self.across, self.table, self.scratch, self.sums, self.out, *self.numbers, level, *self.places, self.half,
            maxnreg=register_limit(self.config.noisy), **self.tile, **self.finish,
        )  # fmt: skip
