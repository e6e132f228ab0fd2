"""A report as a picture: views/s by contender, and the time of a training step by what feeds it."""

from __future__ import annotations

from pathlib import Path

from ..measure.stats import brief
from .report import Report
from .steps import Row

OURS, PEER = "#0f766e", "#94a3b8"


def write(check: Report, path: Path) -> str:
    """Write a PNG, and say so; without matplotlib, or figures, say that."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "no picture: matplotlib is not installed; install it with: pip install matplotlib"
    panels = [(name, found) for step in ("augment", "train") for name, found in grouped(check.rows(step)).items()]
    if not panels:
        return "no picture: nothing was timed"
    across = min(4, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(1.5 + 3 * across, 0.8 + 2.6 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).flatten()
    for plot in axes[len(panels) :]:
        plot.set_axis_off()
    for plot, (name, found) in zip(axes, panels, strict=False):
        for y, row in enumerate(found):
            value = row.value or 0.0
            plot.barh(y, value, color=OURS if row.name.partition(" / ")[2].startswith("gpuaug") else PEER, height=0.7)
            plot.plot([row.low or value, row.high or value], [y, y], color="black", linewidth=1.5)
            plot.annotate(
                brief(value), (row.high or value, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=7
            )
        plot.set_yticks(range(len(found)), [row.name.partition(" / ")[2] for row in found], fontsize=7)
        plot.invert_yaxis()
        plot.set_xscale("log")
        plot.margins(x=0.3)
        plot.set_title(f"{name}, {found[0].unit}", fontsize=9)
        plot.tick_params(axis="x", labelsize=7)
        plot.spines[["top", "right"]].set_visible(False)
    machine = next(
        (row.text for row in check.rows("machine") if row.name == ("GPU" if check.device == "cuda" else "processor")), ""
    )
    figure.suptitle(f"{machine}, {check.date[:10]}" + (", quick" if check.quick else ""), fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=120)
    return f"wrote {path}"


def grouped(rows: tuple[Row, ...]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.status == "ok" and row.value and " / " in row.name:
            found.setdefault(row.group, []).append(row)
    return found
