"""The arrays that a call of the kernels is given: images, the memory of one thread, and where views go."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ....memory import POOLS, aligned
from ..instructions import BLUR, IS_BARRIER
from ..plan import Tables
from .kernels.resize import SLACK
from .simd.llvm import LANES

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.uint16]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]


class Source(NamedTuple):
    """What a stage starts from: 8-bit images in one buffer, or floats.

    Attributes:
        pixels: The buffer.
        offsets: (B,) where each image starts in it.
        pitches: (B,) bytes from a row of each image to the next.
        step: Bytes from a pixel to the next: 3, or 1 where images are planar.
        planes: (B,) bytes from a channel of a pixel to the next.
        floats: B x 3 x H x W values instead, flat; empty where there are images.
    """

    pixels: Bytes
    offsets: Longs
    pitches: Longs
    step: int
    planes: Longs
    floats: Floats


class Target(NamedTuple):
    """Where views go.

    Attributes:
        out: The views, flat, of float32; empty where they are narrower.
        out16: The views, flat, as bits of float16 or bfloat16; empty where they are float32.
        form: FLOAT32, FLOAT16 or BFLOAT16 of `kernels.output`.
        channels_last: Whether the channels of a pixel lie side by side.
        aligned: Whether every row begins at a multiple of 64 bytes and holds whole vectors.
        height: Of a view, in pixels.
        width: Of a view, in pixels.
        scale: (3,) factor of each channel on the way out.
        bias: (3,) what is added to each channel then.
    """

    out: Floats
    out16: Halves
    form: int
    channels_last: bool
    aligned: bool
    height: int
    width: int
    scale: Floats
    bias: Floats


class Filters(NamedTuple):
    """The filters of the resize of one image. Where there are two rows, the first is of the filter across, the other down.

    Attributes:
        first: (2, pixels) the first source pixel that each output pixel weighs.
        taps: (2, pixels) how many it weighs.
        weights_x: (taps, width) weights of the filter across, as multiples of 1/16384.
        weights_y: (taps, height) weights of the filter down.
        pairs: weights_x as 16-bit integers, two to a lane.
        offset: (width,) how far from the start of its group each output pixel begins to read, in bytes.
        start: (groups,) where each sixteen output pixels begin to read, in bytes.
        norm: Scratch for the sums of weights.
        ring: Rows that the filter across has made: as many as the filter down needs at a time, a power of two.
        row: A copy of the last source rows, behind which the filter may read on.
    """

    first: Ints
    taps: Ints
    weights_x: Floats
    weights_y: Floats
    pairs: Ints
    offset: Ints
    start: Ints
    norm: Floats
    ring: Floats
    row: Bytes


class Strips(NamedTuple):
    """Pixels of a view in the making, all float32 or all 16-bit fixed point; rows are padded to whole vectors.

    Attributes:
        strip: Three planes of some rows, which stay in the first cache.
        line: Three planes of one row with a margin on either side, for the blur across.
        image: Three planes of all rows, between passes.
        image_next: The same, where a pass reads one and writes the other; empty where none does.
        inside: 1 for the pixels of a row, 0 for its padding.
    """

    strip: npt.NDArray[Any]
    line: npt.NDArray[Any]
    image: npt.NDArray[Any]
    image_next: npt.NDArray[Any]
    inside: npt.NDArray[Any]


class Blur(NamedTuple):
    """The kernels of two blurs: one across that ends a pass, in row 0, and one down that begins it, in row 1.

    Attributes:
        half: (2, radius + 1) half of each Gaussian kernel, from its centre on.
        half16: The same as fractions of 32768.
        above: (radius + 1,) where the rows above the one at hand begin.
        below: (radius + 1,) where the rows below it begin.
        margin: Pixels on either side of a line.
    """

    half: Floats
    half16: Ints
    above: Longs
    below: Longs
    margin: int


class Work(NamedTuple):
    """The memory of one thread.

    Attributes:
        filters: Of the resize.
        float32: Pixels of a view that is made in float32.
        fixed16: Pixels of a view that is made in fixed point.
        blur: Of both kinds of view.
        steps: (N,) columns of the instructions of the program at hand that do something.
        values: (N, 2) arguments of instructions in fixed point.
        spare: Three vectors of float32.
        spare16: A vector of 16-bit floats, as bits.
    """

    filters: Filters
    float32: Strips
    fixed16: Strips
    blur: Blur
    steps: Longs
    values: Ints
    spare: Floats
    spare16: Halves


STRIP = 1024
"""Floats of a plane of a strip, about: enough to make the cost of a call small, few enough for the first cache."""


def up(n: int) -> int:
    return -(-n // LANES) * LANES


class Dimensions(NamedTuple):
    """What the buffers of a stage depend on. Numbers that vary from batch to batch are rounded up, to serve many batches.

    Attributes:
        height: Of a view, in pixels.
        width: Of a view, in pixels.
        deep: Rows of a strip.
        taps_y: Most source pixels that an output pixel weighs down.
        taps_x: Most source pixels that it weighs across.
        ring: Rows of the ring, a power of two.
        row_bytes: Of a source row, with what a filter reads behind it.
        radius: The largest of any blur.
        second: Whether a second image buffer is needed: 1 or 0.
        steps: Columns of the programs.
    """

    height: int
    width: int
    deep: int
    taps_y: int
    taps_x: int
    ring: int
    row_bytes: int
    radius: int
    second: int
    steps: int


def dimensions(tables: Tables) -> Dimensions:
    height, width = tables.size
    boxes = tables.boxes
    support = 2 if tables.cubic else 1
    scale_y, scale_x = (float((boxes[:, k] / boxes[:, k + 2]).max()) for k in (2, 3))
    deep = min(height, max(1, STRIP // up(width)))
    taps_y, taps_x = (beyond(2 * support * max(1.0, scale) + 1) for scale in (scale_y, scale_x))
    return Dimensions(
        height,
        width,
        deep,
        taps_y,
        taps_x,
        ring=beyond(2 * support * max(1.0, scale_y) + 1 + (deep - 1) * scale_y),
        row_bytes=beyond(3 * (int(boxes[:, 3].max()) + SLACK + 2 * taps_x)),
        radius=tables.radius,
        second=int(blur_precedes_barrier(tables.codes)),
        steps=tables.codes.shape[1],
    )


def beyond(number: float) -> int:
    """The first power of two above a number."""
    return 1 << ceil(number).bit_length()


def blur_precedes_barrier(codes: npt.NDArray[np.uint8]) -> bool:
    """Whether a pass may read one image buffer and write another."""
    blurs, barriers = (np.asarray(flags.any(axis=0)) for flags in (codes == BLUR, IS_BARRIER[codes]))
    return bool((np.cumsum(blurs)[:-1] * barriers[1:]).any())


def allocate(d: Dimensions) -> Work:
    height, width = d.height, d.width
    stride, margin, rows = up(width), up(max(d.radius, 1)), up(height)
    pitch = -(-width // 32) * 32
    longest = max(height, width)
    inside = aligned(stride)
    inside[:width] = 1
    inside16 = (np.arange(pitch) < width).astype(np.int16)
    return Work(
        Filters(
            first=np.zeros((2, longest), dtype=np.int32),
            taps=np.zeros((2, longest), dtype=np.int32),
            weights_x=aligned(d.taps_x * stride).reshape(d.taps_x, stride),
            weights_y=aligned(d.taps_y * rows).reshape(d.taps_y, rows),
            pairs=aligned(d.taps_x * stride, np.int32),
            offset=aligned(stride, np.int32),
            start=np.zeros(stride // LANES, dtype=np.int32),
            norm=np.zeros(longest, dtype=np.float32),
            ring=aligned(d.ring * 3 * stride),
            row=aligned(d.row_bytes, np.uint8),
        ),
        strips(d, stride, margin, inside),
        strips(d, pitch, margin, inside16),
        Blur(
            half=np.zeros((2, d.radius + 1), dtype=np.float32),
            half16=np.zeros((2, d.radius + 1), dtype=np.int32),
            above=np.zeros(d.radius + 1, dtype=np.int64),
            below=np.zeros(d.radius + 1, dtype=np.int64),
            margin=margin,
        ),
        steps=np.zeros(d.steps, dtype=np.int64),
        values=np.zeros((d.steps, 2), dtype=np.int32),
        spare=aligned(3 * LANES),
        spare16=aligned(LANES, np.uint16),
    )


def strips(d: Dimensions, stride: int, margin: int, inside: npt.NDArray[Any]) -> Strips:
    """Strips of the dtype of `inside`, whose rows are `stride` apart."""
    kind = inside.dtype.type
    return Strips(
        strip=aligned(3 * d.deep * stride, kind),
        line=aligned(3 * (margin + stride + margin), kind),
        image=aligned(d.height * 3 * stride, kind),
        image_next=aligned(d.second * d.height * 3 * stride, kind),
        inside=inside,
    )


def arrays(group: tuple[Any, ...]) -> Iterator[npt.NDArray[Any]]:
    """The arrays of a group and of the groups in it."""
    for part in group:
        if isinstance(part, tuple):
            yield from arrays(part)
        elif isinstance(part, np.ndarray):
            yield part


class Scratch:
    """Buffers that no kernel uses at the moment, the newest first."""

    def __init__(self, keep: int) -> None:
        self.free: deque[tuple[Dimensions, Work]] = deque(maxlen=keep)
        self.lock = threading.Lock()

    def take(self, key: Dimensions) -> Work:
        with self.lock:
            for k, (size, work) in enumerate(self.free):
                if size == key:
                    del self.free[k]
                    return work
        return allocate(key)

    def give(self, key: Dimensions, work: Work) -> None:
        with self.lock:
            self.free.appendleft((key, work))

    def release(self) -> int:
        """Let go of them; returns their bytes."""
        with self.lock:
            works = [work for _, work in self.free]
            self.free.clear()
        return sum(array.nbytes for work in works for array in arrays(work))


SCRATCH = Scratch(keep=64)
POOLS.append(SCRATCH.release)
