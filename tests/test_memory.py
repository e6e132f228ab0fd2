"""Memory that is reused is memory that nobody holds."""

import gc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpuaug.memory import SMALL, Pool, aligned, step


@given(st.integers(1, 2**40))
def test_sizes_are_rounded_up_by_an_eighth_at_most(size):
    assert size <= step(size) <= size * 9 / 8
    assert step(step(size)) == step(size)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
def test_aligned(dtype):
    for count in (1, 7, 1000):
        found = aligned(count, dtype)
        assert found.shape == (count,)
        assert found.dtype == dtype
        assert found.ctypes.data % 64 == 0
        assert not found.any()


def views_of(block):
    """Ways in which a block is held on to."""
    yield block
    yield block[5:]
    yield block[: len(block) // 4 * 4].view(np.float32).reshape(2, -1)[1]
    yield torch.from_numpy(block)
    yield torch.from_numpy(block)[: len(block) // 4 * 4].view(torch.float32)[3:]
    yield torch.from_numpy(block).untyped_storage()
    yield memoryview(block)


@pytest.mark.parametrize("way", range(7))
def test_a_block_is_not_given_twice_while_any_view_of_it_lives(way):
    pool = Pool(keep=4)
    block = pool.take(2 * SMALL)
    block[:] = 1
    address = block.ctypes.data
    held = list(views_of(block))[way]
    del block
    other = pool.take(2 * SMALL)
    other[:] = 2
    assert other.ctypes.data != address
    del held
    gc.collect()
    assert pool.take(2 * SMALL).ctypes.data == address


def test_sizes_alike_share_a_block():
    pool = Pool(keep=4)
    address = pool.take(10 * SMALL).ctypes.data
    assert pool.take(10 * SMALL - 100).ctypes.data == address
    assert pool.take(2 * SMALL).ctypes.data != address


def test_few_blocks_are_kept_and_none_of_a_small_size():
    pool = Pool(keep=3)
    held = [pool.take(SMALL << k) for k in range(6)]
    assert len(pool.blocks) == 3
    assert all(len(block) == SMALL << k for k, block in enumerate(held))
    pool.take(SMALL - 1)
    assert len(pool.blocks) == 3
