"""Contenders made for tests: quick ones, one that is not installed, one that fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from benchmarks import peers
from benchmarks.__main__ import THREAD_VARIABLES
from benchmarks.measure.machine import Machine
from benchmarks.measure.result import FUSED, Cell, ContenderRecord, Fit, Result, Run, Verdict, WorkloadRecord
from benchmarks.measure.stats import Spread
from benchmarks.peers.contender import Contender
from benchmarks.peers.gpuaug import CONTENDERS


def like_kornia(name: str) -> Contender:
    """gpuaug's Kornia backend, which needs no compilation, under another name."""
    return replace(next(c for c in CONTENDERS if c.name == "gpuaug-batched"), name=name)


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
        replace(like_kornia("absent"), modules=("no_such_package",), remedy="pip install no-such-package"),
        replace(like_kornia("broken"), prepare=failing),
        replace(like_kornia("fleeting"), prepare=failing_later, same_draws=False),
        next(c for c in peers.ALL if c.name == "triton-augment"),
    ]
    monkeypatch.setattr(peers, "ALL", tuple(made))
    return made


def cell(workload: str, contender: str, median: float, **more: Any) -> Cell:
    figure = Spread(median, 0.9 * median, 1.1 * median)
    return Cell(workload, contender, "ok", values=(0.9 * median, median, 1.1 * median), figure=figure, **more)


@pytest.fixture
def results() -> list[Result]:
    """One suite of each kind."""
    size = {"image": (256, 256), "view": (224, 224), "batch": 64}
    names = (FUSED, "torchvision", "<peer & co>")
    base = Result(
        suite="augment",
        unit="views/s",
        better="higher",
        date="2030-01-01T00:00:00+00:00",
        run=Run("cpu", 1, "float32", 10, 0, False, 0.05),
        machine=Machine("a processor", 2, 2**34, "Linux", "3.12", None, None, {"torch": "2.15"}, "abc", (0.5, 0.6)),
        bandwidth=Spread(1e10, 9e9, 11e9),
        workloads=tuple(WorkloadRecord(n, n.partition("-")[0], perfect_bytes=1, **size) for n in ("strong-256", "cheap-256")),
        contenders=tuple(ContenderRecord(name, "arrays", "a note", {}) for name in names),
        cells=(
            cell("strong-256", FUSED, 8000, share=0.5, ratio=Spread(1, 1, 1)),
            cell("strong-256", "torchvision", 150, share=0.01, ratio=Spread(50, 45, 55), deviations=("hue 0.1 off",)),
            Cell("strong-256", "<peer & co>", "skipped", "not installed; pip install peer"),
            cell("cheap-256", FUSED, 9000, share=0.6),
            cell("cheap-256", "torchvision", 1500, share=0.1),
        ),
        targets=(Verdict("a / b", 2.0, None, Spread(1.5, 1.4, 1.6), False), Verdict("c / d", 2.0, None, None, None)),
    )
    points = tuple(WorkloadRecord(f"batch={x}", "simclr", axis="batch", x=x, **size) for x in (8, 16, 32))
    scaling = replace(
        base,
        suite="scaling",
        unit="ms",
        better="lower",
        workloads=points,
        cells=tuple(cell(w.name, FUSED, 2.0 * (w.x or 0)) for w in points),
        fits=(Fit(FUSED, "batch", Spread(1.0, 0.95, 1.05)),),
        targets=(),
    )
    train = replace(
        base,
        suite="train",
        unit="images/s",
        workloads=(WorkloadRecord("resnet18", "simclr", **size),),
        cells=(
            cell("resnet18", FUSED, 100, more={"data_wait": 0.03}),
            cell("resnet18", "torchvision", 50, more={"data_wait": 0.6}),
        ),
        targets=(),
    )
    return [base, scaling, train]


@pytest.fixture(autouse=True)
def settings_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command sets these for its own process."""
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
