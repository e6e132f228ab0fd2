"""Host memory for pixels and views, reused once nobody holds it.

A fresh allocation of a batch's size costs a page fault every 4 kB, or has its huge pages zeroed, either of which can take
longer than making the views; torch keeps no memory back on the CPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
from collections import deque
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

SMALL = 1 << 16
"""Bytes below which malloc reuses blocks by itself."""

WASTE = 1.25
"""How much larger than asked for a block may be: batches of pictures of different sizes differ by less."""

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
    """Blocks of memory that are used again once nobody holds them.

    A block is free when only the pool refers to it: the base of any view of it, and of a view of a view, is the block itself.
    Free and held blocks together are no more than what was in flight, that is held at one time, at some moment of the last
    `recent` calls of `take`; the blocks that were used longest ago go first. At most `most` blocks are known to the pool.
    """

    def __init__(self, recent: int = 32, most: int = 64) -> None:
        self.most = most
        self.lock = threading.Lock()
        self.blocks: list[npt.NDArray[np.uint8]] = []  # the latest used last
        self.in_flight: deque[int] = deque(maxlen=recent)

    def take(self, size: int) -> npt.NDArray[np.uint8]:
        """So many bytes, of any content, at a multiple of 64."""
        if size < SMALL:
            return np.empty(size, np.uint8)
        room = step(size) + ALIGNED
        with self.lock:
            free = self.free()
            fitting = [k for k in free if room <= self.blocks[k].nbytes <= room * WASTE]
            if fitting:
                block = self.blocks.pop(min(fitting, key=lambda k: (self.blocks[k].nbytes, k)))
            else:
                block = np.empty(room, np.uint8)
            self.blocks.append(block)
            self.shrink(self.free(1))
            return inside(block, size)

    def free(self, ours: int = 0) -> list[int]:
        """Places of the free blocks; the last `ours` blocks are held by the caller."""
        # Two references: the list's, and that of the call to getrefcount.
        return [k for k in range(len(self.blocks) - ours) if sys.getrefcount(self.blocks[k]) == 2]

    def shrink(self, free: list[int]) -> None:
        """Note what is in flight now, and let go of what is free beyond the most of late."""
        total = self.nbytes
        self.in_flight.append(total - sum(self.blocks[k].nbytes for k in free))
        excess = total - max(self.in_flight)
        gone = set(range(len(self.blocks) - self.most))
        for k in free:
            if excess > 0:
                excess -= self.blocks[k].nbytes
                gone.add(k)
        self.blocks = [block for k, block in enumerate(self.blocks) if k not in gone]

    def release(self) -> int:
        """Let go of every free block; returns their bytes."""
        with self.lock:
            total = self.nbytes
            free = set(self.free())
            self.blocks = [block for k, block in enumerate(self.blocks) if k not in free]
            self.in_flight.clear()
            return total - self.nbytes

    @property
    def nbytes(self) -> int:
        """Of all blocks, free and held."""
        return sum(block.nbytes for block in self.blocks)


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


POOL = Pool()
"""The process's, since every loader and every backend wants the same few sizes."""

POOLS: list[Callable[[], int]] = [POOL.release]
"""What gives back memory that is kept for the next batch, and says how many bytes."""


def release_memory() -> int:
    """Give back the host memory that gpuaug keeps to use again; returns how many bytes.

    These are the pixels, views and working memory of batches that nobody holds any more, as much as was in use at one time of
    late. Batches that are held stay as they are, and the next batch takes memory anew. Memory of a GPU is torch's:
    torch.cuda.empty_cache().
    """
    freed = sum(release() for release in POOLS)
    trim()
    return freed
