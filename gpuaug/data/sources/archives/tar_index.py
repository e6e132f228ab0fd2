"""The index of a tar shard: where each sample lies, found by one pass over the headers and kept in a file.

A sample is a run of members that share a key, the part of their names before the first dot after the last slash (WebDataset's
layout): `0007.jpg` and `0007.cls` are sample `0007`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import posixpath
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from ...atomic import atomic
from ..folder import EXTENSIONS, MACOS
from ..remote import is_remote
from ..remote.cache import Copy, ShardCache
from ..remote.objects import open_remote
from ..remote.stamps import Stamp, stamp_of

VERSION = 4
SUFFIX = ".index.npz"
KEY = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")
"""Key and extension of a member's name. Hidden members, which macOS adds, do not match and are passed over."""

DOCUMENT = re.compile(r"(?!.*\.(cls|json)$)((readme|licen[cs]e)[^/]*|[^/]*\.md)", re.IGNORECASE)
"""Names of documents for people, at the top of a tar."""

COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ\0": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}
"""First bytes of a compressed file -> the format, and the command that unpacks it."""

PIECE = 2**20
"""Bytes read at once behind a tar's end; a multiple of its blocks."""

LINKS = 40
"""Longest chain of links that is followed, as in Linux."""

Int64s = npt.NDArray[np.int64]
Integers: TypeAlias = "npt.NDArray[np.int64] | npt.NDArray[np.uint32]"

COLUMNS = ("offsets", "sizes", "targets", "ends", "names")
"""Arrays of a `Shard`, in its order."""


@dataclass(frozen=True, eq=False)
class Shard:
    """The samples of a tar, in its order: the start and length of each image member in bytes, and its class.

    names: the names of the image members, joined; name k ends at ends[k]. unreadable: what is wrong with the first class that
    cannot be read, or ""; such classes are -1. left_out: number of members that are no samples. example: the first of these.
    """

    offsets: Int64s
    sizes: Integers
    targets: Int64s
    ends: Integers
    names: npt.NDArray[np.uint8]
    unreadable: str = ""
    left_out: int = 0
    example: str = ""

    def __len__(self) -> int:
        return len(self.offsets)

    def name(self, k: int) -> str:
        return os.fsdecode(self.names[self.ends[k - 1] if k else 0 : self.ends[k]].tobytes())


def index(path: str, stamp: Stamp, cache: ShardCache | None = None) -> Shard:
    """The index of a shard, from a file if the shard is unchanged, else made anew and kept in one.

    cache: keeps the index too. A remote shard of which there is no index yet is copied there first, if there is room, so that
    it crosses the network once.

    Raises FileNotFoundError, and what `scan` raises.
    """
    text = f"{VERSION} {stamp.text}"
    places = ([cache.index_path(path, SUFFIX)] if cache and is_remote(path) else []) + cache_paths(path)
    for place in places:
        if (found := load(place, text)) is not None:
            return found
    copied = cache.fetch(path, stamp) if cache and is_remote(path) else None
    made = scan(path, stamp, copied)
    for place in places:
        with contextlib.suppress(OSError):  # the folder is read-only; without any cache the index is made anew next time
            save(made, place, text)
            break
    return made


def cache_paths(path: str) -> list[Path]:
    """Where an index may be kept: beside a local shard, or in the user's cache folder if there is a home."""
    full = path if is_remote(path) else str(Path(path).absolute())
    beside = [] if is_remote(path) else [Path(path + SUFFIX)]
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gpuaug"
    except RuntimeError:  # the user has no home, as in some containers
        return beside
    return [*beside, cache / (hashlib.sha256(os.fsencode(full)).hexdigest() + SUFFIX)]


