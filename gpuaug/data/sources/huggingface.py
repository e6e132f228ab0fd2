"""Hugging Face datasets with a column of images, which gpuaug decodes in threads."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from ..decoders.pillow import DecodeError
from ..targets import Collate, collate_by_torch, collate_targets
from . import Index

LOG = logging.getLogger("gpuaug")

CLASSES = {
    "datasets.arrow_dataset.Dataset",
    "datasets.dataset_dict.DatasetDict",
    "datasets.dataset_dict.IterableDatasetDict",
    "datasets.iterable_dataset.IterableDataset",
}


def is_huggingface(given: Any) -> bool:
    """Whether an object is of a class of `datasets`; judged by its name, so that the package need not be imported."""
    return any(f"{c.__module__}.{c.__qualname__}" in CLASSES for c in type(given).__mro__)


def is_streaming(dataset: Any) -> bool:
    return "Iterable" in type(dataset).__name__


def refuse_splits(dataset: Any) -> None:
    if "Dict" in (kind := type(dataset).__name__):
        raise TypeError(
            f"DataLoader: a {kind} has several splits; give one of them, such as dataset[{next(iter(dataset), '')!r}]"
        )


class HuggingFaceSource:
    """The images and labels of a `datasets.Dataset`; its format and transform are not used.

    Args:
        dataset: A `datasets.Dataset`, so not a stream.
        image: Name of the image column. None takes the one column whose feature is `Image`. A column given by name may also
            hold the bytes of image files, or strings that are paths or URLs.
        label: Name of the label column. None takes the one column whose feature is `ClassLabel` or a list of these, else the
            one column of integers, else one of strings that is called "label". A column given by name may hold any strings.
        labelled: None takes labels if a column fits or `label` names one; False takes none; True needs them.

    Attributes:
        classes: Names of the classes, if there are any. Strings are numbered in sorted order, which is logged.
        targets: int64 (N,), -1 where the column holds None. For lists of classes bool (N, classes), which come out as float32.
        label: Name of the label column in use, or None.
        labelled: Whether any target is a class.

    Raises:
        TypeError: For a stream or a dictionary of splits.
        ValueError: No column fits or several do; the message names them.
    """

    workers = "threads"

    def __init__(self, dataset: Any, image: str | None = None, label: str | None = None, labelled: bool | None = None) -> None:
        kind = type(dataset).__name__
        refuse_splits(dataset)
        if is_streaming(dataset):
            raise TypeError(f"HuggingFaceSource: {kind} is a stream; give gpuaug.data.HuggingFaceStream, or the dataset itself")
        features = dataset.features
        self.image = choose_column("image", image, features, IMAGES, (is_bytes, is_string))
        plain = dataset.with_format(None)
        self.targets: npt.NDArray[Any] = np.full(len(dataset), -1, dtype=np.int64)
        self.classes: list[str] = []
        likely = any(fits_any(key, features[key]) for key in features)
        self.label: str | None = None
        if labelled or (labelled is None and (label is not None or likely)):
            self.label = choose_column("label", label, features, LABELS, (is_string,))
            values = plain.select_columns([self.label]).with_format("arrow")[:].column(self.label)
            self.classes, self.targets = classes_of(features[self.label], self.label, values)
        self.labelled = bool((self.targets != -1).any()) if self.targets.ndim == 1 else True
        self.files = plain.select_columns([self.image]).cast_column(self.image, undecoded())
        self.kind = kind

    def __len__(self) -> int:
        return len(self.files)

    def name(self, i: int) -> str:
        return f"row {i} of the {self.kind}, column {self.image}"

    def read(self, i: int) -> bytes:
        """The image file in a row, or at the path or URL in it. Raises DecodeError with the row's number."""
        try:
            return file_in(self.files[i][self.image])
        except Exception as error:  # remote file systems raise what their clients do
            raise DecodeError(f"{self.name(i)}: cannot be read: {error or type(error).__name__}") from error

    def target(self, index: Index, collate: Collate = collate_by_torch) -> Any:
        """Targets of a batch: int64 (B,), float32 (B, classes), or the result of `collate`; None without labels."""
        if not self.labelled:
            return None
        if self.targets.ndim == 1:
            return collate_targets(self.targets, index, None, collate)
        return collate_targets(self.targets[index].astype(np.float32), np.arange(len(index)), None, collate)

    def __repr__(self) -> str:
        labels = f"{len(self.classes)} classes" if self.labelled else "no labels"
        return f"HuggingFaceSource({len(self)} rows, image {self.image!r}, {labels})"


Fits: TypeAlias = Callable[[str, Any], bool]
"""Whether a column fits a role, judged by its name and feature."""


def is_image(key: str, feature: Any) -> bool:
    return type(feature).__name__ == "Image"


