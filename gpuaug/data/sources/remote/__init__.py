"""Files elsewhere, read through fsspec: requests that are tried anew, reading ahead, and a cache of whole shards."""

from __future__ import annotations


def is_remote(path: str) -> bool:
    return "://" in path