def load(path: Path, stamp: str) -> Shard | None:
    """A cached index; None if there is none, or it belongs to another version of the shard."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:  # given a path, np.load would leave a damaged file open
            if str(arrays["stamp"]) != stamp:
                return None
            columns, notes = [arrays[name] for name in COLUMNS], json.loads(str(arrays["notes"]))
    except Exception:  # not an index, so there is none; readers of zip and NumPy's files raise what their parsers do
        return None
    return Shard(*columns, *notes) if is_sound(columns, notes) else None


def is_sound(columns: Sequence[npt.NDArray[Any]], notes: Any) -> bool:
    """Whether these can be what `save` wrote."""
    offsets, sizes, targets, ends, names = columns
    if any(column.shape != (offsets.size,) for column in columns[:4]) or not offsets.dtype == targets.dtype == np.int64:
        return False
    if not all(column.dtype in (np.dtype(np.int64), np.dtype(np.uint32)) for column in (sizes, ends)):
        return False
    inside = (offsets >= 0).all() and (sizes >= 0).all() and (ends >= 0).all() and (ends[1:] >= ends[:-1]).all()
    if names.dtype != np.uint8 or names.ndim != 1 or not inside or (len(ends) and ends[-1] > len(names)):
        return False
    return isinstance(notes, list) and [type(note) for note in notes] == [str, int, str]


def save(shard: Shard, path: Path, stamp: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as file:
        columns = {name: getattr(shard, name) for name in COLUMNS}
        notes = json.dumps([shard.unreadable, shard.left_out, shard.example])
        np.savez(file, stamp=np.array(stamp), notes=np.array(notes), **columns)


def scan(path: str, stamp: Stamp | None = None, copied: Copy | None = None) -> Shard:
    """Index a shard by its headers and labels; this takes 42 us per member on one core, 84 s for a million images with classes.

    stamp: of a remote shard. copied: a copy of it on this machine.

    A class that is no integer is only noted, since not everybody wants labels. Documents at the top, such as README.md, and
    everything in `__MACOSX` are left out. Raises ValueError with the shard's path, and the member's name if one is at fault:
    for a file that is no plain tar or was cut short, a sample without an image or with several, and an image that is a sparse
    file, a special file, or a link to something outside the shard.
    """
    offsets, sizes, targets, names = [], [], [], []
    unreadable, left_out = "", []
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_for_scan(path, stamp, copied))
        linked = LinkResolver(file, path)
        for key, group in groupby(members(file, path), key=lambda found: found[0]):
            sample = [(extension, member) for _, extension, member in group]
            images = [member for extension, member in sample if f".{extension}" in EXTENSIONS]
            if MACOS in key.split("/")[:-1] or (not images and all(is_document(member) for _, member in sample)):
                left_out += [member.name for _, member in sample]
                continue
            if len(images) != 1:
                raise ValueError(f"{path}: sample {key} {sample_problem(images, [member.name for _, member in sample])}")
            start, size = linked.data_range(images[0])
            offsets.append(start)
            sizes.append(size)
            try:
                targets.append(read_label(file, path, dict(sample), linked))
            except ValueError as error:
                targets.append(-1)
                unreadable = unreadable or str(error)
            names.append(os.fsencode(images[0].name))
    ends = np.cumsum([len(name) for name in names])
    starts, classes = np.array(offsets, dtype=np.int64), np.array(targets, dtype=np.int64)
    joined = np.frombuffer(b"".join(names), dtype=np.uint8)
    example = next(iter(left_out), "")
    return Shard(starts, compact(sizes), classes, compact(ends), joined, unreadable, len(left_out), example)


def compact(numbers: Any) -> Integers:
    """Numbers of 0 or more as uint32, or as int64 if one is too large; an index of ten million samples must fit into memory."""
    found = np.array(numbers, dtype=np.int64)
    return found.astype(np.uint32) if not len(found) or found.max() < 2**32 else found


def is_document(member: tarfile.TarInfo) -> bool:
    return bool(DOCUMENT.fullmatch(posixpath.normpath(member.name)))


def sample_problem(images: list[tarfile.TarInfo], names: list[str]) -> str:
    """What is wrong with a sample, by its image members and the names of all its members."""
    among = f"among its members {', '.join(names)}"
    if images:
        return f"has several images {among}"
    wanted = f"has no image, a member that ends in {' '.join(EXTENSIONS)}, {among}"
    dotted = next((name for name in names if name.lower().endswith(EXTENSIONS)), None)
    if dotted is None:
        return wanted
    parts = cast("re.Match[str]", KEY.fullmatch(dotted))
    return f"{wanted}; a sample's name ends at the first dot, so {dotted} counts as its .{parts[2]}; rename it without that dot"


def open_for_scan(path: str, stamp: Stamp | None, copied: Copy | None) -> IO[bytes]:
    if copied:
        with contextlib.suppress(FileNotFoundError):  # another process may have made room in the meantime
            return copied.path.open("rb")
    if is_remote(path):
        return open_remote(path, (stamp or stamp_of(path)).size)
    return Path(path).open("rb")


def members(file: IO[bytes], path: str) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """(key, lower-case extension, member) for every member of a tar whose name has both."""
    for member in headers(file, path):
        if not member.isdir() and (parts := KEY.fullmatch(member.name)):
            yield parts[1], parts[2].lower(), member


def headers(file: IO[bytes], path: str) -> Iterator[tarfile.TarInfo]:
    """Every member of a tar, and of further tars that `cat` joined to it, as `tar -i` reads them."""
    start: int | None = 0
    last = "its start"
    while start is not None:
        file.seek(start)
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                while (member := tar.next()) is not None:
                    cast(Any, tar).members.clear()  # or tarfile would keep them all
                    last = member.name
                    yield member
                end = tar.offset
        except tarfile.TarError as error:
            if last == "its start":
                raise ValueError(f"{path}: {what_it_is(file, path) or f'not a plain tar ({error})'}") from error
            raise ValueError(f"{path}: damaged or cut short after {last}: {error}") from error
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:  # tarfile stops silently at anything it cannot read
            raise ValueError(f"{path}: damaged or cut short after {last}: the block of zeros that ends a tar is missing")
        start = after_zeros(file)


def what_it_is(file: IO[bytes], path: str) -> str:
    """What a file that is no tar is, by its first bytes, and what to do; "" if they do not tell."""
    file.seek(0)
    head = file.read(8)
    if head.startswith(b"PK\3\4"):
        return "is a zip, which cannot be read; unpack it with `unzip X.zip -d FOLDER` and give the folder"
    for magic, (kind, command) in COMPRESSED.items():
        if head.startswith(magic):
            name = path.rsplit("/", 1)[-1] if is_remote(path) else path
            return (
                f"is compressed with {kind}, though its name does not say so, but reading samples in any order needs a plain "
                f"tar; unpack it first: {command} < {name} > {name.removesuffix('.tar')}-plain.tar"
            )
    return ""


def after_zeros(file: IO[bytes]) -> int | None:
    """The start of the next block that is not all zeros; None if there is none."""
    while data := file.read(PIECE):
        if rest := data.lstrip(b"\0"):
            start = file.tell() - len(rest)
            return start - (start - (file.tell() - len(data))) % tarfile.BLOCKSIZE
    return None


class LinkResolver:
    """Finds the bytes of members, also of links, for which it reads the tar's headers a second time."""

    def __init__(self, file: IO[bytes], path: str) -> None:
        self.file = file
        self.path = path

    @cached_property
    def members(self) -> dict[str, tarfile.TarInfo]:
        return {posixpath.normpath(member.name): member for member in headers(self.file, self.path)}

    def data_range(self, member: tarfile.TarInfo) -> tuple[int, int]:
        """Start and length of a member's bytes. Raises ValueError if they are not in the shard as one piece."""
        found: tarfile.TarInfo | None = member
        for _ in range(LINKS):
            if found is None or not (found.islnk() or found.issym()):
                break
            folder = posixpath.dirname(found.name) if found.issym() else ""
            found = self.members.get(posixpath.normpath(posixpath.join(folder, found.linkname)))
        name = f"{self.path}: {member.name}"
        if found is None or found.islnk() or found.issym():
            raise ValueError(f"{name} is a link to {member.linkname}, which is not in the shard; pack the file itself")
        if found.sparse is not None:
            raise ValueError(
                f"{name} is a sparse file, of which the shard holds only parts; pack it without tar's option --sparse"
            )
        if found.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise ValueError(f"{name} is a special file; pack an ordinary one")
        return found.offset_data, found.size


def read_label(file: IO[bytes], path: str, sample: dict[str, tarfile.TarInfo], linked: LinkResolver) -> int:
    """The class of a sample: its `.cls`, else `label` in its `.json`, else -1. Raises ValueError if it is no integer."""
    if (member := sample.get("cls")) is None and (member := sample.get("json")) is None:
        return -1
    start, size = linked.data_range(member)
    file.seek(start)
    text = file.read(size)
    try:
        return class_in(text, is_json=member is not sample.get("cls"))
    except ValueError as error:
        raise ValueError(f"{path}: {member.name}: {error}") from error


def class_in(text: bytes, is_json: bool) -> int:
    """The class in a `.cls`, or in the field `label` of a `.json`, -1 without it. Raises ValueError if it is no integer."""
    try:
        value = json.loads(text).get("label", -1) if is_json else int(text)
        if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
            raise TypeError
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"the class must be an integer, got {text[:40]!r}") from error
    return value
