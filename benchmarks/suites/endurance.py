"""Endurance of a loader: many files, many entries and many epochs, each measured in a process of its own.

A quick run measures the first batch only: a million files take half a minute to create, and fifty epochs a minute or more.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gpuaug
from gpuaug.data import FolderSource

from ..images import repeated
from ..measure import machine
from ..measure.result import Verdict
from ..measure.stats import Spread, quartiles
from . import targets
from .common import Progress

MEMORY = Path("/dev/shm")
"""A file system in memory, which creates and removes a million files in seconds rather than minutes."""

FILES, ENTRIES, CLASSES, EPOCHS, EPOCH_FILES = 10_000, 1_000_000, 1000, 50, 250


def verdicts(root: Path, quick: bool, progress: Progress) -> list[Verdict]:
    """root: a folder of JPEGs."""
    found: dict[str, list[float]] = {}
    for name in ["first_batch"] if quick else MEASURES:
        progress(f"endurance: {name.replace('_', ' ')}")
        found[name] = machine.in_child(__name__, [name, str(root)])

    def one(name: str, k: int) -> Spread | None:
        return quartiles([found[name][k]]) if name in found else None

    return [
        targets.judged(f"seconds from iter() to a batch, {FILES:,} files", one("first_batch", 0), most=2.0),
        targets.judged(f"seconds to list {ENTRIES:,} entries", one("listing", 0), most=10.0),
        targets.judged(f"MB to list {ENTRIES:,} entries", one("listing", 1), most=500.0),
        targets.judged(f"memory after {EPOCHS} epochs / after the second", one("epochs", 0), most=1.02),
        targets.judged(f"descriptors after {EPOCHS} epochs / after the second", one("epochs", 1), most=1.0),
    ]


def first_batch(root: Path) -> Iterator[float]:
    """Seconds from `iter()` to the first batch of a process's second loader: the first loader compiles the kernels."""
    with repeated(root, FILES) as many:
        for source in (root, many):
            loader = gpuaug.DataLoader(source, "simclr", 64, shuffle=True, num_workers=2)
            start = time.perf_counter()
            next(iter(loader))
            taken = time.perf_counter() - start
        yield taken


def listing(root: Path) -> Iterator[float]:
    """Seconds to list a folder of many files, and the peak of memory meanwhile, in MB."""
    with tempfile.TemporaryDirectory(prefix="benchmark-entries-", dir=MEMORY if MEMORY.exists() else None) as made:
        for k in range(CLASSES):
            folder = Path(made, f"n{k:08}")
            folder.mkdir()
            for i in range(ENTRIES // CLASSES):
                os.close(os.open(folder / f"n{k:08}_{i:05}.JPEG", os.O_CREAT | os.O_WRONLY))
        machine.reset_peak()
        before = machine.resident()
        start = time.perf_counter()
        source = FolderSource(made)
        yield time.perf_counter() - start
        assert len(source) == ENTRIES
        yield (machine.resident("VmHWM") - before) / 1e6


def epochs(root: Path) -> Iterator[float]:
    """Memory and open descriptors: the most after any of the last ten epochs, divided by those after the second epoch."""
    with repeated(root, EPOCH_FILES) as few:
        loader = gpuaug.DataLoader(few, "simclr", 50, shuffle=True, num_workers=2)
        held = []
        for _ in range(EPOCHS):
            for _ in loader:
                pass
            held.append((machine.resident(), sum(1 for _ in Path("/proc/self/fd").iterdir())))
    for kind in zip(*held, strict=True):
        yield max(kind[-10:]) / kind[1]


MEASURES: dict[str, Callable[[Path], Iterator[float]]] = {"first_batch": first_batch, "listing": listing, "epochs": epochs}


if __name__ == "__main__":
    name, folder = json.loads(sys.argv[1])
    print(json.dumps(list(MEASURES[name](Path(folder)))))
