"""What loaders read: folders of JPEGs, packs, shards on a server, arrays; and how a pack leaves the page cache."""

from __future__ import annotations

import gc
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
"""Images (N, H, W, 3) and targets (N,)."""

RAW_EDGE = 256
"""Edge of the images of a `Raw` and of a `Yuv`, in pixels."""

CHECKED = 64
"""Places of a file at which it is checked that they are not in memory."""


@dataclass(frozen=True)
class Raw:
    """A folder, with one folder of images a class, that a contender first writes in its own format, as raw squares.

    It does so once, before the clock starts.
    """

    folder: Path


@dataclass(frozen=True)
class Yuv:
    """As `Raw`, but as squares whose colours have half the resolution (4:2:0)."""

    folder: Path


@dataclass(frozen=True)
class Cold:
    """A folder that `gpuaug pack` has written, out of the page cache at the beginning of each epoch."""

    packed: Path


@dataclass(frozen=True)
class Large:
    """A folder, with one folder of images a class, of photographs that are much larger than the views."""

    folder: Path


@dataclass(frozen=True)
class Remote:
    """Tar shards on an S3 server. endpoint: its address, `http://127.0.0.1:PORT`. names: bucket and name of each shard."""

    endpoint: str
    names: tuple[str, ...]


Source = Path | Raw | Yuv | Cold | Large | Remote | Arrays
"""A folder with one folder of images a class, one of the above, or arrays in memory."""


def repeated_pack(packed: Path, out: Path, count: int) -> Path:
    """A packed folder of `count` images, of the format raw or yuv, that repeats those of another."""
    manifest = json.loads((packed / "packed.json").read_text(encoding="utf-8"))
    name = {"raw": "pixels.npy", "yuv": "planes.npy"}[manifest["format"]]
    of = np.load(packed / name, mmap_mode="r")
    out.mkdir(parents=True)
    rows = np.lib.format.open_memmap(out / name, "w+", np.uint8, (count, *of.shape[1:]))
    for k in range(0, count, len(of)):
        rows[k : k + len(of)] = of[: count - k]
    rows.flush()
    targets = np.load(packed / "targets.npy")
    np.save(out / "targets.npy", targets[np.arange(count) % len(targets)])
    manifest = {key: manifest[key] for key in ("format", "version", "size", "classes")} | {"count": count}
    (out / "packed.json").write_text(json.dumps(manifest), encoding="utf-8")
    return out


def evict(folder: Path) -> None:
    """Drop the files of a folder from the page cache. Raises OSError if they stay there, as on a file system of memory."""
    if not (hasattr(os, "posix_fadvise") and hasattr(os, "RWF_NOWAIT")):
        raise OSError("this system has no call that drops files from the page cache")
    gc.collect()  # pages that a loader has mapped would stay
    for path in folder.iterdir():
        with path.open("rb", buffering=0) as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            size = path.stat().st_size
            inside = sum(in_memory(file.fileno(), size * k // CHECKED) for k in range(CHECKED))
            if inside > CHECKED // 8 and size > CHECKED * 2**16:
                raise OSError(f"{path}: stays in memory; set TMPDIR to a folder on a disk")


def in_memory(file: int, at: int) -> bool:
    """Whether this place of a file can be read without waiting for the disk."""
    try:
        return bool(os.preadv(file, [bytearray(1)], at, os.RWF_NOWAIT))
    except BlockingIOError:
        return False
