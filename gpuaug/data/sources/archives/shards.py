"""WebDataset shards: plain tar files of encoded images, whose samples can be read in any order."""

from __future__ import annotations

import glob
import logging
import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from tqdm import tqdm

from ....ops.base import is_integer
from ...decoders.pillow import DecodeError
from ...targets import Collate, collate_by_torch, collate_targets
from .. import Index, PlainReader, Reader
from ..folder import ALL_IMAGES
from ..remote import is_remote
from ..remote.ahead import Range, ReadAhead
from ..remote.cache import CACHE_SIZE, ShardCache
from ..remote.objects import ask, filesystem, forget_listings, read_range
from ..remote.retries import RemoteError, ShortenedError, is_missing, is_of_server
from ..remote.stamps import stamp_of
from . import tar_index

LOG = logging.getLogger("gpuaug")

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
BRACES = re.compile(r"\{[^{}/]*(,|\.\.)[^{}/]*\}")
MAGIC = re.compile(r"[*?[]")
UNPACK = {
    ".tar.gz": "gunzip",
    ".tgz": "gunzip",
    ".tar.bz2": "bunzip2",
    ".tbz2": "bunzip2",
    ".tar.xz": "unxz",
    ".txz": "unxz",
    ".tar.zst": "unzstd",
}
"""Ending of a compressed tar -> the command that unpacks it to a plain tar."""

INDEXERS = 8
"""Threads that index shards; they mostly wait for a disk or a server."""


