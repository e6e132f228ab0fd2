"""Streams: sources that are read from start to end, in their own order.

workers = "stream"
encoded = True      begin(pass) -> Reading, the samples' files in turn: read by one thread, decoded by our threads
encoded = False     dataset: a user's Python code, which torch's DataLoader runs in worker processes

The index of a sample is made by the stream, and is what the draws follow from.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

import numpy as np

from ...targets import Collate, collate_nothing, collate_targets
from .. import Source

MAX_INDEX = 2**48
"""The draws take sample indices below this."""


@dataclass(frozen=True)
class StreamPass:
    """What one pass over a stream reads.

    Attributes:
        epoch: Number of the epoch.
        rank: Of this process.
        world_size: Number of processes that read the stream.
        start: Samples that this rank has been given before.
        resume: What takes the stream there directly, from `Reading.place`; None to read `start` samples and drop them.
        same_rank: Whether `start` was counted by this rank. Another rank's share may have been longer than this one's.
        batch_size: Samples in a batch.
        drop_last: Whether to drop a last batch that is smaller.
    """

    epoch: int
    rank: int
    world_size: int
    start: int
    resume: Any
    same_rank: bool
    batch_size: int
    drop_last: bool


@dataclass(frozen=True)
class Record:
    """A sample of a stream before it is decoded. file: its bytes, or what `EncodedStream.open` makes them of."""

    index: int
    name: str
    file: Any
    target: Any = None


class Reading(Protocol):
    """One pass over a stream, in one thread."""

    def __next__(self) -> Record: ...

    def place(self) -> Any:
        """Plain values from which a later pass begins after the sample given last; None if it must read all before that."""
        ...

    def close(self) -> None: ...


class Stream(Source, Protocol):
    """What every stream has; `len` raises TypeError if the length is not known."""

    encoded: bool
    divides: bool
    """Whether `begin` leaves out the samples of other ranks; otherwise the user's code must."""

    identity: Mapping[str, Any]
    """What a state in the middle of a pass says of the stream; another stream cannot go on with it."""


class EncodedStream(Stream, Protocol):
    """A stream of encoded files."""

    def begin(self, what: StreamPass) -> Reading: ...

    def open(self, file: Any) -> bytes: ...

    def collate(self, targets: Sequence[Any], collate: Collate) -> Any: ...


def is_stream(source: Source) -> TypeGuard[Stream]:
    return source.workers == "stream"


def is_encoded_stream(source: Source) -> TypeGuard[EncodedStream]:
    """Whether a source is a stream of files, which threads of this process decode."""
    return is_stream(source) and source.encoded


class Pass:
    """A `Reading` of a generator of records that can only be read from its start."""

    def __init__(self, records: Generator[Record, None, None], what: StreamPass) -> None:
        self.records = records
        self.left = what.start
        self.what = what

    def __next__(self) -> Record:
        while self.left:
            drop(self.records, self.what, self.what.start - self.left)
            self.left -= 1
        return next(self.records)

    def place(self) -> Any:
        return None

    def close(self) -> None:
        self.records.close()


def drop(records: Iterator[Any], what: StreamPass, before: int) -> None:
    """Read one sample that an earlier pass has delivered. Raises ValueError if there is none, StopIteration on another rank."""
    try:
        next(records)
    except StopIteration:
        if what.same_rank:
            raise ended_early(before, what.start) from None
        raise


def ended_early(samples: int, start: int) -> ValueError:
    return ValueError(
        f"DataLoader: the stream ended after {samples} samples, but the state was saved after {start} of them; the state fits "
        "only the stream that it was saved from, with the same order"
    )


def set_stream_epoch(stream: Any, epoch: int) -> None:
    """Tell a stream its epoch: by its `set_epoch`, and for a WebDataset pipeline in its stages that count their passes."""
    if callable(set_epoch := getattr(stream, "set_epoch", None)):
        set_epoch(epoch)
    for stage in getattr(stream, "pipeline", None) or [] if is_pipeline(stream) else []:
        if callable(set_epoch := getattr(stage, "set_epoch", None)):
            set_epoch(epoch)
        elif isinstance(getattr(stage, "epoch", None), int):
            stage.epoch = epoch - 1  # `detshuffle` and `ResampledShards` add 1 when a pass begins


def is_pipeline(given: Any) -> bool:
    """Whether an object is a pipeline of `webdataset`; judged by its name, so that the package need not be imported."""
    return any(f"{c.__module__}.{c.__qualname__}" == "webdataset.pipeline.DataPipeline" for c in type(given).__mro__)


def collate_classes(classes: Sequence[Any], collate: Collate) -> Any:
    """The target of integers, int64 (B,), or of rows with a number for each class, float32 (B, classes)."""
    if collate is collate_nothing:
        return None
    found = np.array(classes)
    return collate_targets(found.astype(np.int64 if found.ndim == 1 else np.float32), np.arange(len(found)), None, collate)
