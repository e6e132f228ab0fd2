"""The suite `train`: a SimCLR step, and how long it waits for its data.

Each contender is a loader that feeds the step; `replayed` repeats one batch, which is the upper bound. A repeat begins an
epoch, makes two steps that are not measured, which use up whatever was prefetched before anybody waited, and times the next
ones. On CUDA the host runs ahead within a repeat, as it does in training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import repeat as forever
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from typing import Any

import torch

import gpuaug
from ssl_train.losses import nt_xent
from ssl_train.methods import METHODS
from ssl_train.model import JointEmbedding
from ssl_train.optim import OPTIMIZERS, groups
from ssl_train.waits import DataWait

from .. import peers
from ..images import folder, image_files, repeated, small_arrays
from ..measure.result import FUSED, Cell, Key, Result, Run, WorkloadRecord
from ..measure.stats import quartiles
from ..measure.timing import LEAST_ROUNDS, synchronize
from ..peers.contender import BOTH, Contender, Epoch, Setting, anything
from ..sources import Source
from . import common
from .common import Measurement, Progress, Request
from .targets import data_wait

WARM = 2
"""Steps at the beginning of a repeat that are not measured."""

TEMPERATURE = 0.1

PICTURES = 512
"""Different pictures that the suite makes, at most."""

Views = Sequence[torch.Tensor]
Step = Callable[[Views], None]


@dataclass(frozen=True)
class Case:
    """A network of ssl_train. size: side of its views in pixels; up to 32, arrays in memory feed it. batch: images a step."""

    network: str
    size: int
    batch: int
    policy: str = "simclr"


CPU, QUICK, CUDA = (
    (Case("resnet18", 96, 16), Case("resnet50", 96, 16), Case("vit_small", 96, 16)),
    (Case("resnet18_quarter", 32, 8),),
    (Case("resnet50", 224, 256), Case("vit_small", 224, 256), Case("resnet18", 32, 512, "simclr_cifar")),
)


@dataclass
class Row:
    """A loader and its step. seconds: of a step; waited: its data wait, a share of it. One number a repeat."""

    epoch: Epoch
    step: Step
    seconds: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)


REPLAYED = Contender(
    name="replayed",
    distributions=("gpuaug",),
    regime="one batch of gpuaug's again and again",
    note="the upper bound: no data is waited for",
    supports=anything,
    devices=BOTH,
    load=lambda source, policy, batch, setting: replay(peers.gpuaug.load(source, policy, batch, setting)),
    takes=(Path, tuple),
)


def cases(request: Request) -> list[Case]:
    """The networks to train. Raises ValueError for a policy that SimCLR's step does not take."""
    s = request.settings
    found = [replace(c, batch=request.batch or c.batch) for c in (QUICK if s.quick else CUDA if s.device == "cuda" else CPU)]
    if request.policies:
        found = [replace(c, policy=request.policies[0]) for c in found]
    wanted = METHODS["simclr"].views
    for case in found:
        policy = gpuaug.policy(case.policy, size=case.size)
        if len(policy) != wanted or len({view.size for view in policy.views}) > 1:
            raise ValueError(f"--policy {case.policy}: SimCLR's step takes a policy of {wanted} views of one size")
    return found


