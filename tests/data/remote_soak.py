"""Soak test of remote shards: epochs from an S3 server that fails, stopped and resumed at random until time is up.

    python -m tests.data.remote_soak --minutes 20

Each round is one epoch of remote shards or of a mixture of two remote data sets, without a cache or with one that holds all or
some of the shards. A proxy in front of the server fails in a share of all requests that changes from round to round. The loop
stops at random places and goes on with another batch size, number of workers and number of ranks, in this process or in one
process a rank, which share the cache; now and then a process is killed while it reads, and what it had read is read again from
the state before. The test fails unless every sample came exactly once in every epoch (from a mixture as often as its quota
says, and none again before all others of its part), with the views that it has when read from a local disk, and every copy in
a cache is whole.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))  # where pytest finds the helpers

from faulty_proxy import FaultyProxy
from remote_shards import POLICY, URL, fill
from restored import restored

import gpuaug
from benchmarks.object_store import BUCKET, object_store, s3_at
from gpuaug.data import Mixture
from gpuaug.data.sources.remote import cache as cache_module
from gpuaug.data.sources.remote import retries

ROOT = Path(__file__).parents[2]

OTHER, OTHER_SHARDS = f"s3://{BUCKET}/other-{{0..1}}.tar", 2

WEIGHTS, EPOCH = [2.0, 1.0], 70
"""Of the mixture: its parts have 48 and 32 samples, and quotas of 47 and 23."""

LIMIT = 300.0
"""Seconds that a batch or a process may take."""


def prepare() -> None:
    """Shorter waits than a user's: the server is near, and a round shall see a copy deleted."""
    retries.READING = retries.OPENING = retries.Patience(seconds=240.0, answer=4.0, first_wait=0.05, longest_wait=1.0)
    cache_module.RECENT, cache_module.TOUCH = 3.0, 0.5
    torch.set_num_threads(1)


def digests(loader: gpuaug.DataLoader, batch: Any) -> dict[int, str]:
    """Sample index -> a digest of its views and its target."""
    views, target = batch
    rows = [b"".join(view[k].numpy().tobytes() for view in views) + b"%d" % target[k] for k in range(len(target))]
    return {int(i): hashlib.sha256(row).hexdigest() for i, row in zip(loader.index, rows, strict=True)}


def loader_of(kind: str, state: Any, epoch: int, batch_size: int, **options: Any) -> gpuaug.DataLoader:
    """A loader of the remote shards at a saved state, or at the start of an epoch."""
    source: Any = URL if kind == "shards" else Mixture([URL, OTHER], WEIGHTS, samples=EPOCH)
    loader = restored(
        state, source, POLICY, batch_size, shuffle=True, seed=9, timeout=LIMIT, on_error="skip", max_bad=1.0, **options
    )
    loader.set_epoch(epoch)
    return loader


def child(given: dict[str, Any]) -> None:
    """Read some batches, and print the digests of each, and the state after them."""
    loader = loader_of(given["kind"], given["state"], given["epoch"], given["batch_size"], **given["options"])
    print("begun", flush=True)
    batches = iter(loader)
    for _ in range(given["batches"]):
        if (batch := next(batches, None)) is not None:
            print(json.dumps(digests(loader, batch)), flush=True)
    batches.close()  # type: ignore[attr-defined]
    assert not loader.bad_files, loader.bad_files
    print(json.dumps(loader.state_dict()), flush=True)


