"""Soak test: epochs over a folder that is damaged meanwhile, stopped and resumed at random until time is up.

    python -m tests.data.soak --minutes 20
    python -m tests.data.soak --memory

Some files are truncated and others deleted during each epoch. The loop stops at random places and goes on in a new loader
with another batch size, number of workers and number of ranks, read by threads (a folder) or processes (a Dataset, whose
worker is killed now and then). The test fails unless every good sample came exactly once in every epoch, with the views that
it has when read alone. --memory runs 50 epochs over 250 small files: the number of descriptors stays the same, and the
resident memory of the last ten epochs lies within 2 % of that of the second epoch.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

import gpuaug
from gpuaug.data import FolderSource

from .restored import restored

POLICY = gpuaug.Policy(gpuaug.View(16, gpuaug.RandomResizedCrop(), gpuaug.RandomHorizontalFlip(), repeat=2))

SAMPLES = 250
DAMAGED = 5
"""Files that are damaged in each epoch."""


class Pictures(Dataset[Any]):
    """The folder's samples from a Dataset that reads files by itself; reading sample `deadly` kills the worker."""

    def __init__(self, source: FolderSource, deadly: int | None = None) -> None:
        self.source = source
        self.deadly = deadly

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> tuple[Image.Image, int]:
        if i == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        with Image.open(self.source.name(i)) as image:
            return image.convert("RGB"), int(self.source.targets[i])


def fill(root: Path, samples: int = SAMPLES) -> FolderSource:
    for i in range(samples):
        path = root / "ab"[i % 2] / f"{i:04}.png"
        path.parent.mkdir(exist_ok=True)
        rng = np.random.default_rng(i)
        Image.fromarray(rng.integers(0, 256, (*rng.integers(8, 40, 2), 3), dtype=np.uint8)).save(path)
    return FolderSource(root)


def restore(source: FolderSource, whole: list[bytes]) -> None:
    for i, content in enumerate(whole):
        Path(source.name(i)).write_bytes(content)


def damage(path: Path, rng: np.random.Generator) -> None:
    if rng.random() < 0.5:
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(b"damaged")


def loaders(
    source: FolderSource, epoch: int, state: dict[str, Any] | None, rng: np.random.Generator
) -> list[gpuaug.DataLoader]:
    """One loader per rank with random options, all at the same place of the same epoch."""
    world_size = int(rng.integers(1, 4))
    # All ranks must deliver the same number of batches, so no batch may consist of bad samples alone.
    batch_size = int(rng.integers(1 if world_size == 1 else DAMAGED + 1, 40))
    given: Any = Pictures(source) if rng.random() < 0.3 else source
    made = []
    for rank in range(world_size):
        loader = restored(
            state,
            given,
            POLICY,
            batch_size,
            shuffle=True,
            num_workers=int(rng.integers(0, 3)),
            seed=9,
            timeout=60.0,
            on_error="skip",
            max_bad=0.2,
            rank=rank,
            world_size=world_size,
            persistent_workers=bool(rng.random() < 0.5),
        )
        loader.set_epoch(epoch)
        made.append(loader)
    return made


def kill_a_worker(source: FolderSource, rng: np.random.Generator) -> None:
    """A loader whose worker dies must raise an error, and leave no process."""
    loader = gpuaug.DataLoader(
        Pictures(source, int(rng.integers(SAMPLES))), POLICY, 8, num_workers=2, on_error="skip", max_bad=1.0
    )
    try:
        for _ in loader:
            pass
    except RuntimeError as error:
        if "worker" in str(error):
            return
        raise
    raise AssertionError("a worker was killed, and nobody noticed")


def views_of(loader: gpuaug.DataLoader, views: list[torch.Tensor]) -> dict[int, bytes]:
    return {int(i): b"".join(v[k].numpy().tobytes() for v in views) for k, i in enumerate(loader.index)}


