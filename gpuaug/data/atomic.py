"""Files that appear whole or not at all."""

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
    """A new file under a temporary name beside `path`; once it is written and on the disk, it takes that name.

    After an error nothing is left of it, after a kill a file `.NAME.*.partial`.
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
    """Wait until what was written is on the disk."""
    file.flush()
    os.fsync(file.fileno())