class ShardSource:
    """The samples of tar shards, shard by shard, in the order in which each tar holds them.

    Each shard is indexed once. The index is kept in `SHARD.index.npz` beside the shard, or in the user's cache folder if that
    is not writable, and made again when the shard's size or modification time changes. No file stays open: each read opens its
    shard, which takes 3 us. Documents at the top of a shard, such as README.md, and everything in `__MACOSX` are left out with
    a warning.

    Args:
        shards: A path, a pattern such as `train-{000000..000009}.tar` or `train-*.tar`, or several of these. URLs (`s3://`,
            `https://`) are read through fsspec, which needs an extra package for most schemes.
        classes: Names of the classes, if they are known.
        labels: None takes the classes that the shards hold; False ignores them, whatever they are.
        advice: What the error about a class that is no integer says about doing without labels.
        cache_dir: Folder of this machine in which remote shards are kept whole; several processes may use it at once. None
            keeps none.
        cache_size: Bytes of shards, at least 1, above which those in `cache_dir` that were used least recently are deleted.

    Attributes:
        targets: int64 (N,), from a sample's `.cls` or the field `label` of its `.json`; -1 without either, and with
            labels=False.
        labelled: Whether any sample has a class.

    Raises:
        FileNotFoundError: A shard is missing, or no file matches a pattern.
        RemoteError: A server does not answer (see docs/data.md, remote shards).
        ValueError: For a folder, a damaged or compressed shard, a sample without an image, or a class that is no integer; and
            for `cache_dir` without a URL.
    """

    workers = "threads"

    def __init__(
        self,
        shards: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        classes: Iterable[str] = (),
        labels: bool | None = None,
        advice: str = ALL_IMAGES,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_size: int = CACHE_SIZE,
    ) -> None:
        given = [os.fspath(one) for one in ([shards] if isinstance(shards, (str, os.PathLike)) else list(shards))]
        self.cache = cache_for(given, cache_dir, cache_size)
        for url in filter(is_remote, given):
            forget_listings(url)
        self.paths = [path for pattern in given for path in expand_pattern(pattern)]
        self.classes = list(classes)
        if folder := next((path for path in self.paths if Path(path).is_dir()), None):
            raise ValueError(
                f"{folder}: is a folder, not a tar shard; give a single folder by its path, and several as a ConcatDataset "
                "of ImageFolders"
            )
        with ThreadPoolExecutor(INDEXERS) as pool:
            self.stamps = list(pool.map(stamp_of, self.paths))
            self.copies = [
                self.cache.copy_of(path, stamp) if self.cache and is_remote(path) else None
                for path, stamp in zip(self.paths, self.stamps, strict=True)
            ]
            found = pool.map(lambda path, stamp: tar_index.index(path, stamp, self.cache), self.paths, self.stamps)
            self.shards = list(tqdm(found, "indexing", len(self.paths), unit=" shards", disable=None, delay=2, leave=False))
        self.starts = np.cumsum([0, *(len(shard) for shard in self.shards)]).tolist()
        self.targets = np.concatenate([np.empty(0, np.int64), *(shard.targets for shard in self.shards)])
        # Each shard's targets are a part of these from now on, so that they are not kept twice.
        self.shards = [replace(s, targets=self.targets[k : k + len(s)]) for s, k in zip(self.shards, self.starts, strict=False)]
        if labels is False:
            self.targets[:] = -1
        elif unreadable := next((shard.unreadable for shard in self.shards if shard.unreadable), None):
            raise ValueError(f"{unreadable}; write the classes as integers; {advice}")
        self.labelled = bool((self.targets != -1).any())
        self.warn_left_out()

    def warn_left_out(self) -> None:
        """Warn of members that were left out."""
        if left_out := sum(shard.left_out for shard in self.shards):
            path, shard = next(pair for pair in zip(self.paths, self.shards, strict=True) if pair[1].left_out)
            LOG.warning("%s: %d members that are no samples are left out, such as %s", path, left_out, shard.example)

    def __len__(self) -> int:
        return cast(int, self.starts[-1])

    def locate(self, i: int) -> tuple[int, int]:
        """The number of the shard that holds sample i, and the sample's position in it."""
        shard = bisect_right(self.starts, i) - 1
        return shard, i - self.starts[shard]

    def name(self, i: int) -> str:
        """`SHARD: MEMBER` for a sample's image."""
        shard, k = self.locate(i)
        return f"{self.paths[shard]}: {self.shards[shard].name(k)}"

    def read(self, i: int) -> bytes:
        """A sample's image file.

        Raises DecodeError if the shard is gone, cannot be read, or was cut short after it was indexed, and RemoteError if its
        server does not answer, or refuses.
        """
        return self.read_by(self.read_range, i)

    def read_by(self, read: Callable[[Range], bytes], i: int) -> bytes:
        """As `read`, with a function that reads ranges."""
        shard, k = self.locate(i)
        try:
            return read(self.range_of(shard, k))
        except CancelledError:
            raise
        except ShortenedError as error:
            raise DecodeError(
                f"{self.name(i)}: the shard ends within it; the shard was cut short after it was indexed ({error})"
            ) from error
        except Exception as error:  # remote file systems raise what their clients do
            kind = RemoteError if is_of_server(self.paths[shard], error) else DecodeError
            raise kind(f"{self.name(i)}: cannot be read: {error or type(error).__name__}") from error

    def range_of(self, shard: int, k: int) -> Range:
        return Range(shard, int(self.shards[shard].offsets[k]), int(self.shards[shard].sizes[k]))

    def read_range(self, wanted: Range) -> bytes:
        copied = self.copies[wanted.shard]
        if self.cache and copied and (found := self.cache.read(copied, wanted.start, wanted.size)) is not None:
            return found
        return read_range(self.paths[wanted.shard], wanted.start, wanted.size)

    def reader(self) -> Reader:
        if not any(map(is_remote, self.paths)) or type(self).read is not ShardSource.read:
            return PlainReader(self)
        return ShardReader(self, ReadAhead(self.read_range, self.paths, self.stamps, self.cache, self.copies))

    def target(self, index: tar_index.Int64s, collate: Collate = collate_by_torch) -> Any:
        """Targets of a batch: int64 (B,), or the result of `collate`; None if no sample has a class."""
        return collate_targets(self.targets, index, None, collate) if self.labelled else None

    def __repr__(self) -> str:
        return f"ShardSource({len(self)} samples in {len(self.paths)} shards)"


@dataclass(frozen=True)
class ShardReader:
    """Reads samples of remote shards, whose ranges it requests ahead."""

    source: ShardSource
    ahead: ReadAhead

    def name(self, i: int) -> str:
        return self.source.name(i)

    def will_read(self, index: Index) -> None:
        self.ahead.will_read([self.source.range_of(*self.source.locate(i)) for i in index.tolist()])

    def read(self, i: int) -> bytes:
        return self.source.read_by(self.ahead.read, i)

    def close(self) -> None:
        self.ahead.close()


