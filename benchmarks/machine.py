"""What a figure was measured on: processor, memory, versions, commit, load, and how fast memory is copied."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from .contender import version_of

LIBRARIES = ("torch", "torchvision", "numpy", "numba", "kornia")


@dataclass(frozen=True)
class Machine:
    """cores: that this process may use. memory: bytes. load: of the last minute, before and after the run."""

    cpu: str
    cores: int
    memory: int
    system: str
    python: str
    versions: dict[str, str]
    commit: str | None
    load: tuple[float, ...]


def record(distributions: Iterable[str], load_before: float) -> Machine:
    return Machine(
        cpu=cpu(),
        cores=cores(),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        versions={name: found for name in dict.fromkeys([*LIBRARIES, *distributions]) if (found := version_of(name))},
        commit=commit(),
        load=(load_before, load()),
    )


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float:
    return round(os.getloadavg()[0], 2)


def cpu() -> str:
    """The processor's name, with the widest vectors that it has."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = fields.get("model name") or platform.processor() or platform.machine()
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def commit() -> str | None:
    """The commit, with "+" where tracked files differ from it; None outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True).returncode != 0
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + "+" * changed


def copies(size: int, repeats: int = 5) -> list[float]:
    """Bytes/s, read and written, of copies of `size` bytes with torch's threads."""
    source = torch.ones(size, dtype=torch.uint8)  # written, so that its pages are its own
    target = torch.ones(size, dtype=torch.uint8)
    found = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        target.copy_(source)
        found.append(2 * size / (time.perf_counter() - start))
    return found[1:]
