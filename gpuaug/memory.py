"""A pool of host memory for pixels and views, which reuses blocks that nothing refers to any more.

Fresh memory for a batch costs a page fault every 4 kB, or the zeroing of huge pages. Either can take longer than making the
views. torch has no caching allocator for the CPU.
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

from .isolation import after_fork

SMALL = 1 << 16
"""Requests of fewer bytes are left to malloc, which reuses such small blocks itself."""

WASTE = 1.25
"""Largest ratio of a reused block's size to the size asked for. Batches of pictures of varying sizes differ by less."""

ALIGNED = 64
"""Bytes of a cache line, and of the widest vector register."""


def aligned(count: int, dtype: Any = np.float32) -> npt.NDArray[Any]:
    """An array of zeros whose address is a multiple of 64 bytes."""
    size = count * np.dtype(dtype).itemsize
    return inside(np.zeros(size + ALIGNED, dtype=np.uint8), size).view(dtype)


def inside(raw: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """`size` bytes of an array, from the first address that is a multiple of 64."""
    skip = -raw.ctypes.data % ALIGNED
    return raw[skip : skip + size]


def step(size: int) -> int:
    """Round a size up to one of eight steps per power of two, so that batches of nearly equal size share blocks."""
    unit = 1 << max(size.bit_length() - 4, 0)
    return -(-size // unit) * unit


def ordinary(size: int) -> npt.NDArray[np.uint8]:
    """Uninitialised memory of malloc."""
    return np.empty(size, np.uint8)


class Pool:
    """Blocks of memory that are reused once nothing refers to them.

    A block is free when only the pool refers to it; any array view of a block, even a view of a view, has the block as its base
    and so keeps it in use. After each `allocate` the pool drops the free blocks that were used longest ago, until its blocks
    total no more than the peak memory in use over the last `recent` calls. It never knows more than `most` blocks.
    A fork begins with an empty pool: a thread that the fork lacks may hold the lock. make: makes a block of so many bytes.
    """

    def __init__(self, recent: int = 32, most: int = 64, make: Callable[[int], npt.NDArray[np.uint8]] = ordinary) -> None:
        self.most = most
        self.make = make
        self.recent = recent
        self.clear()

    def clear(self) -> None:
        """Forget all blocks."""
        self.lock = threading.Lock()
        self.blocks: list[npt.NDArray[np.uint8]] = []  # the most recently used last
        self.in_flight: deque[int] = deque(maxlen=self.recent)

    def allocate(self, size: int) -> npt.NDArray[np.uint8]:
        """An uninitialised array of `size` bytes whose address is a multiple of 64."""
        if size < SMALL:
            return np.empty(size, np.uint8)
        room = step(size) + ALIGNED
        with self.lock:
            free = self.free()
            fitting = [k for k in free if room <= self.blocks[k].nbytes <= room * WASTE]
            best = min(fitting, key=lambda k: (self.blocks[k].nbytes, k), default=None)
            block = self.make(room) if best is None else self.blocks.pop(best)
            self.blocks.append(block)
            self.shrink(self.free(1))
            return inside(block, size)

    def free(self, ours: int = 0) -> list[int]:
        """Indices of the free blocks; the caller itself holds the last `ours` blocks."""
        # Two references: the list's, and the argument of getrefcount.
        return [k for k in range(len(self.blocks) - ours) if sys.getrefcount(self.blocks[k]) == 2]

    def shrink(self, free: list[int]) -> None:
        """Record how much is in use now, and drop free blocks beyond the recent peak."""
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
        """Drop every free block; returns how many bytes they had."""
        with self.lock:
            total = self.nbytes
            free = set(self.free())
            self.blocks = [block for k, block in enumerate(self.blocks) if k not in free]
            self.in_flight.clear()
            return total - self.nbytes

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks, free or in use."""
        return sum(block.nbytes for block in self.blocks)


def uninitialised(shape: tuple[int, ...], dtype: torch.dtype, memory_format: torch.memory_format) -> torch.Tensor:
    """An uninitialised CPU tensor (B, C, H, W); unless it is small, it is from the pool and aligned to 64 bytes."""
    size = prod(shape) * dtype.itemsize
    if size < SMALL:
        return torch.empty(shape, dtype=dtype, device="cpu", memory_format=memory_format)
    memory = torch.from_numpy(POOL.allocate(size)).view(dtype)
    count, channels, height, width = shape
    if memory_format == torch.channels_last:
        return memory.view(count, height, width, channels).permute(0, 3, 1, 2)
    return memory.view(shape)


def trim() -> None:
    """Return memory that malloc keeps after batches are freed to the system; only glibc can.

    Where batches differ in size, malloc would keep more and more: an eighth more in 25 epochs.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


POOL = Pool()
"""One pool for the process, since every loader and every backend asks for the same few sizes."""

after_fork(POOL.clear)

POOLS: list[Callable[[], int]] = [POOL.release]
"""Functions that free memory kept for the next batch, and return how many bytes."""


def release_memory() -> int:
    """Free the host memory that gpuaug keeps for reuse.

    gpuaug keeps the pixels, views and working memory of finished batches, up to the recent peak of memory in use. Batches that
    you still hold are not affected. The next batch allocates its memory anew. GPU memory belongs to torch: use
    torch.cuda.empty_cache().

    Returns:
        How many bytes were freed.
    """
    freed = sum(release() for release in POOLS)
    trim()
    return freed
