"""Image folders, listed in torchvision's order, quickly and in 16 bytes per file beside its name."""

from __future__ import annotations

import errno
import logging
import os
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, repeat
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..decoders.pillow import DecodeError
from ..targets import Collate, collate_by_torch, collate_targets
from .remote import is_remote

LOG = logging.getLogger("gpuaug")

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""torchvision's IMG_EXTENSIONS, in lower or upper case."""

ALL_IMAGES = "labels=False takes all images, without classes"
"""Advice in errors and warnings about labels."""

PIECE = 2**22
"""Bytes of names in a piece of a `PathTable`, and a folder's more."""

MANY = 2**16
"""Samples of a list that are added at a time."""


class FolderSource:
    """Image files in class folders, `root/class/**/file` as for torchvision's ImageFolder, or without classes.

    Samples are ordered by class, then by the path of their folder, then by file name. Hidden files and folders (names that
    start with a dot, and `__MACOSX`) are left out with a warning.

    Args:
        root: Path of the folder.
        labels: None takes class folders if there are any, and leaves out images beside them with a warning; without class
            folders it takes the images in `root`, without labels. False takes all images at any depth, without labels: first
            those in folders, in the order that they would have with labels, then those in `root`. True needs class folders.
        advice: What errors and warnings say about doing without labels.

    Attributes:
        classes: Names of the class folders, sorted.
        class_to_idx: Name of a class -> its number.
        targets: int64 (N,), the class number of each file; -1 without labels.

    Raises:
        FileNotFoundError: There is no such folder, no image, no class folder with labels=True, or a class without images.
        NotADirectoryError: `root` is a file.
        PermissionError: A folder cannot be listed.
        ValueError: Symbolic links lead in a circle.
    """

    workers = "threads"

    def __init__(self, root: str | os.PathLike[str], labels: bool | None = None, advice: str = ALL_IMAGES) -> None:
        top = str(Path(root).expanduser())
        tree = self.tree(top)
        folders, loose = tree.inside(top)
        self.files = PathTable()
        self.target_transform: Callable[[Any], Any] | None = None
        counts = []
        for name, way in folders.items():
            before = len(self.files)
            for folder, names in tree.walk(name, way):
                self.files.extend(folder, names)
            counts.append(len(self.files) - before)
        tree.warn_hidden()
        if not (len(self.files) or loose):
            raise FileNotFoundError(
                f"{top}: no images in it; it needs files that end in {' '.join(EXTENSIONS)}, in one folder per class or, "
                "without labels, in any folder"
            )
        self.labelled = labels is not False and len(self.files) > 0
        if labels and not self.labelled:
            raise FileNotFoundError(
                f"{top}: {len(loose)} images but no class folders, and labels=True; move them into one folder a class, or take "
                "them without labels: labels=None"
            )
        if not self.labelled:
            self.files.extend(top, loose)
        elif empty := [name for name, count in zip(folders, counts, strict=True) if not count]:
            raise FileNotFoundError(
                f"{top}: no images in the class folders {', '.join(empty)}; remove them, or fill them with files that end "
                f"in {' '.join(EXTENSIONS)}; {advice}"
            )
        elif loose:
            LOG.warning(
                "%s: %d images beside the class folders are left out, such as %s; %s",
                *(top, len(loose), loose[0], advice),
            )
        self.classes = list(folders) if self.labelled else []
        self.class_to_idx = {name: k for k, name in enumerate(self.classes)}
        self.targets: npt.NDArray[np.int64]
        if self.labelled:
            self.targets = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
        else:
            self.targets = np.full(len(self.files), -1, dtype=np.int64)

    def tree(self, top: str) -> FolderTree:
        """What lists the folders."""
        return FolderTree(top)

    @classmethod
    def from_samples(
        cls,
        samples: Iterable[tuple[str, int]],
        classes: list[str],
        class_to_idx: dict[str, int],
        target_transform: Callable[[Any], Any] | None = None,
        labelled: bool = True,
    ) -> FolderSource:
        """A source of files that are listed already, such as by torchvision's ImageFolder, in the same order."""
        source = cls.__new__(cls)
        source.labelled = labelled
        source.classes, source.class_to_idx, source.target_transform = classes, class_to_idx, target_transform
        source.files = PathTable()
        targets = array("q")
        known: dict[str, int] = {}
        samples = iter(samples)
        while some := list(islice(samples, MANY)):
            source.files.add([os.fspath(path) for path, _ in some], known)
            targets.extend([target for _, target in some])
        source.targets = np.array(targets, dtype=np.int64)
        return source

    @classmethod
    def from_paths(cls, paths: Sequence[str]) -> FolderSource:
        """A source of files without labels, in the order of the list. Raises ValueError for a URL."""
        source = cls.from_samples([], [], {}, labelled=False)
        known: dict[str, int] = {}
        for at in range(0, len(paths), MANY):
            source.files.add(paths[at : at + MANY], known)
        if remote := next(filter(is_remote, known), None):
            url = next(path for path in paths if path.startswith(remote))
            raise ValueError(f"{url}: image files are only read from local disks; put remote images into .tar shards")
        source.targets = np.full(len(paths), -1, dtype=np.int64)
        return source

    def __len__(self) -> int:
        return len(self.files)

    def name(self, i: int) -> str:
        """Path of a file."""
        return self.files[i]

    def read(self, i: int) -> bytes:
        """Content of a file. Raises DecodeError with its path."""
        path = self.files[i]
        try:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - 30 us quicker than Path's, on every file
                return file.read()
        except OSError as error:
            raise DecodeError(f"{path}: cannot be read: {error.strerror or error}") from error

    def target(self, index: npt.NDArray[np.int64], collate: Collate = collate_by_torch) -> Any:
        """Targets of a batch: int64 (B,), or the result of the target transform and `collate`; None without labels."""
        return collate_targets(self.targets, index, self.target_transform, collate, self.name) if self.labelled else None

    def __repr__(self) -> str:
        return f"FolderSource({len(self)} files, {f'{len(self.classes)} classes' if self.labelled else 'no labels'})"


