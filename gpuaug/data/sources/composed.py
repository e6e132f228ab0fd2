"""Sources made of other sources, as torch's Subset and ConcatDataset are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from ...convert import from_torchvision
from ...images import Images
from ...policy import Policy
from ..decoders.pillow import MAX_PIXELS, Pixels, decode
from ..targets import Collate, collate_batch, collate_by_torch, collate_nothing, collate_single
from . import (
    Encoded,
    Index,
    Itemized,
    Loaded,
    PlainReader,
    Reader,
    Source,
    collate_samples,
    first_is_labelled,
    is_encoded,
    is_in_memory,
    is_itemized,
    reader_of,
)
from .dataset import DatasetSource
from .packed import PackedSource
from .streams.dataset import DatasetStream


def refuse_streams(parts: Sequence[Source]) -> None:
    """Raise TypeError for a stream, whose samples cannot be named by their index."""
    stream = next((part for part in parts if part.workers == "stream"), None)
    if stream is not None:  # a stream may have no length, so it is neither true nor false
        raise TypeError(
            f"DataLoader: {stream!r} is a stream, which cannot be a part of a Subset, ConcatDataset or Mixture; join streams "
            "by torch's ChainDataset, or as their own library does, such as by datasets.interleave_datasets"
        )


class SubsetSource:
    """Some samples of another source in a given order, as in torch's Subset; sample i is that of the i-th index."""

    def __init__(self, source: Source, indices: Sequence[int] | Index) -> None:
        self.source = source
        refuse_streams([source])
        if isinstance(indices, range):  # which NumPy would read number by number
            indices = np.arange(indices.start, indices.stop, indices.step, dtype=np.int64)
        self.indices = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(self.indices) and not 0 <= int(self.indices.min()) <= int(self.indices.max()) < len(source):
            raise ValueError(f"DataLoader: the Subset has indices outside 0..{len(source) - 1}")
        self.workers = source.workers

    @property
    def labelled(self) -> bool:
        return first_is_labelled(self) if is_itemized(self) else all(part.labelled for part in simple_sources(self))

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, i: int) -> str:
        return self.source.name(int(self.indices[i]))

    def read(self, i: int) -> bytes:
        return cast(Encoded, self.source).read(int(self.indices[i]))

    def reader(self) -> Reader:
        whole = reader_of(cast(Encoded, self.source))
        return PlainReader(self) if isinstance(whole, PlainReader) else SubsetReader(self, whole)

    def target(self, index: Index, collate: Collate = collate_by_torch) -> Any:
        return cast(Encoded, self.source).target(self.indices[index], collate)

    def load(self, index: Index, collate: Collate = collate_by_torch) -> tuple[Images, Any]:
        return cast(Loaded, self.source).load(self.indices[index], collate)

    def item(self, i: int) -> tuple[Pixels, Any]:
        return cast(Itemized, self.source).item(int(self.indices[i]))


class ConcatSource:
    """The samples of several sources, one after another; worker processes read them if the sources are of different kinds."""

    def __init__(self, parts: Sequence[Source]) -> None:
        self.parts = list(parts)
        refuse_streams(self.parts)
        self.ends = np.cumsum([len(part) for part in self.parts])
        kinds = {part.workers for part in self.parts}
        self.workers = kinds.pop() if len(kinds) == 1 else "processes"
        self.max_pixels = MAX_PIXELS

    @property
    def labelled(self) -> bool:
        return first_is_labelled(self) if is_itemized(self) else all(part.labelled for part in simple_sources(self))

    def __len__(self) -> int:
        return int(self.ends[-1])

    def locate(self, index: Index) -> tuple[Index, Index]:
        """The part of each sample index, and the sample's number in that part."""
        of = np.searchsorted(self.ends, index, side="right")
        return of, index - np.concatenate([[0], self.ends[:-1]])[of]

    def find(self, i: int) -> tuple[Source, int]:
        """The part that holds sample i, and the sample's number in it."""
        k = int(np.searchsorted(self.ends, i, side="right"))
        return self.parts[k], i - int(self.ends[k - 1] if k else 0)

    def name(self, i: int) -> str:
        part, k = self.find(i)
        return part.name(k)

    def read(self, i: int) -> bytes:
        part, k = self.find(i)
        return cast(Encoded, part).read(k)

    def reader(self) -> Reader:
        made = PartsReader(self)
        return PlainReader(self) if all(isinstance(one, PlainReader) for one in made.readers.values()) else made

    def target(self, index: Index, collate: Collate = collate_by_torch) -> Any:
        if collate is collate_nothing:
            return None
        samples = index.tolist()
        found = [self.find(i) for i in samples]
        targets = [cast(Encoded, part).target(np.array([k]), collate_single) for part, k in found]
        return collate_batch(targets, collate, lambda k: self.name(samples[k]))

    def load(self, index: Index, collate: Collate = collate_by_torch) -> tuple[Images, Any]:
        samples = index.tolist()
        if not is_in_memory(self) or not samples:
            return collate_samples([self.item(i) for i in samples], samples, collate, self.name)
        found: list[Images] = []
        targets: list[Any] = [None] * len(samples)
        places: list[Index] = []
        for k, rows, own in self.by_part(index):
            images, of_part = cast(Loaded, self.parts[k]).load(own, collate if collate is collate_nothing else list)
            found.append(images)
            places.append(rows)
            for row, target in zip(rows.tolist(), [None] * len(rows) if of_part is None else of_part, strict=True):
                targets[row] = target
        return joined(found, places), collate_batch(targets, collate, lambda k: self.name(samples[k]))

    def by_part(self, index: Index) -> Iterator[tuple[int, Index, Index]]:
        """Number of each part that holds some of the samples, their rows in `index`, and their numbers in the part."""
        of, own = self.locate(index)
        for k in np.unique(of).tolist():
            rows = np.flatnonzero(of == k)
            yield k, rows, own[rows]

    def item(self, i: int) -> tuple[Pixels, Any]:
        part, k = self.find(i)
        if is_itemized(part):
            return part.item(k)
        if is_encoded(part):
            return decode(part.read(k), part.name(k), self.max_pixels), part.target(np.array([k]), collate_single)
        will_need(part, np.array([k]))
        images, target = cast(Loaded, part).load(np.array([k]), collate_single)
        return images[0].numpy(), target

    def __repr__(self) -> str:
        return f"Concatenated({', '.join(map(repr, self.parts))})"


