"""Folders that `gpuaug pack` wrote: their manifest, and pixels or planes that are read without decoding."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from ...images import Layout
from ...ops import Size
from ...yuv import halves
from ..decoders.pillow import Pixels
from . import Index
from .archives.shards import ShardSource
from .arrays import ArraySource

MANIFEST = "packed.json"
PROGRESS = "packing.json"
"""Stands in place of the manifest until everything is packed."""
TARGETS = "targets.npy"
ROWS = {"raw": "pixels.npy", "yuv": "planes.npy"}
"""Format that is read without decoding -> its file, an array with one row an image."""
LAYOUTS: dict[str, Layout] = {"raw": "interleaved", "yuv": "yuv420"}
FORMATS = ("jpeg", *ROWS)
VERSION = 1
FIELDS = {"format": str, "version": int, "count": int, "size": int, "classes": list}
PART, FILE = {"count": int, "sha256": str}, {"name": str, "bytes": int}
"""Fields of a part, and more fields of one that is a file, which is in the same folder."""


def row_shape(format: str, size: int) -> tuple[int, ...]:
    """The shape of an image of size x size in the array of a format."""
    down, across = halves(size, size)
    return (size, size, 3) if format == "raw" else (size * size + 2 * down * across,)


class PackedSource(ArraySource):
    """Images of one size in a folder that `gpuaug pack`, with `--format raw` or `yuv`, or another program wrote.

    The folder holds `packed.json` with the fields format ("raw" or "yuv"), version (1), count (N), size (edge in pixels) and
    classes (a list of names); `targets.npy`, int64 (N,), all -1 for images without labels; and one of two arrays:

    - raw: `pixels.npy`, uint8 (N, size, size, 3);
    - yuv: `planes.npy`, uint8 (N, bytes of an image). An image is a plane of brightness Y, size x size, then the planes of
      colours Cb and Cr, h x h with h = ceil(size / 2): those of a JPEG with colours at half resolution (4:2:0, JFIF). Its
      pixels are the RGB that libjpeg makes of these planes.

    The array stays on the disk, memory-mapped. A pickled source holds only the folder's path, and opens it again.

    Args:
        folder: Path of the folder.

    Attributes:
        format: "raw" or "yuv".
        images: The array.
        classes: Names of the classes.
        targets: int64 (N,), -1 without labels.

    Raises:
        FileNotFoundError: One of the files is missing.
        ValueError: A file is damaged, or does not agree with the manifest.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser()
        manifest = read_manifest(self.folder)
        self.format: str = manifest["format"]
        if self.format not in ROWS:
            raise ValueError(
                f"{self.folder / MANIFEST}: holds format {self.format!r}, not {' or '.join(map(repr, ROWS))}; give the "
                "folder's path"
            )
        count, self.edge = manifest["count"], manifest["size"]
        images = load_array(self.path, np.uint8, (count, *row_shape(self.format, self.edge)), "c")
        self.hold(images, load_array(self.folder / TARGETS, np.int64, (count,)))
        self.labelled = bool((self.targets != -1).any())
        self.classes: list[str] = manifest["classes"]

    @property
    def path(self) -> Path:
        """The file of the array."""
        return self.folder / ROWS[self.format]

    @property
    def size(self) -> Size:
        return self.edge, self.edge

    def table(self) -> tuple[Pixels, Layout]:
        return self.images, LAYOUTS[self.format]

    def name(self, i: int) -> str:
        return f"{self.path}: image {i}"

    def will_need(self, index: Index) -> None:
        """Ask the system for all rows of a batch at once, so that it need not load them page by page as they are touched.

        From a cold disk this is 13 times as fast at 256 x 256 and 100 times at 32 x 32. Rows that are in memory already take
        2 us more each (one core, a virtual disk).
        """
        advise = advice_of_system()
        if advise is None or not len(self):
            return
        start, row = self.images.ctypes.data, self.images[0].nbytes
        for i in index[(index >= 0) & (index < len(self))].tolist():
            at = start + i * row
            page = at // mmap.PAGESIZE * mmap.PAGESIZE
            advise(page, at + row - page, mmap.MADV_WILLNEED)

    def __reduce__(self) -> tuple[type[PackedSource], tuple[Path]]:
        return PackedSource, (self.folder,)

    def __repr__(self) -> str:
        return f"PackedSource({len(self)} images of {self.edge}x{self.edge}{', yuv' if self.format == 'yuv' else ''})"


