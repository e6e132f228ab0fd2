"""Datasets of Hugging Face `datasets` with a column of images; the files come undecoded, gpuaug decodes them in threads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from .decode import DecodeError
from .source import Index
from .target import Collate, collate_targets, together

CLASSES = {
    "datasets.arrow_dataset.Dataset",
    "datasets.dataset_dict.DatasetDict",
    "datasets.dataset_dict.IterableDatasetDict",
    "datasets.iterable_dataset.IterableDataset",
}


def is_huggingface(given: Any) -> bool:
    """Whether an object is one of `datasets`' own, told by its class's name, so that the package need not be imported."""
    return any(f"{c.__module__}.{c.__qualname__}" in CLASSES for c in type(given).__mro__)


class HuggingFaceSource:
    """A `datasets.Dataset`, whose format and transform do not matter here.

    image, label: names of the columns. None takes the one column whose feature is `Image`, and the one whose feature is
        `ClassLabel`, or else the one column of integers.
    labelled: None takes labels where a column fits, or is named by `label`; False takes none, and every target is -1; True
        needs them.
    classes: names of the classes, where the feature has them. targets: (N,) int64; -1 where the data set has None.
    Raises TypeError for a stream or a dictionary of splits, and ValueError naming the columns where none or several fit.
    """

    workers = "threads"

    def __init__(self, dataset: Any, image: str | None = None, label: str | None = None, labelled: bool | None = None) -> None:
        kind = type(dataset).__name__
        if "Dict" in kind:
            raise TypeError(f"DataLoader: a {kind} has several splits; give one, such as dataset[{next(iter(dataset), '')!r}]")
        if "Iterable" in kind:
            raise TypeError(f"DataLoader: {kind} is a stream; load it with streaming=False, so that it has len and []")
        features = dataset.features
        self.image = column("image", image, features, is_image)
        plain = dataset.with_format(None)
        self.targets = np.full(len(dataset), -1, dtype=np.int64)
        self.classes: list[str] = []
        some = any(is_label(feature) or is_integer(feature) for feature in features.values())
        self.labelled = bool(labelled) or (labelled is None and (label is not None or some))
        if self.labelled:
            name = column("label", label, features, is_label, is_integer)
            self.classes = list(getattr(features[name], "names", None) or [])
            values = plain.select_columns([name]).with_format("arrow")[:].column(name)
            self.targets = values.cast("int64").fill_null(-1).to_numpy()
        self.files = plain.select_columns([self.image]).cast_column(self.image, undecoded())
        self.kind = kind

    def __len__(self) -> int:
        return len(self.files)

    def name(self, i: int) -> str:
        return f"row {i} of the {self.kind}, column {self.image}"

    def read(self, i: int) -> bytes:
        """An image file, from the table or from the path that it holds. Raises DecodeError naming the row."""
        try:
            cell = self.files[i][self.image]
            if cell is None:
                raise ValueError("there is no image")
            return cast(bytes, cell["bytes"]) if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
        except (OSError, ValueError, TypeError) as error:
            raise DecodeError(f"{self.name(i)}: cannot be read: {error}") from error

    def target(self, index: Index, collate: Collate = together) -> Any:
        """Targets of a batch: int64 (B,), or what `collate` makes of them; None without labels."""
        return collate_targets(self.targets, index, None, collate) if self.labelled else None

    def __repr__(self) -> str:
        labels = f"{len(self.classes)} classes" if self.labelled else "no labels"
        return f"HuggingFaceSource({len(self)} rows, image {self.image!r}, {labels})"


def is_image(feature: Any) -> bool:
    return type(feature).__name__ == "Image"


def is_label(feature: Any) -> bool:
    return type(feature).__name__ == "ClassLabel"


def is_integer(feature: Any) -> bool:
    return type(feature).__name__ == "Value" and str(feature.dtype).startswith(("int", "uint"))


def column(role: str, name: str | None, features: Any, *kinds: Callable[[Any], bool]) -> str:
    """The column for a role: the one that was named, or the only one of the first kind that there is any of."""
    fitting = [[key for key in features if kind(features[key])] for kind in kinds]
    if name is not None:
        if name not in features:
            raise ValueError(f"HuggingFaceSource: {role}={name!r} is no column; the columns are {', '.join(features)}")
        if not any(name in keys for keys in fitting):
            raise ValueError(f"HuggingFaceSource: column {name!r} cannot be the {role}, its feature is {features[name]}")
        return name
    found: list[str] = next((keys for keys in fitting if keys), [])
    if len(found) != 1:
        which = f"columns {', '.join(found)} may each be" if found else f"no column of {', '.join(features)} can be"
        options = f"{role}=..." + (", or labelled=False" if role == "label" else "")
        raise ValueError(f"HuggingFaceSource: {which} the {role}; use gpuaug.data.HuggingFaceSource(dataset, {options})")
    return found[0]


def undecoded() -> Any:
    from datasets import Image  # here already, since the dataset is one of its own

    return Image(decode=False)
