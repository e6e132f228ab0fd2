"""The arrays that the kernels work on: the source images, the workspace of a thread, and the views."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ....isolation import after_fork
from ....memory import ALIGNED, POOLS, aligned
from .dimensions import Dimensions, round_up
from .kernels.barriers.tones import LEVELS, TABLES
from .kernels.barriers.warp import FRAME
from .kernels.blur import HOISTED
from .kernels.rows.yuv import LINES
from .simd.int16 import LANES as LANES16
from .simd.layout import CHANNELS
from .simd.llvm import LANES

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.uint16]
Shorts = npt.NDArray[np.int16]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]


class Source(NamedTuple):
    """What a stage starts from: 8-bit images in one buffer, or a batch of floats.

    Attributes:
        pixels: The buffer of the images.
        offsets: (B,) byte at which each image starts in the buffer.
        pitches: (B,) bytes from one row of each image to the next.
        step: Bytes from one pixel to the next: 3, or 1 in planes, of whatever layout.
        planes: (B,) bytes from one channel of a pixel to the next, or from the beginning of an image to its second plane.
        halved: Whether images are planes of brightness and two colours, of which the colours have half the resolution.
        floats: The batch of floats, B x 3 x H x W, flattened; empty if the stage starts from images.
    """

    pixels: Bytes
    offsets: Longs
    pitches: Longs
    step: int
    planes: Longs
    halved: bool
    floats: Floats


class Target(NamedTuple):
    """Where views are written, and how.

    Attributes:
        out: The views, flattened, if they are float32; else empty.
        out16: The bits of the views, flattened, if they are float16 or bfloat16; else empty.
        dtype: FLOAT32, FLOAT16 or BFLOAT16 of `kernels.output`.
        channels_last: Whether the channels of a pixel are adjacent in memory.
        aligned: Whether every row begins at a multiple of 64 bytes and holds whole vectors.
        height: Height of a view in pixels.
        width: Width of a view in pixels.
        scale: (3,) factor by which each channel is multiplied before it is written.
        bias: (3,) term that is then added to each channel.
    """

    out: Floats
    out16: Halves
    dtype: int
    channels_last: bool
    aligned: bool
    height: int
    width: int
    scale: Floats
    bias: Floats


class Filters(NamedTuple):
    """The resize filters of one image, or of many if they are kept.

    A filter is in a slot. In slot 0 is that of the current image; the others, if there are any, keep filters from one image to
    the next (see `views.filter_slot`). In arrays that begin with axis 2, the first row is the horizontal filter and the second
    one the vertical filter.

    Attributes:
        kept: (2, slots) mark of the filter in each slot; 0 if there is none.
        first: (2, slots, pixels) first source pixel in the sum that makes an output pixel.
        taps: (2, slots, pixels) number of source pixels in that sum.
        weights_x: (taps, width) weights of a horizontal filter, in multiples of 1/16384.
        weights_y: (slots, taps, height) weights of the vertical filter.
        pairs: (slots, taps * width) `weights_x` as 16-bit integers, two in each 32-bit lane.
        offset: (slots, width) byte at which an output pixel begins to read, counted from the start of its group.
        start: (slots, groups) byte at which each group of sixteen output pixels begins to read.
        extent: (slots, 5) pairs of taps per output pixel, the reach of the horizontal filter (see `rows.across`), the first
            source pixel that any output pixel needs, the one behind the last, and whether rows are split into channels first.
        norm: Scratch for sums of weights.
        ring: Ring buffer of rows made by the horizontal filter, a power of two of them, enough for the vertical filter.
        row: Copy of a row at the end of the source, padded because the filter reads beyond its pixels; or rows that were made
            from planes at half resolution, or a row that was split into its channels.
        colours: Rows of colours between two rows of their planes (see `rows.yuv`).
        spare: Copies of parts of planes at the end of the source.
    """

    kept: Ints
    first: Ints
    taps: Ints
    weights_x: Floats
    weights_y: Floats
    pairs: Ints
    offset: Ints
    start: Ints
    extent: Longs
    norm: Floats
    ring: Floats
    row: Bytes
    colours: Shorts
    spare: Bytes


class PixelBuffers(NamedTuple):
    """Pixels of an unfinished view, either all float32 or all 16-bit fixed point. Rows are padded to whole vectors.

    Attributes:
        strip: Three planes of a few rows, which stay in the L1 cache.
        line: For each row of a strip, one row of each channel with a margin on either side, for the horizontal blur.
        image: Three planes of all rows, which hold the view between passes.
        image_next: A second such buffer, for passes that read one and write the other; empty if there are none.
        inside: 1 for the pixels of a row, 0 for its padding.
        kept: Like image, for a view that is kept for a sum; empty if there is none.
        total: Like image, for the sum.
        framed: The image with a frame around it, from which a warp gathers (see `barriers.warp`); empty if there is none.
        framed_next: A second one, for images with several warps.
        taps: The pixels that a row of a warp gathers, up to two for each.
        shares: Shares of the right and of the lower pixels in those of a row.
        tables: (3 * 256,) what the levels of each channel become, or three numbers for each channel.
        low, high: A vector of the lowest and of the highest values for each channel.
    """

    strip: npt.NDArray[Any]
    line: npt.NDArray[Any]
    image: npt.NDArray[Any]
    image_next: npt.NDArray[Any]
    inside: npt.NDArray[Any]
    kept: npt.NDArray[Any]
    total: npt.NDArray[Any]
    framed: npt.NDArray[Any]
    framed_next: npt.NDArray[Any]
    taps: npt.NDArray[Any]
    shares: npt.NDArray[Any]
    tables: npt.NDArray[Any]
    low: npt.NDArray[Any]
    high: npt.NDArray[Any]


class Blur(NamedTuple):
    """The Gaussian kernels of a blur. Arrays with radius + 1 elements have at least blur.HOISTED + 1.

    Attributes:
        half: (2, radius + 1) half of the horizontal and of the vertical kernel, from its centre outwards.
        half16: The same in multiples of 1/32768.
        pairs: (2 * radius + 2,) the horizontal kernel for `blur_fixed.sums`.
        above: (radius + 1,) where the rows above the current one begin.
        below: (radius + 1,) where the rows below the current one begin.
        margin: Pixels on either side of `PixelBuffers.line`.
    """

    half: Floats
    half16: Ints
    pairs: Ints
    above: Longs
    below: Longs
    margin: int


class Workspace(NamedTuple):
    """The memory of one thread.

    Attributes:
        filters: Filters of the resize.
        float32: Buffers of a view that is made in float32.
        fixed16: Buffers of a view that is made in fixed point.
        blur: Gaussian kernels, for either kind of view.
        steps: (N,) columns of the instructions in the current program that are not NOTHING.
        values: (N, 4) arguments of the instructions in fixed point.
        counts: Histograms of each channel, several side by side.
        levels: Bytes of a row, for the levels of its pixels.
        place: (width,) elements at which the pixels of a row are gathered.
        spare: Scratch of three float32 vectors.
        spare16: Scratch of one vector of 16-bit floats, as bits.
    """

    filters: Filters
    float32: PixelBuffers
    fixed16: PixelBuffers
    blur: Blur
    steps: Longs
    values: Ints
    counts: Ints
    levels: Bytes
    place: Ints
    spare: Floats
    spare16: Halves


def allocate(d: Dimensions) -> Workspace:
    height, width = d.height, d.width
    stride, margin, rows = round_up(width), round_up(max(d.radius, 1), LANES16), round_up(height)
    taps = max(d.radius, HOISTED) + 1
    stride16 = round_up(width, LANES16)
    longest = max(height, width)
    inside = aligned(stride)
    inside[:width] = 1
    inside16 = (np.arange(stride16) < width).astype(np.int16)
    return Workspace(
        Filters(
            kept=np.zeros((2, d.slots), dtype=np.int32),
            first=np.zeros((2, d.slots, longest), dtype=np.int32),
            taps=np.zeros((2, d.slots, longest), dtype=np.int32),
            weights_x=aligned(d.taps_x * stride).reshape(d.taps_x, stride),
            weights_y=aligned(d.slots * d.taps_y * rows).reshape(d.slots, d.taps_y, rows),
            pairs=aligned(d.slots * d.taps_x * stride, np.int32).reshape(d.slots, d.taps_x * stride),
            offset=aligned(d.slots * stride, np.int32).reshape(d.slots, stride),
            start=np.zeros((d.slots, stride // LANES), dtype=np.int32),
            extent=np.zeros((d.slots, 5), dtype=np.int64),
            norm=np.zeros(longest, dtype=np.float32),
            ring=aligned(d.ring * 3 * stride + LANES),  # `resize.down_fixed` reads one vector beyond a row
            row=aligned(LINES * d.row_bytes, np.uint8),
            colours=aligned(LINES * d.row_bytes, np.int16),
            spare=aligned(d.row_bytes, np.uint8),
        ),
        pixel_buffers(d, stride, margin, inside),
        pixel_buffers(d, stride16, margin, inside16),
        Blur(
            half=np.zeros((2, taps), dtype=np.float32),
            half16=np.zeros((2, taps), dtype=np.int32),
            pairs=np.zeros(2 * taps, dtype=np.int32),
            above=np.zeros(taps, dtype=np.int64),
            below=np.zeros(taps, dtype=np.int64),
            margin=margin,
        ),
        steps=np.zeros(d.steps, dtype=np.int64),
        values=np.zeros((d.steps, 4), dtype=np.int32),
        counts=np.zeros(3 * TABLES * LEVELS, dtype=np.int32),
        levels=aligned(stride16, np.uint8),
        place=aligned(stride16, np.int32),
        spare=aligned(3 * LANES),
        spare16=aligned(LANES, np.uint16),
    )


def pixel_buffers(d: Dimensions, stride: int, margin: int, inside: npt.NDArray[Any]) -> PixelBuffers:
    """Buffers of the dtype of `inside`, with rows `stride` elements apart."""
    kind = inside.dtype.type
    image = d.height * 3 * stride
    framed = CHANNELS * (d.height + FRAME) * (stride + FRAME)
    vector = ALIGNED // inside.itemsize
    return PixelBuffers(
        strip=aligned(3 * d.strip_rows * stride, kind),
        line=aligned(3 * d.strip_rows * (margin + stride + margin), kind),
        image=surrounded(image, kind),
        image_next=surrounded(d.second * image, kind),
        inside=inside,
        kept=surrounded(d.mixes * image, kind),
        total=surrounded(d.mixes * image, kind),
        framed=aligned(min(d.framed, 1) * framed, kind),
        framed_next=aligned(max(d.framed - 1, 0) * framed, kind),
        taps=aligned(min(d.framed, 1) * 2 * CHANNELS * stride, kind),
        shares=aligned(min(d.framed, 1) * 2 * stride, kind),
        tables=aligned(3 * LEVELS, kind),
        low=aligned(3 * vector, kind),
        high=aligned(3 * vector, kind),
    )


def surrounded(count: int, kind: Any) -> npt.NDArray[Any]:
    """An aligned array with room for a vector before it and behind it, which kernels may read and write but do not use."""
    vector = ALIGNED // np.dtype(kind).itemsize
    return aligned(vector + count + vector, kind)[vector : vector + count]


def arrays(group: tuple[Any, ...]) -> Iterator[npt.NDArray[Any]]:
    """All arrays in a nested tuple."""
    for part in group:
        if isinstance(part, tuple):
            yield from arrays(part)
        elif isinstance(part, np.ndarray):
            yield part


class Scratch:
    """Workspaces that no thread is using, most recently used first. A fork begins without any, as `memory.Pool` does."""

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self.clear()

    def clear(self) -> None:
        self.free: deque[tuple[Dimensions, Workspace]] = deque(maxlen=self.keep)
        self.lock = threading.Lock()

    def borrow(self, key: Dimensions) -> Workspace:
        with self.lock:
            for k, (size, work) in enumerate(self.free):
                if size == key:
                    del self.free[k]
                    return work
        return allocate(key)

    def give_back(self, key: Dimensions, work: Workspace) -> None:
        with self.lock:
            self.free.appendleft((key, work))

    def release(self) -> int:
        """Drop all of them; returns how many bytes they held."""
        with self.lock:
            works = [work for _, work in self.free]
            self.free.clear()
        return sum(array.nbytes for work in works for array in arrays(work))


SCRATCH = Scratch(keep=64)
after_fork(SCRATCH.clear)
POOLS.append(SCRATCH.release)
