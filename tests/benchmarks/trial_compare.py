"""Does `compare` tell a planted slow-down from noise on this machine? Run it by hand, since the answer also depends on luck:

    PYTHONPATH=. python tests/benchmarks/trial_compare.py [PAIRS] [--contender NAME...] [--json FOLDER] [--judge]

Each of the PAIRS (5) is three runs of `augment --quick`, each in a process of its own: `old`, `same` and `slow`. In `slow`
every call of gpuaug-fused is followed by a busy loop of a fifth of its processor time, on every workload or on that of --policy
only. `compare` must report no loss between old and same, and find one between old and slow. At the end every run is compared
with every other one, both ways. --judge measures nothing, and compares the results in FOLDER again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from multiprocessing import get_context
from pathlib import Path

import torch
import tyro

from benchmarks import peers
from benchmarks.__main__ import SECONDS
from benchmarks.measure import result
from benchmarks.measure.result import FUSED, Result, Run
from benchmarks.peers.contender import Contender, MakeViews
from benchmarks.report.compare import compare
from benchmarks.suites import augment
from benchmarks.suites.common import Request, chosen
from benchmarks.workloads import CORE

SHARE = 0.2
REPEATS = 20


def slowed(make: MakeViews) -> MakeViews:
    def call() -> torch.Tensor:
        start = time.process_time()
        views = make()
        end = time.process_time()
        while time.process_time() - end < SHARE * (end - start):
            pass
        return views

    return call


def planted(contender: Contender, policies: Sequence[str]) -> Contender:
    """The contender, slowed down on these policies."""
    if contender.name != FUSED:
        return contender

    def prepare(policy, photos, setting):  # type: ignore[no-untyped-def]
        make = contender.prepare(policy, photos, setting)
        return slowed(make) if policy.name in policies else make

    return replace(contender, prepare=prepare)


def measured(names: Sequence[str], policies: Sequence[str] = ()) -> Result:
    """A run in a new process, whose memory lies elsewhere."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(run_here, (names, policies))


def run_here(names: Sequence[str], policies: Sequence[str]) -> Result:
    run = Run("cpu", 1, "float32", REPEATS, 0, True, SECONDS[True])
    request = Request(run)
    contenders = [planted(c, policies) for c in chosen(peers.ALL, names) if c.threads == 1]
    return augment.run(augment.wanted(request), contenders, request, lambda text: None)


def losses(old: Result, new: Result) -> list[str]:
    return [f"{row.contender} on {row.workload} {row.ratio:.2f}x" for row in compare(old, new).losses]


def main(
    pairs: tyro.conf.Positional[int] = 5,
    /,
    *,
    contender: tuple[str, ...] = (),
    policy: str | None = None,
    json: Path | None = None,
    judge: bool = False,
) -> None:
    """Try `compare` on planted slow-downs.

    Args:
        pairs: Triples of runs.
        contender: Run these contenders only, gpuaug-fused among them.
        policy: Slow down the workloads of this policy only.
        json: Keep the results in this folder.
        judge: Measure nothing, and compare the results in the folder.
    """
    if judge and not json:
        raise SystemExit("--judge: name the folder with --json")
    at = [policy] if policy else sorted({w.policy for w in CORE})
    silent = found = 0
    unchanged: list[Result] = []
    changed: list[Result] = []
    for k in range(pairs):
        runs = []
        for name, policies in (("old", ()), ("same", ()), ("slow", at)):
            file = json and json / f"{k + 1}-{name}.json"
            runs.append(result.load(file)[0] if judge else measured(contender, policies))
            if file and not judge:
                result.save(runs[-1:], file)
        old, same, slow = runs
        unchanged += [old, same]
        changed += [slow]
        heard, seen = losses(old, same), losses(old, slow)
        silent, found = silent + (not heard), found + bool(seen)
        load = " ".join(f"{one.machine.load[1]:.1f}" for one in (old, same, slow))
        print(f"pair {k + 1}, load {load}\n  same code: {'; '.join(heard) or 'silent'}")
        print(f"  planted: {'; '.join(seen) or 'silent'}", flush=True)
    print(f"silent on the same code {silent} of {pairs}; found the planted slow-down {found} of {pairs}")
    alike = [losses(a, b) for a, b in permutations(unchanged, 2)]
    slower = [losses(a, b) for a in unchanged for b in changed]
    print(f"each with each: a loss in {sum(map(bool, alike))} of {len(alike)} comparisons of the same code,", end=" ")
    print(f"in {sum(map(bool, slower))} of {len(slower)} with the planted slow-down")


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))
