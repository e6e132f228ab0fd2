"""The suite `train`: a SimCLR step, and how long it waits for its data.

Each contender is a loader that feeds the step; `replayed` uses one batch again and again, which is the upper bound. A repeat
begins an epoch, makes two steps unmeasured, so that whatever was prefetched while nobody was waiting is used up, and times the
next ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import repeat as forever
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch

import gpuaug
from ssl_train.losses import nt_xent
from ssl_train.methods import METHODS
from ssl_train.model import BACKBONES, JointEmbedding
from ssl_train.optim import OPTIMIZERS, groups

from .. import peers
from ..images import folder, images
from ..measure import machine
from ..measure.result import Cell, Result, Run, WorkloadRecord
from ..measure.stats import quartiles
from ..peers.contender import Epoch, FilePeer, anything
from . import common
from .common import Progress, Request

NETWORKS = {False: ("resnet18", "resnet50", "vit_small"), True: ("resnet18_quarter",)}
SIZE, BATCH = {False: 96, True: 32}, {False: 16, True: 8}
WARM, STEPS = 2, {False: 4, True: 2}
"""Steps of a repeat: unmeasured, measured."""

TEMPERATURE = 0.1

Views = Sequence[torch.Tensor]
Step = Callable[[Views], float]

REPLAYED = FilePeer(
    "replayed", (), "", (), "one batch of gpuaug's again and again", "the upper bound: no data is waited for", anything
)  # fmt: skip


@dataclass
class Row:
    """seconds, waited: of a step, and of its wait for data, each repeat's."""

    epoch: Epoch
    step: Step
    seconds: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)


def measure(request: Request, progress: Progress) -> Result:
    before, s = machine.load(), request.settings
    size, batch = SIZE[s.quick], request.batch or BATCH[s.quick]
    contenders = common.chosen([*(c for c in peers.FILES if c.load and c.name != "dali-decode"), REPLAYED], request.contenders)
    networks = NETWORKS[s.quick]
    policy_name = request.policies[0] if request.policies else "simclr"
    policy = gpuaug.policy(policy_name, size=size)
    wanted = METHODS["simclr"].views
    if len(policy) != wanted or len({view.size for view in policy.views}) > 1:
        raise ValueError(f"--policy {policy_name}: SimCLR's step takes a policy of {wanted} views of one size")
    cells: dict[tuple[str, str], Cell] = {}
    count = batch * (WARM + STEPS[s.quick] + 2)
    with common.threads(s.threads), folder(request.data, count) as root, TemporaryDirectory() as scratch:
        if len(images(root)) < count:
            raise ValueError(f"--data {root}: {len(images(root))} images, train needs {count} for its steps of {batch}")
        setting = replace(common.setting(s, Path(scratch)), dtype=torch.float32)  # --dtype is that of the step
        for network in networks:
            progress(f"{network}: first steps")
            rows = {}
            for contender in contenders:
                cells[contender.name, network] = cell = obstacle(contender, network, policy)
                if cell.status == "ok":
                    load = cast(Any, contender.load or peers.gpuaug.load)
                    epoch = load(root, policy, batch, setting)
                    rows[contender.name] = Row(replay(epoch) if contender is REPLAYED else epoch, stepper(network, size, s))
            for k in range(s.repeats):
                progress(f"{network}: round {k + 1} of {s.repeats}")
                for name, row in list(rows.items()):
                    try:
                        window(row, STEPS[s.quick])
                    except Exception as error:  # a library may raise anything; its cell says what
                        cells[name, network] = common.failed(cells[name, network], error)
                        del rows[name]
            for name, row in rows.items():
                cells[name, network] = finished(cells[name, network], row, batch)
    records = [WorkloadRecord(n, policy_name, (), (size, size), batch) for n in networks]
    return common.result("train", "images/s", s, before, records, contenders, list(cells.values()))


def obstacle(contender: FilePeer, network: str, policy: gpuaug.Policy) -> Cell:
    cell = common.empty(network, contender)
    if cell.status == "ok" and network not in BACKBONES:
        return replace(cell, status="unsupported", reason=f"ssl_train has no {network}; it has {', '.join(BACKBONES)}")
    refused = contender.supports(policy)
    return replace(cell, status="unsupported", reason=refused) if cell.status == "ok" and refused else cell


def stepper(network: str, size: int, settings: Run) -> Step:
    """A SimCLR step with LARS, as `python -m ssl_train` makes it."""
    torch.manual_seed(settings.seed)
    model = JointEmbedding(network, size, METHODS["simclr"].small.projector)
    optimizer = OPTIMIZERS["lars"](groups(model, 1e-6), 0.1)

    def step(views: Views) -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.dtype == "bfloat16"):
            _, z, _ = model(views)
        loss = nt_xent(z[0], z[1], TEMPERATURE)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        return float(loss.detach())

    return step


def replay(epoch: Epoch) -> Epoch:
    batches: Any = epoch()
    with closing(batches):
        batch = [view.clone() for view in next(batches)]
    return lambda: iter(forever(batch))


def window(row: Row, steps: int) -> None:
    """One repeat."""
    batches: Iterator[Views] = row.epoch()
    try:
        for _ in range(WARM):
            row.step(next(batches))
        start, waited = time.perf_counter(), 0.0
        for _ in range(steps):
            begin = time.perf_counter()
            views = next(batches)
            waited += time.perf_counter() - begin
            row.step(views)
        row.seconds.append((time.perf_counter() - start) / steps)
        row.waited.append(waited / steps)
    finally:
        if hasattr(batches, "close"):
            batches.close()


def finished(cell: Cell, row: Row, batch: int) -> Cell:
    values = tuple(batch / s for s in row.seconds)
    more = {"data_wait": sum(row.waited) / sum(row.seconds), "step_ms": 1000 * median(row.seconds)}
    return replace(cell, calls=1, values=values, figure=quartiles(values), more=more)
