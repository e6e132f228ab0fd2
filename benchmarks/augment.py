"""The suite `augment`: decoded 8-bit photographs in memory -> views, on the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from statistics import median

import torch

from . import check, machine, targets
from .contender import Contender, Setting
from .measure import Lane, rounds
from .peers.gpuaug import FUSED
from .result import SCHEMA, Cell, ContenderRecord, Result, Run, WorkloadRecord
from .stats import Spread, quartiles, ratio
from .workloads import Workload, one_view, perfect_bytes, photographs

COPY = {False: 2**28, True: 2**25}
"""Bytes of the copy whose bandwidth is measured: more than caches hold; fewer when quick."""

Key = tuple[str, str]


def run(
    workloads: Sequence[Workload], contenders: Sequence[Contender], settings: Run, progress: Callable[[str], None]
) -> Result:
    """Check, then time, every contender on every workload."""
    before = machine.load()
    lanes: dict[Key, Lane] = {}
    cells: dict[Key, Cell] = {}
    with threads(settings.threads):
        copies = machine.copies(COPY[settings.quick])
        for workload in workloads:
            progress(f"{workload.name}: checking against the truth")
            prepare(workload, contenders, settings, lanes, cells)
        rounds(list(lanes.values()), settings.repeats, settings.seconds, progress)
        bandwidth = quartiles(copies + machine.copies(COPY[settings.quick]))
    by_name = {w.name: w for w in workloads}
    for (contender, name), lane in lanes.items():
        fused = lanes.get((FUSED, name))
        cells[contender, name] = finished(cells[contender, name], lane, by_name[name], bandwidth.median, fused)

    def compare(of: Key, to: Key) -> Spread | None:
        if any(cells.get(key) is None or cells[key].status != "ok" for key in (of, to)):
            return None
        batches = by_name[of[1]].batch / by_name[to[1]].batch
        return ratio(lanes[to].seconds, lanes[of].seconds).scaled(batches)

    return Result(
        schema=SCHEMA,
        suite="augment",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        run=settings,
        machine=machine.record([name for c in contenders for name in c.distributions], before),
        bandwidth=bandwidth,
        workloads=tuple(workload_record(w) for w in workloads),
        contenders=tuple(ContenderRecord(c.name, c.regime, c.note, c.versions) for c in contenders),
        cells=tuple(cells[c.name, w.name] for w in workloads for c in contenders),
        targets=targets.judge(compare) if settings.threads == 1 else (),
    )


def workload_record(w: Workload) -> WorkloadRecord:
    return WorkloadRecord(w.name, w.policy, w.image, one_view(w.policy).views[0].size, w.batch, perfect_bytes(w))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch's threads; OpenCV's and DALI's are set by their contenders, OpenMP's in `__main__` before anything loads it."""
    was = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(was)


def prepare(
    workload: Workload, contenders: Sequence[Contender], settings: Run, lanes: dict[Key, Lane], cells: dict[Key, Cell]
) -> None:
    """Fill in a lane for each contender that can be timed, and a cell for each contender."""
    photos = photographs(workload)
    setting = Setting(settings.threads, settings.seed)
    policy = one_view(workload.policy)
    true = check.truth(workload, photos, setting)
    for contender in contenders:
        key = (contender.name, workload.name)
        cells[key] = cell = obstacle(contender, workload, settings)
        if cell.status != "ok":
            continue
        try:
            start = time.perf_counter()
            make = contender.prepare(policy, photos, setting)
            make()
            first = time.perf_counter() - start
            fresh = contender.prepare(policy, photos, setting)  # with the first draws again
            found = check.deviations(contender, fresh, workload, photos, setting, true)
        except Exception as error:  # a library may raise anything; its cell says what
            cells[key] = failed(cell, error)
            continue
        lanes[key] = Lane(fresh)
        cells[key] = replace(cell, first_call_s=first, deviations=tuple(found))


def obstacle(contender: Contender, workload: Workload, settings: Run) -> Cell:
    """The cell of a contender that cannot be timed, with the reason; or an empty one with the status "ok"."""
    cell = Cell(workload.name, contender.name, "ok")
    if settings.device not in contender.devices:
        return replace(cell, status="unsupported", reason=f"runs on {', '.join(contender.devices)} only")
    if contender.missing:
        return replace(cell, status="skipped", reason=f"not installed; install it with: {contender.install}")
    if contender.threads * settings.threads > machine.cores():
        reason = f"needs {contender.threads * settings.threads} cores, this machine has {machine.cores()}"
        return replace(cell, status="unsupported", reason=reason)
    refused = contender.supports(one_view(workload.policy))
    return replace(cell, status="unsupported", reason=refused) if refused else cell


def failed(cell: Cell, error: Exception) -> Cell:
    text = " ".join(str(error).split())
    return replace(cell, status="error", reason=f"{type(error).__name__}: {text[:300]}")


def finished(cell: Cell, lane: Lane, workload: Workload, bandwidth: float, fused: Lane | None) -> Cell:
    """The cell with what was measured."""
    if lane.error is not None:
        return failed(cell, lane.error)
    speed = quartiles([workload.batch / s for s in lane.seconds])
    return replace(
        cell,
        calls=lane.calls,
        seconds=tuple(lane.seconds),
        views_per_s=speed,
        cores=median(p / s for p, s in zip(lane.processor, lane.seconds, strict=True)),
        share=speed.median * perfect_bytes(workload) / bandwidth,
        ratio=ratio(lane.seconds, fused.seconds) if fused is not None and fused.error is None else None,
    )
