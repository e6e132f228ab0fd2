"""Zip archives of images, read in place and in any order."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...decoders.pillow import DecodeError
from ..folder import ALL_IMAGES, EXTENSIONS, FolderSource, FolderTree, LinkPath, is_hidden

if TYPE_CHECKING:
    import numpy.typing as npt

HEADER = 30
"""Bytes of a member's header before its name (APPNOTE.TXT 4.3.7)."""

METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
"""How members may be compressed. Other methods are rare, and slow to unpack."""

ENCRYPTED, LINK = 0x1, 0o120000


class ZipSource(FolderSource):
    """Image files in a zip archive, with the classes and the order of the same files in a folder.

    If all files lie in one folder of the archive, that is the folder (as `zip -r pets.zip pets` makes it), unless it holds
    images itself. Members are read from the archive where they lie, and their checksums are compared.

    Args:
        path: Path of the archive.
        labels: As in `FolderSource`.
        advice: As in `FolderSource`.

    Raises:
        FileNotFoundError: There is no such file, or no image in it.
        ValueError: The file is no zip archive, or an image in it is encrypted, compressed in another way than by deflate, or
            named twice.
    """

    def __init__(self, path: str | os.PathLike[str], labels: bool | None = None, advice: str = ALL_IMAGES) -> None:
        self.path = str(Path(path).expanduser())
        self.members = Members(self.path)
        super().__init__(self.members.top, labels, advice)
        # In the order of the samples, after which the names are not needed.
        order = [self.members.number[self.files[i]] for i in range(len(self.files))]
        self.table: npt.NDArray[np.int64] = np.array(self.members.rows, np.int64).reshape(-1, 5)[order]
        del self.members

    def tree(self, top: str) -> FolderTree:
        return self.members

    def read(self, i: int) -> bytes:
        """Content of a file. Raises DecodeError with its name if it is damaged, or the archive changed since it was listed."""
        start, packed, size, method, checksum = self.table[i].tolist()
        try:
            data = self.unpacked(start, packed, size, method)
        except (OSError, zlib.error) as error:
            why = getattr(error, "strerror", None) or error
            raise DecodeError(f"{self.name(i)}: cannot be read: {why}") from error
        if len(data) != size or zlib.crc32(data) != checksum:
            raise DecodeError(f"{self.name(i)}: damaged, or the archive was changed after it was listed: its checksum differs")
        return data

    def unpacked(self, start: int, packed: int, size: int, method: int) -> bytes:
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            header = os.pread(descriptor, HEADER, start)
            if len(header) < HEADER or not header.startswith(b"PK\3\4"):
                return b""
            begin = start + HEADER + sum(int.from_bytes(header[k : k + 2], "little") for k in (26, 28))
            data = os.pread(descriptor, packed, begin)
        finally:
            os.close(descriptor)
        if method == zipfile.ZIP_STORED:
            return data
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)  # no more than it should be, whatever it is

    def __repr__(self) -> str:
        return f"ZipSource({len(self)} files, {f'{len(self.classes)} classes' if self.labelled else 'no labels'})"


class Members(FolderTree):
    """The folders and images in an archive; paths begin with that of the archive.

    Attributes:
        rows: Of each image: start in the archive, bytes there, bytes unpacked, method, CRC-32.
        number: Path of an image -> its row.
    """

    def __init__(self, archive: str) -> None:
        self.top, self.hidden = archive, []
        self.rows: list[tuple[int, int, int, int, int]] = []
        self.number: dict[str, int] = {}
        self.below: dict[str, tuple[set[str], list[str]]] = {archive: (set(), [])}
        for info in directory(archive):
            self.add(info)
        while len(self.below[self.top][0]) == 1 and not self.below[self.top][1]:
            (only,) = self.below[self.top][0]
            if self.below[inner := f"{self.top}/{only}"][1]:  # its images are those of one class, or all there are
                break
            self.top = inner

    def add(self, info: zipfile.ZipInfo) -> None:
        if not info.filename.lower().endswith(EXTENSIONS):
            return
        folders, name = info.filename.split("/")[:-1], info.filename.split("/")[-1]
        path = f"{self.top}/{info.filename}"
        if not all(folders) or any(map(is_hidden, (*folders, name))):  # and paths with //, . and .., which none should have
            self.hidden.append(path)
            return
        if problem := problem_of(info):
            raise ValueError(f"{path}: {problem}; write the archive anew, as `zip -r ARCHIVE FOLDER` does")
        if path in self.number:
            raise ValueError(f"{path}: is in the archive twice; write the archive anew, as `zip -r ARCHIVE FOLDER` does")
        self.number[path] = len(self.rows)
        self.rows.append((info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC))
        at = self.top
        for folder in folders:
            self.below[at][0].add(folder)
            at = f"{at}/{folder}"
            self.below.setdefault(at, (set(), []))
        self.below[at][1].append(name)

    def inside(self, folder: str, way: LinkPath = ()) -> tuple[dict[str, LinkPath], list[str]]:
        folders, images = self.below[folder]
        return dict.fromkeys(sorted(folders), ()), sorted(images)


def directory(path: str) -> list[zipfile.ZipInfo]:
    """The members of an archive, by the directory at its end."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file") from error
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as error:
        raise ValueError(f"{path}: not a zip archive, or a damaged one: {error}") from error


def problem_of(info: zipfile.ZipInfo) -> str | None:
    """Why a member cannot be read; None if it can."""
    if info.flag_bits & ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in METHODS:
        return f"is compressed by method {info.compress_type}, but only {' and '.join(METHODS.values())} files are read"
    if (info.external_attr >> 16) & 0o170000 == LINK:
        return "is a symbolic link"
    return None
