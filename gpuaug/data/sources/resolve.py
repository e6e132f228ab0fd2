"""From what the user gave to a source; a Dataset's transform is taken out of a copy, so that images come raw."""

from __future__ import annotations

import copy
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import IterableDataset

from ...ops import Size
from . import Source, is_source, packed
from .archives.shards import MAGIC, RANGE, UNPACK, ShardSource, shards_in_folder
from .archives.zipped import ZipSource
from .arrays import ArraySource
from .composed import ConcatSource, SubsetSource, common_transform, known_labelled, simple_sources
from .dataset import DatasetSource
from .folder import ALL_IMAGES, EXTENSIONS, FolderSource, is_hidden
from .huggingface import HuggingFaceSource, is_huggingface, is_streaming
from .mixture import Mixture, MixtureSource
from .remote import is_remote
from .remote.cache import ShardCache
from .streams import is_pipeline
from .streams.dataset import DatasetStream
from .streams.huggingface import HuggingFaceStream
from .streams.webdataset import WebDatasetStream, stream_of_files

T = TypeVar("T")

NO_CACHE: Mapping[str, Any] = {}

ARRAYS = {
    "torchvision.datasets.cifar.CIFAR10": ("data", "targets"),
    "torchvision.datasets.mnist.MNIST": ("data", "targets"),
    "torchvision.datasets.stl10.STL10": ("data", "labels"),
    "torchvision.datasets.svhn.SVHN": ("data", "labels"),
}
"""Class of a Dataset that holds pixels in memory -> its attributes of pixels and targets, which are read without PIL."""


def as_source(
    given: Any, policy_given: bool, labels: bool | None = None, cache: Mapping[str, Any] = NO_CACHE
) -> tuple[Source, Any]:
    """The source of what the user gave, and the torchvision transform that was inside it, or None.

    given: path or URL (see `from_path`), list of shards or of image files, array or pair of arrays, map-style Dataset, or a
    source. policy_given: whether the user gave a policy, which replaces the transform of a torchvision dataset. labels: whether
    labels are wanted; None takes them if there are any. cache: `cache_dir` and `cache_size` of remote shards. Raises ValueError
    if labels=True and there are none, if only some parts of a concatenation have labels, and for a cache of anything else than
    remote shards.
    """
    source, transform = find_source(given, policy_given, labels, cache)
    check_cache(source, cache)
    if labels is not False:
        check_labels(source, labels)
    return source, transform


def find_source(given: Any, policy_given: bool, labels: bool | None, cache: Mapping[str, Any]) -> tuple[Source, Any]:
    if isinstance(given, (str, os.PathLike)):
        refuse_files(os.fspath(given))
        return from_path(os.fspath(given), labels, cache=cache), None
    # Exactly these types, since a Dataset may be a subclass of list.
    if type(given) in (tuple, list) and given and all(issubclass(kind, (str, os.PathLike)) for kind in set(map(type, given))):
        return from_list([os.fspath(path) for path in given], labels, cache), None
    if type(given) in (tuple, list) and given and type(given[0]) in (tuple, list) and given[0] and is_path(given[0][0]):
        raise TypeError(
            "DataLoader: a list of paths with labels is not accepted; put the files into one folder per class and give their "
            "parent folder, or give a Dataset that opens the files and returns (image, label)"
        )
    if isinstance(given, (tuple, list)) and len(given) == 2 and hasattr(given[0], "shape"):
        if all(getattr(array, "ndim", 0) == 3 and array.shape[2] == 3 for array in given):
            raise ValueError(
                f"DataLoader: a {type(given).__name__} of two arrays is images and targets, but these two look like pictures; "
                "give pictures of one size as one array (N, H, W, 3), such as numpy.stack makes"
            )
        return ArraySource(given[0], None if labels is False else given[1]), None
    if isinstance(given, np.ndarray) and given.size and is_path(given.flat[0]):
        raise TypeError(f"DataLoader: paths come in a list, not in an array of {given.dtype}; give list(paths)")
    if isinstance(given, (np.ndarray, torch.Tensor)):
        return ArraySource(given), None
    if isinstance(given, Mixture):
        return from_mixture(given, policy_given, labels, cache)
    return from_dataset(given, policy_given, labels)


