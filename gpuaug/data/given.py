"""What the user gave becomes a source; a transform found inside a Dataset is taken out of a copy, so that images come raw."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils.data import IterableDataset

from ..ops import Size
from . import packed
from .concat import Concatenated, common
from .folder import FolderSource
from .huggingface import HuggingFaceSource, is_huggingface
from .shards import UNPACK, ShardSource, within
from .source import ArraySource, DatasetSource, Selected, Source
from .tarindex import is_remote

T = TypeVar("T")

ARRAYS = {
    "torchvision.datasets.cifar.CIFAR10": ("data", "targets"),
    "torchvision.datasets.mnist.MNIST": ("data", "targets"),
    "torchvision.datasets.svhn.SVHN": ("data", "labels"),
}
"""Datasets that hold their pixels in memory -> attributes of pixels and targets; read at once, without going by way of PIL."""


def as_source(given: Any, policy_given: bool) -> tuple[Source, Any]:
    """The source of what the user gave, and the torchvision transform that was inside it, or None.

    given: path or URL (see `from_path`), list of shards, pair of arrays, map-style Dataset, or a source. policy_given:
    whether the user names a policy, which then takes the place of a torchvision dataset's transform.
    """
    if isinstance(given, (str, os.PathLike)):
        return from_path(os.fspath(given)), None
    if type(given) in (tuple, list) and given and all(isinstance(path, (str, os.PathLike)) for path in given):  # no Dataset
        return ShardSource(given), None
    if isinstance(given, (tuple, list)) and len(given) == 2 and hasattr(given[0], "shape"):
        return ArraySource(*given), None
    if getattr(given, "workers", None) in ("threads", "processes", "none") and hasattr(given, "name"):
        return given, None
    return from_dataset(given, policy_given)


def from_path(path: str) -> Source:
    """The source at a path: a tar shard, a pattern of shards, a URL of either or of a folder of shards, or a folder.

    A folder is what `gpuaug pack` made, where its manifest is there; shards, where it holds `.tar` files and no folder; and
    else an image folder.
    """
    if path.lower().endswith((".tar", ".zip", *UNPACK)) and not Path(path).is_dir():
        return ShardSource(path)
    if is_remote(path):
        return ShardSource(within(path))
    folder = Path(path).expanduser()
    if (folder / packed.MANIFEST).exists() or (folder / packed.PROGRESS).exists():
        return packed.source_of(folder)
    if folder.is_dir():
        with os.scandir(folder) as entries:
            found = list(entries)
        shards = sorted(entry.path for entry in found if entry.name.endswith(".tar"))
        if shards and not any(entry.is_dir() for entry in found):
            return ShardSource(shards)
    return FolderSource(path)


def from_dataset(dataset: Any, policy_given: bool) -> tuple[Source, Any]:
    """The source of a Dataset, and the transform that was taken out of it, or None; the Dataset stays as it was.

    A torchvision dataset loses its `transform` always, since a policy takes its place. Another Dataset loses an attribute
    `transform` only to be converted; with a policy it is used as it is.
    """
    if is_huggingface(dataset):
        return HuggingFaceSource(dataset), None
    check(dataset)
    if getitem(dataset) == "torch.utils.data.dataset.Subset":
        inner, transform = from_dataset(dataset.dataset, policy_given)
        return Selected(inner, dataset.indices), transform
    if getitem(dataset) == "torch.utils.data.dataset.ConcatDataset":
        parts, inside = zip(*(from_dataset(part, policy_given) for part in dataset.datasets), strict=True)
        return Concatenated(parts), None if policy_given else common(inside)
    raw, transform = dataset, None
    if is_torchvision(dataset) or not policy_given:
        raw, transform = without_transform(dataset)
    method = getitem(dataset)
    if method == "torchvision.datasets.folder.DatasetFolder" and dataset.loader is default_loader():
        return FolderSource.from_samples(raw.samples, raw.classes, raw.class_to_idx, raw.target_transform), transform
    if method in ARRAYS:
        pixels, targets = (getattr(raw, name) for name in ARRAYS[method])
        return ArraySource(pixels, targets, raw.target_transform), transform
    return DatasetSource(raw), transform


def size_of(source: Source) -> Size | None:
    """(height, width) of every image of a source, where it is known that they have but one."""
    if isinstance(source, ArraySource):
        return source.size
    if isinstance(source, Selected):
        return size_of(source.source)
    sizes = {size_of(part) for part in source.parts} if isinstance(source, Concatenated) else {None}
    return sizes.pop() if len(sizes) == 1 else None


def check(dataset: Any) -> None:
    if isinstance(dataset, IterableDataset):
        raise TypeError(
            f"DataLoader: {type(dataset).__name__} is an IterableDataset; give a map-style Dataset, with len and []"
        )
    if isinstance(dataset, (Mapping, torch.Tensor)) or not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        raise TypeError(
            "DataLoader: source must be a path, a map-style Dataset of (image, target), or a pair of arrays "
            f"(images, targets), got {type(dataset).__name__}"
        )


def without_transform(dataset: T) -> tuple[T, Any]:
    """A shallow copy whose image transform does nothing, and that transform, or None.

    An identity stands in its place rather than None, since a Dataset may call it unasked. Raises TypeError for torchvision's
    joint `transforms` of image and target together.
    """
    joint = getattr(dataset, "transforms", None)
    standard = type(joint).__name__ == "StandardTransform"
    transform = getattr(dataset, "transform", None)
    if joint is not None and not standard:
        raise TypeError(
            f"DataLoader: {type(dataset).__name__} transforms image and target together (transforms=); give it transform= "
            "and target_transform= instead"
        )
    if transform is None and joint is not None:
        transform = joint.transform
    if transform is None:
        return dataset, None
    raw: Any = copy.copy(dataset)
    if getattr(dataset, "transform", None) is not None:
        raw.transform = identity
    if joint is not None:
        raw.transforms = copy.copy(joint)
        raw.transforms.transform = identity
    return raw, transform


def default_loader() -> Any:
    """What torchvision's ImageFolder opens files with; to be asked where there is such a Dataset, hence torchvision."""
    from torchvision.datasets import folder

    return folder.default_loader


def identity(image: T) -> T:
    return image


def is_torchvision(dataset: Any) -> bool:
    return any(f"{c.__module__}.{c.__qualname__}" == "torchvision.datasets.vision.VisionDataset" for c in type(dataset).__mro__)


def getitem(dataset: Any) -> str:
    """Where the class's `__getitem__` is defined, so that a subclass with its own is not mistaken for its base."""
    method = type(dataset).__getitem__
    return f"{getattr(method, '__module__', '')}.{getattr(method, '__qualname__', '')}".removesuffix(".__getitem__")