class PathTable:
    """A list of paths that stores each folder once, and 8 bytes for a file beside its name.

    Names are joined in pieces that are closed once they are larger than PIECE, so that no large array is ever grown by copying.
    """

    def __init__(self) -> None:
        self.folders: list[str] = []
        self.pieces: list[Piece] = []
        self.firsts: list[int] = []
        self.count = 0
        self.begin()

    def begin(self) -> None:
        """Begin a piece."""
        self.pieces.append(Piece(bytearray(), array("I"), array("I")))
        self.firsts.append(self.count)

    def extend(self, folder: str, names: Sequence[str]) -> None:
        """Add files of a folder that has none yet."""
        self.append(repeat(self.new(folder)), names)

    def add(self, paths: Sequence[str], known: dict[str, int]) -> None:
        """Add files of any folders. known: the numbers of those that were added before, new ones are entered."""
        split = [path.rfind(os.sep) + 1 for path in paths]
        folders = [path[:k] for path, k in zip(paths, split, strict=True)]
        for folder in dict.fromkeys(folders):
            if folder not in known:
                known[folder] = self.new(folder)
        self.append(map(known.__getitem__, folders), [path[k:] for path, k in zip(paths, split, strict=True)])

    def new(self, folder: str) -> int:
        """The number of a new folder."""
        folder = str(Path(folder))
        self.folders.append("" if folder == "." else folder)
        return len(self.folders) - 1

    def append(self, folders: Iterable[int], names: Sequence[str]) -> None:
        """Add files; `folders` may yield more numbers than there are names."""
        joined = "".join(names)
        if not joined.isascii():  # one character for each byte
            names = [os.fsencode(name).decode("latin-1") for name in names]
            joined = "".join(names)
        piece = self.pieces[-1]
        piece.ends.extend(islice(accumulate(map(len, names), initial=len(piece.names)), 1, None))
        piece.names.extend(joined.encode("latin-1"))
        piece.folders.extend(islice(folders, len(names)))
        self.count += len(names)
        if len(piece.names) > PIECE:
            self.pieces[-1] = Piece(bytearray(piece.names), piece.ends[:], piece.folders[:])  # without the room to grow
            self.begin()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> str:
        k = bisect_right(self.firsts, i) - 1
        piece, i = self.pieces[k], i - self.firsts[k]
        name = os.fsdecode(bytes(piece.names[piece.ends[i - 1] if i else 0 : piece.ends[i]]))
        return os.path.join(self.folders[piece.folders[i]], name)  # noqa: PTH118 - Path takes 4 us more, twice a sample


