"""What packing stores: smaller images, as JPEG in tar shards, or as pixels or planes in the rows of one array."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from ...yuv import from_rgb, halves
from ..atomic import TEMPORARY, atomic, sync
from ..decoders.pillow import Pixels
from ..sources.packed import ROWS, TARGETS, row_shape

STRIP = 1 << 13
"""Pixels of a strip; torch computes in one thread up to 32,768 numbers, of which a pixel has three."""

Part = dict[str, Any]
"""A part in the manifest: count and sha256, for a shard also name and bytes, and `skipped` if samples were left out."""


def encode_jpeg(pixels: Pixels, size: int, quality: int, name: str) -> bytes:
    """A JPEG file whose shorter edge is `size`, by PIL's antialiased bicubic filter; a smaller picture keeps its size."""
    image = Image.fromarray(pixels) if min(pixels.shape[:2]) <= size else resized(pixels, size)
    file = io.BytesIO()
    try:
        image.save(file, "JPEG", quality=quality)
    except OSError as error:  # an edge of more than 65500 pixels
        raise ValueError(
            f"{name}: {image.width} x {image.height} pixels cannot be stored as JPEG ({error}); use the format raw or yuv"
        ) from error
    return file.getvalue()


def square(pixels: Pixels, size: int) -> Pixels:
    """The middle of the picture, after a resize of its shorter edge to `size`; uint8 (size, size, 3)."""
    image = resized(pixels, size)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)  # as torchvision's CenterCrop
    return np.asarray(image.crop((left, top, left + size, top + size)))


def planes(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """The planes of a picture (see `gpuaug.yuv`), one behind the other: uint8 (bytes of an image,).

    They are made strip by strip, each of an even number of rows and so few pixels that torch does not start threads for it:
    `workers` threads do this at a time.
    """
    height, width = pixels.shape[:2]
    down, across = halves(height, width)
    out = np.empty(height * width + 2 * down * across, np.uint8)
    y, colours = out[: height * width].reshape(height, width), out[height * width :].reshape(2, down, across)
    rows = max(2, STRIP // width // 2 * 2)
    for top in range(0, height, rows):
        strip = from_rgb(torch.tensor(pixels[None, top : top + rows], device="cpu"))[0].numpy()
        bottom = min(top + rows, height)
        size = (bottom - top) * width
        y[top:bottom] = strip[:size].reshape(-1, width)
        colours[:, top // 2 : -(-bottom // 2)] = strip[size:].reshape(2, -1, across)
    return out


def resized(pixels: Pixels, size: int) -> Image.Image:
    height, width = pixels.shape[:2]
    short = min(height, width)
    edges = size * width // short, size * height // short  # rounded down, as torchvision's Resize
    return Image.fromarray(pixels).resize(edges, Image.Resampling.BICUBIC)


class Writer(Protocol):
    def usable(self, number: int, part: Part) -> bool:
        """Whether a part that the journal names still exists."""
        ...

    def write(self, number: int, first: int, items: Iterable[tuple[int, bytes]]) -> Part:
        """Store the samples of a part so that they survive a crash.

        items: number in the source, and data, of each sample. first: number of samples stored before.
        """
        ...

    def finish(self, targets: npt.NDArray[np.int64], parts: list[Part]) -> None:
        """Finish after all parts are written. targets: those of the samples that were stored."""
        ...


class ShardWriter:
    """Writes parts as tar shards `FOLDER-000000.tar` with members `00000000.jpg` and, if there is a class, `00000000.cls`.

    Members have no date and no owner, so that the same data give the same bytes.
    """

    def __init__(self, dst: Path, targets: npt.NDArray[np.int64]) -> None:
        self.dst = dst
        self.targets = targets

    def usable(self, number: int, part: Part) -> bool:
        path = self.dst / part["name"]
        return path.exists() and bool(path.stat().st_size == part["bytes"])

    def write(self, number: int, first: int, items: Iterable[tuple[int, bytes]]) -> Part:
        count, path = 0, self.dst / f"{self.dst.name}-{number:06}.tar"
        with atomic(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for i, data in items:
                count += 1
                add(tar, f"{i:08}.jpg", data)
                if self.targets[i] != -1:  # -1 means no class
                    add(tar, f"{i:08}.cls", b"%d" % self.targets[i])
        return {"name": path.name, "count": count, "bytes": path.stat().st_size, "sha256": sha256_of(path)}

    def finish(self, targets: npt.NDArray[np.int64], parts: list[Part]) -> None:
        pass


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def bytes_in_tar(data: int, labelled: bool) -> int:
    """Bytes that a sample takes in a shard: each member has a header block and is padded to whole blocks."""
    block = tarfile.BLOCKSIZE
    return block + -(-data // block) * block + 2 * block * labelled


class RowWriter:
    """Writes parts as ranges of rows of one array, whose file has a temporary name until all parts are written.

    The checksum of a part covers its bytes in the file; the header of the array belongs to the first part.
    """

    def __init__(self, dst: Path, format: str, count: int, size: int) -> None:
        self.final, self.targets_file = dst / ROWS[format], dst / TARGETS
        self.growing = dst / (ROWS[format] + TEMPORARY)
        self.shape = row_shape(format, size)
        self.row = prod(self.shape)
        self.header = self.header_of(count)

    def header_of(self, count: int) -> bytes:
        """The header of the array, of the same length for any count, since NumPy leaves space for its digits."""
        header = io.BytesIO()
        about = {"descr": "|u1", "fortran_order": False, "shape": (count, *self.shape)}
        np.lib.format.write_array_header_1_0(header, about)
        return header.getvalue()

    def usable(self, number: int, part: Part) -> bool:
        return self.growing.exists() or self.final.exists()

    def write(self, number: int, first: int, items: Iterable[tuple[int, bytes]]) -> Part:
        count, checksum = 0, hashlib.sha256()
        with self.growing.open("r+b" if self.growing.exists() else "xb") as file:
            if number == 0:
                file.write(self.header)
                checksum.update(self.header)
            file.seek(len(self.header) + first * self.row)
            for _, data in items:
                count += 1
                file.write(data)
                checksum.update(data)
            sync(file)
        return {"count": count, "sha256": checksum.hexdigest()}

    def finish(self, targets: npt.NDArray[np.int64], parts: list[Part]) -> None:
        if (header := self.header_of(len(targets))) != self.header:  # some were skipped
            with (self.growing if self.growing.exists() else self.final).open("r+b") as pixels:
                pixels.write(header)
                pixels.truncate(len(header) + len(targets) * self.row)
                pixels.seek(0)
                first = pixels.read(len(header) + parts[0]["count"] * self.row)
                sync(pixels)
            parts[0]["sha256"] = hashlib.sha256(first).hexdigest()
        with atomic(self.targets_file) as file:
            file.write(npy_bytes(targets))
        if self.growing.exists():
            self.growing.replace(self.final)


def npy_bytes(array: npt.NDArray[np.int64]) -> bytes:
    """The bytes of a `.npy` file that holds the array."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
