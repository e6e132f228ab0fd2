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
from .crop import CUTS, Feeds, Node, Source
from .same_size import MAPS, finish

CAPACITY = 64
"""Smallest capacity of a graph in images. A larger batch builds another graph, for the next power of two."""

KEPT = 16
"""How many graphs are cached, the most recently used: one per kind of view and capacity."""


def apply(batch: Batch, ops: Sequence[Op], draws: Sequence[OpDraws]) -> Batch:
    """Apply a run of steps in one graph; `gpuaug.backends.Batch` describes the shapes."""
    pixels = pixels_of(batch)
    device = pixels[0].device
    feeds, sizes = feeds_of(ops, draws, np.array([x.shape[:2] for x in pixels], dtype=np.int64))
    capacity = max(CAPACITY, 1 << (len(pixels) - 1).bit_length())
    key = Key(tuple(ops), marked_in(feeds, ops), isinstance(batch, Images), capacity, device)
    out = GRAPHS.find(key).run(pixels, feeds)
    same = bool((sizes == sizes[:1]).all())
    made = from_dlpack(out.as_tensor()) if same else [from_dlpack(out[k]) for k in range(len(pixels))]
    if device.type == "cpu":
        return made
    # In memory of torch, whose allocator knows which streams use a tensor: DALI reuses its own as soon as one stream is done.
    return made.clone() if isinstance(made, torch.Tensor) else [view.clone() for view in made]


Pixels = torch.Tensor | list[torch.Tensor]
"""Images (H, W, 3), uint8 or float32: in one tensor (B, H, W, 3) if they have one size, which DALI never copies."""


def pixels_of(batch: Batch) -> Pixels:
    """The images of a batch: uint8 ones share memory with it, float32 ones are copies."""
    if isinstance(batch, Images):
        return batch.buffer.view(len(batch), *batch.shapes[0].tolist(), 3) if batch.uniform else list(batch)
    if isinstance(batch, torch.Tensor):
        return batch.permute(0, 2, 3, 1).contiguous()
    return [image.permute(1, 2, 0).contiguous() for image in batch]


def feeds_of(ops: Sequence[Op], draws: Sequence[OpDraws], sizes: Array) -> tuple[Feeds, Array]:
    """The inputs of a run of steps, named "k name" for the k-th, and the sizes (B, 2) after it, from those before it."""
    feeds: Feeds = {}
    for k, (o, d) in enumerate(zip(ops, draws, strict=True)):
        if type(o) in CUTS:
            found, sizes = CUTS[type(o)][0](o, d, sizes)
        else:
            found = MAPS[type(o)][0](o, d, sizes)
            found |= {"apply": d["apply"]} if "apply" in d else {}
        feeds |= {f"{k} {name}": np.ascontiguousarray(value) for name, value in found.items()}
    return feeds, sizes


def marked_in(feeds: Feeds, ops: Sequence[Op]) -> tuple[bool, ...]:
    """Which ops apply to some images only."""
    return tuple(f"{k} apply" in feeds for k in range(len(ops)))


@dataclass(frozen=True)
class Key:
    """What a graph depends on. marked: which ops apply to some images only. process: DALI's threads do not survive a fork."""

    ops: tuple[Op, ...]
    marked: tuple[bool, ...]
    as_bytes: bool
    capacity: int
    device: torch.device
    threads: int = field(default_factory=torch.get_num_threads)
    process: int = field(default_factory=os.getpid)


def pipeline(key: Key) -> Any:
    """DALI's pipeline for a key, which is not built yet."""

    def nodes() -> Node:
        device = "cpu" if key.device.type == "cpu" else "gpu"
        x = fn.external_source(name="pixels", device=device, no_copy=True, layout="HWC")
        return compose(x, key.ops, key.marked, key.as_bytes, lambda name: fn.external_source(name=name))

    # Outputs of the dynamic executor own their memory; the older executor overwrites them with the next batch.
    make = pipeline_def(nodes, enable_conditionals=True, exec_dynamic=True, prefetch_queue_depth=1)
    return make(batch_size=key.capacity, num_threads=key.threads, device_id=key.device.index)


class Graph:
    """A built pipeline. Several threads may use it, one at a time."""

    def __init__(self, key: Key) -> None:
        self.lock = threading.Lock()
        self.pipe = pipeline(key)
        self.pipe.build()

    def run(self, pixels: Pixels, feeds: Feeds) -> Any:
        """Run the graph on images and one array per input; DALI's list of outputs owns its memory.

        On CUDA all work is ordered with the current stream: DALI reads the pixels after what is on it, and what comes after
        waits for the views. The host waits for neither.
        """
        given: Any = pixels
        stream = None
        if pixels[0].is_cuda:
            stream = torch.cuda.current_stream(pixels[0].device)
        else:  # for a tensor of torch, DALI would ask CUDA for its stream
            given = pixels.numpy() if isinstance(pixels, torch.Tensor) else [image.numpy() for image in pixels]
        with self.lock:
            self.pipe.feed_input("pixels", given, cuda_stream=stream)
            for name, value in feeds.items():
                self.pipe.feed_input(name, value)
            (out,) = self.pipe.run(stream)
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


def compose(x: Node, ops: Sequence[Op], marked: Sequence[bool], as_bytes: bool, source: Source) -> Node:
    """The part of a graph that applies a run of steps to images (H, W, 3), on the device that they are on.

    marked: which ops apply to some images only. as_bytes: whether pixels are uint8, or else float32 in [0, 1]. source: returns
    the node of each input that `feeds_of` names, which is on the CPU. Returns float32 (3, H, W).
    """
    unit = 255.0 if as_bytes else 1.0
    if as_bytes and type(ops[0]) not in CUTS:
        x, unit = x / unit, 1.0
    for k, o in enumerate(ops):
        last = k == len(ops) - 1
        feed = inputs_of(k, source)
        if type(o) in CUTS:
            x, unit = CUTS[type(o)][1](x, o, feed, unit), 1.0
        elif last and isinstance(o, op.Normalize) and not marked[k]:
            return finish(x, o.mean, o.std, "CHW")
        elif marked[k]:
            x = sometimes(x, o, feed)
        else:
            x = MAPS[type(o)][1](x, o, feed)
    return finish(x, (0.0,) * 3, (1.0,) * 3, "CHW")


def inputs_of(k: int, source: Source) -> Source:
    """The inputs of the k-th op."""
    return lambda name: source(f"{k} {name}")


def sometimes(x: Node, o: Op, feed: Source) -> Node:
    """Apply an op to the images that drew it. DALI turns the `if` into a split and a merge of the batch."""
    if feed("apply"):
        x = MAPS[type(o)][1](x, o, feed)
    return x
