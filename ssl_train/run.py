"""A run's folder (settings.json, metrics.jsonl, checkpoints, curves.png), and the result of a run."""

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
"""A line of metrics.jsonl, for a step or for an evaluation."""

CHECKPOINT, PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"


@dataclass
class Run:
    """A run and its results.

    Attributes:
        folder: the run's folder.
        settings: the settings, with everything filled in.
        model: the trained network.
        knn: epoch -> kNN accuracy, 0 to 1; epoch 0 is the untrained network.
        probe: epoch -> accuracy of each linear probe, 0 to 1.
        images_per_s: images per second, over all steps made by this call; NaN if the run was finished already.
        data_wait: share of the time in which the steps waited for data, 0 to 1; NaN likewise.
    """

    folder: Path
    settings: ResolvedSettings
    model: JointEmbedding
    knn: dict[int, float] = field(default_factory=dict)
    probe: dict[int, list[float]] = field(default_factory=dict)
    images_per_s: float = math.nan
    data_wait: float = math.nan

    def draw(self) -> None:
        """Write curves.png. It takes half a second, so only the commands do it."""
        s = self.settings
        plot(self.folder, f"{s.method}, {s.backbone}, {s.data}, {s.policy} at {s.size} pixels")


def begin_or_continue(folder: Path, settings: ResolvedSettings, about: dict[str, str]) -> dict[str, Any] | None:
    """Begin a run in a folder, or continue the one in it, as `settings.resume` says.

    about: further entries of settings.json for a new run. Returns the state to continue from, or None for a new run, whose
    folder is made. Raises UserError if `settings.resume` does not allow this, or if the settings differ from the run's.
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
    """Make the folder of a new run, with settings.json in it. Raises UserError if it cannot be written."""
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
    """Write the checkpoint, and keep the one before it in case the disk damages this one."""
    checkpoint.save(folder / CHECKPOINT, state, keep=folder / PREVIOUS)


def last_state(folder: Path) -> dict[str, Any]:
    """The state of the last checkpoint, or if that is damaged of the one before. Raises UserError if both are damaged."""
    try:
        return checkpoint.load(folder / CHECKPOINT)
    except UserError as error:
        if not (folder / CHECKPOINT).exists():
            raise
        try:
            state = checkpoint.load(folder / PREVIOUS)
        except UserError:
            raise error from None
        print(f"ssl_train: {error}; continuing from {PREVIOUS}, of step {state['step']}", file=sys.stderr, flush=True)
        return state


def saved_settings(folder: Path) -> ResolvedSettings:
    """The settings of the run in a folder. Raises UserError if there is no run in it."""
    try:
        return from_saved(json.loads((folder / "settings.json").read_text())["settings"])
    except FileNotFoundError:
        raise UserError(f"--resume: there is no run in {folder}; name its folder with --out") from None
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder / 'settings.json'} cannot be read ({error})") from None


def versions() -> dict[str, str]:
    """Versions and hardware that the bits of a run depend on, besides its settings."""
    found = {"python": platform.python_version(), "torch": torch.__version__}  # torch's version names its CUDA version
    for name in ("gpuaug", "torchvision", "kornia", "numpy", "pillow"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # gpuaug itself, when run from a checkout
            found[name] = "not installed"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {**found, "machine": platform.machine(), "threads": str(torch.get_num_threads()), "gpu": gpu}


def read_metrics(path: Path) -> list[Row]:
    """The rows of a metrics file, without a last line that a crash has cut short. No file: no rows."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1]]  # what follows the last line break is not a whole line


def cut_metrics(path: Path, step: int) -> list[Row]:
    """Delete the rows after a step, because a continued run writes them again. Returns the rest."""
    rows = [row for row in read_metrics(path) if row["step"] <= step]
    with atomic(path) as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
    return rows


def append_metrics(path: Path, *rows: Row) -> None:
    """Add rows at the end of a metrics file."""
    with path.open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))


def board(folder: Path, step: int) -> Callable[..., None]:
    """A function that writes rows as events of TensorBoard; earlier events after `step` are replaced."""
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
    from matplotlib.figure import Figure  # imported here, since it takes a quarter of a second

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