@dataclass(frozen=True)
class SubsetReader:
    """Reads the samples of a subset by a reader of the whole."""

    source: SubsetSource
    whole: Reader

    def name(self, i: int) -> str:
        return self.source.name(i)

    def will_read(self, index: Index) -> None:
        self.whole.will_read(self.source.indices[index])

    def read(self, i: int) -> bytes:
        return self.whole.read(int(self.source.indices[i]))

    def close(self) -> None:
        self.whole.close()


class PartsReader:
    """Reads the samples of a source made of parts by a reader of each part."""

    def __init__(self, source: ConcatSource) -> None:
        self.source = source
        self.readers = {id(part): reader_of(cast(Encoded, part)) for part in source.parts}

    def name(self, i: int) -> str:
        return self.source.name(i)

    def will_read(self, index: Index) -> None:
        for k, _, own in self.source.by_part(index):
            self.readers[id(self.source.parts[k])].will_read(own)

    def read(self, i: int) -> bytes:
        part, k = self.source.find(i)
        return self.readers[id(part)].read(k)

    def close(self) -> None:
        for reader in self.readers.values():
            reader.close()


def joined(found: Sequence[Images], places: Sequence[Index]) -> Images:
    """Images of several parts as one batch. places: their rows in the batch."""
    if len(found) == 1:
        return found[0]
    if len({images.layout for images in found}) > 1:
        found = [images.packed() for images in found]
    order = np.argsort(np.concatenate(places))
    images = [one.gathered() for one in found]
    starts = np.cumsum([0, *(one.buffer.numel() for one in images)])
    offsets = np.concatenate([start + one.offsets for start, one in zip(starts.tolist(), images, strict=False)])
    shapes = np.concatenate([one.shapes for one in images])
    return Images(torch.cat([one.buffer for one in images]), shapes[order], offsets[order], images[0].layout)


def is_mapped(source: Source) -> bool:
    """Whether a source of pixels lies on a disk, wholly or in part."""
    return is_in_memory(source) and any(isinstance(part, PackedSource) for part in simple_sources(source))


def will_need(source: Source, index: Index) -> None:
    """Tell those sources that are memory maps which samples will be read soon, so that the system begins to load them."""
    if isinstance(source, SubsetSource):
        will_need(source.source, source.indices[index])
    elif isinstance(source, ConcatSource):
        for k, _, own in source.by_part(index):
            will_need(source.parts[k], own)
    elif isinstance(source, PackedSource):
        source.will_need(index)


def simple_sources(source: Source, indices: Index | None = None) -> list[Source]:
    """The sources inside subsets and concatenations that hold the samples of a source. indices: of these samples alone."""
    if isinstance(source, SubsetSource):
        return simple_sources(source.source, source.indices if indices is None else source.indices[indices])
    if not isinstance(source, ConcatSource):
        return [source]
    if indices is None:
        return [one for part in source.parts for one in simple_sources(part)]
    of = np.searchsorted(source.ends, indices, side="right")
    found: list[Source] = []
    for k in np.flatnonzero(np.bincount(of, minlength=len(source.parts))).tolist():
        part = source.parts[k]
        composed = isinstance(part, (SubsetSource, ConcatSource))  # otherwise it does not matter which samples they are
        start = source.ends[k - 1] if k else 0
        found += simple_sources(part, indices[of == k] - start) if composed else [part]
    return found


def set_max_pixels(source: Source, max_pixels: int) -> None:
    """Set the limit where a concatenation of different kinds of sources decodes files by itself."""
    if isinstance(source, SubsetSource):
        set_max_pixels(source.source, max_pixels)
    elif isinstance(source, ConcatSource):
        source.max_pixels = max_pixels
        for part in source.parts:
            set_max_pixels(part, max_pixels)


def known_labelled(source: Source) -> bool | None:
    """Whether a source has labels; None if some have, or only a sample of a user's Dataset can tell."""
    kinds = {None if isinstance(part, (DatasetSource, DatasetStream)) else part.labelled for part in simple_sources(source)}
    return kinds.pop() if len(kinds) == 1 else None


def common_transform(transforms: Sequence[Any], whole: str = "ConcatDataset") -> Any:
    """The transform that all parts share. Raises ValueError if two of them describe different policies. whole: of what."""
    first = transforms[0]
    for k, other in enumerate(transforms[1:], 1):
        if other is first:
            continue
        if first is None or other is None or as_policy(other) != as_policy(first):
            raise ValueError(
                f"DataLoader: parts 0 and {k} of the {whole} have different transforms, {first} and {other}; give them "
                "the same one, or give the loader a policy, which replaces them"
            )
    return first


def as_policy(transform: Any) -> Policy:
    """The policy of a transform, for comparison only: some need an image size, and any size will do for that."""
    return from_torchvision(transform, size=(256, 256))
