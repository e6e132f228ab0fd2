"""The suite `augment`: decoded 8-bit photographs in the device's memory -> views."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from io import BytesIO
from statistics import median

import torch
from PIL import Image

from gpuaug.data import decode

from .. import peers
from ..measure import machine
from ..measure.result import FUSED, Cell, Result, Run, Verdict, WorkloadRecord
from ..measure.stats import Spread, quartiles, ratio
from ..measure.timing import Call, Lane, rounds, synchronize
from ..peers.contender import Contender, MakeViews
from ..workloads import CORE, Workload, choose, one_view, perfect_bytes, photographs
from . import check, common, targets
from .common import Progress, Request

COPY = {"cpu": {False: 2**28, True: 2**25}, "cuda": {False: 2**30, True: 2**28}}
"""Bytes of the copy whose bandwidth is measured: more than caches hold; fewer when quick."""

Key = tuple[str, str]
"""(contender, workload)."""


DECODED = 8

QUICK, CUDA = 4, 4
"""By which a quick run divides batches, and by which a run on CUDA multiplies them."""


def wanted(request: Request) -> list[Workload]:
    """The workloads, with the batches that this run gives them."""
    s = request.settings
    times, over = CUDA if s.device == "cuda" else 1, QUICK if s.quick else 1
    return [replace(w, batch=request.batch or times * w.batch // over) for w in choose(request.policies, s.quick)]


def measure(request: Request, progress: Progress) -> Result:
    contenders = common.chosen(peers.ALL, request.contenders, everything=not request.settings.quick)
    core = () if request.contenders else {w.name for w in CORE}
    return run(wanted(request), contenders, request.settings, progress, core, request.late)


def run(
    workloads: Sequence[Workload],
    contenders: Sequence[Contender],
    settings: Run,
    progress: Progress,
    core: Collection[str] = (),
    late: Callable[[], bool] = lambda: False,
) -> Result:
    """Check, then time, every contender on every workload; those on request on the core ones alone, where these are named."""
    before = machine.load()
    lanes: dict[Key, Lane] = {}
    cells: dict[Key, Cell] = {}
    decodes = {w.name: Lane(decoder(w)) for w in workloads if settings.device == "cpu"}
    size = COPY[settings.device][settings.quick]
    with common.threads(settings.threads):
        copies = machine.copies(size, settings.device)
        for workload in workloads:
            progress(f"{workload.name}: checking against the truth")
            some = [c for c in contenders if not (c.on_request and core and workload.name not in core)]
            prepare(workload, some, settings, lanes, cells)
        rounds([*lanes.values(), *decodes.values()], settings.repeats, settings.seconds, progress, late)
        bandwidth = quartiles(copies + machine.copies(size, settings.device))
    matrix = quartiles(machine.products()) if settings.device == "cuda" else None
    by_name = {w.name: w for w in workloads}
    threads_of = {c.name: c.threads for c in contenders}
    itemsize = common.DTYPES[settings.dtype].itemsize
    for (contender, name), lane in lanes.items():
        alone = settings.device == "cpu" and settings.threads * threads_of[contender] == 1
        fused = lanes.get((FUSED, name))
        cell = common.timed(cells[contender, name], lane, by_name[name].batch, fused, one_thread=alone)
        if cell.figure:
            cell = replace(cell, share=cell.figure.median * perfect_bytes(by_name[name], itemsize) / bandwidth.median)
            cell = replace(cell, more=launches(lane.make) if settings.device == "cuda" else {})
        cells[contender, name] = cell

    def compare(of: Key, to: Key) -> Spread | None:
        if any(cells.get(key) is None or cells[key].status != "ok" for key in (of, to)):
            return None
        batches = by_name[of[1]].batch / by_name[to[1]].batch
        return ratio(lanes[to].seconds, lanes[of].seconds).scaled(batches)

    def share(key: Key) -> Spread | None:
        cell = cells.get(key)
        return cell.figure.scaled(cell.share / cell.figure.median) if cell and cell.figure and cell.share else None

    judged: Sequence[Verdict] = ()
    if settings.device == "cuda" and settings.dtype == "bfloat16":
        judged = targets.judge_cuda(compare, share)
    elif (settings.device, settings.threads, settings.dtype) == ("cpu", 1, "float32"):
        judged = targets.judge(compare)
    records = [workload_record(w, itemsize) for w in workloads]
    return common.result(
        "augment",
        "views/s",
        settings,
        before,
        [replace(r, decode=DECODED / median(decodes[r.name].seconds)) if r.name in decodes else r for r in records],
        contenders,
        [cells[c.name, w.name] for w in workloads for c in contenders if (c.name, w.name) in cells],
        bandwidth=bandwidth,
        targets=judged,
        matrix=matrix,
    )


def decoder(workload: Workload) -> Call:
    """Decodes the first DECODED photographs, from JPEGs of quality 90."""
    files = []
    for photo in photographs(replace(workload, batch=DECODED)):
        Image.fromarray(photo).save(file := BytesIO(), "JPEG", quality=90)
        files.append(file.getvalue())
    return lambda: [decode(file, "").shape for file in files]


def workload_record(w: Workload, itemsize: int = 4) -> WorkloadRecord:
    image = () if w.ragged else w.image
    return WorkloadRecord(w.name, w.policy, image, one_view(w.policy).views[0].size, w.batch, perfect_bytes(w, itemsize))


def prepare(
    workload: Workload, contenders: Sequence[Contender], settings: Run, lanes: dict[Key, Lane], cells: dict[Key, Cell]
) -> None:
    """Fill in a lane for each contender that can be timed, and a cell for each contender."""
    photos = photographs(workload)
    setting = common.setting(settings)
    policy = one_view(workload.policy)
    true = check.truth(workload, photos, setting)
    for contender in contenders:
        key = (contender.name, workload.name)
        cells[key] = cell = common.obstacle(contender, workload.name, settings, policy)
        if cell.status != "ok":
            continue
        with common.filled(cells, key):
            start = time.perf_counter()
            make = contender.prepare(policy, photos, setting)
            make()
            synchronize(settings.device)
            first = time.perf_counter() - start
            fresh = contender.prepare(policy, photos, setting)  # with the first draws again
            found = check.deviations(contender, fresh, workload, photos, setting, true)
            lanes[key] = Lane(converted(fresh, setting.dtype), settings.device)
            cells[key] = replace(cell, first_call_s=first, deviations=tuple(found))


def converted(make: MakeViews, dtype: torch.dtype) -> MakeViews:
    """Views in the dtype that was asked for; what a contender does not make so itself is converted in the timed region."""
    return make if dtype == torch.float32 else lambda: make().to(dtype)


def launches(make: Call) -> dict[str, float]:
    """Kernels that one call launches, and the device's busy time; nothing where the driver lets nobody profile."""
    from torch.profiler import ProfilerActivity, profile

    try:
        synchronize("cuda")
        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
            make()
            synchronize("cuda")
        kernels = [event for event in found.events() or [] if str(event.device_type).endswith("CUDA")]
    except RuntimeError:
        return {}
    copies = sum(event.name.startswith(("Memcpy", "Memset")) for event in kernels)
    busy = sum(event.time_range.elapsed_us() for event in kernels)
    return {"launches": float(len(kernels) - copies), "device_ms": busy / 1e3}
