"""The suite `loader`: JPEGs, packed pixels, shards on a server and small arrays -> batches of views, an epoch a call.

`--threads` is the number of threads or of worker processes that a loader may use, whichever it has. Arrays get one, since
their target is for one core. DINO's ten views, cold packs, photographs of 12 million pixels and shards on an S3
server are read on the CPU only, and not if policies are named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import gpuaug
from gpuaug import Policy
from gpuaug.data.packing.pack import Format

from .. import peers
from ..images import folder, image_files, large_folder, repeated, small_arrays
from ..measure.machine import importable
from ..measure.result import FUSED, Key, Result, Run, Verdict, WorkloadRecord
from ..measure.stats import quartiles, ratio
from ..measure.timing import Call
from ..object_store import BUCKET, object_store, s3_at
from ..peers.contender import Contender, Setting
from ..sources import Cold, Large, Raw, Remote, Source, Yuv, evict, repeated_pack
from . import common, endurance, entries, targets
from .common import Measurement, Progress, Request

COUNT = {False: 1024, True: 64}
RAW_COUNT = {False: 2**11, True: 2**8}
CUDA_COUNT = 2**12
ARRAY_COUNT = {False: 2**12, True: 2**11}
"""Images of a folder, of a packed data set, of either on CUDA, and of an array: enough that the beginning and the end of an
epoch are a small part of it. Folders and packed data sets repeat the images at hand."""

COLD_COUNT = {False: 20_480, True: 2**8}
"""Images of a pack that is read from a cold page cache: 2 GB as yuv, 4 GB raw, if the run is not quick."""

MULTI_COUNT, MULTI_BATCH = {False: 128, True: 32}, 16
REMOTE_COUNT = {False: 320, True: 64}
LARGE_COUNT, LARGE_BATCH, DISTINCT = {False: 32, True: 16}, 8, {False: 8, True: 2}
"""Images and batches of the multi-crop epoch and of that from a server, which take long, and of photographs of 12 million
pixels, of which few differ, since each takes 3 s to make."""

STRONG, CHEAP = "simclr", "mae"
JPEG, JPEG_CHEAP = f"jpeg-{STRONG}", f"jpeg-{CHEAP}"
RAW_STRONG, RAW_CHEAP, RAW_COLD = f"raw256-{STRONG}", f"raw256-{CHEAP}", f"raw256-cold-{CHEAP}"
YUV_STRONG, YUV_CHEAP, YUV_COLD = f"yuv256-{STRONG}", f"yuv256-{CHEAP}", f"yuv256-cold-{CHEAP}"
MULTI, LARGE, REMOTE = "jpeg-dino", f"jpeg-12mp-{STRONG}", f"s3-{STRONG}"
ARRAYS = "arrays-cifar"


class Ratio(NamedTuple):
    """A contender on a workload, another one, and the least ratio of their images/s, with two threads."""

    of: Key
    to: Key
    least: float

    @property
    def text(self) -> str:
        (ours, task), (peer, where) = self.of, self.to
        return f"{task}: {ours} / {peer}" + (f" on {where}" if where != task else "")


RATIOS = (
    Ratio((FUSED, JPEG), ("dali-decode", JPEG), 0.80),
    Ratio((FUSED, JPEG_CHEAP), ("dali-decode", JPEG_CHEAP), 0.95),
    Ratio((FUSED, JPEG), ("torchvision", JPEG), 8.0),
    Ratio((FUSED, JPEG), ("dali", JPEG), 3.0),
    Ratio((FUSED, RAW_STRONG), ("torchvision", JPEG), 10.0),
    Ratio((FUSED, RAW_CHEAP), ("ffcv", RAW_CHEAP), 3.0),
    Ratio((FUSED, JPEG_CHEAP), ("ffcv", JPEG_CHEAP), 1.0),
    Ratio((FUSED, YUV_COLD), (FUSED, RAW_COLD), 1.5),
    Ratio((FUSED, YUV_STRONG), (FUSED, RAW_STRONG), 1.0),
    Ratio((FUSED, YUV_CHEAP), (FUSED, RAW_CHEAP), 1.0),
    Ratio((FUSED, YUV_STRONG), (FUSED, JPEG), 8.0),
    Ratio((FUSED, YUV_CHEAP), (FUSED, JPEG_CHEAP), 8.0),
    Ratio(("gpuaug-scaled", LARGE), (FUSED, LARGE), 4.0),
)

ARRAYS_LEAST = 60_000.0
"""Images/s a core, two views each."""


@dataclass(frozen=True)
class Task:
    """A workload.

    Attributes:
        count: Images of an epoch.
        threads: Those that it gets whatever `--threads` says, if any.
        before: What to do before each epoch, which is not timed.
        without: Contenders that are left out.
    """

    name: str
    policy: str
    source: Source
    batch: int
    count: int
    threads: int | None = None
    before: Call | None = None
    without: tuple[str, ...] = ()


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
        ExitStack() as stack,
    ):
        made = tasks(request, few, many)
        if settings.device == "cpu" and not request.policies:
            made += slower(request, contenders, few, many, Path(scratch), stack, progress)
        for task in made:
            progress(f"{task.name}: first epochs")
            setting, policy = common.setting(settings, Path(scratch)), gpuaug.policy(task.policy)
            setting = replace(setting, threads=task.threads or setting.threads)
            for contender in contenders:
                if contender.name not in task.without:
                    start = partial(whole, contender, task, policy, setting)
                    m.prepare(contender, task.name, policy, start, task.source, task.before)
        m.time()
        images_of = {task.name: task.count for task in made}
        m.fill(images_of)
        for key in m.timings:
            if key[1] == MULTI and (figure := m.cells[key].figure):
                m.cells[key] = replace(m.cells[key], more={"views": figure.median * len(gpuaug.policy("dino"))})
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
    """Images of a folder, and of a packed data set."""
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
        Task(YUV_STRONG, STRONG, Yuv(many), batch, raw_count),
        Task(YUV_CHEAP, CHEAP, Yuv(many), batch, raw_count),
        Task(ARRAYS, "simclr_cifar", small, 512, ARRAY_COUNT[quick], threads=1),
    ]


def slower(
    request: Request,
    contenders: Sequence[Contender],
    few: Path,
    many: Path,
    scratch: Path,
    stack: ExitStack,
    progress: Progress,
) -> list[Task]:
    """Workloads whose sources take time or space to make, if anyone reads them.

    few, many: folders of JPEGs. stack: ends a server, and removes folders, with the suite.
    """
    quick, setting = request.settings.quick, common.setting(request.settings, scratch)
    batch = request.batch or (16 if quick else 64)
    read = {kind for contender in contenders for kind in contender.takes}
    multi = stack.enter_context(repeated(few, MULTI_COUNT[quick]))
    made = [
        Task(MULTI, "dino", multi, MULTI_BATCH, MULTI_COUNT[quick], without=("webdataset",))
    ]  # its views are torchvision's, measured already
    formats: list[tuple[Format, str]] = [("raw", RAW_COLD), ("yuv", YUV_COLD)]
    for kind, name in formats if Cold in read else ():
        progress(f"{name}: writing it")
        packed = repeated_pack(peers.gpuaug.packed(many, kind, setting), scratch / name, COLD_COUNT[quick])
        count = COLD_COUNT[quick] // batch * batch
        made.append(Task(name, CHEAP, Cold(packed), batch, count, before=partial(evict, packed)))
    if Remote in read and importable("moto") and importable("s3fs"):
        place = scratch / "shards"
        place.mkdir()
        stored = stack.enter_context(repeated(few, REMOTE_COUNT[quick]))
        names = peers.webdataset.shards(stored, setting.threads, batch, place)
        endpoint = stack.enter_context(object_store(place))
        stack.enter_context(s3_at(endpoint))
        remote = Remote(endpoint, tuple(f"{BUCKET}/{Path(name).name}" for name in names))
        made.append(Task(REMOTE, STRONG, remote, batch, len(image_files(stored)) // batch * batch))
    if Large in read and request.data is None:
        progress(f"{LARGE}: making photographs")
        large = stack.enter_context(repeated(stack.enter_context(large_folder(DISTINCT[quick])), LARGE_COUNT[quick]))
        made.append(Task(LARGE, STRONG, Large(large), LARGE_BATCH, LARGE_COUNT[quick]))
    return made


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
    for one in RATIOS if m.request.settings.threads == 2 else ():
        ours, theirs = seconds_an_image(*one.of), seconds_an_image(*one.to)
        found.append(targets.judged(one.text, ratio(theirs, ours) if ours and theirs else None, least=one.least))
    cell = m.cells.get((FUSED, ARRAYS))
    a_core = quartiles(cell.values) if cell and cell.values else None
    return [*found, targets.judged(f"{ARRAYS}: {FUSED}, images/s a core", a_core, least=ARRAYS_LEAST)]
