"""The arrays that a call of the kernels is given: images, the memory of one thread, and where views go."""

from __future__ import annotations

import threading
from collections import deque, namedtuple
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from ....memory import POOLS, aligned
from ..instructions import BLUR, IS_BARRIER
from ..plan import Tables
from .kernels.resize import SLACK
from .simd.llvm import LANES

Source = namedtuple("Source", "pixels offsets pitches step planes floats")
"""8-bit images in one buffer: pixels, their starts offsets (B,), bytes from a row to the next pitches (B,), from a pixel to the
next step, from one of its channels to the next planes (B,); or floats (B, 3, H, W)."""

Work = namedtuple(
    "Work",
    "strip line image image2 inside strip16 line16 image16 image16_next inside16 bytes ring weights_x weights_y pairs index "
    "first count start norm half half16 above below steps values spare spare16 margin",
)
"""Buffers of one thread; see `buffers`."""

Target = namedtuple("Target", "out out16 form channels_last aligned height width scale bias")
"""Where views go: flat arrays, the form of their elements, and the affine map of each channel on the way out."""


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
    blurs, barriers = (np.asarray(flags.any(axis=0)) for flags in (codes == BLUR, IS_BARRIER[codes]))
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
