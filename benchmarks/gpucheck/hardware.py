"""Step 1, the machine: what it is, how fast it copies, how fast it multiplies."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator

import torch

from .. import machine
from ..contender import version_of
from ..stats import quartiles
from .steps import Row, Setting
from .timing import Lane, rounds

PACKAGES = ("gpuaug", "torch", "torchvision", "triton", "numpy", "numba", "kornia", "nvidia-dali-cuda130", "triton-augment")
SIZE = {True: 2**30, False: 2**26}
"""Bytes copied, on CUDA and elsewhere: more than any cache holds."""

SIDE = 8192
"""Of the square matrices that are multiplied."""


def rows(setting: Setting) -> Iterator[Row]:
    found = {name: version_of(name) for name in PACKAGES}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if setting.cuda:
        yield from gpu()
    else:
        yield Row("GPU", text="none")
    yield Row("processor", text=f"{machine.cpu()}, {machine.cores()} cores, {memory / 2**30:.0f} GiB, load {machine.load()}")
    system = f"Python {platform.python_version()} on {platform.system()} {platform.release()} {platform.machine()}"
    yield Row("versions", text=", ".join([system, *(f"{name} {version or 'missing'}" for name, version in found.items())]))
    yield copy_bandwidth(setting)
    if setting.cuda:
        yield matrix_rate(setting)


def gpu() -> Iterator[Row]:
    p = torch.cuda.get_device_properties(torch.cuda.current_device())
    free, total = torch.cuda.mem_get_info()
    capability = f"sm_{p.major}{p.minor}, {p.multi_processor_count} multiprocessors"
    yield Row("GPU", text=f"{p.name}, {capability}, {total / 2**30:.0f} GiB, {free / 2**30:.0f} free")
    yield Row("driver", text=f"{driver()}; CUDA {torch.version.cuda} in torch")


def driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version,clocks.sm,power.limit", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown, nvidia-smi did not answer ({type(error).__name__})"
    return found.stdout.splitlines()[0] if found.stdout else "unknown"


def copy_bandwidth(setting: Setting) -> Row:
    """Bytes read and written by torch's copy within the device's memory."""
    size = SIZE[setting.cuda]
    source, target = (torch.ones(size, dtype=torch.uint8, device=setting.device) for _ in range(2))
    lane = Lane("copy", lambda: target.copy_(source))
    rounds([lane], 10, setting.device, lambda: setting.left, least=0.02)
    if lane.error is not None:
        raise lane.error
    speed = quartiles([2 * size / seconds / 1e9 for seconds in lane.seconds])
    return Row("copy bandwidth", value=speed.median, low=speed.low, high=speed.high, unit="GB/s")


def matrix_rate(setting: Setting) -> Row:
    a, b = (torch.randn(SIDE, SIDE, device=setting.device, dtype=torch.bfloat16) for _ in range(2))
    lane = Lane("matrices", lambda: a @ b)
    rounds([lane], 10, setting.device, lambda: setting.left)
    if lane.error is not None:
        raise lane.error
    rate = quartiles([2 * SIDE**3 / seconds / 1e12 for seconds in lane.seconds])
    return Row("bf16 matrix rate", value=rate.median, low=rate.low, high=rate.high, unit="TFLOP/s", text=f"{SIDE} x {SIDE}")
