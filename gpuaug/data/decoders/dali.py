"""Decoding by NVIDIA DALI: plain JPEGs go through its pipeline in batches, all other files through `decode`.

On the CPU both use libjpeg-turbo, and the pixels are the same to the last bit (docs/data.md has the figures).
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch.utils.dlpack import from_dlpack

from ...backends import findable, how_to_install
from ...images import Images
from .jpeg_header import plain_size
from .pillow import MAX_PIXELS, DecodeError, Pixels, try_decode
from .regions import Boxes, Region, Regional

MIN_CAPACITY = 64
"""Smallest batch size that a pipeline is built for; a larger batch rebuilds it, in about 20 ms."""


def whole_blocks(boxes: Boxes, shapes: Boxes) -> Boxes:
    """Boxes (B, 4) widened to whole blocks of 16 columns, since libjpeg-turbo upsamples a lone column differently."""
    left = boxes[:, 1] // 16 * 16
    right = np.minimum(-(-(boxes[:, 1] + boxes[:, 3]) // 16) * 16, shapes[:, 1])
    return np.stack([boxes[:, 0], left, boxes[:, 2], right - left], axis=1)


def as_tensor(out: Any) -> tuple[torch.Tensor, Boxes]:
    """DALI's list of pictures as one flat tensor, and their (height, width), (B, 2). On a GPU the current stream may read it.

    Nothing is copied and the host does not wait, unless the pictures do not follow each other in memory.
    """
    shapes = np.array(out.shape(), dtype=np.int64).reshape(-1, 3)
    try:
        flat = from_dlpack(out.as_reshaped_tensor([int(shapes.prod(axis=1).sum())]))
    except RuntimeError:  # DALI: "as_tensor is not supported when ... not contiguous"
        flat = torch.cat([from_dlpack(out[k]).reshape(-1) for k in range(len(shapes))])
    return flat, shapes[:, :2].astype(np.int32)


NOT_OF_A_FILE = re.compile(r"out of memory|alloc|CUDA (driver|runtime) (API )?error|cudaError|CUDA_ERROR", re.IGNORECASE)
"""Errors of DALI that say nothing about the files: memory that is exhausted, or a device that failed."""

ABANDONED: list[Any] = []
"""Pipelines of the parent process, kept in a fork because ending them would wait for threads that do not exist here."""


class DaliDecoder:
    """Decodes batches of encoded files, with the same pixels and the same errors as `decode`.

    Any thread may call it; calls wait for each other. A process that is forked after the first batch needs its own decoder.
    Pixels stay valid as long as they are referenced.

    Args:
        threads: DALI's threads, which share a batch.
        device: "cpu", or "mixed" for nvJPEG on the current CUDA device and stream, whose rounding differs. The mixed path has
            not been run on a GPU yet.
        hw_decoder_load: Share of the files, 0..1, that goes to the GPU's hardware decoder if it has one.
        max_pixels: Largest number of pixels in a picture.

    Raises:
        ImportError: DALI is not installed.
        ValueError: An option is out of its range.
    """

    def __init__(
        self, threads: int = 1, device: str = "cpu", hw_decoder_load: float = 0.65, max_pixels: int = MAX_PIXELS
    ) -> None:
        if threads < 1:
            raise ValueError(f"DaliDecoder: threads must be at least 1, got {threads}")
        if device not in ("cpu", "mixed"):
            raise ValueError(f'DaliDecoder: device must be "cpu" or "mixed", got {device!r}')
        if not 0 <= hw_decoder_load <= 1:
            raise ValueError(f"DaliDecoder: hw_decoder_load must be in [0, 1], got {hw_decoder_load}")
        if not findable("nvidia.dali"):
            raise ImportError(f"DaliDecoder needs DALI; {how_to_install('nvidia.dali')}")
        self.threads = threads
        self.device = device
        self.hw_decoder_load = hw_decoder_load
        self.max_pixels = max_pixels
        self.lock = threading.Lock()
        self.owner = os.getpid()
        self.pipe: Any = None
        self.regional = False

    def decode_batch(
        self, datas: Sequence[bytes], names: Sequence[str], regional: Regional | None = None
    ) -> list[Pixels | Region | DecodeError]:
        """Decode files to pixels on the host.

        Args:
            datas: Contents of the files.
            names: Names of the files, for errors.
            regional: Tells which region of each picture will be read. Files that DALI decodes then give a `Region` that
                contains it.

        Returns:
            For each file, in order, its picture, uint8 (H, W, 3), or its DecodeError, which is not raised.
        """
        where, batch, frames = self.run(datas, regional)
        flat = batch.buffer.cpu().numpy()
        pixels: list[Any] = [
            flat[start : start + size].reshape(*shape, 3)
            for start, size, shape in zip(batch.offsets.tolist(), batch.sizes.tolist(), batch.shapes.tolist(), strict=True)
        ]
        if frames is not None:
            pixels = [Region(one, tuple(frame)) for one, frame in zip(pixels, frames.tolist(), strict=True)]
        done = dict(zip(where, pixels, strict=True))
        return [
            done[k] if k in done else try_decode(data, name, self.max_pixels)
            for k, (data, name) in enumerate(zip(datas, names, strict=True))
        ]

    def images(self, datas: Sequence[bytes], names: Sequence[str]) -> Images:
        """Decode files into one batch, without a copy if all of them are plain JPEGs.

        Args:
            datas: Contents of the files.
            names: Names of the files, for errors.

        Returns:
            The pictures, on the host, or on the GPU if `device` is "mixed".

        Raises:
            DecodeError: The error of the first file that cannot be decoded.
        """
        where, batch, _ = self.run(datas)
        if len(where) == len(datas):
            return batch
        done: dict[int, Any] = {k: image.cpu().numpy() for k, image in zip(where, batch, strict=True)}
        found = [done[k] if k in done else try_decode(datas[k], name, self.max_pixels) for k, name in enumerate(names)]
        for image in found:
            if isinstance(image, DecodeError):
                raise image
        return Images.from_list(found).to(batch.device)

    def run(self, datas: Sequence[bytes], regional: Regional | None = None) -> tuple[list[int], Images, Boxes | None]:
        """The positions of the files that DALI has decoded, their pixels, and the frames of regions.

        If one file is damaged, DALI gives up on the whole batch; the result is then empty, and Pillow decodes all of them.
        """
        sizes = {k: size for k, data in enumerate(datas) if (size := plain_size(data, self.max_pixels))}
        where, wholes = list(sizes), np.array(list(sizes.values()), np.int32)
        boxes = whole_blocks(regional(where, wholes), wholes) if regional and where else None
        with self.lock:
            if not where or (out := self.outputs([np.frombuffer(datas[k], np.uint8) for k in where], boxes)) is None:
                return [], Images(torch.empty(0, dtype=torch.uint8, device="cpu"), np.empty((0, 2), np.int32)), None
        flat, shapes = as_tensor(out)
        frames = None if boxes is None else np.concatenate([boxes[:, :2], wholes], axis=1)
        return where, Images(flat, shapes), frames

    def outputs(self, files: list[Pixels], boxes: Boxes | None) -> Any:
        """DALI's list of pictures for a list of files; None if it fails. boxes: the region of each to decode."""
        if self.pipe is not None and self.owner != os.getpid():
            raise RuntimeError("DaliDecoder: its threads do not exist in this forked process; make a decoder in each process")
        regional = boxes is not None
        if self.pipe is None or self.pipe.max_batch_size < len(files) or self.regional != regional:
            self.pipe, self.regional = self.build(max(MIN_CAPACITY, len(files)), regional), regional
        try:
            self.pipe.feed_input("files", files)
            if boxes is not None:
                self.pipe.feed_input("start", np.ascontiguousarray(boxes[:, :2]))
                self.pipe.feed_input("shape", np.ascontiguousarray(boxes[:, 2:]))
            (out,) = self.pipe.run(torch.cuda.current_stream() if self.device == "mixed" else None)
        except RuntimeError as error:
            self.pipe = None  # DALI: "Current pipeline object is no longer valid."
            if NOT_OF_A_FILE.search(str(error)):
                raise
            return None
        return out

    def build(self, capacity: int, regional: bool) -> Any:
        """A pipeline for up to `capacity` files, which decodes regions or whole pictures."""
        self.owner = os.getpid()
        pipe = self.graph(capacity, regional, torch.cuda.current_device() if self.device == "mixed" else None)
        pipe.build()
        return pipe

    def graph(self, capacity: int, regional: bool, device_id: int | None) -> Any:
        """The pipeline before it is built, which needs the device."""
        fn = import_module("nvidia.dali.fn")
        pipe = import_module("nvidia.dali.pipeline").Pipeline(
            batch_size=capacity,
            num_threads=self.threads,
            device_id=device_id,
            prefetch_queue_depth=1,  # one batch in, one batch out
            exec_async=False,
            exec_pipelined=False,
            exec_dynamic=True,  # its outputs own their memory; the older executor overwrites them with the next batch
        )
        options: dict[str, Any] = {"device": self.device, "adjust_orientation": False}
        if self.device == "mixed":  # colour is upsampled as on the CPU
            options |= {"hw_decoder_load": self.hw_decoder_load, "jpeg_fancy_upsampling": True}
        with pipe:
            files = fn.external_source(name="files")
            if regional:
                start, shape = (fn.external_source(name=name) for name in ("start", "shape"))
                out = fn.decoders.image_slice(files, start=start, shape=shape, axis_names="HW", **options)
            else:
                out = fn.decoders.image(files, **options)
            pipe.set_outputs(out)
        return pipe

    def __del__(self, getpid: Callable[[], int] = os.getpid, abandoned: list[Any] = ABANDONED) -> None:
        # Defaults, since at the interpreter's exit the module's names may be gone already.
        if getattr(self, "pipe", None) is not None and self.owner != getpid():
            abandoned.append(self.pipe)

    def close(self) -> None:
        """End DALI's threads; a later batch starts them again. In a forked process, which has no threads, do nothing."""
        if self.owner == os.getpid():  # or it would wait for threads that do not exist
            with self.lock:
                self.pipe = None


class SharedDecoder:
    """A `Decoder` for many threads, with as many `DaliDecoder`s as threads have decoded at the same time.

    These are kept for the threads of later epochs, since DALI does not free all the memory of a pipeline that ends (7 MB here).
    A copy or a pickle starts without any.
    """

    def __init__(self, max_pixels: int = MAX_PIXELS) -> None:
        self.max_pixels = max_pixels
        self.free: deque[DaliDecoder] = deque()

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedDecoder, (self.max_pixels,)

    def __call__(
        self, datas: Sequence[bytes], names: Sequence[str], regional: Regional | None
    ) -> list[Pixels | Region | DecodeError]:
        decoder = self.free_decoder() or DaliDecoder(max_pixels=self.max_pixels)
        try:
            return decoder.decode_batch(datas, names, regional)
        finally:
            self.free.append(decoder)

    def free_decoder(self) -> DaliDecoder | None:
        """A decoder that is free and was made in this process, or None."""
        while self.free:
            with contextlib.suppress(IndexError):  # another thread was faster
                if (decoder := self.free.pop()).owner == os.getpid():
                    return decoder
        return None
