"""Two result files, cell by cell: what became slower beyond the noise. docs/benchmarks.md says how that is decided.

Peers are contenders that are not gpuaug's, with the same versions in both files: the change under test cannot have touched
them. `scatter` is how far their ratios lie from the drift that they have in common.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import asdict, dataclass
from math import exp, log
from statistics import fmean, median

import numpy as np

from ..measure.result import Cell, Result, is_ours
from ..measure.stats import quartiles
from .text import fill

FLOOR = 1.2**-0.5
"""Half way, as a ratio, to the loss that must be found: a fifth more time. Less is taken for noise."""

CELL, POOL = 3.0, 2.0
"""Standard deviations that a cell, or a contender over all its workloads, must be beyond."""

ALL = "all workloads"

COMPARABLE = ("device", "threads", "dtype", "quick")
"""Settings that two runs must share."""

Key = tuple[str, str]
"""(contender, workload)."""


@dataclass(frozen=True)
class Row:
    """ratio: new over old, above 1 where the new one is better. limit: below which it is a loss. peer: see above.

    verdict: "LOSS" or "gain" beyond noise, "noise" where a peer shows such a ratio, or "".
    """

    suite: str
    workload: str
    contender: str
    ratio: float
    limit: float
    peer: bool

    @property
    def verdict(self) -> str:
        lost, won = self.ratio < self.limit, self.ratio > 1 / self.limit
        if self.peer:
            return "noise" if lost or won else ""
        return "LOSS" if lost else "gain" if won else ""


@dataclass(frozen=True)
class Comparison:
    """drift: how the peers fared, new over old; None without peers. scatter: of their ratios about it, in logarithms."""

    suite: str
    rows: tuple[Row, ...]
    drift: float | None
    scatter: float
    peers: tuple[str, ...]

    @property
    def losses(self) -> list[Row]:
        return [row for row in self.rows if row.verdict == "LOSS"]


def compare(old: Result, new: Result) -> Comparison:
    """Raises ValueError where the two cannot be compared, or share no cell."""
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
    """The ratio below which there is a loss. error: of a ratio's logarithm."""
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
    """Cells measured in both, whose workloads are the same in all that was asked for."""
    same = {w.name for w in old.workloads} & {w.name for w in new.workloads if w in old.workloads}
    old_keys, new_keys = ({(c.contender, c.workload) for c in r.cells if c.values} for r in (old, new))
    return [
        (c.contender, c.workload) for c in old.cells if c.workload in same and (c.contender, c.workload) in old_keys & new_keys
    ]


def cells(result: Result) -> dict[Key, Cell]:
    return {(c.contender, c.workload): c for c in result.cells}


def values(result: Result, keys: Sequence[Key], timed: Set[Key]) -> dict[Key, np.ndarray]:
    """Each repeat's figure, such that more is better: calls per second of processor time where a key is in `timed`.

    Raises ValueError for one that is not above 0.
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
    """The repeats, each over how the peers fared in its round; over how they fared at large where rounds do not pair."""
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
    """Results of the same suite. Raises ValueError where there is none."""
    found = [(a, b) for a in old for b in new if a.suite == b.suite]
    if not found:
        suites = " and ".join(", ".join(r.suite for r in results) for results in (old, new))
        raise ValueError(f"the files have no suite in common: {suites}")
    return found


def differences(old: Result, new: Result) -> Iterator[str]:
    """What is not the same about the machines."""
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
