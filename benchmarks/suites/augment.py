"""The suite `augment`: decoded 8-bit photographs in the device's memory -> views."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from io import BytesIO
from statistics import median

import torch
from PIL import Image

from gpuaug.data import decode

from .. import peers
from ..measure import machine
from ..measure.result import Key, Result, Verdict, WorkloadRecord
from ..measure.stats import Spread, quartiles, ratio
from ..measure.timing import Call, Timing, synchronize
from ..peers.contender import Contender, MakeViews
from ..workloads import CORE, Workload, choose, one_view, perfect_bytes, photographs
from . import check, common, targets
from .common import Measurement, Progress, Request

COPY = {"cpu": {False: 2**28, True: 2**25}, "cuda": {False: 2**30, True: 2**28}}
"""Device and whether the run is quick -> bytes of the copy whose bandwidth is measured: more than caches hold."""

DECODED = 8
"""Photographs whose decoding is timed."""

QUICK, CUDA = 4, 4
"""Factors by which a quick run divides batches, and by which a run on CUDA multiplies them."""


def wanted(request: Request) -> list[Workload]:
    """The workloads, with the batches that this run gives them."""
    s = request.settings
    times, over = CUDA if s.device == "cuda" else 1, QUICK if s.quick else 1
    return [replace(w, batch=request.batch or times * w.batch // over) for w in choose(request.policies, s.quick)]


def measure(request: Request, progress: Progress) -> Result:
    contenders = common.chosen(peers.ALL, request.contenders, everything=not request.settings.quick)
    core = () if request.contenders else {w.name for w in CORE}
    return run(wanted(request), contenders, request, progress, core)


def run(
    workloads: Sequence[Workload],
    contenders: Sequence[Contender],
    request: Request,
    progress: Progress,
    core: Collection[str] = (),
) -> Result:
    """Check, then time, every contender on every workload. core: workloads to which those on request are confined, if any."""
    m, settings = Measurement(request, contenders, progress), request.settings
    size, itemsize = COPY[settings.device][settings.quick], common.DTYPES[settings.dtype].itemsize
    decodes = {w.name: Timing(decoder(w)) for w in workloads if settings.device == "cpu"}
    copies: list[float] = []
    products: list[float] = []
    with common.threads(settings.threads):
        with common.reported(progress, "copy bandwidth"):
            copies += machine.copies(size, settings.device)
        for w in workloads:
            progress(f"{w.name}: checking against the truth")
            checked(w, [c for c in contenders if not (c.on_request and core and w.name not in core)], m)
        m.time(*decodes.values())
        with common.reported(progress, "copy bandwidth"):
            copies += machine.copies(size, settings.device)
        if settings.device == "cuda":
            with common.reported(progress, "matrix products"):
                products += machine.products()
    bandwidth = quartiles(copies) if copies else None
    by_name, threads_of = {w.name: w for w in workloads}, {c.name: c.threads for c in contenders}
    one_thread = settings.device == "cpu" and settings.threads == 1
    m.fill({w.name: w.batch for w in workloads}, lambda key: one_thread and threads_of[key[0]] == 1)
    for key, timing in m.timings.items():
        cell = m.cells[key]
        if cell.figure:
            moved = cell.figure.median * perfect_bytes(by_name[key[1]], itemsize)
            more = launches(timing.make) if settings.device == "cuda" else {}
            m.cells[key] = replace(cell, share=moved / bandwidth.median if bandwidth else None, more=more)

    def compare(of: Key, to: Key) -> Spread | None:
        if any(key not in m.timings or m.cells[key].status != "ok" for key in (of, to)):
            return None
        return ratio(m.timings[to].seconds, m.timings[of].seconds).scaled(by_name[of[1]].batch / by_name[to[1]].batch)

    def share(key: Key) -> Spread | None:
        cell = m.cells.get(key)
        return cell.figure.scaled(cell.share / cell.figure.median) if cell and cell.figure and cell.share else None

    judged: Sequence[Verdict] = ()
    if settings.device == "cuda" and settings.dtype == "bfloat16":
        judged = targets.judge_cuda(compare, share)
    elif one_thread and settings.dtype == "float32":
        judged = (*targets.judge(compare), targets.losses(m.cells.values()))
    records = [workload_record(w, itemsize) for w in workloads]
    return m.result(
        "augment",
        "views/s",
        [replace(r, decode=DECODED / median(decodes[r.name].seconds)) if r.name in decodes else r for r in records],
        bandwidth=bandwidth,
        targets=judged,
        matrix=quartiles(products) if products else None,
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


def checked(workload: Workload, contenders: Sequence[Contender], m: Measurement) -> None:
    """Prepare each contender, and compare its first views with the truth."""
    policy, photos, setting = one_view(workload.policy), photographs(workload), common.setting(m.request.settings)
    true = check.truth(workload, photos, setting)
    for contender in contenders:
        key = contender.name, workload.name
        if m.prepare(contender, workload.name, policy, lambda c=contender: c.prepare(policy, photos, setting)):  # type: ignore[misc]
            with m.caught(key):
                fresh = contender.prepare(policy, photos, setting)  # with the first draws again
                found = check.deviations(contender, fresh, workload, photos, setting, true)
                m.cells[key] = replace(m.cells[key], deviations=tuple(found))
                m.timings[key].make = converted(fresh, setting.dtype)


def converted(make: MakeViews, dtype: torch.dtype) -> MakeViews:
    """Views in the dtype that was asked for; float32 views of a contender are converted in the timed region."""
    return make if dtype == torch.float32 else lambda: make().to(dtype)


def launches(make: Call) -> dict[str, float]:
    """Kernels that one call launches, and the device's busy time in ms; {} if they cannot be profiled."""
    from torch.profiler import ProfilerActivity, profile

    try:
        synchronize("cuda")
        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
            make()
            synchronize("cuda")
        kernels = [event for event in found.events() or [] if str(event.device_type).endswith("CUDA")]
    except Exception:  # of the profiler, or of a device that has failed since
        return {}
    copies = sum(event.name.startswith(("Memcpy", "Memset")) for event in kernels)
    busy = sum(event.time_range.elapsed_us() for event in kernels)
    return {"launches": float(len(kernels) - copies), "device_ms": busy / 1e3}
