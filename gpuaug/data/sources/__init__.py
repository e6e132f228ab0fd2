"""Sources: where samples come from.

A source is a small class with a length, names of samples for error messages, and one way to read, which `workers` names:

workers = "threads"     read(i) -> encoded bytes, target(index): decoded by our threads (Pillow releases the GIL);
                        reader() -> a `Reader`, for a source that can read ahead
workers = "processes"   load(index) -> (Images, target), item(i) -> (pixels, target): a user's Python code, in worker processes
workers = "none"        load(index) -> (Images, target): pixels in memory, used in place
workers = "stream"      no length and no order of ours: see `streams`

`target` and `load` take the collate function, and return None as the target if there are no labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, cast

import numpy as np
import numpy.typing as npt

from ...images import Images
from ..decoders.pillow import Pixels
from ..targets import Collate, collate_batch, collate_by_torch
from .remote.retries import RemoteError

Index = npt.NDArray[np.int64]


class Source(Protocol):
    """What every source has; `workers` says which of the protocols below it follows."""

    workers: str

    @property
    def labelled(self) -> bool:
        """Whether its samples have labels."""
        ...

    def __len__(self) -> int: ...

    def name(self, i: int) -> str:
        """The name of sample i in error messages, such as its path."""
        ...


class Encoded(Source, Protocol):
    """A source of encoded files, each read on its own."""

    def read(self, i: int) -> bytes: ...

    def target(self, index: Index, collate: Collate = collate_by_torch) -> Any: ...


class Reader(Protocol):
    """Reads samples of an `Encoded` source in one pass over it; several threads may call `read`."""

    def name(self, i: int) -> str: ...

    def will_read(self, index: Index) -> None:
        """Say that `read` will be called for these samples, so that their bytes may be on their way by then."""
        ...

    def read(self, i: int) -> bytes: ...

    def close(self) -> None:
        """End what `will_read` has begun. Threads inside `read` leave it with an error; a second close does nothing."""
        ...


@dataclass(frozen=True)
class PlainReader:
    """Reads each sample when it is asked for."""

    source: Encoded

    def name(self, i: int) -> str:
        return self.source.name(i)

    def will_read(self, index: Index) -> None:
        pass

    def read(self, i: int) -> bytes:
        return self.source.read(i)

    def close(self) -> None:
        pass


def reader_of(source: Encoded) -> Reader:
    """A source's own reader, which its method `reader` makes, or else a plain one."""
    return cast(Reader, source.reader()) if hasattr(source, "reader") else PlainReader(source)


class Loaded(Source, Protocol):
    """A source that gives whole batches of pixels."""

    def load(self, index: Index, collate: Collate = collate_by_torch) -> tuple[Images, Any]: ...


class Itemized(Loaded, Protocol):
    """A source that also gives single samples, so that an OSError concerns one sample rather than its batch."""

    def item(self, i: int) -> tuple[Pixels, Any]: ...


class Ordered(Source, Protocol):
    """A source that brings its own order of an epoch, as a mixture does. It reads sample indices beyond its length, too."""

    def epoch_order(self, seed: int, epoch: int, shuffle: bool) -> Index:
        """Sample indices of a whole epoch for all ranks together, int64 (len(source),), no two of them equal."""
        ...

    def order_state(self) -> dict[str, Any]:
        """Plain values that the order follows from, beside seed, epoch and shuffle."""
        ...


def collate_samples(
    items: Sequence[tuple[Pixels, Any]], index: Sequence[int], collate: Collate, name: Callable[[int], str]
) -> tuple[Images, Any]:
    """The batch of the samples `index`; its target is None if they have none (see `collate_batch`)."""
    target = collate_batch([target for _, target in items], collate, lambda k: name(index[k]))
    return Images.from_list([pixels for pixels, _ in items]), target


def is_source(given: Any) -> bool:
    """Whether an object follows one of the protocols above."""
    return getattr(given, "workers", None) in ("threads", "processes", "none", "stream") and hasattr(given, "name")


def is_encoded(source: Source) -> TypeGuard[Encoded]:
    """Whether a source gives encoded files, which threads of this process read and decode."""
    return source.workers == "threads"


def is_itemized(source: Source) -> TypeGuard[Itemized]:
    """Whether a source runs a user's Python code for each sample, which belongs in worker processes."""
    return source.workers == "processes"


def is_in_memory(source: Source) -> TypeGuard[Loaded]:
    """Whether a source holds decoded pixels in memory."""
    return source.workers == "none"


def has_files(source: Source) -> bool:
    """Whether threads of this process decode a source's samples, of a stream too."""
    return is_encoded(source) or (source.workers == "stream" and getattr(source, "encoded", False))


def runs_processes(source: Source) -> bool:
    """Whether a source runs a user's Python code in worker processes, of a stream too."""
    return is_itemized(source) or (source.workers == "stream" and not has_files(source))


def known_length(source: Source) -> int | None:
    """Number of samples of a source; None for a stream that does not say it."""
    try:
        return len(source)
    except (TypeError, NotImplementedError):  # what torch's own samplers raise, and what a Dataset may
        if source.workers == "stream":
            return None
        raise


def is_ordered(source: Source) -> TypeGuard[Ordered]:
    """Whether a source brings its own order of an epoch."""
    return hasattr(source, "epoch_order")


def first_is_labelled(source: Itemized) -> bool:
    """Whether the first readable sample has a target. Raises the first sample's OSError if none can be read."""
    failed: OSError | None = None
    for i in range(len(source)):
        try:
            return source.item(i)[1] is not None
        except RemoteError:
            raise
        except OSError as error:
            failed = failed or error
    if failed is not None:
        raise failed
    return True