def cache_for(given: Sequence[str], folder: Any, size: Any) -> ShardCache | None:
    """The cache that the user asks for. given: the shards."""
    if not is_integer(size) or size < 1:
        raise ValueError(f"ShardSource: cache_size must be an integer, at least 1 (bytes of shards), got {size!r}")
    if folder is None:
        return None
    if not any(map(is_remote, given)):
        raise ValueError(
            f"ShardSource: cache_dir keeps copies of remote shards, but {', '.join(given[:2])} is on this machine; leave it out"
        )
    return ShardCache(folder, int(size))


def expand_pattern(pattern: str) -> list[str]:
    """The paths of a pattern: `{08..11}` counts from 08 to 11 with as many digits; `*`, `?` and `[...]` match existing files.

    A pattern without these is a path. Raises ValueError for one that counts down or names a compressed tar, and
    FileNotFoundError if nothing matches.
    """
    match = RANGE.search(pattern)
    if match is None and (braces := BRACES.search(pattern)) and not Path(pattern).exists():
        raise ValueError(
            f"{pattern}: {braces[0]} is not understood; braces can only count, as in {{000..001}}; list other paths singly"
        )
    if match is None:
        return matching_paths(pattern)
    first, last = match.groups()
    if int(first) > int(last):
        raise ValueError(f"{pattern}: {match[0]} counts down; write the smaller number first")
    numbers = [f"{k:0{len(first)}}" for k in range(int(first), int(last) + 1)]
    return [path for number in numbers for path in expand_pattern(pattern[: match.start()] + number + pattern[match.end() :])]


def matching_paths(pattern: str) -> list[str]:
    """The sorted paths that match a pattern without counting braces."""
    if pattern.lower().endswith(".zip"):
        raise ValueError(
            f"{pattern}: is a zip, and only a single one on a local disk is read; give its path alone, after a download if it "
            "is elsewhere, and several as a ConcatDataset of gpuaug.data.ZipSource"
        )
    if packed := next((end for end in UNPACK if pattern.lower().endswith(end)), None):
        raise ValueError(
            f"{pattern}: is compressed, but reading samples in any order needs a plain tar; unpack it first: "
            f"{UNPACK[packed]} {pattern.rsplit('/', 1)[-1] if is_remote(pattern) else pattern}"
        )
    if is_remote(pattern):
        if not MAGIC.search(pattern):
            return [pattern]
        fs, _ = filesystem(pattern)
        found = [fs.unstrip_protocol(path) for path in listed(pattern, "glob")]
    else:
        pattern = str(Path(pattern).expanduser())
        if not MAGIC.search(pattern) or Path(pattern).exists():
            return [pattern]
        found = glob.glob(pattern)  # noqa: PTH207 - Path.glob needs a folder to start from
    if not found:
        raise FileNotFoundError(f"{pattern}: no shard matches")
    return sorted(found)


def shards_in_folder(url: str) -> list[str]:
    """The sorted `.tar` shards in a remote folder. Raises FileNotFoundError if there are none."""
    fs, _ = filesystem(url)
    forget_listings(url)
    names = listed(url, "ls", detail=False)
    found = sorted(fs.unstrip_protocol(name) for name in names if name.endswith(".tar"))
    if not found:
        raise FileNotFoundError(f"{url}: no .tar shards in it; a URL must name a shard, a pattern of shards, or their folder")
    return found


def listed(url: str, method: str, **options: Any) -> list[str]:
    """What a server lists for a URL. Raises FileNotFoundError for a folder that is not there, and OSError for anything else."""
    try:
        return [str(name) for name in ask(url, method, **options)]
    except Exception as error:  # remote file systems raise what their clients do
        if is_missing(error):
            raise FileNotFoundError(f"{url}: no such folder") from error
        kind = RemoteError if isinstance(error, RemoteError) else OSError
        raise kind(f"{url}: cannot be listed: {error or type(error).__name__}") from error