@dataclass(frozen=True)
class Piece:
    """Files of a `PathTable`: their names, joined; where each name ends; and the number of its folder."""

    names: bytearray
    ends: array[int]
    folders: array[int]


MACOS = "__MACOSX"
"""A folder that macOS adds to archives, with a small file for each file in them."""


@dataclass(frozen=True)
class FollowedLink:
    """A link to a folder that was followed: its path, and the real path of the folder that contains it."""

    link: str
    out_of: Path


LinkPath: TypeAlias = tuple[FollowedLink, ...]
"""The links that were followed on the way to a folder, in order."""


class FolderTree:
    """The folders below `top`, including those behind links. hidden: paths that were passed over.

    A link to a missing file is listed, as torchvision does. A pipe or socket is not, since reading it would block. A link to
    a folder that contains the link is not followed. Other links that lead in a circle are an error.
    """

    def __init__(self, top: str) -> None:
        advice = "give the path of a folder that has one folder of images per class or, without labels, images"
        if not Path(top).exists():
            raise FileNotFoundError(f"{top}: no such folder; {advice}")
        if not Path(top).is_dir():
            raise NotADirectoryError(f"{top}: not a folder; {advice}")
        self.top = top
        self.hidden: list[str] = []

    def inside(self, folder: str, way: LinkPath = ()) -> tuple[dict[str, LinkPath], list[str]]:
        """Sorted names of the subfolders, each with the links followed to it, and of the images. way: links up to `folder`."""
        folders: dict[str, LinkPath] = {}
        images = []
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                image = name.lower().endswith(EXTENSIONS)
                if name[0] == "." or name == MACOS:  # as `is_hidden`, without a call for each file
                    if image or is_true(entry.is_dir):
                        self.hidden.append(entry.path)
                elif image and (leads_to_file(entry) if entry.is_symlink() else entry.is_file()):
                    images.append(name)
                elif is_true(entry.is_dir):
                    beyond = follow(entry.path, way) if entry.is_symlink() else way
                    if beyond is not None:
                        folders[name] = beyond
        return dict(sorted(folders.items())), sorted(images)

    def walk(self, name: str, way: LinkPath) -> list[tuple[str, list[str]]]:
        """A folder in `top` and all folders below it, sorted by path, each with the sorted names of its images."""
        found = []
        todo = [(str(Path(self.top, name)), way)]
        while todo:
            folder, way = todo.pop()
            folders, images = self.inside(folder, way)
            found.append((folder, images))
            todo += [(str(Path(folder, name)), beyond) for name, beyond in folders.items()]
        return sorted(found)

    def warn_hidden(self) -> None:
        """Warn of hidden files and folders."""
        if self.hidden:
            LOG.warning(
                "%s: %d hidden files and folders are left out, such as %s; rename them to take them",
                *(self.top, len(self.hidden), min(self.hidden)),
            )


def is_hidden(name: str) -> bool:
    """Whether a name is one that programs put beside images, such as `.ipynb_checkpoints`, `._1.jpg` or `__MACOSX`."""
    return name.startswith(".") or name == MACOS


def is_true(question: Callable[[], bool]) -> bool:
    """The answer of a directory entry; False for a link that leads to itself."""
    try:
        return question()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False


def leads_to_file(link: os.DirEntry[str]) -> bool:
    """Whether a link points to a file, or to nothing."""
    return is_true(link.is_file) or not Path(link.path).exists()


def follow(link: str, way: LinkPath) -> LinkPath | None:
    """The links to a folder behind one more link; None if that folder contains the link. way: links followed so far.

    Raises ValueError with the links if the folder contains a link that was followed earlier.
    """
    out_of, into = Path(link).parent.resolve(), Path(link).resolve()
    if out_of.is_relative_to(into):
        return None
    for k, step in enumerate(way):
        if step.out_of.is_relative_to(into):
            circle = ", ".join([*(one.link for one in way[k:]), link])
            raise ValueError(f"{link}: symbolic links lead in a circle, {circle}; remove one of them")
    return (*way, FollowedLink(link, out_of))
