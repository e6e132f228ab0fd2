"""metrics.jsonl: one line a step, one an evaluation; and its picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .checkpoint import write_atomic

Row = dict[str, Any]


def read(path: Path) -> list[Row]:
    """The rows of a metrics file; a last line cut short by a crash is left out. No file: no rows."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1]]  # what follows the last line break is no whole line


def cut(path: Path, step: int) -> list[Row]:
    """Drop the rows after a step, which a continued run will write again; returns the rest."""
    rows = [row for row in read(path) if row["step"] <= step]
    write_atomic(path, lambda file: file.write("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return rows


def append(path: Path, *rows: Row) -> None:
    with path.open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))


def board(folder: Path, step: int) -> Callable[..., None]:
    """A function that writes rows as TensorBoard's events, in place of those after `step`."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(*rows: Row) -> None:
        for row in rows:
            for name in sorted(row.keys() & {"loss", "learning_rate", "images_per_s", "data_wait", "knn"}):
                writer.add_scalar(name, row[name], row["step"])
        writer.flush()

    return write


def plot(folder: Path, title: str) -> None:
    """Write curves.png beside a metrics file: loss by step, kNN accuracy by epoch, data wait by step."""
    from matplotlib.figure import Figure  # a quarter of a second to import, so only here

    rows = read(folder / "metrics.jsonl")
    steps = [row for row in rows if "loss" in row]
    found = [row for row in rows if "knn" in row]
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    loss, accuracy, wait = figure.subplots(1, 3)
    loss.plot([row["epoch"] for row in steps], [row["loss"] for row in steps], linewidth=1)
    loss.set(title="loss", xlabel="epoch")
    accuracy.plot([row["epoch"] for row in found], [100 * row["knn"] for row in found], marker="o")
    accuracy.set(title="kNN accuracy on test images (%)", xlabel="epoch")
    wait.plot([row["epoch"] for row in steps], [100 * row["data_wait"] for row in steps], linewidth=1)
    wait.set(title="data wait (% of step time)", xlabel="epoch", ylim=(0, 100))
    for axes in (loss, accuracy, wait):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    write_atomic(folder / "curves.png", lambda file: figure.savefig(file, format="png", dpi=110))
