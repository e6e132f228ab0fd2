"""The suite `memory`: the peak of memory that a batch of views takes, in a child process for each contender.

The child makes views of one image first, which loads libraries and compiles; what is resident then is the baseline, and the
kernel's high-water mark is reset. Then it makes views of the whole batch three times. The peak over the baseline, views
included, is divided by the batch. On CUDA the figure is the device's memory that is free before less what is free after, since
allocators keep what they took at their peak; images included, which lie there too. The host's peak is kept beside it.

Memory that was freed but not given back to the system would hide in the baseline what is taken from it later: so glibc's
malloc maps every block above 64 KiB by itself in a child, and the heap is trimmed before the baseline is read.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from statistics import median

import torch

from .. import peers
from ..measure import machine
from ..measure.result import Cell, Result, Run
from ..measure.stats import quartiles
from ..peers.contender import Contender
from ..workloads import Workload, one_view, photographs
from . import common
from .augment import wanted, workload_record
from .common import Progress, Request

WORKLOADS = {False: ("strong-256", "cheap-256", "strong-500"), True: ("strong-256", "cheap-256")}
CHILDREN = {False: 3, True: 1}
CALLS = 3
PATIENCE = 600
"""Seconds until a child is given up."""

MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
"""Environment of a child: see above; fixed, as glibc otherwise raises the threshold to the largest block freed."""


def measure(request: Request, progress: Progress) -> Result:
    if not machine.STATUS.is_file():
        raise ValueError("memory: reads /proc/self/status, which only Linux has")
    before, settings = machine.load(), request.settings
    workloads = [w for w in wanted(request) if request.policies or w.name in WORKLOADS[settings.quick]]
    contenders = [c for c in common.chosen(peers.ALL, request.contenders) if c.threads == 1]
    cells = []
    for workload in workloads:
        for contender in contenders:
            if request.late():
                cells.append(Cell(workload.name, contender.name, "skipped", "no time was left"))
                continue
            progress(f"{contender.name} on {workload.name}")
            cells.append(peak_of(contender, workload, settings))
    records = [workload_record(w, common.DTYPES[settings.dtype].itemsize) for w in workloads]
    settings = replace(settings, repeats=CHILDREN[settings.quick])
    return common.result("memory", "MiB/view", settings, before, records, contenders, cells, better="lower")


def peak_of(contender: Contender, workload: Workload, settings: Run) -> Cell:
    cell = common.obstacle(contender, workload.name, settings, one_view(workload.policy))
    if cell.status != "ok":
        return cell
    try:
        found = [child(contender.name, workload, settings) for _ in range(CHILDREN[settings.quick])]
    except (ValueError, subprocess.TimeoutExpired) as error:
        return common.failed(cell, error)
    host, device = (tuple(max(taken, 4096) / 2**20 / workload.batch for taken in kind) for kind in zip(*found, strict=True))
    values, more = (device, {"host": median(host)}) if settings.device == "cuda" else (host, {})
    return replace(cell, values=values, figure=quartiles(values), more=more)


def child(name: str, workload: Workload, settings: Run) -> tuple[int, int]:
    """Bytes at the peak, over the baseline: of the host, and of the device.

    Raises ValueError with the child's last words where it fails.
    """
    task = json.dumps({"name": name, "workload": asdict(workload), "run": asdict(settings)})
    done = subprocess.run(
        [sys.executable, "-m", __name__, task], capture_output=True, text=True, timeout=PATIENCE, env={**os.environ, **MALLOC}
    )
    if done.returncode:
        raise ValueError((done.stderr.strip().splitlines() or ["no message"])[-1])
    host, device = json.loads(done.stdout.strip().splitlines()[-1])
    return host, device


def run_child(task: str) -> tuple[int, int]:
    given = json.loads(task)
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
    """Bytes of the device's memory that nobody has; 0 of the CPU's."""
    if device != "cuda":
        return 0
    torch.cuda.synchronize()
    return int(torch.cuda.mem_get_info()[0])


def trim() -> None:
    """Give freed memory back to the system, where the C library can, and to the device."""
    gc.collect()
    torch.cuda.empty_cache()  # does nothing where CUDA was not used
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


if __name__ == "__main__":
    print(json.dumps(run_child(sys.argv[1])))