@cache
def advice_of_system() -> Callable[[int, int, int], int] | None:
    """The system's `madvise`, or None where it has none, as on Windows. Python's own keeps other threads from running."""
    if not hasattr(mmap, "MADV_WILLNEED"):
        return None
    function = ctypes.CDLL(None).madvise
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return cast("Callable[[int, int, int], int]", function)


def load_array(
    path: Path, dtype: type[np.generic], shape: tuple[int, ...], mmap_mode: Literal["c"] | None = None
) -> npt.NDArray[Any]:
    """The array in a `.npy` file. Raises FileNotFoundError, or ValueError if it is damaged, or of another dtype or shape."""
    try:
        found = np.load(path, mmap_mode=mmap_mode)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file; pack again") from error
    except Exception as error:  # NumPy parses the header as Python source, which may raise anything
        raise ValueError(f"{path}: damaged, or not a NumPy array: {error}") from error
    if found.dtype != dtype or found.shape != shape:
        kind = f"{found.dtype} of shape {found.shape}"
        raise ValueError(f"{path}: holds {kind}, but {MANIFEST} asks for {np.dtype(dtype)} of shape {shape}; pack again")
    return cast("npt.NDArray[Any]", found)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a packed folder. Raises FileNotFoundError or ValueError with the file's path."""
    path = folder / MANIFEST
    if (folder / PROGRESS).exists():
        raise ValueError(f"{folder}: packing has not finished; run the same `gpuaug pack` command again to finish it")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; `gpuaug pack SRC {folder}` writes it")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found = {name: type(manifest[name]) for name in FIELDS}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: not a manifest of `gpuaug pack`: {type(error).__name__} {error}") from error
    if found != FIELDS or min(manifest["count"], manifest["size"] - 1) < 0 or not are_parts(manifest):
        raise ValueError(f"{path}: not a manifest of `gpuaug pack`: a field is not as described at `gpuaug.data.PackedSource`")
    if manifest["version"] != VERSION:
        raise ValueError(f"{path}: version {manifest['version']}; this gpuaug reads version {VERSION}; pack again, or upgrade")
    if manifest["format"] not in FORMATS:
        raise ValueError(
            f"{path}: not a manifest of `gpuaug pack` that this gpuaug reads: format {manifest['format']!r}, not one of "
            f"{', '.join(FORMATS)}; pack again, or upgrade"
        )
    return cast("dict[str, Any]", manifest)


def are_parts(manifest: dict[str, Any]) -> bool:
    """Whether the parts of a manifest are as `pack` writes them. Rows that another program wrote have none."""
    shards = manifest["format"] == "jpeg"
    parts = manifest.get("parts", None if shards else [])
    if not isinstance(parts, list):
        return False
    types = PART | (FILE if shards else {})
    right = all(isinstance(part, dict) and {name: type(part.get(name)) for name in types} == types for part in parts)
    return right and all(part["count"] >= 0 and (not shards or Path(part["name"]).name == part["name"]) for part in parts)


def packed_source(folder: Path, labels: bool | None = None) -> PackedSource | ShardSource:
    """The source of a packed folder of any format. labels: as for `ShardSource`."""
    manifest = read_manifest(folder)
    if manifest["format"] in ROWS:
        return PackedSource(folder)
    return ShardSource([folder / part["name"] for part in manifest["parts"]], manifest["classes"], labels)