@contextlib.contextmanager
def started(given: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.data.remote_soak", "--child", json.dumps(given)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


class Epoch:
    """One epoch with faults. truth: sample index -> digest, in the order of the epoch, from a local disk."""

    def __init__(self, kind: str, epoch: int, local: Any, cache: dict[str, Any], rng: random.Random) -> None:
        self.kind, self.epoch, self.cache, self.rng = kind, epoch, cache, rng
        alone = gpuaug.DataLoader(local, POLICY, 16, shuffle=True, seed=9)
        alone.set_epoch(epoch)
        self.truth: dict[int, str] = {}
        for batch in alone:
            self.truth |= digests(alone, batch)
        self.order = list(self.truth)
        self.seen: Counter[int] = Counter()
        self.ranks: list[str] = []
        self.killed = 0

    def run(self) -> None:
        state: dict[str, Any] | None = None
        samples = len(self.order)
        while state is None or (state["epoch"] == self.epoch and state["position"] < samples):
            start = 0 if state is None else state["position"]
            if self.rng.random() < 0.2:
                self.kill(state)
            world_size = self.rng.randint(1, 3)
            work = [self.segment(state, rank, world_size) for rank in range(world_size)]
            for one in work:
                one |= {"batch_size": work[0]["batch_size"], "batches": work[0]["batches"]}
            apart = self.rng.random() < 0.25
            self.ranks.append(f"{world_size}{'p' * apart}")
            states = self.read_apart(work) if apart else self.read_here(work)
            state = max(states, key=lambda s: (s["epoch"], s["position"]))
            if state["epoch"] > self.epoch or state["position"] == samples:
                self.seen.subtract(self.order[: (start - samples) % world_size])  # those fill up uneven shares
        wrong = {i: n for i in self.order if (n := self.seen[i]) != 1}
        assert not wrong, f"{self.kind}, epoch {self.epoch}: samples came so often: {wrong}"

    def segment(self, state: Any, rank: int, world_size: int) -> dict[str, Any]:
        options = {"num_workers": self.rng.randint(0, 2), "rank": rank, "world_size": world_size, **self.cache}
        batch_size, batches = self.rng.randint(2, 20), self.rng.randint(1, 4)
        return {
            "kind": self.kind,
            "state": state,
            "epoch": self.epoch,
            "batch_size": batch_size,
            "batches": batches,
            "options": options,
        }

    def count(self, rows: dict[int, str]) -> None:
        wrong = [i for i, digest in rows.items() if self.truth[i] != digest]
        assert not wrong, f"{self.kind}, epoch {self.epoch}: samples {wrong} have other views"
        self.seen.update(rows.keys())

    def read_here(self, work: list[dict[str, Any]]) -> list[dict[str, Any]]:
        loaders = [loader_of(one["kind"], one["state"], one["epoch"], one["batch_size"], **one["options"]) for one in work]
        given: list[Any] = [iter(loader) for loader in loaders]
        for _ in range(work[0]["batches"]):
            for loader, batch in zip(loaders, [next(one, None) for one in given], strict=True):
                if batch is not None:
                    self.count(digests(loader, batch))
        for one in given:
            one.close()
        bad = {name: why for loader in loaders for name, why in loader.bad_files.items()}
        assert not bad, f"{self.kind}, epoch {self.epoch}: {bad}"
        return [loader.state_dict() for loader in loaders]

    def read_apart(self, work: list[dict[str, Any]]) -> list[dict[str, Any]]:
        states = []
        with contextlib.ExitStack() as stack:
            for process in [stack.enter_context(started(one)) for one in work]:
                out, _ = process.communicate(timeout=2 * LIMIT)
                assert process.returncode == 0, out
                _, *batches, state = map(json.loads, ['""', *out.splitlines()[1:]])
                for rows in batches:
                    self.count({int(i): digest for i, digest in rows.items()})
                states.append(state)
        return states

    def kill(self, state: Any) -> None:
        """Kill a process while it makes its source, or while it reads."""
        with started(self.segment(state, 0, 1)) as process:
            if self.rng.random() < 0.5:
                time.sleep(self.rng.uniform(2.0, 6.0))
            else:
                assert process.stdout is not None
                process.stdout.readline()
                time.sleep(self.rng.uniform(0.0, 0.5))
        self.killed += 1


def check_passes(order: list[int], mixture: Any, came: list[Counter[int]]) -> None:
    """No sample of a part comes again before all others of it; parts have their quotas. came: counts of the epochs before."""
    parts, samples = mixture.locate(order)
    assert [int((parts == k).sum()) for k in range(len(came))] == mixture.quotas
    for k, sample in zip(parts.tolist(), samples.tolist(), strict=True):
        least = min(came[k][j] for j in range(mixture.lengths[k]))
        assert came[k][sample] == least, f"sample {sample} of part {k} came again before others"
        came[k][sample] += 1


def check_cache(folder: Path, limit: int, whole: set[str]) -> int:
    """Every copy is whole, and they are within the limit. Returns their number."""
    found = list(folder.glob("*.tar"))
    assert sum(path.stat().st_size for path in found) <= limit
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in found} <= whole
    return len(found)


