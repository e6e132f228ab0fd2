"""What tells one version of a file from another."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, NamedTuple

from . import is_remote
from .objects import StoppedError, ask, filesystem
from .retries import RemoteError, described, is_missing

TAGS = ("ETag", "etag", "md5Hash", "content_md5", "Content-MD5", "Digest", "Last-Modified", "LastModified", "mtime", "created")
"""What file systems call a file's checksum, or the time of its last change; the first that is there counts."""


class Stamp(NamedTuple):
    """A version of a file. size: in bytes. text: changes when the file does."""

    size: int
    text: str


def stamp_of(path: str, stop: threading.Event | None = None) -> Stamp:
    """Size and modification time of a file, or for a remote one its size and checksum.

    stop: ends the wait for a server when set, by StoppedError.

    Raises FileNotFoundError, and an OSError with the path for anything else, a RemoteError if the server does not answer.
    """
    try:
        if is_remote(path):
            info = ask(path, "info", stop)
            if not isinstance(info.get("size"), int):
                raise OSError("the server does not tell its size")
            return Stamp(info["size"], f"{info['size']} {tag_of(path, info)}")
        status = Path(path).stat()
    except (ImportError, ValueError, StoppedError):
        raise
    except Exception as error:  # remote file systems raise what their clients do
        if is_missing(error):
            raise FileNotFoundError(f"{path}: no such shard") from error
        kind = RemoteError if isinstance(error, RemoteError) else OSError
        raise kind(f"{path}: the shard cannot be read: {error or described(error)}") from error
    return Stamp(status.st_size, f"{status.st_size} {status.st_mtime_ns}")


def tag_of(url: str, info: dict[str, Any]) -> str:
    found = next((str(info[name]) for name in TAGS if info.get(name)), None)
    if found is not None:
        return found
    fs, inside = filesystem(url)
    return str(fs.ukey(inside))
