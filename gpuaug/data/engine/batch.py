"""Reading a batch or a part of it, in any thread or process; bad samples are handled where they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from time import perf_counter
from typing import Any, Protocol, TypeVar, overload

import numpy as np
import torch

from ...images import Images
from ...memory import trim
from ...sampling import Draws
from ..decoders.large import group_by_memory
from ..decoders.pillow import Pixels, memory_for
from ..decoders.regions import Boxes, Decoded, Decoder, DrawnRegions, Frame, Region, Waiting
from ..decoders.scaled import ScaledDecoder
from ..decoders.staging import Place, StagedBatch, Staging
from ..sources import Encoded, Index, Loaded, Reader, collate_samples, is_itemized
from ..sources.remote.retries import RemoteError
from ..targets import Collate, collate_by_torch
from .bad_samples import BadSample, GoodSamples, OnError, read_good
from .stats import Stamp
from .view_maker import ViewMaker

T = TypeVar("T")


@dataclass(frozen=True)
class DecodedBatch:
    """A decoded batch on the host.

    Attributes:
        index: Sample indices (B,).
        images: Pixels.
        target: The collated targets; None without labels.
        asked: Number of samples that the order named.
        bad: Those of them that could not be read.
        read: Seconds, summed over workers; a Dataset's own code counts as read.
        decode: Seconds, summed over workers.
        frames: The frame and scale of each `Region`, (B, 5), if images are parts of pictures.
        views: The views, if the thread that decoded the pixels has already made them; it has then dropped the pixels.
        augment: Seconds that the views took, summed over workers; 0 without `views`.
        staged: Memory of the pictures, if they are on their way to a device; `images` is then empty.
        places: Where each picture lies in it.
        began: When the device was given files to decode; None if it was given none.
        shapes: Height and width of each picture, (B, 2), if the pixels have been dropped.
        resume: From where a pass over a stream goes on after this batch, if the stream tells.
    """

    index: Index
    images: Images
    target: Any
    asked: int
    bad: tuple[BadSample, ...] = ()
    read: float = 0.0
    decode: float = 0.0
    frames: Boxes | None = None
    views: list[torch.Tensor] | None = None
    augment: float = 0.0
    staged: StagedBatch | None = None
    places: Sequence[Place] = ()
    began: Stamp | None = None
    shapes: Boxes | None = None
    resume: Any = None

    @property
    def picture_shapes(self) -> Boxes:
        """Height and width of each whole picture, (B, 2) int32."""
        if self.shapes is not None:
            return self.shapes
        if self.frames is not None:
            return self.frames[:, 2:4]
        if self.staged is not None:
            return np.array([one.shape for one in self.places], np.int32).reshape(-1, 2)
        return self.images.shapes


@dataclass(frozen=True)
class FetchConfig:
    """How an epoch's batches are fetched.

    Attributes:
        workers: Number of threads or processes.
        ahead: Batches in preparation at a time.
        timeout: Seconds to wait for a batch.
        seed: Seed of the worker processes.
        decode: Decodes files.
        on_error: What to do with bad samples.
        maker: Makes the views.
        decode_regions: Whether to decode only the part of a picture that the views read.
        make_views: Whether the thread that decodes pixels makes their views at once.
        worker_init_fn: The user's function, called in each worker process.
        context: The user's multiprocessing_context.
        collate: Makes one target of the list of a batch's targets.
        staging: Memory for decoded pictures on their way to a device, if they go to one.
    """

    workers: int
    ahead: int
    timeout: float
    seed: int
    decode: Decoder
    on_error: OnError
    maker: ViewMaker
    decode_regions: bool
    make_views: bool
    worker_init_fn: Callable[[int], None] | None = None
    context: Any = None
    collate: Collate = collate_by_torch
    staging: Staging | None = None

    def staged(self) -> StagedBatch | None:
        """Memory for the pictures of the next batch."""
        return StagedBatch(self.staging) if self.staging else None


class Fetcher(Protocol):
    def __iter__(self) -> Iterator[DecodedBatch]: ...

    def __next__(self) -> DecodedBatch: ...

    def close(self) -> None: ...


def load_batch(source: Loaded, index: Index, on_error: OnError, collate: Collate = collate_by_torch) -> DecodedBatch:
    """A batch of a source of pixels; read sample by sample if bad samples are to be skipped or replaced."""
    began = perf_counter()
    if on_error.mode == "raise" or not is_itemized(source):
        images, target = source.load(index, collate)
        return DecodedBatch(index, images, target, len(index), read=perf_counter() - began)

    def read(samples: Sequence[int]) -> list[tuple[Pixels, Any] | OSError]:
        return [try_read(source.item, i) for i in samples]

    found = read_good(index.tolist(), read, source.name, on_error)
    images, target = collate_samples(found.items, found.index, collate, source.name)
    kept = np.array(found.index, dtype=np.int64)
    return DecodedBatch(kept, images, target, len(index), tuple(found.bad), perf_counter() - began)


def try_read(read: Callable[[int], T], i: int) -> T | OSError:
    """What `read` returns, or its OSError, which makes sample i a bad one. A silent server says nothing of the sample."""
    try:
        return read(i)
    except RemoteError:
        raise
    except OSError as error:
        return error


@dataclass(frozen=True)
class Sent:
    """A picture that has been placed in a batch's memory. frame, scale: as in `Region`."""

    place: Place
    frame: Frame
    scale: int = 1