def measure(request: Request, progress: Progress) -> Result:
    s = request.settings
    contenders = common.chosen([*(c for c in peers.FILES if c.load and c.name != "dali-decode"), REPLAYED], request.contenders)
    made, steps = cases(request), 2 if s.quick else 10 if s.device == "cuda" else 4
    m = Measurement(request, contenders, progress)
    count = max(case.batch for case in made) * (WARM + steps + 2)
    with common.threads(s.threads), folder(request.data, min(count, PICTURES)) as root, TemporaryDirectory() as scratch:
        if request.data and len(image_files(root)) < count:
            raise ValueError(f"--data {root}: {len(image_files(root))} images, train needs {count} for its steps")
        setting = common.setting(s, Path(scratch))
        if s.device == "cpu":
            setting = replace(setting, dtype=torch.float32)  # there --dtype is the type of the step, not of the views
        with repeated(root, count) as many:
            for case in made:
                source = small_arrays(count, s.seed) if case.size <= 32 and s.device == "cuda" else many
                trained(case, source, steps, setting, m)
    waits = [c.more["data_wait"] for c in m.cells.values() if c.contender == FUSED and c.figure]
    targets = [data_wait(max(waits, default=None))] if s.device == "cuda" else []
    records = [WorkloadRecord(c.network, c.policy, (), (c.size, c.size), c.batch) for c in made]
    return m.result("train", "images/s", records, targets=targets)


def trained(case: Case, source: Source, steps: int, setting: Setting, m: Measurement) -> None:
    """Fill in the cells of a network."""
    s, policy = m.request.settings, gpuaug.policy(case.policy, size=case.size)
    m.progress(f"{case.network}: first steps")
    rows: dict[Key, Row] = {}
    for contender in m.contenders:
        key = contender.name, case.network
        if m.ready(contender, case.network, policy, source) and contender.load:
            with m.caught(key):
                rows[key] = Row(contender.load(source, policy, case.batch, setting), stepper(case, s))
    for k in range(s.repeats):
        if k >= LEAST_ROUNDS and m.request.late():
            break
        m.progress(f"{case.network}: round {k + 1} of {s.repeats}")
        for key, row in rows.items():
            if m.cells[key].status == "ok":
                with m.caught(key):
                    window(row, steps, s.device)
    alone = rows.get((REPLAYED.name, case.network))
    for key, row in rows.items():
        if m.cells[key].status == "ok":
            m.cells[key] = finished(m.cells[key], row, case.batch, alone)


def stepper(case: Case, settings: Run) -> Step:
    """A SimCLR step with LARS, as `python -m ssl_train` makes it; it does not wait for the device."""
    torch.manual_seed(settings.seed)
    model = JointEmbedding(case.network, case.size, METHODS["simclr"].small.projector).to(settings.device)
    if settings.device == "cuda":
        model = model.to(memory_format=torch.channels_last)
    optimizer = OPTIMIZERS["lars"](groups(model, 1e-6), 0.1)

    def step(views: Views) -> None:
        if settings.device == "cuda":
            views = [view.contiguous(memory_format=torch.channels_last) for view in views]
        with torch.autocast(settings.device, torch.bfloat16, enabled=settings.dtype == "bfloat16"):
            _, z, _ = model(views)
        loss = nt_xent(z[0].float(), z[1].float(), TEMPERATURE)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

    return step


def replay(epoch: Epoch) -> Epoch:
    batches: Any = epoch()
    with closing(batches):
        batch = [view.clone() for view in next(batches)]
    return lambda: iter(forever(batch))


def window(row: Row, steps: int, device: str) -> None:
    """One repeat."""
    batches: Iterator[Views] = row.epoch()
    try:
        for _ in range(WARM):
            row.step(next(batches))
        synchronize(device)
        start, wait = time.perf_counter(), DataWait(torch.device(device))
        for _ in range(steps):
            row.step(wait.next(batches))
            wait.done()
        synchronize(device)
        row.seconds.append((time.perf_counter() - start) / steps)
        row.waited.append(wait.share)
    finally:
        if hasattr(batches, "close"):
            batches.close()


def finished(cell: Cell, row: Row, batch: int, alone: Row | None) -> Cell:
    """The cell with its figures. alone: the row of the replayed batch."""
    values = tuple(batch / s for s in row.seconds)
    more = {"data_wait": fmean(row.waited), "step_ms": 1000 * median(row.seconds)}
    if alone is not None and alone is not row:
        more["slowdown"] = median(row.seconds) / median(alone.seconds) - 1
    return replace(cell, calls=1, values=values, figure=quartiles(values), more=more)
