"""Results as charts: one function a chart, Result -> matplotlib Figure, for PNG files and for the report's SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from math import floor, log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..measure.result import Cell, Result, WorkloadRecord, is_ours
from ..measure.stats import brief
from .figures import axes_of, measured, priced

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, OURS, PEER = "#1f2933", "#5b6673", "#dfe4ea", "#0f766e", "#94a3b8"
LINES = ("#0e7490", "#b45309", "#7c3aed", "#be185d", "#4d7c0f", "#64748b", "#a16207", "#1d4ed8")
"""Each of these becomes a CSS variable in an SVG, so that the page can be dark."""

NAMES = {INK: "ink", MUTED: "muted", GRID: "grid", OURS: "ours", PEER: "peer"}
VARIABLES = NAMES | {colour: f"line{k}" for k, colour in enumerate(LINES)}

ACROSS = 5
"""Panels side by side."""

STYLE: Any = {
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "grid.color": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "font.size": 9,
    "svg.fonttype": "none",
}


Value = Callable[[Cell], float | None]


def charts(result: Result) -> dict[str, Callable[[Result], Figure]]:
    """The charts that a result has figures for, by the names of their files."""
    cells = [cell for cell in result.cells if cell.figure]
    found: dict[str, Callable[[Result], Figure]] = {}
    if any(w.axis is None for w in result.workloads) and cells:
        found["speeds"] = bars
    if any(cell.share for cell in cells):
        found["limit"] = shares
    if priced(result):
        found["strong-cheap"] = slopes
    if axes_of(result):
        found["curves"] = curves
    if any("data_wait" in cell.more for cell in cells):
        found["data-wait"] = waits
    return found


def drawn(chart: Callable[[Result], Figure], result: Result) -> Figure:
    """Raises ImportError without matplotlib."""
    try:
        from matplotlib import rc_context  # a quarter of a second to import, so only here
    except ImportError as error:
        raise ImportError("charts need matplotlib; install it with: pip install matplotlib") from error
    with rc_context(STYLE):
        return chart(result)


def png(chart: Callable[[Result], Figure], result: Result, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn(chart, result).savefig(path, format="png", dpi=120, metadata={"Software": None})


def svg(chart: Callable[[Result], Figure], result: Result, name: str) -> str:
    """An <svg> element for an HTML page, in the page's colours. name: of the chart, unique in the page."""
    from matplotlib import rc_context

    figure, out = drawn(chart, result), io.StringIO()
    with rc_context({**STYLE, "svg.hashsalt": name, "svg.id": None}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = re.sub(r"<metadata>.*?</metadata>", "", out.getvalue()[out.getvalue().index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(id="|#)(?=[A-Za-z])(?![0-9a-f]{6}\b)', rf"\g<1>{name}-", text)  # ids of two charts must differ
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    width = re.search(r'width="([\d.]+)pt"', text)
    size = f'style="max-width: {float(width.group(1)) * 4 / 3:.0f}px"' if width else ""
    return re.sub(r'width="[\d.]+pt"', f'role="img" {size}', re.sub(r' height="[\d.]+pt"', "", text, count=1), count=1).strip()


def panels(result: Result, rows: int, count: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    across, down = min(ACROSS, count), -(-count // ACROSS)
    figure = Figure(figsize=(max(5.5, 2.2 + 2.3 * across), (1.3 + 0.3 * rows) * down + 0.4), layout="constrained")
    axes = list(figure.subplots(down, across, sharey=True, squeeze=False).flat)
    for spare in axes[count:]:
        spare.set_axis_off()
    run, m = result.run, result.machine
    figure.suptitle(f"{m.gpu or m.cpu}, {run.in_threads}, {result.date[:10]}{', quick' * run.quick}", fontsize=10)
    return figure, axes[:count]


def title(w: WorkloadRecord) -> str:
    from_ = f" from {w.image[1]}x{w.image[0]}" if len(w.image) == 2 else ""
    return f"{w.name}\n{w.policy}{from_}" if w.policy != w.name or from_ else w.name


def horizontal(result: Result, value: Value, label: str, text: str, note: str, share: bool = False) -> Figure:
    """A panel for each workload, with a bar for each contender.

    Args:
        value: What the bar of a cell shows; None for no bar.
        label: Title of the axis.
        text: Format of the number beside a bar, which is logarithmic, or a share from 0 to 100 %.
        note: A line below the panels.
        share: Whether the values are shares.
    """
    names = measured(result)
    workloads = [w for w in result.workloads if w.axis is None]
    figure, axes = panels(result, len(names), len(workloads))
    for panel, workload in zip(axes, workloads, strict=True):
        for y, name in enumerate(names):
            cell = result.cell(name, workload.name)
            if cell is None or cell.figure is None or (found := value(cell)) is None:
                continue
            panel.barh(y, found, color=OURS if is_ours(name) else PEER, height=0.7)
            scale = 0.0 if share else found / cell.figure.median
            if scale:
                panel.plot([cell.figure.low * scale, cell.figure.high * scale], [y, y], color=INK, linewidth=1.5)
            end = (max(found, cell.figure.high * scale), y)
            said = text.format(value=found, brief=brief(found), star="*" * bool(cell.deviations))
            panel.annotate(said, end, xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
        panel.set_title(title(workload), fontsize=9)
        if share:
            panel.set_xlim(0, 119)
        else:
            plain(panel, [patch.get_width() for patch in panel.patches])  # type: ignore[attr-defined]
        panel.set_xlabel(label, fontsize=8)
        panel.grid(axis="x")
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    figure.supxlabel(note, fontsize=7)
    return figure


def plain(panel: Axes, widths: Sequence[float]) -> None:
    """From the power of ten below the shortest bar to beyond the label of the longest; ticks without exponents."""
    panel.set_xscale("log")
    if widths:
        low, high = 10 ** floor(log10(min(widths) / 1.2)), max(widths)
        panel.set_xlim(low, high * (high / low) ** 0.35)
    panel.xaxis.set_major_formatter(tick)
    panel.xaxis.set_minor_formatter(lambda value, _: "")


def tick(value: float, _: object = None) -> str:
    """1, 2.5, 1,000: never an exponent or a needless zero."""
    return f"{value:,.10g}"


def bars(result: Result) -> Figure:
    better = "more is better" if result.better == "higher" else "less is better"
    star = "; * differs from the truth" if any(c.deviations for c in result.cells) else ""
    note = f"{better}; thin line: interquartile range{star}"
    return horizontal(result, lambda cell: cell.figure.median if cell.figure else None, result.unit, "{brief}{star}", note)


def shares(result: Result) -> Figure:
    note = "dashed: each byte of image and view moved once, at the speed at which memory is copied"
    figure = horizontal(result, lambda cell: 100 * cell.share if cell.share else None, "% of the limit", "{value:.3g} %", note)
    for panel in figure.axes:
        if panel.axison:
            panel.axvline(100, color=INK, linewidth=1, linestyle="--")
    return figure


def styles(result: Result) -> dict[str, Any]:
    """How each contender's line is drawn: ours in one colour and different dashes, the others in different colours."""
    ours = [name for name in measured(result) if is_ours(name)]
    colours = dict(zip((name for name in measured(result) if name not in ours), LINES * 9, strict=False))
    dashes = dict(zip(ours, ("-", "--", ":", "-.") * 9, strict=False))
    return {
        **{name: {"color": OURS, "linestyle": dash, "linewidth": 2.5} for name, dash in dashes.items()},
        **{name: {"color": colour, "linewidth": 1.2} for name, colour in colours.items()},
    }


def slopes(result: Result) -> Figure:
    """What strong augmentation costs: for each contender a line from cheap to strong; a level line is free."""
    found = priced(result)
    figure, axes = panels(result, 12, len(found))
    for panel, (strong, cheap) in zip(axes, found, strict=True):
        for name, style in styles(result).items():
            y = [speed.median for w in (cheap, strong) if (speed := result.figure(name, w))]
            if len(y) < 2:
                continue
            panel.plot([0, 1], y, marker="o", label=name, **style)
            panel.annotate(f"{brief(y[0] / y[1])}x", (1, y[1]), xytext=(6, 0), textcoords="offset points", va="center")
        panel.set_xticks([0, 1], [cheap, strong])
        panel.set_xlim(-0.15, 1.35)
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter(tick)
        panel.grid(axis="y")
    axes[0].set_ylabel(result.unit)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    figure.supxlabel("at the right end: what strong costs in units of cheap", fontsize=7)
    return figure


def curves(result: Result) -> Figure:
    """Time against what is varied, both logarithmic; beside each name the exponent."""
    axes_found = axes_of(result)
    figure, axes = panels(result, 10, len(axes_found))
    for panel, axis in zip(axes, axes_found, strict=True):
        for name, style in styles(result).items():
            points = list(line(result, name, axis))
            fit = next((f for f in result.fits if (f.contender, f.axis) == (name, axis)), None)
            if not points:
                continue
            label = f"{name} {fit.exponent.median:.2f}" if fit else name
            panel.plot(*zip(*points, strict=True), marker="o", markersize=4, label=label, **style)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        for scale in (panel.xaxis, panel.yaxis):
            scale.set_major_formatter(tick)
            scale.set_minor_formatter(lambda value, _: "")
        panel.set_xlabel(axis)
        panel.grid(True)
        panel.legend(frameon=False, fontsize=6)
    axes[0].set_ylabel("ms a call")
    figure.supxlabel("beside a name: the exponent, time ~ x ^ exponent", fontsize=7)
    return figure


def line(result: Result, contender: str, axis: str) -> Iterator[tuple[float, float]]:
    for w in result.workloads:
        if w.axis == axis and w.x is not None and (figure := result.figure(contender, w.name)):
            yield w.x, figure.median


def waits(result: Result) -> Figure:
    """Share of a step's time that is spent waiting for data."""
    label, note = "data wait, % of the step", "nothing where a batch was replayed"
    wait = {c.contender + c.workload: 100 * c.more["data_wait"] for c in result.cells if "data_wait" in c.more}
    return horizontal(result, lambda c: wait.get(c.contender + c.workload), label, "{value:.1f} %", note, share=True)
