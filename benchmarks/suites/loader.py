"""The suite `loader`: a folder of JPEGs, and small arrays in memory, -> batches of two views; an epoch a call.

Threads are what a loader may decode with: threads or worker processes, as each has them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import gpuaug

from .. import machine, peers, targets
from ..contender import Setting
from ..files import Epoch, FilePeer, Source, folder, images, small_arrays
from ..measure import Lane, rounds
from ..peers.gpuaug import FUSED
from ..result import Cell, Result, Verdict, WorkloadRecord
from ..stats import quartiles, ratio
from . import common
from .augment import DTYPES
from .common import Progress, Request

COUNT = {False: 512, True: 64}
ARRAYS = {False: 2**15, True: 2**11}
"""Images of a folder, and of an array."""

JPEG, CIFAR = "jpeg-folder", "arrays-cifar"

RATIOS = (("dali-decode", 0.75), ("torchvision", 8.0), ("dali", 3.0))
"""gpuaug-fused's least ratio to these on the folder with two threads: DALI's decode alone, a DataLoader of two workers, and a
DALI pipeline of the same policy."""

ARRAYS_LEAST = 60_000.0
"""Images/s a core, two views each."""


@dataclass(frozen=True)
class Task:
    """name, policy: in tables. source: where images come from."""

    name: str
    policy: str
    source: Source
    batch: int
    count: int


def measure(request: Request, progress: Progress) -> Result:
    before, settings = machine.load(), request.settings
    contenders = [c for c in common.chosen(peers.FILES, request.contenders) if c.load or c.missing]
    with common.threads(settings.threads), folder(request.data, COUNT[settings.quick]) as root:
        made = tasks(request, root)
        lanes, cells = prepare(made, contenders, request, progress)
        rounds(list(lanes.values()), settings.repeats, settings.seconds, progress)
        for (name, task), lane in lanes.items():
            count = next(t.count for t in made if t.name == task)
            cells[name, task] = common.timed(cells[name, task], lane, count, lanes.get((FUSED, task)))
    records = [WorkloadRecord(t.name, t.policy, (), gpuaug.policy(t.policy).views[0].size, t.batch) for t in made]
    verdicts = judged(lanes, cells, settings.threads)
    return common.result(
        "loader", "images/s", settings, before, records, contenders, list(cells.values()), targets=verdicts
    )  # fmt: skip


def tasks(request: Request, root: Path) -> list[Task]:
    quick = request.settings.quick
    batch = request.batch or (16 if quick else 64)
    count = len(images(root)) // batch * batch
    if not count:
        raise ValueError(f"--batch {batch}: {root} has only {len(images(root))} images")
    small = small_arrays(ARRAYS[quick], request.settings.seed)
    found = [Task(JPEG, "simclr", root, batch, count), Task(CIFAR, "simclr_cifar", small, 512, ARRAYS[quick])]
    if not request.policies:
        return found
    return [replace(found[0], name=f"{JPEG}-{name}", policy=name) for name in request.policies]


def prepare(
    made: Sequence[Task], contenders: Sequence[FilePeer], request: Request, progress: Progress
) -> tuple[dict[tuple[str, str], Lane], dict[tuple[str, str], Cell]]:
    lanes: dict[tuple[str, str], Lane] = {}
    cells: dict[tuple[str, str], Cell] = {}
    setting = Setting(request.settings.threads, request.settings.seed, DTYPES[request.settings.dtype])
    for task in made:
        policy = gpuaug.policy(task.policy)
        progress(f"{task.name}: first epochs")
        for contender in contenders:
            key = contender.name, task.name
            cells[key] = cell = common.empty(task.name, contender)
            refused = contender.supports(policy)
            if task.name == CIFAR and not contender.arrays:
                refused = "takes files only"
            if cell.status == "ok" and refused:
                cells[key] = replace(cell, status="unsupported", reason=refused)
            elif cell.status == "ok" and contender.load:
                try:
                    start = time.perf_counter()
                    call = whole(contender.load(task.source, policy, task.batch, setting), task.count)
                    call()
                    cells[key] = replace(cell, first_call_s=time.perf_counter() - start)
                    lanes[key] = Lane(call)
                except Exception as error:  # a library may raise anything; its cell says what
                    cells[key] = common.failed(cell, error)
    return lanes, cells


def whole(epoch: Epoch, count: int) -> Callable[[], object]:
    """An epoch, which must give so many images. Raises ValueError where it gives another number."""

    def call() -> None:
        found = sum(len(views[0]) for views in epoch())
        if found != count:
            raise ValueError(f"gave {found} images, expected {count}")

    return call


def judged(
    lanes: dict[tuple[str, str], Lane], cells: dict[tuple[str, str], Cell], threads: int
) -> list[Verdict]:  # fmt: skip
    """Ratios are for two threads; the arrays' target is for one core, and holds for any number."""
    found = []
    ours = lanes.get((FUSED, JPEG))
    for peer, least in RATIOS if threads == 2 else ():
        theirs = lanes.get((peer, JPEG))
        both = ours and theirs and not (ours.error or theirs.error)
        measured = ratio(theirs.seconds, ours.seconds) if both and ours and theirs else None
        target = targets.Target(f"{JPEG}: {FUSED} / {peer}, 2 threads", (FUSED, JPEG), (peer, JPEG), least)
        found.append(targets.verdict(target, measured))
    cell = cells.get((FUSED, CIFAR))
    a_core = quartiles([v / threads for v in cell.values]) if cell and cell.values else None
    arrays = targets.Target(f"{CIFAR}: {FUSED}, images/s a core", (FUSED, CIFAR), (FUSED, CIFAR), ARRAYS_LEAST)
    return [*found, targets.verdict(arrays, a_core)]
