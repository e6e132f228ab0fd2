"""The suite `loader`: JPEGs, raw pixels on the disk, and small arrays in memory, -> batches of views; an epoch a call.

Threads are what a loader may work with: threads or worker processes, as each has them; one for the arrays, whose target is
for a core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import gpuaug

from .. import peers
from ..images import Raw, Source, folder, images, repeated, small_arrays
from ..measure import machine
from ..measure.result import FUSED, Cell, Result, Run, Verdict, WorkloadRecord
from ..measure.stats import Spread, quartiles, ratio
from ..measure.timing import Lane, rounds
from ..peers.contender import Epoch, FilePeer, Setting
from . import common, endurance, targets
from .common import Progress, Request

COUNT = {False: 320, True: 64}
RAW_COUNT = {False: 2**11, True: 2**8}
CUDA_COUNT = 2**12
ARRAY_COUNT = {False: 2**12, True: 2**11}
"""Images of a folder, made of those at hand again and again, of a raw data set, likewise, of either on CUDA, and of an
array: enough that an epoch's beginning and end are a small part of it."""

STRONG, CHEAP = "simclr", "mae"
JPEG, JPEG_CHEAP = f"jpeg-{STRONG}", f"jpeg-{CHEAP}"
RAW, RAW_CHEAP = f"raw256-{STRONG}", f"raw256-{CHEAP}"
ARRAYS = "arrays-cifar"

RATIOS = (
    (JPEG, "dali-decode", JPEG, 0.75),
    (JPEG, "torchvision", JPEG, 8.0),
    (JPEG, "dali", JPEG, 3.0),
    (RAW, "torchvision", JPEG, 10.0),
    (RAW_CHEAP, "ffcv", RAW_CHEAP, 3.0),
    (JPEG_CHEAP, "ffcv", JPEG_CHEAP, 1.0),
)
"""gpuaug-fused's workload, a peer and the peer's: the least ratio of images/s, with two threads."""

ARRAYS_LEAST = 60_000.0
"""Images/s a core, two views each."""


@dataclass(frozen=True)
class Task:
    """name, policy: in tables. source: where images come from. threads: another number than the setting's."""

    name: str
    policy: str
    source: Source
    batch: int
    count: int
    threads: int | None = None


def measure(request: Request, progress: Progress) -> Result:
    before, settings = machine.load(), request.settings
    contenders = [c for c in common.chosen(peers.FILES, request.contenders) if c.load]
    quick = settings.quick
    with (
        common.threads(settings.threads),
        folder(request.data, COUNT[quick]) as root,
        repeated(root, counts(settings)[0]) as few,
        repeated(root, counts(settings)[1]) as many,
        TemporaryDirectory() as scratch,
    ):
        made = tasks(request, few, many)
        setting = common.setting(settings, Path(scratch))
        lanes, cells = prepare(made, contenders, settings, setting, progress)
        rounds(list(lanes.values()), settings.repeats, settings.seconds, progress, request.late)
        apart = {c.name for c in contenders if c.processes}
        for (name, task), lane in lanes.items():
            count = next(t.count for t in made if t.name == task)
            cell = common.timed(cells[name, task], lane, count, lanes.get((FUSED, task)))
            cells[name, task] = replace(cell, cores=None) if name in apart else cell
        verdicts: list[Verdict] = []
        if settings.device == "cpu":  # the targets' device
            verdicts = judged(lanes, cells, {t.name: t.count for t in made}, settings.threads)
            if any(c.name == FUSED for c in contenders):
                verdicts += endurance.verdicts(root, quick, progress)
    records = [WorkloadRecord(t.name, t.policy, (), gpuaug.policy(t.policy).views[0].size, t.batch) for t in made]
    return common.result(
        "loader", "images/s", settings, before, records, contenders, list(cells.values()), targets=verdicts
    )  # fmt: skip


