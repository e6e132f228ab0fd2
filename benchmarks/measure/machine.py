"""The machine that a figure was measured on: processor, GPU, memory, versions, commit, load, and copy bandwidth."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from . import cores
from .timing import timed

LIBRARIES = ("torch", "torchvision", "numpy", "numba", "kornia")

STATUS = Path("/proc/self/status")
"""What Linux says of this process (proc_pid_status(5))."""


@dataclass(frozen=True)
class Machine:
    """A machine.

    Attributes:
        cores: Cores that this process may use.
        memory: Bytes of main memory.
        gpu: Name of the GPU; None if the run used none.
        driver: Version of its driver; None if the run used no GPU.
        load: Load average of the last minute, before and after the run.
    """

    cpu: str
    cores: int
    memory: int
    system: str
    python: str
    gpu: str | None
    driver: str | None
    versions: dict[str, str]
    commit: str | None
    load: tuple[float, ...]

    @property
    def processors(self) -> str:
        """The GPU, if the run used one, and the CPU."""
        return f"{self.gpu}, driver {self.driver}; {self.cpu}" if self.gpu else self.cpu

    @property
    def named_versions(self) -> str:
        return ", ".join(f"{name} {version}" for name, version in self.versions.items())


def record(distributions: Iterable[str], load_before: float, device: str = "cpu") -> Machine:
    return Machine(
        cpu=cpu(),
        cores=cores(),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        gpu=known(gpu) if device == "cuda" else None,
        driver=driver() if device == "cuda" else None,
        versions={name: found for name in dict.fromkeys([*LIBRARIES, *distributions]) if (found := version_of(name))},
        commit=commit(),
        load=(load_before, load()),
    )


def known(name: Callable[[], str]) -> str:
    """A device that has failed may not even tell its name; the figures from before that count all the same."""
    try:
        return name()
    except Exception as error:
        return f"unknown ({type(error).__name__}: {str(error).splitlines()[0]:.100})"


def load() -> float:
    return round(os.getloadavg()[0], 2)


def cpu() -> str:
    """The processor's name, with its widest vector instructions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = fields.get("model name") or platform.processor() or platform.machine()
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def gpu() -> str:
    """The current CUDA device's name, with its capability, multiprocessors and memory."""
    p = torch.cuda.get_device_properties(torch.cuda.current_device())
    return f"{p.name} (sm_{p.major}{p.minor}, {p.multi_processor_count} multiprocessors, {p.total_memory / 2**30:.0f} GiB)"


def driver() -> str:
    """The NVIDIA driver's version, and the CUDA that torch was built for."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError) as error:
        found = [f"unknown: nvidia-smi did not answer ({type(error).__name__})"]
    return f"{found[0] if found else 'unknown'}; CUDA {torch.version.cuda} in torch"


def commit() -> str | None:
    """The commit, with "+" if tracked files differ from it; None outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the parent
        return False


def version_of(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def resident(field: str = "VmRSS") -> int:
    """Bytes of memory that this process holds; with "VmHWM", the most that it has held since `reset_peak`."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def in_child(module: str, task: Any, timeout: float | None = None, **environment: str) -> list[float]:
    """Run a module as a program, with the task as JSON in its argument; its last line of output is JSON, and is returned.

    timeout: seconds after which the child is killed. environment: its variables, besides those of this process. Raises
    ValueError with the child's last words if it fails, and TimeoutExpired.
    """
    command = [sys.executable, "-W", "ignore", "-m", module, json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env={**os.environ, **environment})
    if done.returncode:
        raise ValueError((done.stderr.strip().splitlines() or ["no message"])[-1])
    found: list[float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def copies(size: int, device: str = "cpu", repeats: int = 5) -> list[float]:
    """Bytes/s, read and written, of copies of `size` bytes within the device's memory; on the CPU with torch's threads."""
    source, target = (torch.ones(size, dtype=torch.uint8, device=device) for _ in range(2))  # written: the pages are its own
    calls = 20 if device == "cuda" else 1  # a launch takes as long as a GPU copies tens of megabytes
    found = [timed(lambda: target.copy_(source), calls, device)[0] for _ in range(repeats + 1)]
    return [2 * size / seconds for seconds in found[1:]]


def products(side: int = 8192, repeats: int = 10) -> list[float]:
    """FLOP/s of products of square bfloat16 matrices on the CUDA device."""
    a, b = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    found = [timed(lambda: a @ b, 20, "cuda")[0] for _ in range(repeats + 1)]
    return [2 * side**3 / seconds for seconds in found[1:]]