def is_bytes(key: str, feature: Any) -> bool:
    return str(getattr(feature, "dtype", "")) in ("binary", "large_binary")


def is_string(key: str, feature: Any) -> bool:
    return str(getattr(feature, "dtype", "")) in ("string", "large_string")


def is_classes(key: str, feature: Any) -> bool:
    return type(inner(feature) or feature).__name__ == "ClassLabel"


def is_integer(key: str, feature: Any) -> bool:
    return type(feature).__name__ == "Value" and str(feature.dtype).startswith(("int", "uint"))


def is_called_label(key: str, feature: Any) -> bool:
    return key.lower() in ("label", "labels") and is_string(key, feature)


IMAGES: tuple[Fits, ...] = (is_image,)
LABELS: tuple[Fits, ...] = (is_classes, is_integer, is_called_label)
"""How a column for images or labels is recognised, the likeliest test first."""


def fits_any(key: str, feature: Any) -> bool:
    """Whether a column is likely to hold labels."""
    return any(fits(key, feature) for fits in LABELS)


def inner(feature: Any) -> Any:
    """The feature of a list's items, None for other features; `datasets` has three ways to write a list."""
    if isinstance(feature, list):
        return feature[0]
    return feature.feature if type(feature).__name__ in ("List", "LargeList", "Sequence") else None


def choose_column(
    role: str,
    name: str | None,
    features: Any,
    likely: tuple[Fits, ...],
    by_name: tuple[Fits, ...],
    maker: str = "HuggingFaceSource",
) -> str:
    """The column for a role: the one that was named, or the only one that passes the first test that any passes."""
    if name is not None:
        if name not in features:
            raise ValueError(f"{maker}: {role}={name!r} is no column; the columns are {', '.join(features)}")
        if not any(fits(name, features[name]) for fits in likely + by_name):
            raise ValueError(f"{maker}: column {name!r} cannot be the {role}, its feature is {features[name]}")
        return name
    fitting = [[key for key in features if fits(key, features[key])] for fits in likely]
    found: list[str] = next((keys for keys in fitting if keys), [])
    if len(found) != 1:
        which = f"columns {', '.join(found)} may each be" if found else f"no column of {', '.join(features)} can be"
        options = f"{role}=...)" + (", or labels=False" if role == "label" else "")
        raise ValueError(f"{maker}: {which} the {role}; use gpuaug.data.{maker}(dataset, {options}")
    return found[0]


def classes_of(feature: Any, name: str, values: Any) -> tuple[list[str], npt.NDArray[Any]]:
    """Class names and targets of a column of an Arrow table."""
    pc, pyarrow = import_module("pyarrow.compute"), import_module("pyarrow")  # `datasets` depends on it
    if (items := inner(feature)) is not None:
        values = values.combine_chunks()
        rows, numbers = (
            part.to_numpy(zero_copy_only=False) for part in (pc.list_parent_indices(values), pc.list_flatten(values))
        )
        some = numbers >= 0  # None has become NaN, and -1 means no class
        table = np.zeros((len(values), len(items.names)), dtype=bool)
        table[rows[some].astype(np.int64), numbers[some].astype(np.int64)] = True
        return list(items.names), table
    if not is_string(name, feature):
        return list(getattr(feature, "names", None) or []), values.cast("int64").fill_null(-1).to_numpy()
    classes = sorted(value for value in values.unique().to_pylist() if value is not None)
    LOG.warning(
        "column %s holds strings: its %d classes are numbered in sorted order, %s. Another split may have other classes: use "
        "cast_column with one ClassLabel to give both splits the same numbers",
        *(name, len(classes), ", ".join(classes[:3]) + (", ..." if len(classes) > 3 else "")),
    )
    numbers = pc.index_in(values, value_set=pyarrow.array(classes, type=values.type))
    return classes, numbers.cast("int64").fill_null(-1).to_numpy()


def undecoded() -> Any:
    from datasets import Image  # imported already, since the dataset is one of its objects

    return Image(decode=False)


def file_in(cell: dict[str, Any] | None) -> bytes:
    """The image file in a cell of a column, or at the path or URL in it. Raises what `datasets` and file systems raise."""
    if cell is None:
        raise ValueError("there is no image")
    if cell["bytes"] is not None:
        return cast(bytes, cell["bytes"])
    return read_linked(cell) if "://" in cell["path"] else Path(cell["path"]).read_bytes()


def read_linked(cell: dict[str, Any]) -> bytes:
    """The file at a URL or inside an archive (`zip://a.png::photos.zip`), read by `datasets`."""
    feature = undecoded()
    (found,) = feature.embed_storage(import_module("pyarrow").array([cell], type=feature.pa_type)).to_pylist()
    if found is None or found["bytes"] is None:
        raise ValueError(f"datasets cannot read {cell['path']}")
    return cast(bytes, found["bytes"])
