"""Comparing two result files, cell by cell: what became slower beyond the noise. docs/benchmarks.md explains the rule.

Peers are contenders other than gpuaug's, with the same versions in both files: the change under test cannot have touched them.
`scatter` is how far their ratios lie from their common drift.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import asdict, dataclass
from math import exp, log
from statistics import fmean, median

import numpy as np

from ..measure.result import Cell, Key, Result, is_ours
from ..measure.stats import quartiles
from .text import fill

FLOOR = 1.2**-0.5
"""Ratio half way to the loss that must be found, which is a fifth more time. A smaller loss is taken for noise."""

CELL, POOL = 3.0, 2.0
"""Standard deviations beyond which a cell, or a contender over all its workloads, has lost."""

ALL = "all workloads"

COMPARABLE = ("device", "threads", "dtype", "quick")
"""Settings that two runs must share."""


@dataclass(frozen=True)
class Row:
    """A contender on a workload. ratio: new over old, above 1 if the new one is better. limit: a lower ratio is a loss."""

    suite: str
    workload: str
    contender: str
    ratio: float
    limit: float
    peer: bool

    @property
    def verdict(self) -> str:
        """The verdict on the row: "LOSS" or "gain" beyond noise; "noise" for such a ratio of a peer; otherwise empty."""
        lost, won = self.ratio < self.limit, self.ratio > 1 / self.limit
        if self.peer:
            return "noise" if lost or won else ""
        return "LOSS" if lost else "gain" if won else ""


@dataclass(frozen=True)
class Comparison:
    """A suite in two files. drift: the peers' median ratio; None without peers. scatter: see the head of this file."""

    suite: str
    rows: tuple[Row, ...]
    drift: float | None
    scatter: float
    peers: tuple[str, ...]

    @property
    def losses(self) -> list[Row]:
        return [row for row in self.rows if row.verdict == "LOSS"]


def compare(old: Result, new: Result) -> Comparison:
    """Compare two results of a suite. Raises ValueError if their settings differ or they share no cell."""
    for name in COMPARABLE:
        if getattr(old.run, name) != getattr(new.run, name):
            raise ValueError(f"{old.suite}: --{name} was {getattr(old.run, name)}, now {getattr(new.run, name)}")
    keys = shared(old, new)
    if not keys:
        raise ValueError(f"{old.suite}: no cell is measured in both files, with the same workload and batch")
    timed = {key for key in keys if all(cells(result)[key].processor for result in (old, new))}
    before, after = (values(result, keys, timed) for result in (old, new))
    known = {c.name: c.versions for c in old.contenders}
    same = {c.name for c in new.contenders if not is_ours(c.name) and known.get(c.name) == c.versions}
    peers = [key for key in keys if key[0] in same]
    ratios = {key: log(median(after[key]) / median(before[key])) for key in keys}
    noise = scatter([ratios[key] for key in peers]) if peers else 0.0
    rows = []
    for key in keys:
        others = [peer for peer in peers if peer[0] != key[0]] or [peer for peer in peers if peer != key]
        levels = {peer: median(before[peer]) for peer in others}
        (a, a_error), (b, b_error) = (level(steadied(x[key], x, levels)) for x in (after, before))
        error = (noise**2 + a_error**2 + b_error**2) ** 0.5
        rows.append(Row(old.suite, key[1], key[0], a / b, limit(CELL * error), key in peers))
    rows += pooled(rows, noise)
    drift = exp(median(ratios[key] for key in peers)) if peers else None
    return Comparison(old.suite, tuple(rows), drift, noise, tuple(dict.fromkeys(name for name, _ in peers)))


def limit(error: float) -> float:
    """The ratio below which there is a loss. error: standard deviation of the ratio's logarithm, times the wanted certainty."""
    return min(FLOOR, exp(-error))


def pooled(rows: Sequence[Row], noise: float) -> Iterator[Row]:
    """A row for each contender with several workloads: the geometric mean of its ratios. noise: the peers' scatter."""
    peers = len({row.contender for row in rows if row.peer}) or 1
    for name in dict.fromkeys(row.contender for row in rows):
        mine = [row for row in rows if row.contender == name]
        if len(mine) > 1:
            error = noise * (1 / len(mine) + 1 / peers) ** 0.5
            mean = exp(fmean(log(row.ratio) for row in mine))
            yield Row(mine[0].suite, ALL, name, mean, limit(POOL * error), mine[0].peer)


def shared(old: Result, new: Result) -> list[Key]:
    """Cells that were measured in both, on workloads with the same settings."""
    same = {w.name for w in old.workloads} & {w.name for w in new.workloads if w in old.workloads}
    old_keys, new_keys = ({(c.contender, c.workload) for c in r.cells if c.values} for r in (old, new))
    return [
        (c.contender, c.workload) for c in old.cells if c.workload in same and (c.contender, c.workload) in old_keys & new_keys
    ]


def cells(result: Result) -> dict[Key, Cell]:
    return {(c.contender, c.workload): c for c in result.cells}


def values(result: Result, keys: Sequence[Key], timed: Set[Key]) -> dict[Key, np.ndarray]:
    """The figure of each repeat, such that more is better; for keys in `timed`, calls per second of processor time.

    Raises ValueError for a figure that is not above 0.
    """
    found = {}
    for key in keys:
        cell = cells(result)[key]
        x = np.array(cell.processor if key in timed else cell.values)
        if not x.min() > 0:
            raise ValueError(f"{result.suite}: {key[0]} on {key[1]}: values must be above 0, got {x.min():g}")
        found[key] = 1 / x if key in timed or result.better == "lower" else x
    return found


def scatter(logs: Sequence[float]) -> float:
    """Root of the mean squared distance from the median."""
    return float(np.sqrt(np.mean((np.array(logs) - median(logs)) ** 2)))


def steadied(mine: np.ndarray, by: dict[Key, np.ndarray], levels: dict[Key, float]) -> np.ndarray:
    """Each repeat divided by the peers' relative speed in its round, or by their speed overall if the rounds do not pair."""
    if not levels:
        return mine
    relative = [by[peer] / level for peer, level in levels.items()]
    if all(len(one) == len(mine) for one in relative):
        return mine / np.median(relative, axis=0)
    return mine / median(float(np.median(one)) for one in relative)


def level(x: np.ndarray) -> tuple[float, float]:
    """The median, and the standard error of its logarithm."""
    q = quartiles(x.tolist())
    return q.median, 0.93 * (q.high - q.low) / q.median / len(x) ** 0.5


def pairs(old: Sequence[Result], new: Sequence[Result]) -> list[tuple[Result, Result]]:
    """Pairs of results of the same suite. Raises ValueError if there are none."""
    found = [(a, b) for a in old for b in new if a.suite == b.suite]
    if not found:
        suites = " and ".join(", ".join(r.suite for r in results) for results in (old, new))
        raise ValueError(f"the files have no suite in common: {suites}")
    return found


def differences(old: Result, new: Result) -> Iterator[str]:
    """How the machines differ."""
    a, b = asdict(old.machine), asdict(new.machine)
    for name in ("cpu", "cores", "memory", "gpu", "driver", "system", "python"):
        if a[name] != b[name]:
            yield f"{name}: {a[name]} -> {b[name]}"
    for name in sorted({*a["versions"], *b["versions"]}):
        before, after = a["versions"].get(name, "none"), b["versions"].get(name, "none")
        if before != after:
            yield f"{name}: {before} -> {after}"


def render(old: Result, new: Result, found: Comparison) -> str:
    """A comparison as text that fits 100 columns."""
    return fill("compare.txt", old=old, new=new, found=found, other=list(differences(old, new)))
