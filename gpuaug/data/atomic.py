"""Files that appear whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = ["atomic"]

TEMPORARY = ".partial"


@contextlib.contextmanager
def atomic(path: Path, keep: Path | None = None) -> Iterator[IO[bytes]]:
    """Write a file so that a reader, or a crash at any moment, sees the old content or the new one, never a part.

    The bytes go to a temporary file beside `path`. At the end of the block they are flushed to the disk (fsync), then the
    temporary file takes the name `path`, then the folder is flushed too. After an exception `path` is as it was and the
    temporary file is gone; a process that is killed leaves a file `.NAME.*.partial`.

    Args:
        path: The file to write; its folder must exist.
        keep: A second name, under which the old file stays available. Without hard links in the file system, or without an
            old file, nothing is kept.

    Yields:
        The temporary file, open for binary writing.

    Raises:
        OSError: The file could not be written, for instance because the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            yield file
            sync(file)
        if keep:
            link(path, keep)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync(file: IO[bytes]) -> None:
    """Wait until everything that was written to a file is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the file system can do that (Windows cannot open a folder)."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def link(path: Path, name: Path) -> None:
    """Give a file a second name, which may be taken already. Does nothing without a file, or without hard links."""
    temporary = name.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    with contextlib.suppress(OSError):
        os.link(path, temporary)
        temporary.replace(name)
    temporary.unlink(missing_ok=True)
