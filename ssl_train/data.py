"""Data sets by name or path: the sources of a training and a test split, or images alone, for gpuaug.DataLoader."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import photos
from .errors import UserError


@dataclass(frozen=True)
class Data:
    """The sources of a data set, each an argument of gpuaug.DataLoader.

    Attributes:
        train: path of a folder with one folder per class or of one that `gpuaug pack` made; or arrays (images, targets).
        test: likewise; None if there is no test split.
        labels: argument of gpuaug.DataLoader: None takes the labels if there are any, False takes images alone.
    """

    train: Any
    test: Any
    labels: bool | None = None


def cache_folder() -> Path:
    """The folder for data sets: $GPUAUG_DATA, else gpuaug in the user's cache folder, or in the folder for temporary files if
    the user has no home, as in some containers."""
    if "GPUAUG_DATA" in os.environ:
        return Path(os.environ["GPUAUG_DATA"])
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpuaug"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"gpuaug-{os.getuid()}"


def open_data(name: str, progress: bool = True) -> Data:
    """The data set of that name.

    Args:
        name: "photos", "cifar10" (downloaded once), or the path of a folder. A folder with train/ and test/ (or val/) has both
            splits; any other folder is taken as images without labels, at any depth.
        progress: show a progress bar while the photos are made.

    Raises:
        UserError: there is no such folder, or the data set could not be made or downloaded.
    """
    if name == "photos":
        return image_folder(photos.make(cache_folder(), progress))
    if name == "cifar10":
        return cifar10(cache_folder())
    return image_folder(Path(name))


def image_folder(path: Path) -> Data:
    """The splits in a folder, or all its images if it has none. Raises UserError for no folder, or for a test split alone."""
    if not path.is_dir():
        raise UserError(f"--data {path}: no such folder; give photos, cifar10, or a folder of images")
    train = path / "train"
    test = next((path / split for split in ("test", "val") if (path / split).is_dir()), None)
    if train.is_dir():
        return Data(str(train), test and str(test))
    if test is not None:
        raise UserError(f"--data {path}: it has {test.name}/ but no train/; each needs one folder of images per class")
    return Data(str(path), None, labels=False)


def cifar10(cache: Path) -> Data:
    """CIFAR-10 as arrays, downloaded to the cache the first time. Raises UserError if that fails."""
    from torchvision.datasets import CIFAR10

    try:
        train, test = (CIFAR10(cache, train=split, download=True) for split in (True, False))
        return Data((train.data, train.targets), (test.data, test.targets))
    except (OSError, RuntimeError) as error:  # no network, a cache that cannot be written, a broken archive
        raise UserError(
            f"--data cifar10 could not be downloaded to {cache} ({error}); set GPUAUG_DATA to a folder that can be written or, "
            "without a network, unpack CIFAR-10 as train/CLASS/*.jpg and test/CLASS/*.jpg and pass that folder as --data"
        ) from None
