"""Files that are written completely or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

TEMPORARY = ".partial"


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A new file with a temporary name beside `path`; once it is written and on the disk, it is renamed to `path`.

    An error leaves nothing behind; a kill leaves a file `.NAME.*.partial`.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            yield file
            sync(file)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(file: IO[bytes]) -> None:
    """Wait until everything that was written to a file is on the disk."""
    file.flush()
    os.fsync(file.fileno())