def from_mixture(given: Mixture, policy_given: bool, labels: bool | None, cache: Mapping[str, Any]) -> tuple[Source, Any]:
    """The source of a mixture, and the transform that its parts share, or None."""
    parts, inside = zip(*(find_source(part, policy_given, labels, cache) for part in given.parts), strict=True)
    transform = None if policy_given else common_transform(inside, "Mixture")
    return MixtureSource(parts, given.weights, given.samples, given.replacement), transform


def check_cache(source: Source, cache: Mapping[str, Any]) -> None:
    """Raise ValueError if a cache was asked for and the source has none, or another one."""
    if cache.get("cache_dir") is None:
        return
    asked = ShardCache.resolve(cache["cache_dir"])
    if not any(getattr(getattr(part, "cache", None), "folder", None) == asked for part in simple_sources(source)):
        raise ValueError(
            "DataLoader: cache_dir is for remote shards that are given by their URL, such as s3://bucket/train-{000..146}.tar, "
            f"but the source is {source!r}; leave it out, or give it to gpuaug.data.ShardSource"
        )


def check_labels(source: Source, labels: bool | None) -> None:
    """Raise if labels=True and there are none, or if only some of the sources inside a concatenation have labels."""
    of = {known_labelled(part): part for part in simple_sources(source)}
    if True in of and False in of:
        raise ValueError(
            f"DataLoader: of the parts, {of[True]!r} has labels and {of[False]!r} has none; give the "
            "loader labels=False, which leaves all labels out"
        )
    if labels and False in of:
        raise ValueError(f"DataLoader: labels=True, but {of[False]!r} has none: {missing_labels(of[False])}")


def missing_labels(source: Source) -> str:
    """Why a source has no labels, and what gives it some."""
    if isinstance(source, HuggingFaceSource) and source.label is not None:
        return f"column {source.label!r} holds no class in any row"
    return next(reason for kind, reason in MISSING.items() if isinstance(source, kind))


MISSING: dict[type, str] = {
    FolderSource: "there are no class folders, one folder of images per class",
    packed.PackedSource: f"{packed.TARGETS} holds -1 for every image; pack a folder that has one folder of images per class",
    ArraySource: "there are no targets; give a pair (images, targets)",
    HuggingFaceSource: "no column was found for them; name it: gpuaug.data.HuggingFaceSource(dataset, label=...)",
    HuggingFaceStream: "no column was found for them; name it: gpuaug.data.HuggingFaceStream(dataset, label=...)",
    WebDatasetStream: "its first sample has no cls, and no json with the field label",
    ShardSource: "no sample has a .cls, or a .json with the field label",
    object: "its `labelled` says so",
}
"""Kind of source, subclasses before their bases -> what such a source lacks if it has no labels."""


def remote_only(cache: Mapping[str, Any], paths: list[str]) -> Mapping[str, Any]:
    """The options of a cache, or none if no path is remote, which `check_cache` then says."""
    return cache if any(map(is_remote, paths)) else NO_CACHE


def is_path(given: Any) -> bool:
    return isinstance(given, (str, os.PathLike))


def refuse_files(path: str) -> None:
    """Raise for a pattern of image files or a single image file, where a path means a folder or shards."""
    local = Path(path).expanduser()
    if is_remote(path) or local.is_dir():
        return
    if local.is_file():
        if path.lower().endswith(EXTENSIONS):
            raise NotADirectoryError(f"{path}: is one image, not a folder of them; give a list of files, [path]")
    elif MAGIC.search(path) and not path.lower().endswith((".tar", ".zip", *UNPACK)):
        raise FileNotFoundError(
            f"{path}: a pattern can only find shards, which end in .tar; for image files give sorted(glob.glob({path!r}))"
        )


