"""Sources one after the other, as torch's ConcatDataset puts Datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch

from ..convert import from_torchvision
from ..images import Images
from ..isolation import default_collate
from ..policy import Policy
from .decode import MAX_PIXELS, Pixels, decode
from .source import Encoded, Index, Itemized, Loaded, Selected, Source, collate


class Concatenated:
    """The samples of several sources; they are read as all of the parts are, or by worker processes where parts differ."""

    def __init__(self, parts: Sequence[Source]) -> None:
        self.parts = list(parts)
        self.ends = np.cumsum([len(part) for part in self.parts])
        kinds = {part.workers for part in self.parts}
        self.workers = kinds.pop() if len(kinds) == 1 else "processes"
        self.max_pixels = MAX_PIXELS

    def __len__(self) -> int:
        return int(self.ends[-1])

    def find(self, i: int) -> tuple[Source, int]:
        """The part that holds sample i, and its number there."""
        k = int(np.searchsorted(self.ends, i, side="right"))
        return self.parts[k], i - int(self.ends[k - 1] if k else 0)

    def name(self, i: int) -> str:
        part, k = self.find(i)
        return part.name(k)

    def read(self, i: int) -> bytes:
        part, k = self.find(i)
        return cast(Encoded, part).read(k)

    def target(self, index: Index) -> Any:
        found = [self.find(i) for i in index.tolist()]
        return default_collate([only(cast(Encoded, part).target(np.array([k]))) for part, k in found])

    def load(self, index: Index) -> tuple[Images, Any]:
        return collate([self.item(i) for i in index.tolist()])

    def item(self, i: int) -> tuple[Pixels, Any]:
        part, k = self.find(i)
        if part.workers == "processes":
            return cast(Itemized, part).item(k)
        if part.workers == "threads":
            encoded = cast(Encoded, part)
            return decode(encoded.read(k), encoded.name(k), self.max_pixels), only(encoded.target(np.array([k])))
        images, target = cast(Loaded, part).load(np.array([k]))
        return images[0].numpy(), only(target)

    def __repr__(self) -> str:
        return f"Concatenated({', '.join(map(repr, self.parts))})"


def limit(source: Source, max_pixels: int) -> None:
    """Where a part is decoded by the source itself, among others of another kind, refuse larger pictures there too."""
    if isinstance(source, Selected):
        limit(source.source, max_pixels)
    elif isinstance(source, Concatenated):
        source.max_pixels = max_pixels
        for part in source.parts:
            limit(part, max_pixels)


def only(batch: Any) -> Any:
    """The target of a batch of one: default_collate undone."""
    if isinstance(batch, torch.Tensor):
        return int(batch[0]) if batch[0].ndim == 0 and batch.dtype == torch.int64 else batch[0]
    if isinstance(batch, Mapping):
        return {key: only(value) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(only, batch))
    return batch[0] if isinstance(batch[0], (str, bytes)) else [only(value) for value in batch]


def common(transforms: Sequence[Any]) -> Any:
    """The transform that all parts have. Raises ValueError where they differ in what they describe."""
    first = transforms[0]
    for k, other in enumerate(transforms[1:], 1):
        if other is first:
            continue
        if first is None or other is None or described(other) != described(first):
            raise ValueError(
                f"DataLoader: parts 0 and {k} of the ConcatDataset have different transforms, {first} and {other}; give them "
                "the same, or give a policy, which takes their place"
            )
    return first


def described(transform: Any) -> Policy:
    """The policy of a transform, to be compared: some can be told only for a given size, and any will do if it is the same."""
    return from_torchvision(transform, size=(256, 256))
