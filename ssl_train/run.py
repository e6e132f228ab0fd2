"""A run's folder: settings.json, metrics.jsonl, checkpoint.pt, curves.png; and what a run gives back."""

from __future__ import annotations

import json
import math
import platform
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from . import checkpoint, curves
from .errors import UserError
from .model import JointEmbedding
from .settings import Settings, check_same, from_saved


@dataclass
class Run:
    """A run.

    knn: accuracy by epoch, 0 being the untrained network; probe: of each linear probe. images_per_s, data_wait: over all
    steps made here.
    """

    folder: Path
    settings: Settings
    model: JointEmbedding
    knn: dict[int, float] = field(default_factory=dict)
    probe: dict[int, list[float]] = field(default_factory=dict)
    images_per_s: float = math.nan
    data_wait: float = math.nan

    def draw(self) -> None:
        """Write curves.png: half a second, so only the commands do it."""
        s = self.settings
        curves.plot(self.folder, f"{s.method}, {s.backbone}, {s.data}, {s.policy} at {s.size} pixels")


def start(folder: Path, settings: Settings, policy: str) -> None:
    """Make a new run's folder. Raises UserError where it holds a run already, or cannot be written."""
    if (folder / "checkpoint.pt").exists():
        raise UserError(f"--out {folder}: there is a run in it; continue it with --resume, or choose another folder")
    about = {"settings": asdict(settings), "policy": policy, "versions": versions()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.jsonl").unlink(missing_ok=True)
        checkpoint.write_atomic(folder / "settings.json", lambda file: file.write(json.dumps(about, indent=2).encode()))
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be written ({error.strerror})") from None


def resume(folder: Path, settings: Settings) -> dict[str, Any]:
    """The last checkpoint of the run in a folder. Raises UserError where there is none, or the settings differ."""
    check_same(saved_settings(folder), settings)
    return checkpoint.load(folder / "checkpoint.pt")


def saved_settings(folder: Path) -> Settings:
    """The settings of the run in a folder. Raises UserError where there is none."""
    try:
        return from_saved(json.loads((folder / "settings.json").read_text())["settings"])
    except FileNotFoundError:
        raise UserError(f"--resume: there is no run in {folder}; name its folder with --out") from None
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"--resume: {folder / 'settings.json'} cannot be read ({error})") from None


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
