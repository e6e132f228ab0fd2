"""A result as a picture: views/s by contender, one panel a workload, on a logarithmic scale."""

from __future__ import annotations

from pathlib import Path

from .result import Result
from .stats import brief
from .table import measured

OURS, PEER = "#0f766e", "#94a3b8"


def plot(result: Result, path: Path) -> None:
    """Write a PNG. Raises ValueError where nothing was measured, ImportError without matplotlib."""
    from matplotlib.figure import Figure  # a quarter of a second to import, so only here

    names = measured(result)
    if not names:
        raise ValueError("--plot: no contender was measured")
    count = len(result.workloads)
    figure = Figure(figsize=(2 + 2.4 * count, 1.6 + 0.36 * len(names)), layout="constrained")
    panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    for axes, workload in zip(panels, result.workloads, strict=True):
        for y, name in enumerate(names):
            cell = result.cell(name, workload.name)
            if cell is None or cell.figure is None:
                continue
            speed = cell.figure
            axes.barh(y, speed.median, color=OURS if name.startswith("gpuaug") else PEER, height=0.7)
            axes.plot([speed.low, speed.high], [y, y], color="black", linewidth=1.5)
            text = brief(speed.median) + "*" * bool(cell.deviations)
            axes.annotate(text, (speed.high, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
        height, width = workload.image
        axes.set_title(f"{workload.name}\n{workload.policy} from {width}x{height}", fontsize=9)
        axes.set_xscale("log")
        axes.set_xlabel("views/s", fontsize=8)
        axes.margins(x=0.25)
        axes.tick_params(labelsize=8)
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    run = result.run
    title = f"{result.machine.cpu}, {run.threads} thread{'s' * (run.threads > 1)}, {result.date[:10]}"
    figure.suptitle(title + (", quick" if run.quick else ""), fontsize=10)
    figure.supxlabel("black: interquartile range    * differs from the truth", fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=120)
