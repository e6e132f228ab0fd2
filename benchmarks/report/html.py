"""Results as one HTML page without network or script, which follows the reader's light or dark setting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..measure.result import Result
from . import charts
from .text import fill

CAPTIONS = {
    "speeds": "{unit} by contender",
    "limit": "Share of the limit that the memory sets",
    "strong-cheap": "Strong against cheap augmentation",
    "curves": "Scaling",
    "data-wait": "Waiting for data",
}


def page(files: Sequence[tuple[str, Sequence[Result]]]) -> str:
    """The page. files: names of result files, and the results in each."""
    everything = [(name, result) for name, results in files for result in results]
    sections = [(name, result, list(drawings(result, f"c{k}"))) for k, (name, result) in enumerate(everything)]
    return fill("page.html", sections=sections) + "\n"


def drawings(result: Result, name: str) -> Iterator[tuple[str, str]]:
    """Captions and <svg> elements. name: unique in the page."""
    for kind, chart in charts.charts(result).items():
        yield CAPTIONS[kind].format(unit=result.unit), charts.svg(chart, result, f"{name}-{kind}")


def pictures(files: Sequence[tuple[str, Sequence[Result]]], folder: Path) -> list[Path]:
    """Write every chart as SUITE-CHART.png, with the file's stem before it if there are several files."""
    paths = []
    for name, results in files:
        for result in results:
            for kind, chart in charts.charts(result).items():
                stem = f"{Path(name).stem}-" if len(files) > 1 else ""
                paths.append(folder / f"{stem}{result.suite}-{kind}.png")
                charts.png(chart, result, paths[-1])
    return paths