def soak(minutes: float, seed: int) -> str:
    prepare()
    rng = random.Random(seed)
    begun = time.monotonic()
    rounds = restarts = killed = faults = samples = 0
    epochs = {"shards": 0, "mixture": 0}
    came: list[Counter[int]] = [Counter(), Counter()]
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["XDG_CACHE_HOME"] = str(root / "indices")
        (root / "store").mkdir()
        parts = [fill(root / "store"), fill(root / "store", "other", OTHER_SHARDS, seed=1)]
        local = {"shards": parts[0], "mixture": Mixture(parts, WEIGHTS, samples=EPOCH)}
        whole = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (root / "store").glob("*.tar")}
        one = (root / "store" / "t-0.tar").stat().st_size
        limits = {"all": 10 * one, "some": 5 * one // 2}
        for source in parts:  # whose shards have their index beside them, which is not for the server
            for path in source.paths:
                Path(f"{path}.index.npz").unlink()
        endpoint = stack.enter_context(object_store(root / "store"))
        proxy = stack.enter_context(FaultyProxy(endpoint, seed=seed, slow=0.2, stalled=20.0))
        stack.enter_context(s3_at(proxy.address))
        while rounds < 2 or time.monotonic() - begun < 60 * minutes:
            kind = "mixture" if rounds % 2 else "shards"
            cached = rng.choice(["no", "no", "all", "some"]) if rounds > 1 else ["no", "some"][rounds]
            proxy.rate, proxy.seed = rng.uniform(0.02, 0.3), f"{seed} {rounds}"
            if rng.random() < 0.25:
                shutil.rmtree(root / "indices", ignore_errors=True)
            if rng.random() < 0.15:
                shutil.rmtree(root / "all", ignore_errors=True)
            options = {"cache_dir": str(root / cached), "cache_size": limits[cached]} if cached in limits else {}
            before = proxy.done.total()
            epoch = Epoch(kind, epochs[kind], local[kind], options, rng)
            epoch.run()
            if kind == "mixture":
                mixture = gpuaug.DataLoader(local[kind], POLICY, 16, shuffle=True, seed=9).source
                check_passes(epoch.order, mixture, came)
            copies = {name: check_cache(root / name, limit, whole) for name, limit in limits.items() if (root / name).exists()}
            left = [t.name for t in threading.enumerate() if t.name.startswith("gpuaug-") and t.name != "gpuaug-default"]
            assert not left, f"threads are left: {left}"
            done = proxy.done.total() - before
            print(
                f"{time.monotonic() - begun:6.0f} s: round {rounds}: {kind}, epoch {epoch.epoch}, {len(epoch.order)} samples, "
                f"ranks {' '.join(epoch.ranks)}, cache {cached} {copies}, {done} faults at {proxy.rate:.0%}, "
                f"{epoch.killed} killed",
                flush=True,
            )
            epochs[kind] += 1
            rounds, restarts, killed = rounds + 1, restarts + len(epoch.ranks) - 1, killed + epoch.killed
            faults, samples = faults + done, samples + len(epoch.order)
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(proxy.done.items()))
    return (
        f"{rounds} rounds, {samples} samples, each once an epoch with its own views; {restarts} restarts, {killed} processes "
        f"killed, {faults} faults ({kinds}), seed {seed}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        prepare()
        child(options.child)
    else:
        print(soak(options.minutes, options.seed))


if __name__ == "__main__":
    main()
