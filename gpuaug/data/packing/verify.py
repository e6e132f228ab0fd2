"""Verifying packed data: whether everything in the manifest exists, is unchanged, and can be decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..decoders.pillow import MAX_PIXELS, DecodeError, decode
from ..sources.archives.tar_index import scan
from ..sources.packed import MANIFEST, ROWS, TARGETS, PackedSource, read_manifest
from ..sources.remote.objects import read_range
from .formats import Part, sha256_of
from .pack import map_in_order

BLOCK = 256
"""Rows that are read at once."""


def verify(dst: Path, workers: int = 1, max_pixels: int = MAX_PIXELS) -> list[str]:
    """The problems of a packed folder, one line each with the file's name; empty if there are none.

    max_pixels: limit on the pixels of a picture, as for packing. Raises what `read_manifest` raises.
    """
    dst = dst.expanduser()
    manifest = read_manifest(dst)
    problems = []
    # A folder of pixels that another program wrote has no parts, so nothing in it can be verified.
    if sum(part["count"] for part in manifest.get("parts", [])) != manifest["count"]:
        problems.append(f"{dst / MANIFEST}: the counts of its parts do not add up to {manifest['count']}")
    with tqdm(total=manifest["count"], desc="verifying", unit=" images") as bar:
        if manifest["format"] in ROWS:
            return problems + list(wrong_rows(dst, manifest, bar))
        with ThreadPoolExecutor(workers) as pool:
            for part in manifest.get("parts", []):
                problems += wrong_shard(dst / part["name"], part, pool, 4 * workers, max_pixels)
                bar.update(part["count"])
    return problems


def wrong_shard(path: Path, part: Part, pool: ThreadPoolExecutor, ahead: int, max_pixels: int) -> Iterator[str]:
    if not path.exists():
        yield f"{path}: is missing"
        return
    if (size := path.stat().st_size) != part["bytes"]:
        yield f"{path}: has {size} bytes, {part['bytes']} were written"
    elif sha256_of(path) != part["sha256"]:
        yield f"{path}: its bytes are not those that were written (SHA-256)"
    try:
        shard = scan(str(path))  # not the cached index, which may survive a changed byte
    except ValueError as error:
        yield str(error)
        return
    if shard.unreadable:
        yield shard.unreadable
    if len(shard) != part["count"]:
        yield f"{path}: has {len(shard)} samples, {part['count']} were written"

    def problem(k: int) -> str | None:
        try:
            data = read_range(str(path), int(shard.offsets[k]), int(shard.sizes[k]))
            decode(data, f"{path}: {shard.name(k)}", max_pixels)
        except DecodeError as error:
            return str(error)
        return None

    yield from filter(None, map_in_order(pool, problem, range(len(shard)), ahead))


def wrong_rows(dst: Path, manifest: dict[str, Any], bar: tqdm[Any]) -> Iterator[str]:
    try:
        source = PackedSource(dst)
    except (OSError, ValueError) as error:
        yield str(error)
        return
    if sha256_of(dst / TARGETS) != manifest.get("targets_sha256"):
        yield f"{dst / TARGETS}: its bytes are not those that were written (SHA-256)"
    path, row = source.path, source.images[0].nbytes
    first = 0
    with path.open("rb") as file:
        checksum = hashlib.sha256(file.read(path.stat().st_size - len(source) * row))  # the header
        for part in manifest.get("parts", []):
            for k in range(0, part["count"], BLOCK):
                count = min(BLOCK, part["count"] - k)
                checksum.update(file.read(count * row))
                bar.update(count)
            if checksum.hexdigest() != part["sha256"]:
                last = first + part["count"] - 1
                yield f"{path}: images {first} to {last} are not those that were written (SHA-256)"
            checksum = hashlib.sha256()
            first += part["count"]
