"""A DALI pipeline from files to views, whose parameters are gpuaug's draws.

    files -> encoded -> decoder ------------------> views, each by the graph of the backend
                     -> sizes --> draws (Python) -> inputs of these graphs, and labels

The draws of a batch are made in one call of Python, which knows the number and the size of each picture before it is decoded.
They enter the graph as two vectors a picture and view, of integers and of floats: DALI copies every output of a Python function
picture by picture, so that 60 of them would take 30 ms for a batch of 256, and these take one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from nvidia.dali import fn, pipeline_def, types

from ...ops import Op, OpDraws
from ...ops.base import Array
from .crop import Feeds, Node
from .graph import compose, feeds_of, marked_in

Draw = Callable[[Array, int], Sequence[Sequence[OpDraws]]]
"""draw(samples, epoch) -> for each view, the draws of its steps for these samples."""

READER = "reader"
"""Name of the reader, which DALI's iterators ask for the number of files."""

SIDE = 1 << 15
"""Size of the picture from which the inputs of a graph are listed: large enough for any crop without padding."""

KINDS = {"integers": np.int32, "floats": np.float32}


class Place(NamedTuple):
    """Where an input of a graph is: in which vector, from which element, and its shape."""

    kind: str
    first: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Packing:
    """The inputs of a view's graph in a vector a kind. kinds: the vectors that there are."""

    places: dict[str, Place]
    kinds: tuple[str, ...]

    @classmethod
    def of(cls, feeds: Feeds) -> Packing:
        places: dict[str, Place] = {}
        width = dict.fromkeys(KINDS, 0)
        for name, value in feeds.items():
            kind = "floats" if value.dtype.kind == "f" else "integers"
            places[name] = Place(kind, width[kind], value.shape[1:])
            width[kind] += math.prod(value.shape[1:])
        return cls(places, tuple(kind for kind in KINDS if width[kind]))

    def vectors(self, feeds: Feeds) -> list[list[Array]]:
        """For each kind, a vector per picture."""
        columns: dict[str, list[Array]] = {kind: [] for kind in self.kinds}
        for name, place in self.places.items():
            columns[place.kind].append(feeds[name].reshape(len(feeds[name]), -1).astype(KINDS[place.kind]))
        return [list(np.concatenate(columns[kind], axis=1)) for kind in self.kinds]

    def node(self, name: str, vectors: Sequence[Node]) -> Node:
        """The graph's node of an input, from the nodes of the vectors."""
        kind, first, shape = self.places[name]
        vector = vectors[self.kinds.index(kind)]
        if not shape:
            return vector[first]
        part = vector[first : first + math.prod(shape)]
        return part if len(shape) == 1 else fn.reshape(part, shape=list(shape))


class Drawing:
    """Makes the inputs of a batch: called by DALI, a batch after the other, with the pictures' numbers and sizes.

    batches: batches in an epoch, of which the reader fills the last one up, so that the epoch follows from the number of calls.
    """

    def __init__(
        self, views: Sequence[Sequence[Op]], packings: Sequence[Packing], draw: Draw, labels: Array, batches: int, epoch: int
    ) -> None:
        self.views, self.packings, self.draw, self.labels = views, packings, draw, labels
        self.batches, self.calls = batches, epoch * batches

    def __call__(self, index: list[Array], shapes: list[Array]) -> tuple[list[Array], ...]:
        samples = np.concatenate(index).astype(np.int64)
        sizes = np.stack(shapes)[:, :2].astype(np.int64)
        tables = self.draw(samples, self.calls // self.batches)
        self.calls += 1
        out = [list(self.labels[samples][:, None])]
        for steps, packing, table in zip(self.views, self.packings, tables, strict=True):
            out += packing.vectors(feeds_of(steps, table, sizes)[0])
        return tuple(out)


@dataclass(frozen=True)
class Setting:
    """How a pipeline runs; see `gpuaug.dali_pipeline`. device_id: number of the GPU; None for the CPU or the current GPU."""

    batch_size: int
    device: str
    device_id: int | None
    half: Sequence[bool]
    seed: int
    epoch: int
    shard_id: int
    num_shards: int
    random_shuffle: bool
    num_threads: int
    prefetch_queue_depth: int


def pipeline(views: Sequence[Sequence[Op]], draw: Draw, files: list[str], labels: Array, setting: Setting) -> Any:
    """The pipeline of some views' steps: its outputs are the views, float32 or (where `half`) float16, and the labels."""
    tables = draw(np.zeros(1, np.int64), 0)
    inputs = [feeds_of(steps, table, np.full((1, 2), SIDE))[0] for steps, table in zip(views, tables, strict=True)]
    packings = [Packing.of(feeds) for feeds in inputs]
    marked = [marked_in(feeds, steps) for feeds, steps in zip(inputs, views, strict=True)]
    batches = math.ceil(math.ceil(len(files) / setting.num_shards) / setting.batch_size)
    drawing = Drawing(views, packings, draw, labels, batches, setting.epoch)

    def nodes() -> tuple[Node, ...]:
        encoded, index = fn.readers.file(
            files=files,
            labels=list(range(len(files))),
            name=READER,
            pad_last_batch=True,
            shard_id=setting.shard_id,
            num_shards=setting.num_shards,
            random_shuffle=setting.random_shuffle,
        )
        count = 1 + sum(len(packing.kinds) for packing in packings)
        shape = fn.peek_image_shape(encoded)
        drawn: Any = fn.python_function(index, shape, function=drawing, num_outputs=count, batch_processing=True)
        label, *vectors = drawn
        pixels = fn.decoders.image(encoded, device="mixed" if setting.device == "gpu" else "cpu", output_type=types.RGB)
        made = []
        for k, steps in enumerate(views):
            mine, vectors = vectors[: len(packings[k].kinds)], vectors[len(packings[k].kinds) :]
            view = compose(pixels, steps, marked[k], True, source_of(packings[k], mine))
            made.append(fn.cast(view, dtype=types.FLOAT16) if setting.half[k] else view)
        return *made, label

    return pipeline_def(nodes, enable_conditionals=True)(
        batch_size=setting.batch_size,
        num_threads=setting.num_threads,
        device_id=setting.device_id,
        seed=setting.seed,
        prefetch_queue_depth=setting.prefetch_queue_depth,
    )


def source_of(packing: Packing, vectors: Sequence[Node]) -> Callable[[str], Node]:
    return lambda name: packing.node(name, vectors)