class Epoch:
    """One epoch with faults, and its result. truth: sample -> its views when read alone from undamaged files."""

    def __init__(self, source: FolderSource, epoch: int, rng: np.random.Generator) -> None:
        self.source, self.epoch, self.rng = source, epoch, rng
        alone = gpuaug.DataLoader(source, POLICY, 64, shuffle=True, seed=9)
        alone.set_epoch(epoch)
        self.truth: dict[int, bytes] = {}
        for views, _ in alone:
            self.truth |= views_of(alone, views)
        self.order = list(self.truth)
        self.victims: list[int] = rng.choice(SAMPLES, DAMAGED, replace=False).tolist()
        self.waiting = list(self.victims)
        self.seen: Counter[int] = Counter()
        self.twice: Counter[int] = Counter()  # samples that fill up uneven shares come twice
        self.bad: set[str] = set()
        self.restarts = -1

    def run(self) -> None:
        state: dict[str, Any] | None = None
        while state is None or (state["epoch"] == self.epoch and state["position"] < SAMPLES):
            start = 0 if state is None else state["position"]
            ranks = loaders(self.source, self.epoch, state, self.rng)
            self.segment(ranks)
            state = max((rank.state_dict() for rank in ranks), key=lambda s: (s["epoch"], s["position"]))
            if state["epoch"] > self.epoch or state["position"] == SAMPLES:
                self.twice.update(self.order[: (start - SAMPLES) % len(ranks)])
        self.check()

    def segment(self, ranks: list[gpuaug.DataLoader]) -> None:
        """Read some batches on every rank, in step, while files are damaged."""
        self.restarts += 1
        given: list[Any] = [iter(rank) for rank in ranks]
        for _ in range(self.rng.integers(1, 12)):
            batches = [next(batch, None) for batch in given]
            for rank, batch in zip(ranks, batches, strict=True):
                if batch is not None:
                    rows = views_of(rank, batch[0])
                    assert all(self.truth[i] == row for i, row in rows.items()), f"epoch {self.epoch}: other views"
                    self.seen.update(rows.keys())
            if self.waiting and self.rng.random() < 0.3:
                damage(Path(self.source.name(self.waiting.pop())), self.rng)
        for batch in given:
            batch.close()
        paths = {ranks[0].source.name(i): self.source.name(i) for i in range(SAMPLES)}
        self.bad.update(paths[name] for rank in ranks for name in rank.bad_files)

    def check(self) -> None:
        for i in set(range(SAMPLES)) - set(self.victims):
            expected = 1 + self.twice[i]
            assert self.seen[i] == expected, f"epoch {self.epoch}: sample {i} came {self.seen[i]} times, not {expected}"
        victims = {self.source.name(i) for i in self.victims}
        assert self.bad <= victims, f"epoch {self.epoch}: good files {self.bad - victims} were called bad"
        lost = [i for i in self.victims if not self.seen[i] and self.source.name(i) not in self.bad]
        assert not lost, f"epoch {self.epoch}: {lost} neither came nor were reported"


def soak(minutes: float, seed: int) -> str:
    rng = np.random.default_rng(seed)
    end = time.monotonic() + 60 * minutes
    epochs = restarts = bad = killed = 0
    with tempfile.TemporaryDirectory() as folder:
        source = fill(Path(folder))
        whole = [source.read(i) for i in range(SAMPLES)]
        before = descriptors()
        while time.monotonic() < end or not epochs:
            restore(source, whole)
            epoch = Epoch(source, epochs, rng)
            epoch.run()
            epochs, restarts, bad = epochs + 1, restarts + epoch.restarts, bad + len(epoch.bad)
            if rng.random() < 0.1:
                restore(source, whole)
                kill_a_worker(source, rng)
                killed += 1
            gc.collect()
        left = descriptors() - before
    return (
        f"{epochs} epochs, {restarts} restarts, {bad} bad files, {killed} killed workers; {left} descriptors more than before"
    )


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def resident() -> float:
    """Resident memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory(epochs: int = 50, samples: int = SAMPLES, tolerance: float = 0.02) -> str:
    """Raise AssertionError if descriptors or memory grow."""
    with tempfile.TemporaryDirectory() as folder:
        loader = gpuaug.DataLoader(fill(Path(folder), samples), POLICY, 16, True, num_workers=2)
        used, open_files = [], []
        for _ in range(epochs):
            for _ in loader:
                pass
            gc.collect()
            used.append(resident())
            open_files.append(descriptors())
    last = min(10, epochs // 2)
    growth = max(used[-last:]) / used[1] - 1
    assert len(set(open_files[1:])) == 1, f"descriptors: {open_files}"
    assert growth <= tolerance, f"resident memory grew by {growth:.1%}: {[f'{u / 1e6:.0f} MB' for u in used]}"
    return (
        f"{epochs} epochs: {open_files[-1]} descriptors throughout, memory of the last {last} {growth:+.2%} against the second"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", action="store_true", help="the memory check in place of the faults")
    parser.add_argument("--epochs", type=int, default=50, help="of the memory check")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("gpuaug").setLevel(logging.ERROR)  # a line for each damaged file
    print(memory(options.epochs) if options.memory else soak(options.minutes, options.seed))


if __name__ == "__main__":
    sys.exit(main())