def counts(settings: Run) -> tuple[int, int]:
    """Images of a folder, and of a raw data set."""
    if settings.device == "cuda" and not settings.quick:
        return CUDA_COUNT, CUDA_COUNT
    return COUNT[settings.quick], RAW_COUNT[settings.quick]


def tasks(request: Request, few: Path, many: Path) -> list[Task]:
    """few, many: folders of JPEGs."""
    quick = request.settings.quick
    batch = request.batch or (16 if quick else 256 if request.settings.device == "cuda" else 64)
    count = len(images(few)) // batch * batch
    raw_count = counts(request.settings)[1] // batch * batch
    if not (count and raw_count):
        raise ValueError(f"--batch {batch}: an epoch has only {len(images(few))} images")
    if request.policies:
        return [Task(f"jpeg-{name}", name, few, batch, count) for name in request.policies]
    small = small_arrays(ARRAY_COUNT[quick], request.settings.seed)
    return [
        Task(JPEG, STRONG, few, batch, count),
        Task(JPEG_CHEAP, CHEAP, few, batch, count),
        Task(RAW, STRONG, Raw(many), batch, raw_count),
        Task(RAW_CHEAP, CHEAP, Raw(many), batch, raw_count),
        Task(ARRAYS, "simclr_cifar", small, 512, ARRAY_COUNT[quick], threads=1),
    ]


def prepare(
    made: Sequence[Task], contenders: Sequence[FilePeer], settings: Run, setting: Setting, progress: Progress
) -> tuple[dict[tuple[str, str], Lane], dict[tuple[str, str], Cell]]:
    lanes: dict[tuple[str, str], Lane] = {}
    cells: dict[tuple[str, str], Cell] = {}
    for task in made:
        policy = gpuaug.policy(task.policy)
        progress(f"{task.name}: first epochs")
        for contender in contenders:
            key = contender.name, task.name
            cells[key] = cell = common.obstacle(contender, task.name, settings, policy)
            if cell.status == "ok" and not isinstance(task.source, contender.takes):
                refused = "takes JPEGs only" if contender.takes == (Path,) else "takes no such source"
                cells[key] = replace(cell, status="unsupported", reason=refused)
            elif cell.status == "ok" and contender.load:
                with common.filled(cells, key):
                    start = time.perf_counter()
                    given = replace(setting, threads=task.threads or setting.threads)
                    call = whole(contender.load(task.source, policy, task.batch, given), task.count)
                    call()
                    cells[key] = replace(cell, first_call_s=time.perf_counter() - start)
                    lanes[key] = Lane(call, setting.device)
    return lanes, cells


def whole(epoch: Epoch, count: int) -> Callable[[], object]:
    """An epoch, which must give so many images. Raises ValueError where it gives another number."""

    def call() -> None:
        found = sum(len(views[0]) for views in epoch())
        if found != count:
            raise ValueError(f"gave {found} images, expected {count}")

    return call


def judged(
    lanes: dict[tuple[str, str], Lane], cells: dict[tuple[str, str], Cell], counts: dict[str, int], threads: int
) -> list[Verdict]:
    """Ratios are for two threads; the arrays have one."""

    def seconds_an_image(peer: str, task: str) -> list[float] | None:
        lane = lanes.get((peer, task))
        return None if lane is None or lane.error else [s / counts[task] for s in lane.seconds]

    found = []
    for task, peer, where, least in RATIOS if threads == 2 else ():
        ours, theirs = seconds_an_image(FUSED, task), seconds_an_image(peer, where)
        text = f"{task}: {FUSED} / {peer}" + (f" on {where}" if where != task else "")
        found.append(targets.judged(text, ratio(theirs, ours) if ours and theirs else None, least=least))
    cell = cells.get((FUSED, ARRAYS))
    a_core: Spread | None = quartiles(cell.values) if cell and cell.values else None
    return [*found, targets.judged(f"{ARRAYS}: {FUSED}, images/s a core", a_core, least=ARRAYS_LEAST)]
