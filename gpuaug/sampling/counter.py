"""Drawing parameters: a pure function of (policy, seed, epoch, sample index, view).

Philox4x32-10 turns a counter into four random words and keeps no state, so any draw can be computed again, anywhere and in any
order. The key is the seed. The counter's four words are: the number of the block of four random words; the view, with the upper
16 bits of the sample index above it; the lower 32 bits of the index; the epoch. `streams` says which blocks a view reads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from ..ops.base import Array, is_integer
from ..philox import philox4x32
from .rows import on_host

MAX_INDEX = 2**48
"""Sample indices are below this, since the counter holds 48 bits of them."""


def uniforms(seed: int, epoch: int, index: npt.NDArray[np.int64], view: int, count: int) -> npt.NDArray[np.float64]:
    """Independent uniform numbers in [0, 1), each a 32-bit word times 2^-32: shape (len(index), count)."""
    blocks = -(-count // 4)
    return uniform_blocks(seed, epoch, index, np.full(blocks, view), np.arange(blocks))[:, :count]


def uniform_blocks(
    seed: int, epoch: int, index: npt.NDArray[np.int64], views: npt.NDArray[np.int64], blocks: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Independent uniform numbers in [0, 1), four for each block: shape (len(index), 4 * len(blocks)).

    views: (N,) or (len(index), N), the lower 16 bits of the counter's second word. blocks: (N,), its first word.
    """
    counter = np.zeros((4, len(index), len(blocks)), dtype=np.uint64)
    counter[0] = blocks
    counter[1] = views + ((index >> 32) << 16)[:, None]
    counter[2] = (index & 0xFFFFFFFF)[:, None]
    counter[3] = epoch
    bits = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))
    words = np.moveaxis(bits, 0, -1).reshape(len(index), 4 * len(blocks))
    return words.astype(np.float64) * 2.0**-32


def sample_indices(
    who: str, index: int | Sequence[int] | range | Array | torch.Tensor, seed: int, epoch: int
) -> npt.NDArray[np.int64]:
    """The sample indices of draws, int64 (B,). Raises ValueError if one of them, the seed or the epoch is outside its range."""
    for name, value, bits in (("seed", seed, 64), ("epoch", epoch, 32)):
        if not (is_integer(value) and 0 <= value < 2**bits):
            raise ValueError(f"{who}: {name} must be an integer in 0..2^{bits}-1, got {value!r}")
    rows = np.atleast_1d(on_host(index))
    if rows.size == 0:
        rows = rows.astype(np.int64)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or (rows.size and not 0 <= int(rows.min()) <= int(rows.max()) < MAX_INDEX):
        raise ValueError(f"{who}: index must be integers in 0..2^48-1, in one dimension")
    return rows.astype(np.int64)
