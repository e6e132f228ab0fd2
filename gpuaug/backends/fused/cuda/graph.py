"""A stage as a CUDA graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ....images import Images
from ....ops import Op
from ..plan import Tables
from .launch import Form, as_source, form_of, launch, upload
from .records import Words, levels_of_ops, records


class Recorded:
    """The launches of a stage as a CUDA graph, to be replayed for other draws and other pixels.

    A call with new tables copies their records to a fixed place on the device, on the current stream, then replays the graph.
    The view that it returns is the same memory every time.

    Args:
        batch: `Images` (not planar) or floats, whose memory and shapes stay as they are. The caller writes new pixels into
            that memory on the current stream.
        ops: Of the stage. They say which launches its draws can need.
        tables: Of any draws.
        dtype: Of the view.
        memory_format: Of the view.
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
