"""Reading one batch, or a part of it, in whichever thread or process that is: bad samples are dealt with on the spot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol, TypeVar, cast

import numpy as np

from ..images import Images
from .decode import Pixels
from .faults import Bad, OnError, Sound, sound
from .regions import Boxes, Decoder, Region, Regions
from .source import Encoded, Index, Itemized, Loaded, collate

T = TypeVar("T")


@dataclass(frozen=True)
class Fetched:
    """A decoded batch on the host: sample indices (B,), pixels, and targets as collated.

    asked: samples that the order named, of which `bad` could not be read. read, decode: seconds, summed over workers; a
    Dataset's own code counts as read. frames: (B, 4), a `Region`'s each, where images are parts of pictures.
    """

    index: Index
    images: Images
    target: Any
    asked: int
    bad: tuple[Bad, ...] = ()
    read: float = 0.0
    decode: float = 0.0
    frames: Boxes | None = None


@dataclass(frozen=True)
class Workers:
    """How to fetch. ahead: batches in the making at a time. timeout: seconds to wait for one. seed: of worker processes.

    regions: what of encoded pictures the views read; None where they read all.
    """

    count: int
    ahead: int
    timeout: float
    seed: int
    decode: Decoder
    on_error: OnError
    regions: Regions | None = None
    init: Callable[[int], None] | None = None
    context: Any = None


class Fetcher(Protocol):
    def __iter__(self) -> Iterator[Fetched]: ...

    def __next__(self) -> Fetched: ...

    def close(self) -> None: ...


def load_batch(source: Loaded, index: Index, on_error: OnError) -> Fetched:
    """A batch of a source of pixels, sample by sample where a bad one among them shall not be an error."""
    began = perf_counter()
    if on_error.mode == "raise" or source.workers == "none":
        images, target = source.load(index)
        return Fetched(index, images, target, len(index), read=perf_counter() - began)
    items = cast(Itemized, source)

    def read(samples: Sequence[int]) -> list[tuple[Pixels, Any] | OSError]:
        return [attempt(items.item, i) for i in samples]

    found = sound(index.tolist(), read, source.name, on_error)
    images, target = collate(found.items)
    kept = np.array(found.index, dtype=np.int64)
    return Fetched(kept, images, target, len(index), tuple(found.bad), perf_counter() - began)


def attempt(read: Callable[[int], T], i: int) -> T | OSError:
    try:
        return read(i)
    except OSError as error:
        return error


@dataclass(frozen=True)
class Part:
    """Some samples of a batch as a thread has read and decoded them, and the seconds for each."""

    found: Sound[Pixels | Region]
    read: float
    decode: float


def read_part(source: Encoded, index: Index, workers: Workers) -> Part:
    """Read, then decode; what is bad is dealt with here, so that a replacement is read by the same thread."""
    spent = [0.0, 0.0]

    def pixels(samples: Sequence[int]) -> list[Pixels | Region | OSError]:
        began = perf_counter()
        files = [attempt(source.read, i) for i in samples]
        read = perf_counter()
        here = [(data, i) for data, i in zip(files, samples, strict=True) if not isinstance(data, OSError)]
        regional = workers.regions.among([i for _, i in here]) if workers.regions else None
        decoded = iter(workers.decode([data for data, _ in here], [source.name(i) for _, i in here], regional))
        out = [data if isinstance(data, OSError) else next(decoded) for data in files]
        spent[0] += read - began
        spent[1] += perf_counter() - read
        return out

    return Part(sound(index.tolist(), pixels, source.name, workers.on_error), *spent)


def assembled(source: Encoded, index: Index, parts: Sequence[Part]) -> Fetched:
    """A batch of its parts."""
    kept = np.array([i for part in parts for i in part.found.index], dtype=np.int64)
    found = [item for part in parts for item in part.found.items]
    images = Images.from_list([item.pixels if isinstance(item, Region) else item for item in found])
    frames = None
    if any(isinstance(item, Region) for item in found):
        frames = np.array([item.frame if isinstance(item, Region) else (0, 0, *item.shape[:2]) for item in found], np.int32)
    bad = tuple(bad for part in parts for bad in part.found.bad)
    target = source.target(kept) if len(kept) else None
    seconds = sum(part.read for part in parts), sum(part.decode for part in parts)
    return Fetched(kept, images, target, len(index), bad, *seconds, frames)
