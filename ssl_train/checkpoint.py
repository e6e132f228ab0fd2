"""Checkpoints: written completely or not at all, and read without running any code that they contain."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from gpuaug.data.atomic import atomic

from .errors import UserError


def save(path: Path, state: dict[str, Any], keep: Path | None = None) -> None:
    """Write a state of tensors and plain Python values. After an OSError the old file is still there. keep: see `atomic`."""
    buffer = io.BytesIO()  # torch.save itself would report a full disk as an inner error of its zip writer
    torch.save(state, buffer)
    with atomic(path, keep) as file:
        file.write(buffer.getbuffer())


def load(path: Path) -> dict[str, Any]:
    """Read a state into CPU memory. Raises UserError if there is no file, or if it is not a checkpoint."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"no checkpoint at {path}; start the run without --resume") from None
    except Exception as error:  # torch's readers of zip and pickle raise what their parsers do
        reason = (str(error) or type(error).__name__).splitlines()[0][:100]
        raise UserError(f"{path} cannot be read as a checkpoint ({reason}); delete it to start afresh") from None
    return state


def sweep(path: Path) -> None:
    """Remove the unfinished temporary files of processes that were killed while they wrote this file."""
    for file in path.parent.glob(f".{path.name}.*"):
        file.unlink(missing_ok=True)
