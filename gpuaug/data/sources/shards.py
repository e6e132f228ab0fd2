"""WebDataset shards: plain tar files of encoded images, whose samples can be read in any order."""

from __future__ import annotations

import glob
import logging
import os
import re
from bisect import bisect_right
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
from tqdm import tqdm

from ..decoders.pillow import DecodeError
from ..targets import Collate, collate_by_torch, collate_targets
from . import tar_index
from .folder import ALL_IMAGES
from .remote import filesystem, is_remote, read_range

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

    Attributes:
        targets: int64 (N,), from a sample's `.cls` or the field `label` of its `.json`; -1 without either, and with
            labels=False.
        labelled: Whether any sample has a class.

    Raises:
        FileNotFoundError: A shard is missing, or no file matches a pattern.
        ValueError: For a folder, a damaged or compressed shard, a sample without an image, or a class that is no integer.
    """

    workers = "threads"

    def __init__(
        self,
        shards: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        classes: Iterable[str] = (),
        labels: bool | None = None,
        advice: str = ALL_IMAGES,
    ) -> None:
        given = [shards] if isinstance(shards, (str, os.PathLike)) else list(shards)
        self.paths = [path for pattern in given for path in expand_pattern(os.fspath(pattern))]
        self.classes = list(classes)
        if folder := next((path for path in self.paths if Path(path).is_dir()), None):
            raise ValueError(
                f"{folder}: is a folder, not a tar shard; give a single folder by its path, and several as a ConcatDataset "
                "of ImageFolders"
            )
        with ThreadPoolExecutor(INDEXERS) as pool:
            found = pool.map(tar_index.index, self.paths)
            self.shards = list(tqdm(found, "indexing", len(self.paths), unit=" shards", disable=None, delay=2, leave=False))
        self.starts = np.cumsum([0, *(len(shard) for shard in self.shards)]).tolist()
        self.targets = np.concatenate([np.empty(0, np.int64), *(shard.targets for shard in self.shards)])
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
        """A sample's image file. Raises DecodeError if the shard cannot be read, or was cut short after it was indexed."""
        shard, k = self.locate(i)
        start, size = int(self.shards[shard].offsets[k]), int(self.shards[shard].sizes[k])
        try:
            data = read_range(self.paths[shard], start, size)
        except Exception as error:  # remote file systems raise what their clients do
            raise DecodeError(f"{self.name(i)}: cannot be read: {error or type(error).__name__}") from error
        if len(data) != size:
            raise DecodeError(f"{self.name(i)}: the shard ends within it; the shard was cut short after it was indexed")
        return data

    def target(self, index: tar_index.Int64s, collate: Collate = collate_by_torch) -> Any:
        """Targets of a batch: int64 (B,), or the result of `collate`; None if no sample has a class."""
        return collate_targets(self.targets, index, None, collate) if self.labelled else None

    def __repr__(self) -> str:
        return f"ShardSource({len(self)} samples in {len(self.paths)} shards)"


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
        fs, inside = filesystem(pattern)
        found = [fs.unstrip_protocol(path) for path in fs.glob(inside)]
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
    fs, inside = filesystem(url)
    try:
        names = [str(name) for name in fs.ls(inside, detail=False)]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{url}: no such folder") from error
    except Exception as error:  # remote file systems raise what their clients do
        raise OSError(f"{url}: cannot be listed: {error or type(error).__name__}") from error
    found = sorted(fs.unstrip_protocol(name) for name in names if name.endswith(".tar"))
    if not found:
        raise FileNotFoundError(f"{url}: no .tar shards in it; a URL must name a shard, a pattern of shards, or their folder")
    return found
