"""The README's tables and picture, made from result files, so that no figure in it is typed by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..measure.result import FUSED, Cell, Result, is_ours
from ..measure.stats import brief, shown
from ..workloads import CORE
from . import charts
from .figures import measured
from .text import fill

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
PICTURE = Path("docs", "benchmark.png")
BETWEEN = re.compile(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", flags=re.DOTALL)


def shown_of(results: Sequence[Result], file: Path) -> list[Result]:
    """The file's suite augment, reduced to the core workloads if it has any of them, and its suite loader if that was run.

    The cells of all workloads are kept, so that no loss is left out.
    """
    found = {r.suite: r for r in results if measured(r)}
    if "augment" not in found:
        raise ValueError(f"{file}: the README shows the suite augment, which is not measured in it; run augment --json")
    augment, names = found["augment"], {w.name for w in CORE}
    core = tuple(w for w in augment.workloads if w.name in names)
    return [replace(augment, workloads=core or augment.workloads), *([found["loader"]] if "loader" in found else [])]


def block(results: Sequence[Result], files: Sequence[Path], root: Path) -> str:
    """The text between the markers, markers included.

    Args:
        results: What `shown_of` found in the files.
        files: The result files, which the text names.
        root: The README's folder, from which files are named.
    """
    named = [relative(file, root) for file in files]
    values = {"text": text, "losses": losses, "TITLES": TITLES, "BEGIN": BEGIN, "END": END}
    return fill("readme.md", results=results, named=named, picture=PICTURE.as_posix(), **values)


TITLES = {"augment": "Pixels in memory to views", "loader": "Files, and arrays on one thread, to batches of views"}


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
    """Where a contender other than gpuaug's is significantly faster, or as fast."""
    others = [c for c in result.cells if c.ratio and not is_ours(c.contender)]
    slower = [f"{c.contender} on {c.workload} ({shown(c.ratio)})" for c in others if c.ratio and c.ratio.high < 1]
    equal = [f"{c.contender} on {c.workload}" for c in others if c.ratio and c.ratio.low <= 1 <= c.ratio.high]
    said = [f"{FUSED} loses to {', '.join(slower)}." if slower else f"{FUSED} loses to none of them."]
    return " ".join([*said, *([f"It is as fast as {', '.join(equal)}."] if equal else [])])


def stale(readme: Path, wanted: str) -> bool:
    """Whether the README says something else. Raises ValueError if it lacks the markers."""
    found = BETWEEN.search(readme.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{readme}: lacks the markers {BEGIN} and {END}; put both, a line each, where the table belongs")
    return found.group() != wanted


def write(readme: Path, wanted: str, results: Sequence[Result]) -> None:
    if stale(readme, wanted):
        old = readme.read_text(encoding="utf-8")
        readme.write_text(BETWEEN.sub(lambda _: wanted, old, count=1), encoding="utf-8")
    charts.png(charts.bars, results[0], readme.parent / PICTURE)


def sources(readme: Path) -> list[Path]:
    """The result files that the README names. Raises ValueError if it names none."""
    found = BETWEEN.search(readme.read_text(encoding="utf-8"))
    named = re.search(r"by `python -m benchmarks readme (.+?)`", found.group()) if found else None
    if named is None:
        raise ValueError(f"{readme}: names no result files yet; give them: python -m benchmarks readme FILE.json...")
    return [readme.parent / name for name in named.group(1).split()]
