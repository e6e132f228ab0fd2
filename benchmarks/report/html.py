"""Results as one HTML page that needs nothing else: no network, no script; it follows the reader's light or dark setting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..measure.result import FUSED, Result, is_ours
from ..measure.stats import brief, shown
from . import charts
from .figures import axes_of, half_range, judged, measured, remarks

CAPTIONS = {
    "speeds": "{unit} by contender",
    "limit": "Share of the limit that the memory sets",
    "strong-cheap": "Strong against cheap augmentation",
    "curves": "Scaling",
    "data-wait": "Waiting for data",
}


def page(files: Sequence[tuple[str, Sequence[Result]]]) -> str:
    """files: names, and what they hold."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    helpers = (axes_of, brief, half_range, is_ours, judged, measured, remarks, shown)
    everything = [(name, result) for name, results in files for result in results]
    sections = [(name, result, list(drawings(result, f"c{k}"))) for k, (name, result) in enumerate(everything)]
    return templates.get_template("page.html").render(sections=sections, fused=FUSED, **{f.__name__: f for f in helpers})


def drawings(result: Result, name: str) -> Iterator[tuple[str, str]]:
    """Captions and <svg> elements. name: unique in the page."""
    for kind, chart in charts.charts(result).items():
        yield CAPTIONS[kind].format(unit=result.unit), charts.svg(chart, result, f"{name}-{kind}")


def pictures(files: Sequence[tuple[str, Sequence[Result]]], folder: Path) -> list[Path]:
    """Every chart as a PNG, named SUITE-CHART.png, with the file's stem before it where there are several files."""
    paths = []
    for name, results in files:
        for result in results:
            for kind, chart in charts.charts(result).items():
                stem = f"{Path(name).stem}-" if len(files) > 1 else ""
                paths.append(folder / f"{stem}{result.suite}-{kind}.png")
                charts.png(chart, result, paths[-1])
    return paths
