"""Kernels are compiled before the timeout of a batch starts to run, once for all views."""

import threading
import time

import numpy as np
import pytest
import torch

import gpuaug
from gpuaug.backends.fused.cpu import compilation
from gpuaug.backends.fused.cpu.kernels import views

SLOW = 3.0
"""Seconds that the first call of the kernels takes in these tests."""


@pytest.fixture
def fresh(monkeypatch):
    """Imitate a process that has compiled nothing: the first call of the kernels is slow. Returns the times of all calls."""
    kernel, calls = views.make_views, []

    def make_views(*arguments):
        calls.append(time.perf_counter())
        if len(calls) == 1:
            time.sleep(SLOW)
        kernel(*arguments)

    make_views._cache = kernel._cache  # where compiled kernels are stored
    monkeypatch.setattr(compilation.MAKE_VIEWS, "done", threading.Event())
    monkeypatch.setattr(views, "make_views", make_views)
    return calls


def test_compiling_is_not_waiting_for_a_batch(fresh):
    images = np.zeros((4, 8, 8, 3), np.uint8)
    policy = gpuaug.policy("mae", size=8)
    loader = gpuaug.DataLoader((images, range(4)), policy, 2, num_workers=1, timeout=SLOW / 2, backend="fused")
    assert fresh == []
    assert len(list(loader)) == 2


def test_one_compilation_is_for_every_view():
    gpuaug.Augmenter(gpuaug.policy("mae", size=8), "fused").prepare()
    known = list(views.make_views.signatures)
    images = gpuaug.Images.from_list([np.zeros((20, 30, 3), np.uint8)] * 3)
    for name, dtype in (("simclr", torch.float32), ("byol", torch.bfloat16), ("gaussian_noise", torch.float16)):
        policy = gpuaug.policy(name, size=32)
        draws = gpuaug.sample(policy, range(3))
        for layout in (torch.contiguous_format, torch.channels_last):
            gpuaug.Augmenter(policy, "fused", dtype=dtype, memory_format=layout)(images, draws)
    assert len(known) == 1
    assert views.make_views.signatures == known
