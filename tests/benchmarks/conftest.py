"""Contenders made for tests: quick ones, one that is not installed, one that fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from benchmarks import peers
from benchmarks.__main__ import THREAD_VARIABLES
from benchmarks.contender import Contender
from benchmarks.peers.gpuaug import CONTENDERS, FUSED


def like_kornia(name: str) -> Contender:
    """gpuaug's Kornia backend, which needs no compilation, under another name."""
    return replace(next(c for c in CONTENDERS if c.name == "gpuaug-kornia"), name=name)


def failing(*arguments: object) -> object:
    raise RuntimeError("the pipeline\nfell apart")


def failing_later(*arguments: object) -> object:
    calls = iter(range(6))

    def make() -> torch.Tensor:
        if next(calls, None) is None:
            raise RuntimeError("out of memory")
        return torch.zeros(2, 3, 32, 32)

    return make


@pytest.fixture
def contenders(monkeypatch: pytest.MonkeyPatch) -> list[Contender]:
    """Stand-ins for the peers, in place of the real ones."""
    made = [
        like_kornia(FUSED),
        next(c for c in peers.ALL if c.name == "torchvision"),
        replace(like_kornia("absent"), modules=("no_such_package",), install="pip install no-such-package"),
        replace(like_kornia("broken"), prepare=failing),
        replace(like_kornia("fleeting"), prepare=failing_later, same_draws=False),
        next(c for c in peers.ALL if c.name == "triton-augment"),
    ]
    monkeypatch.setattr(peers, "ALL", tuple(made))
    return made


@pytest.fixture(autouse=True)
def settings_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command sets these for its own process."""
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
