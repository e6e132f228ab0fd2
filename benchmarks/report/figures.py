"""What tables, charts and pages share: which figures of a result they show, and in which words."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..measure.result import Cell, Result, Verdict
from ..measure.stats import Spread, brief

PAIRS = (("strong-256", "cheap-256"), ("strong-500", "cheap-500"))


CROP = "cheap-256"


def measured(result: Result) -> list[str]:
    """Contenders that have a figure."""
    return [c.name for c in result.contenders if any(cell.figure for cell in result.cells if cell.contender == c.name)]


def axes_of(result: Result) -> list[str]:
    """What the suite varied, in its order."""
    return list(dict.fromkeys(w.axis for w in result.workloads if w.axis is not None))


def priced(result: Result) -> list[tuple[str, str]]:
    """Pairs of a strong and a cheap workload of which the result has both speeds."""
    workloads = {w.name for w in result.workloads}
    return [pair for pair in PAIRS if set(pair) <= workloads and result.unit == "views/s"]


def cropped(result: Result) -> list[str]:
    """Workloads from images of CROP's size whose price is in units of CROP's time; the one of PAIRS has its own table."""
    names = [w.name for w in result.workloads]
    same = {w.name for w in result.workloads if CROP in names and w.image == result.workloads[names.index(CROP)].image}
    return [name for name in names if name in same.difference(*PAIRS) and result.unit == "views/s"]


def half_range(spread: Spread) -> str:
    return f"{(spread.high - spread.low) / 2 / spread.median:.0%}"


def judged(v: Verdict) -> tuple[str, str, str]:
    """What was wanted, what was measured, and the verdict in words."""
    limit = v.least if v.least is not None else v.most
    wanted = f"{'>=' if v.least is not None else '<='} {limit:g}"
    if v.measured is None or limit is None:
        return wanted, "", "not measured"
    m = v.measured
    unsure = ", within noise" if m.low < m.high and m.low <= limit <= m.high else ""
    return wanted, f"{brief(m.median)} ({brief(m.low)}-{brief(m.high)})", f"{'met' if v.met else 'MISSED'}{unsure}"


def verdict_rows(verdicts: Iterable[Verdict]) -> list[tuple[str, ...]]:
    """A row for each verdict, as `judged` words it."""
    return [(f"  {v.target}", *judged(v)) for v in verdicts]


def grouped(result: Result, text: Callable[[Cell], str]) -> dict[str, str]:
    """Text -> the contenders and workloads that it applies to."""
    found: dict[str, dict[str, list[str]]] = {}
    for cell in result.cells:
        if said := text(cell):
            found.setdefault(said, {}).setdefault(cell.contender, []).append(cell.workload)
    everywhere = len(result.workloads)
    return {
        said: ", ".join(who if len(on) == everywhere else f"{who} on {' '.join(on)}" for who, on in by.items())
        for said, by in found.items()
    }


def remarks(result: Result) -> list[tuple[str, str, str]]:
    """Mark, place and text of each remark: deviations from the truth (mark *), then reasons for empty cells (mark -)."""
    deviating, empty = grouped(result, lambda cell: ", ".join(cell.deviations)), grouped(result, lambda cell: cell.reason or "")
    return [(mark, where, text) for mark, found in (("*", deviating), ("-", empty)) for text, where in found.items()]
