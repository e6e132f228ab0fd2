"""Records the launches of a fused stage as a CUDA graph: from tables of the host, or from sample indices on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ....images import Images
from ....ops import Op
from ....ops.base import is_integer
from ....sampling import ViewDraws
from ..cpu.kernels.draw import CHOICE
from ..draw_program import program_of
from ..plan import Tables
from .drawn import draw_records, inputs
from .launch import LaunchConfig, as_source, launch, launch_config, readable, upload
from .records import Words, levels_of_ops, records, step_of


class Captured:
    """Launches as a CUDA graph.

    Work is captured as `thread_local`: in the mode `global`, memory that a loader's thread pins meanwhile would end the capture
    with an error. All is done on the work's device, which need not be the current one, in a stream of that device.

    Args:
        work: Launches kernels on the current stream, and reads nothing that changes on the host. It is called twice: before the
            capture, to compile the kernels, and during it.
        device: Where. On the CPU, in Triton's interpreter, there are no graphs: a replay calls `work` again.

    Attributes:
        result: What `work` has returned, with new content after each replay.
    """

    def __init__(self, work: Callable[[], torch.Tensor], device: torch.device) -> None:
        self.work, self.device = work, device
        self.graph: torch.cuda.CUDAGraph | None = None
        if device.type != "cuda":
            self.result = work()
            return
        with torch.cuda.device(device):
            side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            now = torch.cuda.current_stream(device)
            side.wait_stream(now)
            with torch.cuda.stream(side):
                work()
            now.wait_stream(side)
            self.graph = torch.cuda.CUDAGraph()
            # Without a stream, torch takes one that it keeps for all captures, on the device of the first.
            with torch.cuda.graph(self.graph, stream=side, capture_error_mode="thread_local"):
                self.result = work()

    def replay(self) -> torch.Tensor:
        """Launch everything again, on the current stream of the device."""
        if self.graph is None:
            return self.result.copy_(self.work())
        with torch.cuda.device(self.device):
            self.graph.replay()
        return self.result


class Recorded:
    """The launches of a stage as a CUDA graph, which can be replayed for other draws and other pixels.

    A call with new tables copies their records to a fixed place on the device, on the current stream, and replays the graph.
    Every call returns the same tensor, with new content.

    Args:
        batch: `Images` that the kernels read as they are, interleaved or from Ampere on "yuv420", or a float32 tensor
            (B, 3, H, W). Its memory and shapes must not change. The caller writes
            new pixels into this memory on the current stream.
        ops: Steps of the stage. They determine the launches that any of its draws can need.
        tables: Tables of the stage for any draws.
        dtype: Dtype of the view: float32, float16 or bfloat16.
        memory_format: Memory format of the view.

    Raises:
        ValueError: The kernels cannot read the images' layout, or the batch's own memory.
    """

    def __init__(
        self, batch: Any, ops: Sequence[Op], tables: Tables, dtype: torch.dtype, memory_format: torch.memory_format
    ) -> None:
        self.batch, self.levels = batch, levels_of_ops(ops)
        self.source, self.lead = own_source(batch)
        self.span = widest(batch)
        words, self.config = self.pack(tables, dtype, memory_format)
        self.table = upload(words, self.source.device)
        self.graph = Captured(lambda: launch(self.source, self.table, self.config), self.source.device)
        self.view = self.graph.result

    def __call__(self, tables: Tables) -> torch.Tensor:
        """Make the view for new tables.

        Raises:
            ValueError: The tables need other launches, because they are of another view or have noise that the first had not.
        """
        words, config = self.pack(tables, self.config.dtype, self.config.memory_format)
        if config != self.config:
            raise ValueError("fused: this CUDA graph was captured for another batch or view; record a new one")
        self.table.copy_(upload(words, self.table.device), non_blocking=True)
        return self.graph.replay()

    def pack(self, tables: Tables, dtype: torch.dtype, memory_format: torch.memory_format) -> tuple[Words, LaunchConfig]:
        words, _ = records(self.batch, tables, self.levels, self.lead)
        return words, launch_config(
            words, tables, self.levels, self.source.device, self.span, dtype, memory_format, step_of(self.batch) == 1
        )


class RecordedDraws:
    """A view's draws, their records and the launches of its first stage as one CUDA graph, which needs sample indices alone.

    Every call returns the same tensor, with new content: the bits of the view that the host's draws give.

    Args:
        batch: `Images`, as for `Recorded`.
        draws: Of the view's first stage, such as `gpuaug.sample(policy, index, seed, epoch).tables[0][:count]`. Of them, only
            policy, view, steps, seed, epoch and samples count, not arrays that the caller has changed.
        dtype: Dtype of the view: float32, float16 or bfloat16.
        memory_format: Memory format of the view.

    Attributes:
        index: (B,) int64 on the device: the samples, each in 0..2^48-1. A call writes to it; the caller may as well.
        state: (2,) int64 on the device, which the caller may write to: the seed, as a signed number with the same bits, and the
            epoch.

    Raises:
        ValueError: The kernels cannot read the images' layout, or the batch's own memory; or there are not as
            many draws; or an op of the stage can only be drawn by the host; or they were chosen from several views.
    """

    def __init__(self, batch: Images, draws: ViewDraws, dtype: torch.dtype, memory_format: torch.memory_format) -> None:
        if len(batch) != len(draws.samples):
            raise ValueError(f"fused: the draws are of {len(draws.samples)} samples, the batch has {len(batch)} images")
        if not is_integer(draws.drawn_as):
            raise ValueError(
                "fused: the draws were chosen from several views, which one graph cannot draw; use Recorded, with tables"
            )
        number = int(draws.drawn_as)
        view = draws.policy.views[draws.view]
        steps = view.steps[draws.steps.start : draws.steps.stop]
        program = program_of(draws)
        if program is None or CHOICE in program.rows.kinds:  # the kernel that draws on the device has no choices
            names = ", ".join(type(o).__name__ for o in steps)
            raise ValueError(f"fused: the device cannot draw an op of this stage ({names}); use Recorded, with tables")
        levels = levels_of_ops(steps)
        source, lead = own_source(batch)
        given = inputs(program, batch, lead, levels, source.device)
        self.index, self.state = given.samples, given.state
        self.index.copy_(torch.from_numpy(draws.samples))
        self.state.copy_(torch.from_numpy(np.array([draws.seed, draws.epoch], dtype=np.uint64).view(np.int64)))
        tables = program.tables(batch.shapes, draws.samples, draws.seed, draws.epoch, number)
        step = step_of(batch)
        words, _ = records(batch, tables, levels, lead)
        config = launch_config(words, tables, levels, source.device, widest(batch), dtype, memory_format, step == 1)

        def work() -> torch.Tensor:
            return launch(source, draw_records(given, program, number, len(levels), step), config)

        self.graph = Captured(work, source.device)
        self.view = self.graph.result

    def __call__(self, index: torch.Tensor | None = None) -> torch.Tensor:
        """Make the view of new pixels.

        Args:
            index: (B,) int64 sample indices, on the device or in pinned memory; None takes those that `index` holds.
        """
        if index is not None:
            if index.shape != self.index.shape or index.dtype != torch.int64:
                shape = tuple(index.shape)
                raise ValueError(f"fused: index must be ({len(self.index)},) int64, got {shape} {index.dtype}")
            self.index.copy_(index, non_blocking=True)
        return self.graph.replay()


def widest(batch: Any) -> int:
    """Most columns of an image that any draws can choose."""
    return int(batch.shapes[:, 1].max(initial=1)) if isinstance(batch, Images) else 1


def own_source(batch: Any) -> tuple[torch.Tensor, int]:
    """`as_source`, where it is the batch's own memory, into which the caller will write new pixels.

    Raises:
        ValueError: It would be a copy.
    """
    if isinstance(batch, Images) and not readable(batch):
        raise ValueError(
            'fused: a CUDA graph needs images of layout "interleaved", or "yuv420" from Ampere (8.0) on, '
            f"got {batch.layout!r}; pass images.packed()"
        )
    source, lead = as_source(batch)
    memory = batch.buffer if isinstance(batch, Images) else batch
    if source.untyped_storage().data_ptr() != memory.untyped_storage().data_ptr():
        raise ValueError("fused: a CUDA graph needs pixels in contiguous memory that begins at a multiple of 16 bytes")
    return source, lead