@dataclass(frozen=True)
class DecodedPart:
    """Some samples of a batch as one thread has read them; without pixels if it has already made their views.

    Attributes:
        index: Samples that were read.
        pixels: Their pictures or regions; where these are, if they are on their way to a device; or files that it shall decode.
        bad: Samples that could not be read.
        asked: Number of samples that the order named.
        read: Seconds.
        decode: Seconds.
        augment: Seconds.
        shapes: Height and width of each picture whose view has been made.
    """

    index: list[int]
    pixels: list[Decoded | Sent]
    bad: list[BadSample]
    asked: int
    read: float
    decode: float
    augment: float = 0.0
    shapes: Sequence[Boxes] = ()


def read_part(
    source: Encoded | Reader,
    index: Index,
    config: FetchConfig,
    out: Sequence[torch.Tensor] | None = None,
    staged: StagedBatch | None = None,
) -> DecodedPart:
    """Read and decode some samples of a batch, replacements of bad ones included.

    out: where to write the views, if they are made here too. The pixels are then still in the CPU's cache, and are never copied
    into a batch. staged: where to copy the pictures, if they go to a device.
    """
    spent = [0.0, 0.0]
    asked = index.tolist()

    @cache
    def draws(samples: tuple[int, ...]) -> Draws:
        return config.maker.draws(samples)

    def regional(samples: tuple[int, ...]) -> DrawnRegions:
        return DrawnRegions(lambda: draws(samples))

    files: dict[int, bytes | OSError] = {}

    def read(i: int) -> bytes | OSError:
        began = perf_counter()
        found = files.pop(i) if i in files else try_read(source.read, i)
        spent[0] += perf_counter() - began
        return found

    def pixels(samples: Sequence[int]) -> list[Decoded | Sent | OSError]:
        found = [read(i) for i in samples]
        began = perf_counter()
        files_read = [(data, i) for data, i in zip(found, samples, strict=True) if not isinstance(data, OSError)]
        datas, names = [data for data, _ in files_read], Names(source, [i for _, i in files_read])
        region = regional(tuple(i for _, i in files_read)) if config.decode_regions else None
        decoded = iter(config.decode(datas, names, region))
        pictures: list[Decoded | Sent | OSError] = []
        for data in found:
            one: Decoded | OSError = data if isinstance(data, OSError) else next(decoded)
            pictures.append(one if staged is None or isinstance(one, (OSError, Waiting)) else place(one, staged))
        spent[1] += perf_counter() - began
        return pictures

    if out is None:
        found: GoodSamples[Decoded | Sent] = read_good(asked, pixels, source.name, config.on_error)
        return DecodedPart(found.index, found.items, found.bad, len(asked), spent[0], spent[1])
    files = {i: read(i) for i in asked}
    kept: list[int] = []
    bad: list[BadSample] = []
    shapes: list[Boxes] = []
    augment = 0.0

    def augment_group(group: Sequence[int]) -> float:
        """Make the views of some samples, drop their pixels, and return the seconds that this took."""
        found: GoodSamples[Any] = read_good(group, pixels, source.name, config.on_error)
        began = perf_counter()
        if found.index:
            images, frames = to_images(found.items)
            rows = [view[len(kept) : len(kept) + len(images)] for view in out]
            config.maker.views(images, draws(tuple(found.index)), frames, rows)
            shapes.append(images.shapes if frames is None else frames[:, 2:4])
        kept.extend(found.index)
        bad.extend(found.bad)
        return perf_counter() - began

    def held(k: int, data: bytes) -> int:
        assert isinstance(config.decode, ScaledDecoder)
        return config.decode.held(regional(tuple(asked)).take([k]), data)

    scaled = isinstance(config.decode, ScaledDecoder) and config.decode_regions
    # All groups first: `read` removes files, and a sampler may name a sample twice.
    for group, size in list(group_by_memory(asked, files, held if scaled else None)):
        with memory_for(size):
            augment += augment_group(group)
            if size:
                trim()  # or malloc would keep the memory of the large picture for this thread
    return DecodedPart(kept, [], bad, len(asked), spent[0], spent[1], augment, shapes)


