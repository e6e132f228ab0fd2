"""Checkpoints: written whole or not at all, read without running code from them."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import torch

from .errors import UserError


def write_atomic(path: Path, write: Callable[[IO[bytes]], object], keep: Path | None = None) -> None:
    """Write a file such that a reader, or a crash at any moment, sees the old content or the new, never a part.

    The bytes are on the disk (fsync) before the name changes, and the name (fsync of the folder) before this returns. keep: a
    name that the old file gets, where the file system has hard links.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if keep:
            link(path, keep)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def link(path: Path, name: Path) -> None:
    """Another name for a file, in place of what bore it. No file, or no hard links: nothing happens."""
    temporary = name.with_name(f".{path.name}.{os.getpid()}.link.tmp")
    temporary.unlink(missing_ok=True)
    with suppress(OSError):
        os.link(path, temporary)
        temporary.replace(name)


def save(path: Path, state: dict[str, Any], keep: Path | None = None) -> None:
    """Write a state of tensors and plain Python values. Raises OSError, the old file being left. keep: see `write_atomic`."""
    buffer = io.BytesIO()  # torch.save itself would report a full disk as an inner error of its zip writer
    torch.save(state, buffer)
    write_atomic(path, lambda file: file.write(buffer.getbuffer()), keep)


def load(path: Path) -> dict[str, Any]:
    """Read a state, onto the CPU. Raises UserError where there is none, or it is no checkpoint."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"no checkpoint at {path}; start the run without --resume") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:100]
        raise UserError(f"{path} cannot be read as a checkpoint ({reason}); delete it to start afresh") from None
    return state


def sweep(path: Path) -> None:
    """Remove what writers of this file that were killed have left unfinished."""
    for file in path.parent.glob(f".{path.name}.*.tmp"):
        file.unlink(missing_ok=True)
