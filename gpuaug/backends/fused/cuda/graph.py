"""Records the launches of a fused stage as a CUDA graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ....images import Images
from ....ops import Op
from ..plan import Tables
from .launch import LaunchConfig, as_source, launch, launch_config, upload
from .records import Words, levels_of_ops, records


class Recorded:
    """The launches of a stage as a CUDA graph, which can be replayed for other draws and other pixels.

    A call with new tables copies their records to a fixed place on the device, on the current stream, and replays the graph.
    Every call returns the same tensor, with new content.

    Args:
        batch: `Images` (not planar), or a float32 tensor (B, 3, H, W). Its memory and shapes must not change. The caller writes
            new pixels into this memory on the current stream.
        ops: Steps of the stage. They determine the launches that any of its draws can need.
        tables: Tables of the stage for any draws.
        dtype: Dtype of the view: float32, float16 or bfloat16.
        memory_format: Memory format of the view.

    Raises:
        ValueError: The images are planar.
    """

    def __init__(
        self, batch: Any, ops: Sequence[Op], tables: Tables, dtype: torch.dtype, memory_format: torch.memory_format
    ) -> None:
        if isinstance(batch, Images) and batch.planar:
            raise ValueError("fused: a CUDA graph needs images with interleaved channels; pass images.packed()")
        self.batch, self.levels = batch, levels_of_ops(ops)
        self.source, self.lead = as_source(batch)
        # Any draws may choose the widest image as a whole.
        self.span = int(batch.shapes[:, 1].max(initial=1)) if isinstance(batch, Images) else 1
        words, self.config = self.pack(tables, dtype, memory_format)
        self.table = upload(words, self.source.device)
        side = torch.cuda.Stream(self.source.device)  # type: ignore[no-untyped-call]
        now = torch.cuda.current_stream(self.source.device)
        side.wait_stream(now)
        with torch.cuda.stream(side):  # compiles the kernels, which is not possible during the capture
            launch(self.source, self.table, self.config)
        now.wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.view = launch(self.source, self.table, self.config)

    def __call__(self, tables: Tables) -> torch.Tensor:
        """Make the view for new tables.

        Raises:
            ValueError: The tables need other launches, because they are of another view or have noise that the first had not.
        """
        words, config = self.pack(tables, self.config.dtype, self.config.memory_format)
        if config != self.config:
            raise ValueError("fused: this CUDA graph was captured for another batch or view; record a new one")
        self.table.copy_(torch.from_numpy(words).pin_memory(), non_blocking=True)
        self.graph.replay()
        return self.view

    def pack(self, tables: Tables, dtype: torch.dtype, memory_format: torch.memory_format) -> tuple[Words, LaunchConfig]:
        words, _ = records(self.batch, tables, self.levels, dtype != torch.float32, self.lead)
        return words, launch_config(words, tables, self.levels, self.source.device, self.span, dtype, memory_format)
