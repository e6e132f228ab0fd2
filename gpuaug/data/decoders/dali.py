"""Decoding by NVIDIA DALI: plain JPEGs go through its pipeline a batch at a time, every other file through `decode`.

On the CPU both come to libjpeg-turbo, and the pixels are the same to the last bit (docs/data.md has the figures).
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch.utils.dlpack import from_dlpack

from ...backends import DISTRIBUTIONS, findable
from ...images import Images
from .jpeg_header import dali_safe_size
from .pillow import MAX_PIXELS, DecodeError, Pixels, try_decode
from .regions import Boxes, Region, Regional

MIN_CAPACITY = 64
"""Files a pipeline has room for at least; a larger batch makes a larger one, in about 20 ms."""


def whole_blocks(boxes: Boxes, shapes: Boxes) -> Boxes:
    """Boxes (B, 4) widened to whole blocks of 16 columns, since libjpeg-turbo upsamples colour otherwise in a lone column."""
    left = boxes[:, 1] // 16 * 16
    right = np.minimum(-(-(boxes[:, 1] + boxes[:, 3]) // 16) * 16, shapes[:, 1])
    return np.stack([boxes[:, 0], left, boxes[:, 2], right - left], axis=1)


class DaliDecoder:
    """Decode batches of encoded files; a `decode_batch` that may be faster, with the same pixels and the same errors.

    threads: of DALI's, which share a batch. device: "cpu", or "mixed" for nvJPEG on the current CUDA device, which rounds
    otherwise; hw_decoder_load: the share of files, 0..1, that goes to its hardware decoder where it has one. The mixed path
    has not been run yet: it was written without a GPU at hand.

    Any thread may call it, one at a time. A process forked after the first batch needs a decoder of its own. Pixels stay
    valid as long as they are referenced. Raises ImportError where DALI is missing, ValueError for an option outside its range.
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
            raise ImportError(f"DaliDecoder needs DALI; install it with: pip install {DISTRIBUTIONS['nvidia.dali']}")
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
        """Each file's picture, uint8 (H, W, 3) on the host, or its DecodeError, in order.

        regional: what of each is read; then there is a Region, no smaller than that, for each file that DALI decodes.
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
        """The pictures in one buffer, on the host or, if mixed, on the GPU; DALI's own, without a copy, if all are plain.

        Raises the first file's DecodeError.
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
        """Which files DALI has decoded, their pixels, and the frames of regions.

        None at all if one of them is damaged, since DALI then gives up on all; Pillow gives the others the same pixels.
        """
        sizes = {k: size for k, data in enumerate(datas) if (size := dali_safe_size(data, self.max_pixels))}
        where, wholes = list(sizes), np.array(list(sizes.values()), np.int32)
        boxes = whole_blocks(regional(where, wholes), wholes) if regional and where else None
        with self.lock:
            if not where or (out := self.outputs([np.frombuffer(datas[k], np.uint8) for k in where], boxes)) is None:
                return [], Images(torch.empty(0, dtype=torch.uint8, device="cpu"), np.empty((0, 2), np.int32)), None
        shapes = np.array(out.shape(), dtype=np.int64)
        flat = from_dlpack(out.as_reshaped_tensor([int(shapes.prod(axis=1).sum())]))
        frames = None if boxes is None else np.concatenate([boxes[:, :2], wholes], axis=1)
        return where, Images(flat, shapes[:, :2].astype(np.int32)), frames

    def outputs(self, files: list[Pixels], boxes: Boxes | None) -> Any:
        """DALI's list of pictures for a list of files, None if it fails. boxes: what of each to decode."""
        if self.pipe is not None and self.owner != os.getpid():
            raise RuntimeError(
                "DaliDecoder: its threads did not follow into this forked process; make a decoder in each worker"
            )
        regional = boxes is not None
        if self.pipe is None or self.pipe.max_batch_size < len(files) or self.regional != regional:
            self.pipe, self.regional = self.build(max(MIN_CAPACITY, len(files)), regional), regional
        try:
            self.pipe.feed_input("files", files)
            if boxes is not None:
                self.pipe.feed_input("start", np.ascontiguousarray(boxes[:, :2]))
                self.pipe.feed_input("shape", np.ascontiguousarray(boxes[:, 2:]))
            (out,) = self.pipe.run()
        except RuntimeError:
            self.pipe = None  # DALI: "Current pipeline object is no longer valid."
            return None
        return out

    def build(self, capacity: int, regional: bool) -> Any:
        """A pipeline for up to so many files, of which it decodes regions or the whole."""
        self.owner = os.getpid()
        fn = import_module("nvidia.dali.fn")
        mixed = {"hw_decoder_load": self.hw_decoder_load} if self.device == "mixed" else {}
        pipe = import_module("nvidia.dali.pipeline").Pipeline(
            batch_size=capacity,
            num_threads=self.threads,
            device_id=torch.cuda.current_device() if mixed else None,
            prefetch_queue_depth=1,  # one batch in, one batch out
            exec_async=False,
            exec_pipelined=False,
            exec_dynamic=True,  # its outputs own their memory; the older executor writes the next batch over them
        )
        with pipe:
            files = fn.external_source(name="files")
            options = {"device": self.device, "adjust_orientation": False, **mixed}
            if regional:
                start, shape = (fn.external_source(name=name) for name in ("start", "shape"))
                out = fn.decoders.image_slice(files, start=start, shape=shape, axis_names="HW", **options)
            else:
                out = fn.decoders.image(files, **options)
            pipe.set_outputs(out)
        pipe.build()
        return pipe

    def __del__(self) -> None:
        if getattr(self, "pipe", None) is not None and self.owner != os.getpid():
            ABANDONED.append(self.pipe)

    def close(self) -> None:
        """End DALI's threads; a later batch starts them again. In a forked process, which has none, this does nothing."""
        if self.owner == os.getpid():  # or it would wait for them
            with self.lock:
                self.pipe = None


class SharedDecoder:
    """A `Decoder` for many threads, with as many `DaliDecoder`s as were ever at work at once.

    They are kept for the next epoch's threads: DALI does not give back all the memory of a pipeline that ends (7 MB here).
    A copy has its own.
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
        """One that is free, and no other process's."""
        while self.free:
            with contextlib.suppress(IndexError):  # another thread was faster
                if (decoder := self.free.pop()).owner == os.getpid():
                    return decoder
        return None


ABANDONED: list[Any] = []
"""Pipelines of the process that this one was forked from: their end would wait for threads that are not here."""
