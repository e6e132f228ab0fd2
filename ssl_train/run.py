"""A run's folder: settings.json, metrics.jsonl, checkpoints, curves.png; and what a run gives back."""

from __future__ import annotations

import json
import math
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from gpuaug.data.atomic import atomic

from . import checkpoint
from .errors import UserError
from .model import JointEmbedding
from .options import ResolvedSettings
from .settings import check_same, from_saved

Row = dict[str, Any]
"""A line of metrics.jsonl: of a step, or of an evaluation."""

CHECKPOINT, PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"


@dataclass
class Run:
    """A run.

    knn: accuracy by epoch, 0 being the untrained network; probe: of each linear probe. images_per_s, data_wait: over all
    steps made here; NaN where a finished run was resumed, and none was made.
    """

    folder: Path
    settings: ResolvedSettings
    model: JointEmbedding
    knn: dict[int, float] = field(default_factory=dict)
    probe: dict[int, list[float]] = field(default_factory=dict)
    images_per_s: float = math.nan
    data_wait: float = math.nan

    def draw(self) -> None:
        """Write curves.png: half a second, so only the commands do it."""
        s = self.settings
        plot(self.folder, f"{s.method}, {s.backbone}, {s.data}, {s.policy} at {s.size} pixels")


def enter(folder: Path, settings: ResolvedSettings, about: dict[str, str]) -> dict[str, Any] | None:
    """Begin a run in a folder, or go on with the one in it, as `settings.resume` says.

    about: what else settings.json says of a new run. Returns the state to go on from; None for a new run, whose folder is
    made. Raises UserError where that cannot be.
    """
    for name in (CHECKPOINT, "settings.json", "metrics.jsonl"):
        checkpoint.sweep(folder / name)
    there = (folder / CHECKPOINT).exists()
    if settings.resume == "always" or (settings.resume == "auto" and there):
        check_same(saved_settings(folder), settings)
        return last_state(folder)
    if there:
        raise UserError(f"--out {folder}: there is a run in it; continue it with --resume, or choose another folder")
    start(folder, settings, about)
    return None


def start(folder: Path, settings: ResolvedSettings, about: dict[str, str]) -> None:
    """Make a new run's folder; `about` goes into settings.json too. Raises UserError where it cannot be written."""
    record = {"settings": asdict(settings), **about, "versions": versions()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("metrics.jsonl", PREVIOUS):
            (folder / name).unlink(missing_ok=True)
        with atomic(folder / "settings.json") as file:
            file.write(json.dumps(record, indent=2).encode())
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be written ({error.strerror})") from None


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write the checkpoint, and keep the one before, for a disk that damages this one."""
    checkpoint.save(folder / CHECKPOINT, state, keep=folder / PREVIOUS)


def last_state(folder: Path) -> dict[str, Any]:
    """The state of the last checkpoint, or of the one before where the last is damaged. Raises UserError where both are."""
    try:
        return checkpoint.load(folder / CHECKPOINT)
    except UserError as error:
        if not (folder / CHECKPOINT).exists():
            raise
        try:
            state = checkpoint.load(folder / PREVIOUS)
        except UserError:
            raise error from None
        print(f"ssl_train: {error}; going on from {PREVIOUS}, of step {state['step']}", file=sys.stderr, flush=True)
        return state


def saved_settings(folder: Path) -> ResolvedSettings:
    """The settings of the run in a folder. Raises UserError where there is none."""
    try:
        return from_saved(json.loads((folder / "settings.json").read_text())["settings"])
    except FileNotFoundError:
        raise UserError(f"--resume: there is no run in {folder}; name its folder with --out") from None
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder / 'settings.json'} cannot be read ({error})") from None


def versions() -> dict[str, str]:
    """What the run's bits depend on besides its settings."""
    found = {"python": platform.python_version(), "torch": torch.__version__}  # which says for which CUDA it was built
    for name in ("gpuaug", "torchvision", "kornia", "numpy", "pillow"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # gpuaug itself, when run from a checkout
            found[name] = "not installed"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {**found, "machine": platform.machine(), "threads": str(torch.get_num_threads()), "gpu": gpu}


def read_metrics(path: Path) -> list[Row]:
    """The rows of a metrics file; a last line cut short by a crash is left out. No file: no rows."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1]]  # what follows the last line break is no whole line


def cut_metrics(path: Path, step: int) -> list[Row]:
    """Drop the rows after a step, which a continued run will write again; returns the rest."""
    rows = [row for row in read_metrics(path) if row["step"] <= step]
    with atomic(path) as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
    return rows


def append_metrics(path: Path, *rows: Row) -> None:
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

    rows = read_metrics(folder / "metrics.jsonl")
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
    with atomic(folder / "curves.png") as file:
        figure.savefig(file, format="png", dpi=110)
