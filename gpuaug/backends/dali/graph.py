"""One DALI graph for a run of steps, which is built once, cached, and run on draws and pixels.

Building SimCLR's takes about half a second. The pixels of a batch enter the graph without a copy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from nvidia.dali import fn, pipeline_def
from torch.utils.dlpack import from_dlpack

from ... import ops as op
from ...images import Images
from ...ops import Op, OpDraws
from ...ops.base import Array
from .. import Batch
from .crop import CUTS, Node, Source
from .same_size import MAPS, finish

CAPACITY = 64
"""Smallest capacity of a graph in images. A larger batch builds another graph, for the next power of two."""

KEPT = 16
"""How many graphs are cached, the most recently used: one per kind of view and capacity."""


def apply(batch: Batch, ops: Sequence[Op], draws: Sequence[OpDraws]) -> Batch:
    """Apply a run of steps in one graph; `gpuaug.backends.Batch` describes the shapes."""
    pixels = arrays(batch)
    feeds: dict[str, Any] = {}
    sizes = np.array([x.shape[:2] for x in pixels], dtype=np.int64)
    for k, (o, d) in enumerate(zip(ops, draws, strict=True)):
        if type(o) in CUTS:
            found, sizes = CUTS[type(o)][0](o, d, sizes)
        else:
            found = MAPS[type(o)][0](o, d, sizes)
        feeds |= {f"{k} {name}": dense(value) for name, value in found.items()}
        if "apply" in d and type(o) in MAPS:
            feeds[f"{k} apply"] = dense(d["apply"])
    marked = tuple(f"{k} apply" in feeds for k in range(len(ops)))
    capacity = max(CAPACITY, 1 << (len(pixels) - 1).bit_length())
    out = GRAPHS.find(Key(tuple(ops), marked, isinstance(batch, Images), capacity)).run({"pixels": pixels, **feeds})
    same = bool((sizes == sizes[:1]).all())
    return from_dlpack(out.as_tensor()) if same else [from_dlpack(out[k]) for k in range(len(pixels))]


def arrays(batch: Batch) -> list[Array]:
    """Images (H, W, 3): uint8 ones share memory with the batch, float32 ones are copies."""
    if isinstance(batch, Images):
        return [image.numpy() for image in batch]
    return [image.permute(1, 2, 0).contiguous().numpy() for image in batch]


def dense(value: Any) -> Any:
    """An input as DALI needs it: contiguous in memory."""
    return np.ascontiguousarray(value) if isinstance(value, np.ndarray) else [np.ascontiguousarray(row) for row in value]


@dataclass(frozen=True)
class Key:
    """What a graph depends on. marked: which ops apply to some images only. process: DALI's threads do not survive a fork."""

    ops: tuple[Op, ...]
    marked: tuple[bool, ...]
    as_bytes: bool
    capacity: int
    threads: int = field(default_factory=torch.get_num_threads)
    process: int = field(default_factory=os.getpid)


class Graph:
    """A built pipeline. Several threads may use it, one at a time."""

    def __init__(self, key: Key) -> None:
        self.lock = threading.Lock()

        def nodes() -> Node:
            return compose(key.ops, key.marked, key.as_bytes)

        make = pipeline_def(
            nodes,
            enable_conditionals=True,
            exec_dynamic=True,  # outputs own their memory; the older executor overwrites them with the next batch
            exec_async=False,
            exec_pipelined=False,
            prefetch_queue_depth=1,
        )
        self.pipe: Any = make(batch_size=key.capacity, num_threads=key.threads, device_id=None)
        self.pipe.build()

    def run(self, feeds: dict[str, Any]) -> Any:
        """Run the graph on one array, or one list of arrays, per input; DALI's list of outputs owns its memory."""
        with self.lock:
            for name, value in feeds.items():
                self.pipe.feed_input(name, value)
            (out,) = self.pipe.run()
            return out


class Graphs:
    """The most recently used graphs.

    Those inherited from a parent process are never dropped: closing one would wait for threads that do not exist in the child.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.found: dict[Key, Graph] = {}

    def find(self, key: Key) -> Graph:
        with self.lock:
            self.found[key] = graph = self.found.pop(key, None) or Graph(key)
            mine = [other for other in self.found if other.process == key.process]
            for oldest in mine[:-KEPT]:
                del self.found[oldest]
            return graph


GRAPHS = Graphs()


def compose(ops: tuple[Op, ...], marked: tuple[bool, ...], as_bytes: bool) -> Node:
    x = fn.external_source(name="pixels", no_copy=True, layout="HWC")
    unit = 255.0 if as_bytes else 1.0
    if as_bytes and type(ops[0]) not in CUTS:
        x, unit = x / unit, 1.0
    for k, o in enumerate(ops):
        last = k == len(ops) - 1
        if type(o) in CUTS:
            x, unit = CUTS[type(o)][1](x, o, inputs_of(k), unit), 1.0
        elif last and isinstance(o, op.Normalize) and not marked[k]:
            return finish(x, o.mean, o.std, "CHW")
        elif marked[k]:
            x = sometimes(x, o, inputs_of(k))
        else:
            x = MAPS[type(o)][1](x, o, inputs_of(k))
    return finish(x, (0.0,) * 3, (1.0,) * 3, "CHW")


def inputs_of(k: int) -> Source:
    """The inputs of the k-th op."""
    return lambda name: fn.external_source(name=f"{k} {name}")


def sometimes(x: Node, o: Op, feed: Source) -> Node:
    """Apply an op to the images that drew it. DALI turns the `if` into a split and a merge of the batch."""
    if feed("apply"):
        x = MAPS[type(o)][1](x, o, feed)
    return x
