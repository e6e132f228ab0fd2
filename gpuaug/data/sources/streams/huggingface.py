"""Hugging Face data sets that are streamed: their image files, which gpuaug decodes in threads."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from importlib import import_module
from itertools import count, islice
from typing import Any

import numpy as np

from ....images import as_rgb
from ...targets import Collate
from ..huggingface import (
    IMAGES,
    LABELS,
    choose_column,
    file_in,
    fits_any,
    inner,
    is_bytes,
    is_string,
    refuse_splits,
    undecoded,
)
from . import Pass, Reading, Record, StreamPass, collate_classes, ended_early

IN_TURN = {
    *("ArrowExamplesIterable", "ExamplesIterable", "FilteredExamplesIterable", "FormattedExamplesIterable"),
    *("MappedExamplesIterable", "RebatchedArrowExamplesIterable", "SelectColumnsIterable", "TypedExamplesIterable"),
}
"""Steps of a stream, by class of `datasets`, that keep the shards apart and one after another."""

SHUFFLED = {"BufferShuffledExamplesIterable", "InterleavedShardsExamplesIterable"}
"""Steps that mix the samples of the shards, but leave none out when only some of the shards are read."""

OFFSET_BITS = 28
"""An index is shard x 2^28 + offset, below the 2^48 that the draws take: up to 1,048,576 shards of 268 million samples."""


class HuggingFaceStream:
    """The images and labels of a `datasets.IterableDataset`, in its order; its format is not used.

    The columns are chosen as by `HuggingFaceSource`. A sample's index is (shard, offset), packed as shard x 2^28 + offset, if
    the stream reads its shards one after another. After `shuffle`, `take`, `skip`, `interleave_datasets` and the like it is the
    position in the stream. Before each pass the stream is told its epoch, by `set_epoch`.

    Ranks read different shards if there are at least as many shards as ranks, and otherwise take turns along the stream. A data
    set from `split_dataset_by_node` is divided already.

    Args:
        dataset: A `datasets.IterableDataset`, which is not changed.
        image: Name of the image column, as for `HuggingFaceSource`.
        label: Name of the label column, as for `HuggingFaceSource`, but not of strings.
        labelled: None takes labels if a column fits or `label` names one; False takes none; True needs them.

    Attributes:
        classes: Names of the classes, if the label column is a `ClassLabel` or a list of these.
        label: Name of the label column in use, or None.
        shards: Number of shards that are read one after another; None if the index is the position.

    Raises:
        TypeError: For a dictionary of splits.
        ValueError: The columns are unknown, as after `map` without `features=`; no column fits or several do; or labels are
            strings.
    """

    workers = "stream"
    encoded = True
    divides = True

    def __init__(self, dataset: Any, image: str | None = None, label: str | None = None, labelled: bool | None = None) -> None:
        refuse_splits(dataset)
        self.kind, maker = type(dataset).__name__, "HuggingFaceStream"
        features = dataset.features
        if features is None:
            raise ValueError(
                f"DataLoader: the columns of the {self.kind} are not known; give them where it is made, such as "
                "dataset.map(..., features=...), or by dataset.cast(features)"
            )
        self.image = choose_column("image", image, features, IMAGES, (is_bytes, is_string), maker)
        self.label: str | None = None
        self.classes: list[str] = []
        self.rows = False
        if labelled or (labelled is None and (label is not None or any(fits_any(key, features[key]) for key in features))):
            self.label = choose_column("label", label, features, LABELS, (is_string,), maker)
            feature = features[self.label]
            if is_string(self.label, feature):
                raise ValueError(
                    f"{maker}: column {self.label!r} holds strings, which have no numbers before a stream's end; use "
                    f"dataset.cast_column({self.label!r}, datasets.ClassLabel(names=[...])), name another column by label=, or "
                    "give the loader labels=False"
                )
            self.rows = inner(feature) is not None
            self.classes = list(getattr(inner(feature) or feature, "names", None) or [])
        self.labelled = self.label is not None
        chain = steps(getattr(dataset, "_ex_iterable", None))
        split = getattr(dataset, "_distributed", None)
        self.split = None if split is None else (int(split.rank), int(split.world_size))
        total = int(getattr(dataset, "num_shards", 1))
        known = split is None and hasattr(dataset, "shard") and chain <= IN_TURN | SHUFFLED
        self.divisible = total if known else 1
        self.shards = total if known and chain <= IN_TURN and total < 2**20 else None
        self.identity = {"kind": "Hugging Face", "shards": total}
        columns = [self.image] if self.label is None else [self.image, self.label]
        self.columns = columns
        self.files = dataset.with_format(None).select_columns(columns).cast_column(self.image, undecoded())

    def __len__(self) -> int:
        raise TypeError(f"DataLoader: a stream of {self.kind} has no length, so the loader has none either")

    def name(self, i: int) -> str:
        if self.shards is None:
            return f"example {i} of the {self.kind}, column {self.image}"
        shard, offset = divmod(i, 2**OFFSET_BITS)
        return f"example {offset} of shard {shard} of the {self.kind}, column {self.image}"

    def begin(self, what: StreamPass) -> Reading:
        return Pass(by_position(self, what), what) if self.shards is None else ShardReading(self, what)

    def record(self, index: int, example: dict[str, Any]) -> Record:
        return Record(index, self.name(index), example[self.image], self.target(example))

    def target(self, example: dict[str, Any]) -> Any:
        """The class of an example, -1 for None, or a row with 1 for each of its classes."""
        if self.label is None:
            return None
        value = example[self.label]
        if not self.rows:
            return -1 if value is None else int(value)
        row = np.zeros(len(self.classes), np.float32)
        row[[k for k in value or () if k is not None and k >= 0]] = 1
        return row

    def open(self, file: Any) -> bytes:
        """The image file in a cell, or at the path or URL in it. What a step has decoded already becomes a PPM."""
        if isinstance(file, dict) or file is None:
            return file_in(file)
        if isinstance(file, bytes):
            return file
        pixels = as_rgb(file)
        return b"P6\n%d %d\n255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes()

    def collate(self, targets: Sequence[Any], collate: Collate) -> Any:
        return collate_classes(targets, collate) if self.labelled else None

    def __repr__(self) -> str:
        labels = f"label {self.label!r}" if self.labelled else "no labels"
        return f"HuggingFaceStream({self.kind}, image {self.image!r}, {labels})"


class ShardReading:
    """A pass that reads shards one after another, in the order that the stream has in this epoch.

    at: place, in this rank's order of shards, of the shard that is read. offset: samples of it that have been read. position:
    samples of all shards before the next one.
    """

    def __init__(self, source: HuggingFaceStream, what: StreamPass) -> None:
        self.source, self.what = source, what
        shards = source.shards or 1
        dealt = shards >= what.world_size
        order = shard_order(shards, what.epoch)
        self.order = order[what.rank :: what.world_size] if dealt else order
        self.step, self.turn = (1, 0) if dealt else (what.world_size, what.rank)
        self.at = self.offset = self.position = self.given = 0
        self.state: Any = None
        if what.resume is not None:
            self.at, self.offset, self.position = (int(what.resume[key]) for key in ("at", "offset", "position"))
            self.state, self.given = what.resume["state"], what.start
        self.shard: Any = None
        self.examples: Iterator[dict[str, Any]] | None = None

    def __next__(self) -> Record:
        while True:
            index, example = self.following()
            mine = self.position % self.step == self.turn
            self.position += 1
            self.given += mine
            if mine and self.given > self.what.start:
                return self.source.record(index, example)

    def following(self) -> tuple[int, dict[str, Any]]:
        """Index and columns of the next example of any rank."""
        while self.at < len(self.order):
            if self.examples is None:
                self.shard = self.source.files.shard(self.source.shards, self.order[self.at])
                if self.state is not None:
                    self.shard.load_state_dict(self.state)
                    self.state = None
                self.examples = iter(self.shard)
            example = next(self.examples, None)
            if example is not None:
                self.offset += 1
                return (self.order[self.at] << OFFSET_BITS) + self.offset - 1, example
            self.close()
            self.at, self.offset = self.at + 1, 0
        if self.given < self.what.start and self.what.same_rank:
            raise ended_early(self.given, self.what.start)
        raise StopIteration

    def place(self) -> Any:
        if self.shard is None:
            return {"at": self.at, "offset": 0, "position": self.position, "state": None}
        return {"at": self.at, "offset": self.offset, "position": self.position, "state": self.shard.state_dict()}

    def close(self) -> None:
        if self.examples is not None and hasattr(self.examples, "close"):
            self.examples.close()
        self.shard = self.examples = None


def by_position(source: HuggingFaceStream, what: StreamPass) -> Generator[Record, None, None]:
    """The samples of a rank from a stream as it is, with their positions in the whole, or from the rank's shards of it."""
    rank, ranks = source.split or (what.rank, what.world_size)
    stream = source.files.select_columns(source.columns)  # another object, since each keeps the state of one pass
    dealt = source.split is not None or source.divisible >= ranks
    if source.split is None and dealt and ranks > 1:
        stream = stream.shard(ranks, rank, contiguous=False)
    stream.set_epoch(what.epoch)
    examples = iter(stream) if dealt else islice(iter(stream), rank, None, ranks)
    for index, example in zip(count(rank, ranks), examples, strict=False):
        yield source.record(index, example)


def steps(iterable: Any) -> set[str]:
    """The classes of the steps of a stream, the marked ones among them if they count or join samples across shards."""
    found = {"unknown"} if iterable is None else set()
    while iterable is not None:
        across = getattr(iterable, "with_indices", False) or getattr(iterable, "batched", False)
        found.add(type(iterable).__name__ + " across shards" * bool(across))
        iterable = getattr(iterable, "ex_iterable", None)
    return found


def shard_order(shards: int, epoch: int) -> list[int]:
    """The order in which `datasets` reads the shards in an epoch, told by a stream of their numbers."""
    if not epoch or shards == 1:
        return list(range(shards))
    probe = import_module("datasets").IterableDataset.from_generator(numbers, gen_kwargs={"shards": list(range(shards))})
    probe.set_epoch(epoch)
    return [row["shard"] for row in probe]


def numbers(shards: list[int]) -> Iterator[dict[str, int]]:
    for shard in shards:
        yield {"shard": shard}
