"""The README's table and picture, made from a result file, so that no figure in it is typed by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from . import charts
from .peers.gpuaug import FUSED
from .result import Cell, Result
from .stats import brief, shown
from .table import is_ours, measured
from .workloads import CORE

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
PICTURE = Path("docs", "benchmark.png")
BETWEEN = re.compile(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", flags=re.DOTALL)


def augment_of(results: Sequence[Result], file: Path) -> Result:
    """The file's suite augment with the core workloads, where it has any of them; cells of all, so that no loss is left out."""
    found = next((r for r in results if r.suite == "augment" and measured(r)), None)
    if found is None:
        raise ValueError(f"{file}: the README shows the suite augment, which is not measured in it; run augment --json")
    names = {w.name for w in CORE}
    return replace(found, workloads=tuple(w for w in found.workloads if w.name in names) or found.workloads)


def block(result: Result, file: Path, root: Path) -> str:
    """The text between the markers, markers included. root: the README's folder, from which files are named."""
    return "\n".join([BEGIN, *lines(result, file, root), END])


def lines(result: Result, file: Path, root: Path) -> Iterator[str]:
    run, m = result.run, result.machine
    workloads = [w.name for w in result.workloads]
    yield f"![{result.unit} by contender and workload]({PICTURE.as_posix()})"
    yield ""
    yield f"| {result.unit} | " + " | ".join(workloads) + " |"
    yield "|---" * (len(workloads) + 1) + "|"
    for name in measured(result):
        title = f"**{name}**" if is_ours(name) else name
        yield f"| {title} | " + " | ".join(text(result.cell(name, w)) for w in workloads) + " |"
    yield ""
    threads = f"{run.threads} thread{'s' * (run.threads > 1)}"
    versions = ", ".join(f"{name} {version}" for name, version in m.versions.items())
    yield f"{m.cpu}, {threads}, {run.dtype}, {result.date[:10]}, commit {m.commit or 'unknown'}; {versions}."
    yield f"In brackets: {FUSED} over it, = where that is within noise. * differs from the truth." + quick(result)
    yield losses(result)
    missed = [v.target for v in result.targets if v.met is False]
    yield f"Targets missed: {'; '.join(missed)}." if missed else "No target was missed."
    named = relative(file, root)
    yield f"From [`{named}`]({named}) by `python -m benchmarks readme {named}`."


def quick(result: Result) -> str:
    return " A quick run: rough figures." if result.run.quick else ""


def relative(file: Path, root: Path) -> str:
    try:
        return file.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        hint = "copy it to benchmarks/results"
        raise ValueError(f"{file}: a result that the README shows lies in its repository; {hint}") from None


def text(cell: Cell | None) -> str:
    if cell is None or cell.figure is None:
        return "" if cell is None else {"skipped": "not installed", "unsupported": "cannot", "error": "fails"}[cell.status]
    ratio = f" ({shown(cell.ratio)})" if cell.ratio and cell.contender != FUSED else ""
    return f"{brief(cell.figure.median)}{'*' * bool(cell.deviations)}{ratio}"


def losses(result: Result) -> str:
    """Where another contender, which is not ours, is faster beyond noise, or as fast."""
    others = [c for c in result.cells if c.ratio and not is_ours(c.contender)]
    slower = [f"{c.contender} on {c.workload} ({shown(c.ratio)})" for c in others if c.ratio and c.ratio.high < 1]
    equal = [f"{c.contender} on {c.workload}" for c in others if c.ratio and c.ratio.low <= 1 <= c.ratio.high]
    said = [f"{FUSED} loses to {', '.join(slower)}." if slower else f"{FUSED} loses to none of them."]
    return " ".join([*said, *([f"It is as fast as {', '.join(equal)}."] if equal else [])])


def stale(readme: Path, wanted: str) -> bool:
    """Whether the README says something else. Raises ValueError where it lacks the markers."""
    found = BETWEEN.search(readme.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{readme}: lacks the markers {BEGIN} and {END}; put both, a line each, where the table belongs")
    return found.group() != wanted


def write(readme: Path, wanted: str, result: Result) -> None:
    if stale(readme, wanted):
        old = readme.read_text(encoding="utf-8")
        readme.write_text(BETWEEN.sub(lambda _: wanted, old, count=1), encoding="utf-8")
    charts.png(charts.bars, result, readme.parent / PICTURE)


def source(readme: Path) -> Path | None:
    """The result file that the README says it was made from; None where it shows none yet."""
    found = BETWEEN.search(readme.read_text(encoding="utf-8"))
    named = re.search(r"From \[`(.+?)`\]", found.group()) if found else None
    return readme.parent / named.group(1) if named else None
