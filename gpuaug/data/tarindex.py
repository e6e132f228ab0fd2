"""What lies where in a tar shard: one pass over its headers, kept in a file for the next time.

A sample is a run of members with one key, the part of their names before the first dot after the last slash (WebDataset's
layout): `0007.jpg` and `0007.cls` are sample `0007`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from .atomic import atomic
from .folder import EXTENSIONS

VERSION = 1
SUFFIX = ".index.npz"
KEY = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")
"""Key and extension; hidden members (macOS adds such) have none and are passed over."""

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Shard:
    """The samples of a tar, in its order: where each image member starts and how long it is, in bytes, and its class.

    names: the image members' names, one after the other; name k ends at ends[k].
    """

    offsets: Int64s
    sizes: Int64s
    targets: Int64s
    ends: Int64s
    names: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, columns: Int64s, names: npt.NDArray[np.uint8]) -> Shard:
        """From (4, N) offsets, sizes, targets and ends."""
        offsets, sizes, targets, ends = columns
        return cls(offsets, sizes, targets, ends, names)

    def __len__(self) -> int:
        return len(self.offsets)

    def name(self, k: int) -> str:
        return os.fsdecode(self.names[self.ends[k - 1] if k else 0 : self.ends[k]].tobytes())


def is_remote(path: str) -> bool:
    return "://" in path


def filesystem(url: str) -> tuple[Any, str]:
    """fsspec's file system for a URL, and the path in it; fsspec keeps the file systems of a process and thread itself."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise ImportError(f"{url}: remote shards need fsspec; pip install fsspec") from error
    return cast("tuple[Any, str]", url_to_fs(url))


def index(path: str) -> Shard:
    """The index of a shard: from the cache where the shard is as it was, made and cached else.

    Raises FileNotFoundError, and ValueError as `scan` does.
    """
    stamp = stamp_of(path)
    for place in places(path):
        if (found := load(place, stamp)) is not None:
            return found
    made = scan(path)
    for place in places(path):
        with contextlib.suppress(OSError):  # a folder that may only be read; without any cache it is made anew next time
            save(made, place, stamp)
            break
    return made


def stamp_of(path: str) -> str:
    """Size and time of change of a local file; of a remote one, its size and what the file system says tells versions apart."""
    if is_remote(path):
        fs, inside = filesystem(path)
        return f"{VERSION} {fs.size(inside)} {fs.ukey(inside)}"
    try:
        status = Path(path).stat()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such shard") from error
    return f"{VERSION} {status.st_size} {status.st_mtime_ns}"


def places(path: str) -> list[Path]:
    """Where an index may lie: beside a local shard, or in the user's cache."""
    full = path if is_remote(path) else str(Path(path).absolute())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gpuaug"
    apart = cache / (hashlib.sha256(os.fsencode(full)).hexdigest() + SUFFIX)
    return [apart] if is_remote(path) else [Path(path + SUFFIX), apart]


def load(place: Path, stamp: str) -> Shard | None:
    """A cached index, or None where there is none, or one of another version of the shard."""
    try:
        with place.open("rb") as file, np.load(file) as arrays:  # given a name, np.load leaves a damaged file open
            if str(arrays["stamp"]) != stamp:
                return None
            return Shard.of(arrays["columns"], arrays["names"])
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile):  # a file of something else counts as none
        return None


def save(shard: Shard, place: Path, stamp: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with atomic(place) as file:
        columns = np.stack([shard.offsets, shard.sizes, shard.targets, shard.ends])
        np.savez(file, stamp=np.array(stamp), columns=columns, names=shard.names)


def scan(path: str) -> Shard:
    """Index a shard by its headers and labels; 42 us a member on one core, so 84 s for a million images with classes.

    Raises ValueError naming the shard, and the member where it is one, for a file that is no plain tar or was cut short, a
    sample with no image or with several, a label that is no integer, and an image that is a link.
    """
    offsets, sizes, targets, names = [], [], [], []
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_for_scan(path))
        for key, group in groupby(members(file, path), key=lambda found: found[0]):
            sample = [(extension, member) for _, extension, member in group]
            images = [member for extension, member in sample if f".{extension}" in EXTENSIONS]
            if len(images) != 1:
                found = ", ".join(member.name for _, member in sample)
                problem = "several images" if images else f"no image, a member that ends in {' '.join(EXTENSIONS)},"
                raise ValueError(f"{path}: sample {key} has {problem} among its members {found}")
            (image,) = images
            if image.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                raise ValueError(f"{path}: {image.name} is a link or a special file; pack the file itself")
            offsets.append(image.offset_data)
            sizes.append(image.size)
            targets.append(label(file, path, dict(sample)))
            names.append(os.fsencode(image.name))
    ends = np.cumsum([len(name) for name in names])
    columns = np.array([offsets, sizes, targets, ends], dtype=np.int64)
    return Shard.of(columns, np.frombuffer(b"".join(names), dtype=np.uint8))


def open_for_scan(path: str) -> IO[bytes]:
    """A remote shard is read in pieces of 8 MiB, which is quicker than a request for each header."""
    if not is_remote(path):
        return Path(path).open("rb")
    fs, inside = filesystem(path)
    return cast("IO[bytes]", fs.open(inside, "rb", block_size=2**23, cache_type="readahead"))


def members(file: IO[bytes], path: str) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """(key, extension in lower case, member) of every member of a tar that has them."""
    last = "its start"
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                cast(Any, tar).members.clear()  # tarfile would keep them all
                last = member.name
                if not member.isdir() and (parts := KEY.fullmatch(member.name)):
                    yield parts[1], parts[2].lower(), member
            file.seek(tar.offset)
    except tarfile.TarError as error:
        if last == "its start":
            raise ValueError(f"{path}: not a plain tar ({error}); unpack a compressed one first") from error
        raise ValueError(f"{path}: damaged or cut short after {last}: {error}") from error
    if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:  # tarfile takes whatever it cannot read as the end
        raise ValueError(f"{path}: damaged or cut short after {last}: no block of zeros, which ends a tar, follows")


def label(file: IO[bytes], path: str, sample: dict[str, tarfile.TarInfo]) -> int:
    """The class of a sample: its `.cls`, else the field `label` of its `.json`, else -1."""
    if (member := sample.get("cls")) is None and (member := sample.get("json")) is None:
        return -1
    file.seek(member.offset_data)
    text = file.read(member.size)
    try:
        value = int(text) if member is sample.get("cls") else json.loads(text).get("label", -1)
        if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
            raise TypeError
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: {member.name}: the class must be an integer, got {text[:40]!r}") from error
    return value
