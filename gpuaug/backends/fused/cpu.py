"""The fused backend on the CPU: buffers, threads and compilation around the Numba kernels."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...images import Images
from ...memory import POOLS, aligned, uninitialised
from . import kernels
from .cache import LOG, kept, places
from .output import BFLOAT16, FLOAT16, FLOAT32
from .plan import ARGUMENTS, BLUR, CONTRAST, Tables
from .resize import SLACK
from .simd import LANES
from .strips import Source, Target, Work

FORMS = {torch.float32: FLOAT32, torch.float16: FLOAT16, torch.bfloat16: BFLOAT16}
NO_BYTES, NO_FLOATS, NO_WORDS = (np.empty(0, dtype=kind) for kind in (np.uint8, np.float32, np.uint16))
NO_OFFSETS = np.empty(0, dtype=np.int64)


def make_view(
    batch: Any,
    tables: Tables,
    dtype: torch.dtype,
    memory_format: torch.memory_format,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """The view (B, 3, H, W) that the tables describe, of `Images` or of floats (B, 3, H, W) on the CPU.

    out: where to write it, of that dtype and contiguous in that memory format.
    Uses torch.get_num_threads() threads; an image's view is the same bits for any number of them.
    """
    count = len(tables.codes)
    if out is None:
        out = uninitialised((count, 3, *tables.size), dtype, memory_format)
    if isinstance(batch, Images):
        height, width = batch.shapes.astype(np.int64).T
        step = 1 if batch.planar else 3
        planes = height * width if batch.planar else np.ones_like(height)
        source = Source(batch.buffer.numpy(), batch.offsets, width * step, step, planes, NO_FLOATS)
    else:
        source = Source(NO_BYTES, NO_OFFSETS, NO_OFFSETS, 3, NO_OFFSETS, batch.contiguous().reshape(-1).numpy())
    target = as_target(out, tables, memory_format)
    words = tables.arguments.view(np.uint32)

    key = dimensions(tables)

    def part(span: tuple[int, int]) -> None:
        work = SCRATCH.take(key)
        kernels.views(
            source, tables.boxes, tables.flips, tables.cubic, tables.codes, tables.arguments, words, work, target, *span
        )
        SCRATCH.give(key, work)

    threads = min(torch.get_num_threads(), count)
    # Several parts a thread, since images differ in what is done to them.
    edges = np.linspace(0, count, (min(4 * threads, count) if threads > 1 else 1) + 1).astype(int).tolist()
    with compiling():
        spread(part, list(pairwise(edges)), threads)
    return out


def as_target(out: torch.Tensor, tables: Tables, memory_format: torch.memory_format) -> Target:
    channels_last = memory_format == torch.channels_last
    flat = (out.permute(0, 2, 3, 1) if channels_last else out).reshape(-1)
    form = FORMS[out.dtype]
    height, width = tables.size
    line = 3 * width if channels_last else width
    return Target(
        flat.numpy() if form == FLOAT32 else NO_FLOATS,
        NO_WORDS if form == FLOAT32 else flat.view(torch.uint16).numpy(),
        form,
        channels_last,
        line % LANES == 0 and out.data_ptr() % 64 == 0,
        height,
        width,
        tables.scale,
        tables.bias,
    )


# Memory.

STRIP = 1024
"""Floats of a plane of a strip, about: enough to make the cost of a call small, few enough for the first cache."""


def up(n: int) -> int:
    return -(-n // LANES) * LANES


def dimensions(tables: Tables) -> tuple[int, ...]:
    """What the buffers of a stage depend on; the arguments of `buffers`."""
    height, width = tables.size
    boxes = tables.boxes
    support = 2 if tables.cubic else 1
    scale_y, scale_x = (float((boxes[:, k] / boxes[:, k + 2]).max()) for k in (2, 3))
    deep = min(height, max(1, STRIP // up(width)))
    # Numbers that vary from batch to batch are rounded up, so that the buffers serve many batches.
    taps_y, taps_x = (beyond(2 * support * max(1.0, scale) + 1) for scale in (scale_y, scale_x))
    ring = beyond(2 * support * max(1.0, scale_y) + 1 + (deep - 1) * scale_y)
    row_bytes = beyond(3 * (int(boxes[:, 3].max()) + SLACK + 2 * taps_x))
    return (
        height,
        width,
        deep,
        taps_y,
        taps_x,
        ring,
        row_bytes,
        tables.radius,
        int(blur_precedes_barrier(tables.codes)),
        tables.codes.shape[1],
    )


def beyond(number: float) -> int:
    """The first power of two above a number."""
    return 1 << ceil(number).bit_length()


def blur_precedes_barrier(codes: npt.NDArray[np.uint8]) -> bool:
    """Whether a pass may read one image buffer and write another."""
    blurs = (codes == BLUR).any(axis=0)
    barriers = blurs | (codes == CONTRAST).any(axis=0)
    return bool((np.cumsum(blurs)[:-1] * barriers[1:]).any())


def buffers(
    height: int,
    width: int,
    deep: int,
    taps_y: int,
    taps_x: int,
    ring: int,
    row_bytes: int,
    radius: int,
    second: int,
    steps: int,
) -> Any:
    stride, margin, rows = up(width), up(max(radius, 1)), up(height)
    pitch = -(-width // 32) * 32
    longest = max(height, width)
    inside = aligned(stride)
    inside[:width] = 1
    return Work(
        strip=aligned(3 * deep * stride),
        line=aligned(3 * (margin + stride + margin)),
        bytes=aligned(row_bytes, np.uint8),
        ring=aligned(ring * 3 * stride),
        image=aligned(height * 3 * stride),
        image2=aligned(second * height * 3 * stride),
        weights_x=aligned(taps_x * stride).reshape(taps_x, stride),
        weights_y=aligned(taps_y * rows).reshape(taps_y, rows),
        pairs=aligned(taps_x * stride, np.int32),
        index=aligned(stride, np.int32),
        first=np.zeros((2, longest), dtype=np.int32),
        count=np.zeros((2, longest), dtype=np.int32),
        start=np.zeros(stride // LANES, dtype=np.int32),
        norm=np.zeros(longest, dtype=np.float32),
        inside=inside,
        strip16=aligned(3 * deep * pitch, np.int16),
        line16=aligned(3 * (margin + pitch + margin), np.int16),
        image16=aligned(height * 3 * pitch, np.int16),
        image16_next=aligned(second * height * 3 * pitch, np.int16),
        inside16=(np.arange(pitch) < width).astype(np.int16),
        half16=np.zeros((2, radius + 1), dtype=np.int32),
        values=np.zeros((steps, 2), dtype=np.int32),
        half=np.zeros((2, radius + 1), dtype=np.float32),
        above=np.zeros(radius + 1, dtype=np.int64),
        below=np.zeros(radius + 1, dtype=np.int64),
        steps=np.zeros(steps, dtype=np.int64),
        spare=aligned(3 * LANES),
        spare16=aligned(LANES, np.uint16),
        margin=margin,
    )


class Scratch:
    """Buffers that no kernel uses at the moment, the newest first."""

    def __init__(self, keep: int) -> None:
        self.free: deque[tuple[tuple[int, ...], Any]] = deque(maxlen=keep)
        self.lock = threading.Lock()

    def take(self, key: tuple[int, ...]) -> Any:
        with self.lock:
            for k, (size, work) in enumerate(self.free):
                if size == key:
                    del self.free[k]
                    return work
        return buffers(*key)

    def give(self, key: tuple[int, ...], work: Any) -> None:
        with self.lock:
            self.free.appendleft((key, work))

    def release(self) -> int:
        """Let go of them; returns their bytes."""
        with self.lock:
            works = [work for _, work in self.free]
            self.free.clear()
        return sum(part.nbytes for work in works for part in work if isinstance(part, np.ndarray))


SCRATCH = Scratch(keep=64)
POOLS.append(SCRATCH.release)


# Threads and compilation.


def spread(part: Callable[[tuple[int, int]], None], spans: list[tuple[int, int]], threads: int) -> None:
    """Call `part` on every span, in this thread and threads - 1 others, which end with the call.

    A pool would save 0.1 ms a batch, and be dead in a process that is forked later.
    """
    todo = deque(spans)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while not errors:
                try:
                    span = todo.popleft()
                except IndexError:
                    return
                part(span)
        except BaseException as error:
            errors.append(error)

    others = [threading.Thread(target=work, name=f"gpuaug-fused-{k}", daemon=True) for k in range(1, min(threads, len(spans)))]
    for other in others:
        other.start()
    work()
    for other in others:
        other.join()
    if errors:
        raise errors[0]


COMPILED = threading.Event()


def prepare() -> None:
    """Compile the kernels, or load them from Numba's cache, by a view of one pixel; they are the same for every view."""
    if COMPILED.is_set():
        return
    whole, ones = np.array([[0, 0, 1, 1, 1, 1, 0, 0]], dtype=np.int32), np.ones(3, dtype=np.float32)
    nothing = np.zeros((1, 0), dtype=np.uint8), np.zeros((1, 0, ARGUMENTS), dtype=np.float32)
    tables = Tables((1, 1), whole, np.zeros((1, 2), dtype=np.bool_), False, *nothing, ones, ones, radius=0, blurs=0)
    pixel = Images(torch.zeros(3, dtype=torch.uint8, device="cpu"), np.ones((1, 2), dtype=np.int32))
    make_view(pixel, tables, torch.float32, torch.contiguous_format)


@cache
def warn_of_no_folder() -> None:
    LOG.warning(
        "the compiled CPU kernels can be kept in none of %s, so every process compiles them anew, in about a minute; set "
        "NUMBA_CACHE_DIR to a folder that can be written",
        ", ".join(map(str, places())),
    )


@contextmanager
def compiling() -> Iterator[None]:
    """Tell the user when the kernels take their time because they are being compiled, which happens once a machine."""
    if COMPILED.is_set():
        yield
        return
    store = kept(kernels.views)

    ready = threading.Event()

    def say() -> None:
        while not ready.wait(4.0):
            if store is not None and store.waiting:
                print("gpuaug: waiting for another process, which compiles the fused CPU kernels ...", file=sys.stderr)
                return
            if store is None or store.compiling:  # and not only slow to read them
                print("gpuaug: compiling the fused CPU kernels, once (about a minute) ...", file=sys.stderr)
                return

    if store is None:
        warn_of_no_folder()
    threading.Thread(target=say, name="gpuaug-note", daemon=True).start()
    try:
        yield
        COMPILED.set()
    finally:
        ready.set()
        if store is not None:
            store.release()  # should compiling have failed, another process may try