def refuse_unknown(path: str) -> None:
    """Raise for a file of a list that is neither an image, by its ending, nor a shard, by its ending or content."""
    if is_remote(path) or path.lower().endswith((*EXTENSIONS, ".tar", ".zip", *UNPACK)):
        return
    local = Path(path).expanduser()
    if MAGIC.search(path) or RANGE.search(path) or local.is_dir():
        return
    if not (local.is_file() and tarfile.is_tarfile(local)):
        raise ValueError(
            f"DataLoader: {path}: a list must hold tar shards, or image files, which end in {' '.join(EXTENSIONS)}; convert "
            "other files to one of these, or give a Dataset that opens them"
        )


LONGEST = max(map(len, EXTENSIONS))


def from_list(paths: list[str], labels: bool | None = None, cache: Mapping[str, Any] = NO_CACHE) -> Source:
    """The source of a list of tar shards, or of image files, which have no labels."""
    endings = {path[-LONGEST:] for path in paths}  # few, of ten million paths
    images = {end for end in endings if end.lower().endswith(EXTENSIONS)}
    others = [] if endings == images else [path for path in paths if path[-LONGEST:] not in images]
    for path in others:
        refuse_unknown(path)
    if len(others) == len(paths):
        return ShardSource(paths, labels=labels, **remote_only(cache, paths))
    if others:
        image = next(path for path in paths if path[-LONGEST:] in images)
        raise ValueError(
            f"DataLoader: a list must hold only image files or only tar shards, but this one holds {image} and "
            f"{others[0]}; for both, give a ConcatDataset or two loaders"
        )
    return FolderSource.from_paths(paths)


def from_path(path: str, labels: bool | None = None, advice: str = ALL_IMAGES, cache: Mapping[str, Any] = NO_CACHE) -> Source:
    """The source at a path: a tar shard, a pattern of shards, a URL of either or of a folder of shards, or a folder.

    A folder with a manifest was written by `gpuaug pack`. A folder that holds `.tar` files and no folders holds shards. Any
    other folder is an image folder. advice: what errors and warnings say about doing without labels.
    """
    if path.lower().endswith(".zip") and not is_remote(path) and not MAGIC.search(path) and not Path(path).is_dir():
        return ZipSource(path, labels, advice)
    if path.lower().endswith((".tar", ".zip", *UNPACK)) and not Path(path).is_dir():
        return ShardSource(path, labels=labels, advice=advice, **remote_only(cache, [path]))
    if is_remote(path):
        return ShardSource(shards_in_folder(path), labels=labels, advice=advice, **cache)
    folder = Path(path).expanduser()
    if (folder / packed.MANIFEST).exists() or (folder / packed.PROGRESS).exists():
        return packed.packed_source(folder, labels)
    if folder.is_dir():
        with os.scandir(folder) as entries:
            found = list(entries)
        shards = sorted(entry.path for entry in found if entry.name.endswith(".tar") and not is_hidden(entry.name))
        if shards and not any(entry.is_dir() for entry in found if not is_hidden(entry.name)):
            return ShardSource(shards, labels=labels, advice=advice)
    return FolderSource(path, labels, advice)


