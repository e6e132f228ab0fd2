"""A decoder by Pillow's libjpeg: plain JPEGs go to it in the calling thread, and all other files to `decode`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....memory import POOL
from ..jpeg_header import PlainJPEG, plain
from ..pillow import MAX_PIXELS, DecodeError, Pixels, try_decode
from ..regions import Boxes, Region, Regional
from .library import usable
from .routine import GOOD, SLACK

WIDEST = 16
"""Pixels of the widest block of a file that is decoded in part."""

KEPT = 2**28
"""Most bytes of the pixels of a part of a batch whose memory is used again."""


class LibjpegDecoder:
    """Decodes files one after the other, with the same pixels and the same errors as `decode`.

    Any number of threads may call it at a time. A file about which libjpeg has so much as a warning goes to Pillow, so what
    becomes of a file depends on no other.

    Args:
        max_pixels: Largest number of pixels in a picture.

    Raises:
        ImportError: Pillow's libjpeg cannot be called directly.
    """

    def __init__(self, max_pixels: int = MAX_PIXELS) -> None:
        self.max_pixels = max_pixels
        self.library = usable()

    def __reduce__(self) -> tuple[Any, ...]:
        return LibjpegDecoder, (self.max_pixels,)

    def __call__(
        self, datas: Sequence[bytes], names: Sequence[str], regional: Regional | None = None
    ) -> list[Pixels | Region | DecodeError]:
        """For each file its picture, uint8 (H, W, 3), or a `Region` that contains what is read of it; or its DecodeError."""
        files = {k: found for k, data in enumerate(datas) if (found := plain(data, self.max_pixels))}
        done = self.decode_plain(list(files), [datas[k] for k in files], list(files.values()), regional) if files else {}
        return [done[k] if k in done else try_decode(data, names[k], self.max_pixels) for k, data in enumerate(datas)]

    def decode_plain(
        self, where: list[int], datas: list[bytes], files: list[PlainJPEG], regional: Regional | None
    ) -> dict[int, Any]:
        """Those of the plain files at these places that libjpeg decodes without a complaint."""
        wholes = np.array([file.size for file in files], np.int32)
        boxes = np.concatenate([np.zeros_like(wholes), wholes], axis=1)
        if regional:
            # All scans of a progressive file must be read anyway. In files with wider blocks, which are rare, components may be
            # so narrow in a small box that libjpeg enlarges them in another way than in the whole picture.
            some = np.array([not file.progressive and file.block <= WIDEST for file in files])[:, None]
            boxes = np.where(some, regional(where, wholes), boxes)
        columns = columns_decoded(boxes, wholes, np.array([file.block for file in files], np.int32))
        sizes = 3 * np.multiply(boxes[:, 2], boxes[:, 3], dtype=np.int64)
        starts = np.cumsum(sizes + SLACK) - sizes
        memory = allocated(int(starts[-1] + sizes[-1]) + SLACK)
        numbers = [wholes, boxes[:, :1], columns[:, :1], boxes[:, 2:3], columns[:, 1:], boxes[:, 3:]]
        found = self.library.decode(datas, np.concatenate(numbers, axis=1), starts + memory.ctypes.data)
        frames = np.concatenate([boxes[:, :2], wholes], axis=1).tolist()
        out: dict[int, Any] = {}
        table = zip(where, found, starts.tolist(), sizes.tolist(), boxes[:, 2:].tolist(), frames, strict=True)
        for k, how, start, size, shape, frame in table:
            if how == GOOD:
                pixels = memory[start : start + size].reshape(*shape, 3)
                out[k] = Region(pixels, tuple(frame)) if regional else pixels
        return out


def columns_decoded(boxes: Boxes, shapes: Boxes, blocks: Boxes) -> Boxes:
    """Of boxes (B, 4) the first column to decode, how many, and how many of these lie before the box, (B, 3).

    libjpeg can begin a row at a block, and upsamples colour at the cut as at the edge of a picture: the first pixel behind it
    differs, and the last two before it, so these are decoded and left out. blocks: (B,) pixels of a block.
    """
    left, right = boxes[:, 1], boxes[:, 1] + boxes[:, 3]
    start = np.maximum(left - 2, 0) // blocks * blocks
    return np.stack([start, np.minimum(right + 2, shapes[:, 1]) - start, left - start], axis=1)


def allocated(size: int) -> Pixels:
    """Memory for the pixels of some files: of the pool, in powers of two, so that all parts of batches use the same few blocks.

    What lies behind the pixels of the largest part is never touched, so it takes no memory. More than `KEPT` is not kept.
    """
    return POOL.allocate(1 << (size - 1).bit_length()) if size <= KEPT else np.empty(size, np.uint8)