class Names(Sequence[str]):
    """The names of some samples, made when they are asked for: only errors need them."""

    def __init__(self, source: Encoded | Reader, samples: Sequence[int]) -> None:
        self.source = source
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, k: int) -> str: ...
    @overload
    def __getitem__(self, k: slice) -> Names: ...
    def __getitem__(self, k: int | slice) -> str | Names:
        return Names(self.source, self.samples[k]) if isinstance(k, slice) else self.source.name(self.samples[k])


def place(item: Pixels | Region | Sent, staged: StagedBatch) -> Sent:
    """Copy a picture to the memory of its batch, unless it is there already."""
    if isinstance(item, Sent):
        return item
    pixels = item.pixels if isinstance(item, Region) else item
    height, width = pixels.shape[:2]
    if isinstance(item, Region):
        return Sent(staged.place(pixels), item.frame, item.scale)
    return Sent(staged.place(pixels), (0, 0, height, width))


def to_images(items: Sequence[Any]) -> tuple[Images, Boxes | None]:
    """Pictures and `Region`s as a batch, and the frame and scale of each, (B, 5), if any of them is a region."""
    images = in_one_buffer([item.pixels if isinstance(item, Region) else item for item in items])
    if not any(isinstance(item, Region) for item in items):
        return images, None
    frames = [(*item.frame, item.scale) if isinstance(item, Region) else (0, 0, *item.shape[:2], 1) for item in items]
    return images, np.array(frames, np.int32)


def in_one_buffer(pixels: Sequence[Pixels]) -> Images:
    """Pictures as a batch; without a copy if all lie in one array, as those that DALI has decoded do."""
    if len(pixels) == 1 and pixels[0].flags.writeable:  # PIL's arrays are read-only, which torch warns of
        return Images(torch.from_numpy(pixels[0].reshape(-1)), np.array([pixels[0].shape[:2]], np.int32))
    table = pixels[0].base if pixels else None
    if not isinstance(table, np.ndarray) or table.ndim > 1 or any(one.base is not table for one in pixels):
        return Images.from_list(pixels)
    starts = np.array([one.__array_interface__["data"][0] for one in pixels], np.int64) - table.ctypes.data
    return Images(torch.from_numpy(table), np.array([one.shape[:2] for one in pixels], np.int32), starts)
