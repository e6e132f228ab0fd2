"""The suite `loader`: JPEGs, raw pixels on disk and small arrays in memory -> batches of views, an epoch a call.

`--threads` is the number of threads or of worker processes that a loader may use, whichever it has. Arrays get one, since
their target is for one core.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import gpuaug
from gpuaug import Policy

from .. import peers
from ..images import Raw, Source, folder, image_files, repeated, small_arrays
from ..measure.result import FUSED, Result, Run, Verdict, WorkloadRecord
from ..measure.stats import quartiles, ratio
from ..measure.timing import Call
from ..peers.contender import Contender, Setting
from . import common, endurance, entries, targets
from .common import Measurement, Progress, Request

COUNT = {False: 320, True: 64}
RAW_COUNT = {False: 2**11, True: 2**8}
CUDA_COUNT = 2**12
ARRAY_COUNT = {False: 2**12, True: 2**11}
"""Images of a folder, of a raw data set, of either on CUDA, and of an array: enough that the beginning and the end of an epoch
are a small part of it. Folders and raw data sets repeat the images at hand."""

STRONG, CHEAP = "simclr", "mae"
JPEG, JPEG_CHEAP = f"jpeg-{STRONG}", f"jpeg-{CHEAP}"
RAW_STRONG, RAW_CHEAP = f"raw256-{STRONG}", f"raw256-{CHEAP}"
ARRAYS = "arrays-cifar"

RATIOS = (
    (JPEG, "dali-decode", JPEG, 0.75),
    (JPEG, "torchvision", JPEG, 8.0),
    (JPEG, "dali", JPEG, 3.0),
    (RAW_STRONG, "torchvision", JPEG, 10.0),
    (RAW_CHEAP, "ffcv", RAW_CHEAP, 3.0),
    (JPEG_CHEAP, "ffcv", JPEG_CHEAP, 1.0),
)
"""gpuaug-fused's workload, a peer, the peer's workload, and the least ratio of images/s, with two threads."""

ARRAYS_LEAST = 60_000.0
"""Images/s a core, two views each."""


@dataclass(frozen=True)
class Task:
    """A workload. count: images of an epoch. threads: those that it gets whatever `--threads` says, if any."""

    name: str
    policy: str
    source: Source
    batch: int
    count: int
    threads: int | None = None


def measure(request: Request, progress: Progress) -> Result:
    settings = request.settings
    contenders = [c for c in common.chosen(peers.FILES, request.contenders) if c.load]
    m = Measurement(request, contenders, progress)
    with (
        common.threads(settings.threads),
        folder(request.data, COUNT[settings.quick]) as root,
        repeated(root, counts(settings)[0]) as few,
        repeated(root, counts(settings)[1]) as many,
        TemporaryDirectory() as scratch,
    ):
        made = tasks(request, few, many)
        for task in made:
            progress(f"{task.name}: first epochs")
            setting, policy = common.setting(settings, Path(scratch)), gpuaug.policy(task.policy)
            setting = replace(setting, threads=task.threads or setting.threads)
            for contender in contenders:
                start = partial(whole, contender, task, policy, setting)
                m.prepare(contender, task.name, policy, start, task.source)
        m.time()
        images_of = {task.name: task.count for task in made}
        m.fill(images_of)
        for key in m.timings:  # what worker processes do is not in this process's processor time
            if next(c for c in contenders if c.name == key[0]).processes:
                m.cells[key] = replace(m.cells[key], cores=None)
        verdicts: list[Verdict] = []
        if settings.device == "cpu":  # the targets' device
            verdicts = judged(m, images_of)
            if any(c.name == FUSED for c in contenders):
                verdicts += endurance.verdicts(root, settings.quick, progress)
                verdicts += [] if settings.quick else entries.verdicts(progress)
    records = [WorkloadRecord(t.name, t.policy, (), gpuaug.policy(t.policy).views[0].size, t.batch) for t in made]
    return m.result("loader", "images/s", records, targets=verdicts)


def counts(settings: Run) -> tuple[int, int]:
    """Images of a folder, and of a raw data set."""
    if settings.device == "cuda" and not settings.quick:
        return CUDA_COUNT, CUDA_COUNT
    return COUNT[settings.quick], RAW_COUNT[settings.quick]


def tasks(request: Request, few: Path, many: Path) -> list[Task]:
    """few, many: folders of JPEGs."""
    quick = request.settings.quick
    batch = request.batch or (16 if quick else 256 if request.settings.device == "cuda" else 64)
    count = len(image_files(few)) // batch * batch
    raw_count = counts(request.settings)[1] // batch * batch
    if not (count and raw_count):
        raise ValueError(f"--batch {batch}: an epoch has only {len(image_files(few))} images")
    if request.policies:
        return [Task(f"jpeg-{name}", name, few, batch, count) for name in request.policies]
    small = small_arrays(ARRAY_COUNT[quick], request.settings.seed)
    return [
        Task(JPEG, STRONG, few, batch, count),
        Task(JPEG_CHEAP, CHEAP, few, batch, count),
        Task(RAW_STRONG, STRONG, Raw(many), batch, raw_count),
        Task(RAW_CHEAP, CHEAP, Raw(many), batch, raw_count),
        Task(ARRAYS, "simclr_cifar", small, 512, ARRAY_COUNT[quick], threads=1),
    ]


def whole(contender: Contender, task: Task, policy: Policy, setting: Setting) -> Call:
    """A call that makes one epoch. It raises ValueError if the loader gives another number of images than it should."""
    assert contender.load is not None
    epoch = contender.load(task.source, policy, task.batch, setting)

    def call() -> None:
        found = sum(len(views[0]) for views in epoch())
        if found != task.count:
            raise ValueError(f"gave {found} images, expected {task.count}")

    return call


def judged(m: Measurement, images_of: Mapping[str, int]) -> list[Verdict]:
    """Verdicts on ratios, if there are two threads, and on the speed with arrays, which one thread reads."""

    def seconds_an_image(peer: str, task: str) -> list[float] | None:
        timing = m.timings.get((peer, task))
        return None if timing is None or timing.error else [s / images_of[task] for s in timing.seconds]

    found = []
    for task, peer, where, least in RATIOS if m.request.settings.threads == 2 else ():
        ours, theirs = seconds_an_image(FUSED, task), seconds_an_image(peer, where)
        text = f"{task}: {FUSED} / {peer}" + (f" on {where}" if where != task else "")
        found.append(targets.judged(text, ratio(theirs, ours) if ours and theirs else None, least=least))
    cell = m.cells.get((FUSED, ARRAYS))
    a_core = quartiles(cell.values) if cell and cell.values else None
    return [*found, targets.judged(f"{ARRAYS}: {FUSED}, images/s a core", a_core, least=ARRAYS_LEAST)]