def from_dataset(dataset: Any, policy_given: bool, labels: bool | None) -> tuple[Source, Any]:
    """The source of a Dataset, and the transform that was taken out of a copy of it, or None.

    The `transform` of a torchvision dataset is always taken out, since a policy replaces it. An attribute `transform` of any
    other Dataset is taken out only to be converted; if the user gave a policy, the Dataset is used as it is.
    """
    if is_source(dataset):
        return dataset, None
    if is_huggingface(dataset):
        return (HuggingFaceStream if is_streaming(dataset) else HuggingFaceSource)(dataset, labelled=labels), None
    if is_pipeline(dataset) and (files := stream_of_files(dataset, labels)) is not None:
        return files, None
    if isinstance(dataset, IterableDataset):
        stream, inside = (dataset, None) if policy_given else without_transform(dataset)
        return DatasetStream(stream), inside
    check_map_style(dataset)
    if getitem_owner(dataset) == "torch.utils.data.dataset.Subset":
        inner, transform = from_part(dataset.dataset, policy_given, labels)
        return SubsetSource(inner, dataset.indices), transform
    if getitem_owner(dataset) == "torch.utils.data.dataset.ConcatDataset":
        parts, inside = zip(*(from_part(part, policy_given, labels) for part in dataset.datasets), strict=True)
        return ConcatSource(parts), None if policy_given else common_transform(inside)
    raw, transform = dataset, None
    target_transform = None if labels is False else getattr(dataset, "target_transform", None)
    if is_torchvision(dataset) or not policy_given:
        raw, transform = without_transform(dataset)
    method = getitem_owner(dataset)
    if method == "torchvision.datasets.folder.DatasetFolder" and dataset.loader is default_loader():
        return FolderSource.from_samples(raw.samples, raw.classes, raw.class_to_idx, target_transform), transform
    if method in ARRAYS:
        pixels, targets = (getattr(raw, name) for name in ARRAYS[method])
        if targets is not None and (np.asarray(targets) == -1).all():  # STL10's unlabelled part
            targets = None
        return ArraySource(pixels, targets, target_transform), transform
    return DatasetSource(raw), transform


def from_part(dataset: Any, policy_given: bool, labels: bool | None) -> tuple[Source, Any]:
    """As `from_dataset`, for the inside of a Subset or ConcatDataset."""
    if isinstance(dataset, (Mixture, MixtureSource)):
        raise TypeError(
            "DataLoader: a Mixture cannot be a part of a Subset or ConcatDataset; give the loader the Mixture itself, which "
            "may hold Subsets and ConcatDatasets"
        )
    return from_dataset(dataset, policy_given, labels)


def size_of(source: Source) -> Size | None:
    """(height, width) of every image of a source; None if it is unknown, or images differ in size."""
    sizes = {part.size if isinstance(part, ArraySource) else None for part in simple_sources(source)}
    return sizes.pop() if len(sizes) == 1 else None


def check_map_style(dataset: Any) -> None:
    if isinstance(dataset, Iterator) and not hasattr(dataset, "__getitem__"):
        raise TypeError(
            f"DataLoader: source is a {type(dataset).__name__}, which can be iterated only once; give list(source) "
            "if it yields paths or images, a map-style Dataset, or an IterableDataset of torch, whose __iter__ begins anew"
        )
    if isinstance(dataset, (Mapping, torch.Tensor)) or not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        raise TypeError(
            "DataLoader: source must be a path, a map-style Dataset or IterableDataset of (image, target) or of images, or an "
            f"array of images or a pair (images, targets), got {type(dataset).__name__}"
        )


def without_transform(dataset: T) -> tuple[T, Any]:
    """A shallow copy of a Dataset whose image transform does nothing, and the transform that it had, or None.

    The copy's transform is the identity rather than None, since a Dataset may call it without a check. Raises TypeError for
    torchvision's joint `transforms` of image and target together.
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
    """torchvision's default loader of image files; called only for its datasets, when torchvision is installed."""
    from torchvision.datasets import folder

    return folder.default_loader


def identity(image: T) -> T:
    return image


def is_torchvision(dataset: Any) -> bool:
    return any(f"{c.__module__}.{c.__qualname__}" == "torchvision.datasets.vision.VisionDataset" for c in type(dataset).__mro__)


def getitem_owner(dataset: Any) -> str:
    """The class that defines an object's `__getitem__`, so that a subclass with its own is not mistaken for its base."""
    method = type(dataset).__getitem__
    return f"{getattr(method, '__module__', '')}.{getattr(method, '__qualname__', '')}".removesuffix(".__getitem__")
