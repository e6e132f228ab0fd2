"""Does `compare` tell a planted slow-down from noise on this machine? By hand, since it is a matter of luck as well:

    PYTHONPATH=. python tests/benchmarks/trial_compare.py [PAIRS] [--contender NAME...] [--json FOLDER] [--judge]

Each of the PAIRS (5) is three runs of `augment --quick`, each in a process of its own: `old`, `same` and `slow`. In `slow`
every call of gpuaug-fused is followed by a busy loop of a fifth of its processor time, on every workload, or on that of
--policy alone. `compare` must stay silent on old and same, and find a loss in old and slow. At the end every run is compared
with every other one, both ways. --judge measures nothing, and compares again what lies in FOLDER.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from multiprocessing import get_context
from pathlib import Path

import torch

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


def main() -> None:
    parser = argparse.ArgumentParser(description="Try `compare` on planted slow-downs.")
    parser.add_argument("pairs", type=int, nargs="?", default=5)
    parser.add_argument("--contender", nargs="+", default=[], metavar="NAME", help="only these, gpuaug-fused among them")
    parser.add_argument("--policy", help="plant on this one's workloads alone")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="keep the results here")
    parser.add_argument("--judge", action="store_true", help="compare the results in FOLDER")
    options = parser.parse_args()
    if options.judge and not options.json:
        parser.error("--judge: name the folder with --json")
    at = [options.policy] if options.policy else sorted({w.policy for w in CORE})
    silent = found = 0
    unchanged: list[Result] = []
    changed: list[Result] = []
    for k in range(options.pairs):
        runs = []
        for name, policies in (("old", ()), ("same", ()), ("slow", at)):
            file = options.json and options.json / f"{k + 1}-{name}.json"
            runs.append(result.load(file)[0] if options.judge else measured(options.contender, policies))
            if file and not options.judge:
                result.save(runs[-1:], file)
        old, same, slow = runs
        unchanged += [old, same]
        changed += [slow]
        heard, seen = losses(old, same), losses(old, slow)
        silent, found = silent + (not heard), found + bool(seen)
        load = " ".join(f"{one.machine.load[1]:.1f}" for one in (old, same, slow))
        print(f"pair {k + 1}, load {load}\n  same code: {'; '.join(heard) or 'silent'}")
        print(f"  planted: {'; '.join(seen) or 'silent'}", flush=True)
    print(f"silent on the same code {silent} of {options.pairs}; found the planted slow-down {found} of {options.pairs}")
    alike = [losses(a, b) for a, b in permutations(unchanged, 2)]
    slower = [losses(a, b) for a in unchanged for b in changed]
    print(f"each with each: a loss in {sum(map(bool, alike))} of {len(alike)} comparisons of the same code,", end=" ")
    print(f"in {sum(map(bool, slower))} of {len(slower)} with the planted slow-down")


if __name__ == "__main__":
    main()
