"""Data sets by name or path: a training and a test source, both of which gpuaug.DataLoader takes; or images alone."""

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
    """For each split a folder with a folder a class, one that `gpuaug pack` made, or (images, targets).

    test: None where there is none. labels: gpuaug.DataLoader's: None takes those that are there, False takes images alone.
    """

    train: Any
    test: Any
    labels: bool | None = None


def cache_folder() -> Path:
    """Where data sets are kept: $GPUAUG_DATA, else gpuaug in the user's cache folder, or among temporary files where a
    container's user has no home."""
    if "GPUAUG_DATA" in os.environ:
        return Path(os.environ["GPUAUG_DATA"])
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpuaug"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"gpuaug-{os.getuid()}"


def open_data(name: str, progress: bool = True) -> Data:
    """name: "photos", "cifar10" (fetched once), or the path of an image folder.

    A folder that has train/ and test/ (or val/) is both splits; one that has neither is images without labels, at any depth.
    Raises UserError, naming what to change.
    """
    if name == "photos":
        return image_folder(photos.make(cache_folder(), progress))
    if name == "cifar10":
        return cifar10(cache_folder())
    return image_folder(Path(name))


def image_folder(path: Path) -> Data:
    if not path.is_dir():
        raise UserError(f"--data {path}: no such folder; give photos, cifar10, or a folder of images")
    train = path / "train"
    test = next((path / split for split in ("test", "val") if (path / split).is_dir()), None)
    if train.is_dir():
        return Data(str(train), test and str(test))
    if test is not None:
        raise UserError(f"--data {path}: it has {test.name}/ but no train/, each with one folder of images a class")
    return Data(str(path), None, labels=False)


def cifar10(cache: Path) -> Data:
    from torchvision.datasets import CIFAR10

    try:
        train, test = (CIFAR10(cache, train=split, download=True) for split in (True, False))
        return Data((train.data, train.targets), (test.data, test.targets))
    except (OSError, RuntimeError) as error:  # no network, a cache that cannot be written, a broken archive
        raise UserError(
            f"--data cifar10 could not be fetched to {cache} ({error}); set GPUAUG_DATA to a folder that can be written, "
            "or, without a network, unpack CIFAR-10 as "
            "train/CLASS/*.jpg and test/CLASS/*.jpg somewhere and pass that folder as --data"
        ) from None
