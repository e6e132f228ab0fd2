"""Step 1, the machine: what it is, how fast it copies, how fast it multiplies."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator

import torch

from ..measure import machine
from ..measure.cores import cores
from ..measure.machine import version_of
from ..measure.stats import quartiles
from ..measure.timing import timed
from .steps import Row, Setting

PACKAGES = ("gpuaug", "torch", "torchvision", "triton", "numpy", "numba", "kornia", "nvidia-dali-cuda130", "triton-augment")
SIZE = {True: 2**30, False: 2**26}
"""Bytes copied, on CUDA and elsewhere: more than any cache holds."""

SIDE = 8192
"""Of the square matrices that are multiplied."""

CALLS = 20
"""Multiplications in a row."""


def rows(setting: Setting) -> Iterator[Row]:
    found = {name: version_of(name) for name in PACKAGES}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if setting.cuda:
        yield from gpu()
    else:
        yield Row("GPU", text="none")
    yield Row("processor", text=f"{machine.cpu()}, {cores()} cores, {memory / 2**30:.0f} GiB, load {machine.load()}")
    system = f"Python {platform.python_version()} on {platform.system()} {platform.release()} {platform.machine()}"
    yield Row("versions", text=", ".join([system, *(f"{name} {version or 'missing'}" for name, version in found.items())]))
    yield copy_bandwidth(setting)
    if setting.cuda:
        yield matrix_rate(setting)


def gpu() -> Iterator[Row]:
    free, _ = torch.cuda.mem_get_info()
    yield Row("GPU", text=f"{machine.gpu()}, {free / 2**30:.0f} GiB free")
    yield Row("driver", text=machine.driver())


def copy_bandwidth(setting: Setting) -> Row:
    """Bytes read and written by torch's copy within the device's memory."""
    speed = quartiles([found / 1e9 for found in machine.copies(SIZE[setting.cuda], setting.device, repeats=10)])
    return Row("copy bandwidth", value=speed.median, low=speed.low, high=speed.high, unit="GB/s")


def matrix_rate(setting: Setting) -> Row:
    a, b = (torch.randn(SIDE, SIDE, device=setting.device, dtype=torch.bfloat16) for _ in range(2))
    times = [timed(lambda: a @ b, CALLS, setting.device)[0] for _ in range(11)]
    rate = quartiles([2 * SIDE**3 / seconds / 1e12 for seconds in times[1:]])
    return Row("bf16 matrix rate", value=rate.median, low=rate.low, high=rate.high, unit="TFLOP/s", text=f"{SIDE} x {SIDE}")
