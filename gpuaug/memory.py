"""Host memory for pixels and views, reused once nobody holds it.

A fresh allocation of a batch's size costs a page fault every 4 kB, or has its huge pages zeroed, either of which can take
longer than making the views; torch keeps no memory back on the CPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

SMALL = 1 << 16
"""Bytes below which malloc reuses blocks by itself."""

ALIGNED = 64
"""Bytes of a cache line, and of the widest vector."""


def aligned(count: int, dtype: Any = np.float32) -> npt.NDArray[Any]:
    """Zeros at a multiple of 64 bytes."""
    size = count * np.dtype(dtype).itemsize
    return inside(np.zeros(size + ALIGNED, dtype=np.uint8), size).view(dtype)


def inside(raw: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """The first so many bytes of an array that begin at a multiple of 64."""
    skip = -raw.ctypes.data % ALIGNED
    return raw[skip : skip + size]


def step(size: int) -> int:
    """Sizes are rounded up to eight steps an octave, so that batches of nearly one size share blocks."""
    unit = 1 << max(size.bit_length() - 4, 0)
    return -(-size // unit) * unit


class Pool:
    """Blocks of memory, the `keep` latest. A block is free again when only the pool refers to it: the base of any view of it,
    and of a view of a view, is the block itself."""

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self.lock = threading.Lock()
        self.blocks: list[npt.NDArray[np.uint8]] = []

    def take(self, size: int) -> npt.NDArray[np.uint8]:
        """So many bytes, of any content, at a multiple of 64."""
        if size < SMALL:
            return np.empty(size, np.uint8)
        room = step(size) + ALIGNED
        with self.lock:
            for k in range(len(self.blocks)):
                # Two references: the list's, and that of the call to getrefcount.
                if self.blocks[k].nbytes == room and sys.getrefcount(self.blocks[k]) == 2:
                    self.blocks.append(self.blocks.pop(k))
                    return inside(self.blocks[-1], size)
            block = np.empty(room, np.uint8)
            self.blocks = [*self.blocks[-self.keep + 1 :], block]
            return inside(block, size)


def uninitialised(shape: tuple[int, ...], dtype: torch.dtype, memory_format: torch.memory_format) -> torch.Tensor:
    """A tensor (B, C, H, W) of any content, from the pool; at a multiple of 64 bytes if it is not small."""
    size = prod(shape) * dtype.itemsize
    if size < SMALL:
        return torch.empty(shape, dtype=dtype, device="cpu", memory_format=memory_format)
    memory = torch.from_numpy(POOL.take(size)).view(dtype)
    count, channels, height, width = shape
    if memory_format == torch.channels_last:
        return memory.view(count, height, width, channels).permute(0, 3, 1, 2)
    return memory.view(shape)


def trim() -> None:
    """Give the system back what malloc keeps of freed batches: where their sizes differ, it would keep ever more, an eighth
    in 25 epochs. With glibc; elsewhere it does nothing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


POOL = Pool(keep=24)
"""The process's, since every loader and every backend wants the same few sizes."""
