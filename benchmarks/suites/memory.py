"""The suite `memory`: the peak of memory that a batch of views takes, in a child process for each contender.

The child first makes views of one image, which loads libraries and compiles kernels. Its resident memory is then the baseline,
and the kernel's high-water mark is reset. Then it makes views of the whole batch three times. The figure is the peak above the
baseline, views included, divided by the batch. On CUDA it is the fall of the device's free memory, since allocators keep what
they took at their peak; this includes the images, which lie there too. The host's peak is recorded beside it.

Memory that was freed but not returned to the system would be in the baseline, and hide later allocations that reuse it. So
glibc's malloc maps every block above 64 KiB separately in a child, and the heap is trimmed before the baseline is read.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from dataclasses import asdict, replace
from statistics import median
from typing import Any

import torch

from .. import peers
from ..measure import machine
from ..measure.result import Cell, Result, Run
from ..measure.stats import quartiles
from ..workloads import Workload, one_view, photographs
from . import common
from .augment import wanted, workload_record
from .common import Measurement, Progress, Request

WORKLOADS = {False: ("strong-256", "cheap-256", "strong-500"), True: ("strong-256", "cheap-256")}
CHILDREN = {False: 3, True: 1}
CALLS = 3
PATIENCE = 600
"""Seconds after which a child is killed."""

MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
"""Environment of a child, see above. The threshold is set, since glibc otherwise raises it to the largest block freed."""


def measure(request: Request, progress: Progress) -> Result:
    if not machine.STATUS.is_file():
        raise ValueError("memory: reads /proc/self/status, which only Linux has")
    settings = request.settings
    workloads = [w for w in wanted(request) if request.policies or w.name in WORKLOADS[settings.quick]]
    contenders = [c for c in common.chosen(peers.ALL, request.contenders) if c.threads == 1]
    m = Measurement(replace(request, settings=replace(settings, repeats=CHILDREN[settings.quick])), contenders, progress)
    for workload in workloads:
        for contender in contenders:
            key = contender.name, workload.name
            if request.late():
                m.cells[key] = Cell(workload.name, contender.name, "skipped", "no time was left")
            elif m.ready(contender, workload.name, one_view(workload.policy)):
                progress(f"{contender.name} on {workload.name}")
                with m.caught(key):
                    m.cells[key] = peak(m.cells[key], contender.name, workload, settings)
    records = [workload_record(w, common.DTYPES[settings.dtype].itemsize) for w in workloads]
    return m.result("memory", "MiB/view", records, better="lower")


def peak(cell: Cell, name: str, workload: Workload, settings: Run) -> Cell:
    """The cell with the bytes that each child took above its baseline: of the device, or of the host."""
    task = {"name": name, "workload": asdict(workload), "run": asdict(settings)}
    found = [machine.in_child(__name__, task, timeout=PATIENCE, **MALLOC) for _ in range(CHILDREN[settings.quick])]
    host, device = (tuple(max(taken, 4096) / 2**20 / workload.batch for taken in kind) for kind in zip(*found, strict=True))
    values, more = (device, {"host": median(host)}) if settings.device == "cuda" else (host, {})
    return replace(cell, values=values, figure=quartiles(values), more=more)


def run_child(given: dict[str, Any]) -> tuple[int, int]:
    """Bytes at the peak above the baseline, of the host and of the device."""
    settings = Run(**given["run"])
    workload = Workload(**{**given["workload"], "image": tuple(given["workload"]["image"])})
    contender = next(c for c in peers.ALL if c.name == given["name"])
    setting = common.setting(settings)
    policy, photos = one_view(workload.policy), photographs(workload)
    with common.threads(settings.threads):
        contender.prepare(policy, photos[:1], setting)()
        trim()
        machine.reset_peak()
        baseline, free = machine.resident(), free_on(settings.device)
        make = contender.prepare(policy, photos, setting)
        for _ in range(CALLS):
            make()
        return machine.resident("VmHWM") - baseline, free - free_on(settings.device)


def free_on(device: str) -> int:
    """Free bytes of the device's memory; 0 for the CPU."""
    if device != "cuda":
        return 0
    torch.cuda.synchronize()
    return int(torch.cuda.mem_get_info()[0])


def trim() -> None:
    """Return freed memory to the system, if the C library can, and to the device."""
    gc.collect()
    torch.cuda.empty_cache()  # does nothing if CUDA was not used
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


if __name__ == "__main__":
    print(json.dumps(run_child(json.loads(sys.argv[1]))))
