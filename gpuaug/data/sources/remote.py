"""Files by path or URL: on this machine's disks, or elsewhere through fsspec."""

from __future__ import annotations

import os
from typing import Any, cast


def is_remote(path: str) -> bool:
    return "://" in path


def filesystem(url: str) -> tuple[Any, str]:
    """fsspec's file system for a URL, which fsspec caches per process and thread, and the path in it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise ImportError(f"{url}: remote shards need fsspec; pip install fsspec") from error
    try:
        return cast("tuple[Any, str]", url_to_fs(url))
    except (ImportError, ValueError) as error:  # a missing package, or an unknown scheme
        raise type(error)(f"{url}: {error}") from error


def read_range(path: str, start: int, size: int) -> bytes:
    """`size` bytes from `start`, fewer at the end of the file. Threads may call it at once, since nothing is shared."""
    if is_remote(path):
        fs, inside = filesystem(path)
        return cast(bytes, fs.cat_file(inside, start=start, end=start + size))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, size, start)
    finally:
        os.close(descriptor)
