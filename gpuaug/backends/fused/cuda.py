"""The fused backend on a CUDA device: memory and launches around the Triton kernels.

    records --one copy--> first_pass --> [blur_across -->] next_pass --> ... --> view

Nothing here waits for the device or looks at its data; all runs on the current stream.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from ...images import Images
from ...ops import Op
from .plan import BLUR, CONTRAST, Tables
from .triton_records import SNAP, Words, levels_of_ops, records, runs_over

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
    """The view (B, 3, H, W) that the tables describe, of `Images` or of float32 (B, 3, H, W), on their device.

    An image's view is the same bits in any batch. Raises ValueError for tensors on the CPU, unless Triton's interpreter runs
    (TRITON_INTERPRET=1), and for a single image of 2 GiB.
    """
    if isinstance(batch, Images) and batch.planar:
        batch = batch.packed()
    source, lead = as_source(batch)
    words, levels = records(batch, tables, None, dtype != torch.float32, lead)
    form = form_of(words, tables, levels, runs_over(words, tables.cubic, source.numel()), dtype, memory_format)
    return launch(source, upload(words, source.device), form)


class Recorded:
    """The launches of a stage as a CUDA graph, to be replayed for other draws and other pixels.

    batch: `Images` (not planar) or floats whose memory and shapes stay; the caller refills the pixels on the current stream.
    ops: of the stage; they say which launches any draws can need. tables: of any draws.
    A call with new tables copies their records to a fixed place on the device, on the current stream, then replays; the view
    that it returns is the same memory every time.
    """

    def __init__(
        self, batch: Any, ops: Sequence[Op], tables: Tables, dtype: torch.dtype, memory_format: torch.memory_format
    ) -> None:
        if isinstance(batch, Images) and batch.planar:
            raise ValueError("fused: a CUDA graph reads pixels of three bytes; give it images.packed()")
        self.batch, self.levels = batch, levels_of_ops(ops)
        self.source, self.lead = as_source(batch)
        words, self.form = self.prepare(tables, dtype, memory_format)
        self.table = upload(words, self.source.device)
        side = torch.cuda.Stream(self.source.device)  # type: ignore[no-untyped-call]
        now = torch.cuda.current_stream(self.source.device)
        side.wait_stream(now)
        with torch.cuda.stream(side):  # compiles the kernels, which a capture must not do
            launch(self.source, self.table, self.form)
        now.wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.view = launch(self.source, self.table, self.form)

    def __call__(self, tables: Tables) -> torch.Tensor:
        """Raises ValueError where the tables need other launches: another view, or noise that the first tables had not."""
        words, form = self.prepare(tables, self.form.dtype, self.form.memory_format)
        if form != self.form:
            raise ValueError("fused: this CUDA graph was captured for another batch or view; record a new one")
        self.table.copy_(torch.from_numpy(words).pin_memory(), non_blocking=True)
        self.graph.replay()
        return self.view

    def prepare(self, tables: Tables, dtype: torch.dtype, memory_format: torch.memory_format) -> tuple[Words, Form]:
        words, _ = records(self.batch, tables, self.levels, dtype != torch.float32, self.lead)
        return words, form_of(words, tables, self.levels, True, dtype, memory_format)


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
    noisy = bool(tables.arguments[:, :, 7].any())
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
    from . import triton_kernels as kernels

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
