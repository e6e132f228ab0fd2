"""Decoding on the device: by DALI's mixed decoder, which is nvJPEG, all JPEGs of a batch at a time.

threads: read files; Pillow decodes those that the device cannot take   |   owner of the device: decodes the rest
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np
import torch

from .dali import DaliDecoder, as_tensor, whole_blocks
from .jpeg_header import plain_size
from .pillow import MAX_PIXELS, DecodeError, Pixels, try_decode
from .regions import Boxes, Decoded, Region, Regional, Waiting
from .staging import OnDevice

LOG = logging.getLogger("gpuaug")

BLOCK = 16
"""Pixels of the largest block that a JPEG codes at a time, except for the rare 4:1:1 and 4:1:0."""


def with_margin(boxes: Boxes, shapes: Boxes) -> Boxes:
    """Boxes (B, 4) widened to whole blocks and one more on each side, since nvJPEG may treat a region's edges otherwise."""
    low = np.maximum(boxes[:, :2] // BLOCK - 1, 0) * BLOCK
    high = np.minimum((-(-(boxes[:, :2] + boxes[:, 2:]) // BLOCK) + 1) * BLOCK, shapes)
    return np.concatenate([low, high - low], axis=1)


class DeviceDecoder:
    """A `Decoder` for many threads that leaves plain JPEGs undecoded, and decodes them for the owner of the device.

    A copy or a pickle starts afresh.

    Args:
        device: A CUDA device; or the CPU, where DALI's CPU operators take the place of nvJPEG.
        threads: DALI's threads.
        hw_load: Share of the files, 0..1, that goes to the GPU's hardware decoder if it has one.
        max_pixels: Largest number of pixels in a picture.
    """

    def __init__(self, device: torch.device, threads: int = 1, hw_load: float = 1.0, max_pixels: int = MAX_PIXELS) -> None:
        self.arguments = (device, threads, hw_load, max_pixels)
        self.device = device
        self.max_pixels = max_pixels
        self.dali = DaliDecoder(threads, "mixed" if device.type == "cuda" else "cpu", hw_load, max_pixels)
        self.refused: set[str] = set()
        """Names of files that DALI has refused; Pillow decodes them from then on."""

    def __reduce__(self) -> tuple[Any, ...]:
        return DeviceDecoder, self.arguments

    def __call__(
        self, datas: Sequence[bytes], names: Sequence[str], regional: Regional | None
    ) -> list[Pixels | Waiting | DecodeError]:
        """For each file its picture or its error by Pillow, or the file itself, if the device shall decode it."""
        sizes = {
            k: size
            for k, (data, name) in enumerate(zip(datas, names, strict=True))
            if name not in self.refused and (size := plain_size(data, self.max_pixels))
        }
        where, wholes = list(sizes), np.array(list(sizes.values()), np.int32)
        box: dict[int, tuple[int, int, int, int]] = {}
        if regional and where:
            widen = with_margin if self.device.type == "cuda" else whole_blocks
            box = dict(zip(where, map(tuple, widen(regional(where, wholes), wholes).tolist()), strict=True))
        return [
            Waiting(data, name, sizes[k], box.get(k)) if k in sizes else try_decode(data, name, self.max_pixels)
            for k, (data, name) in enumerate(zip(datas, names, strict=True))
        ]

    def decode(self, files: Sequence[Waiting]) -> list[OnDevice | Pixels | DecodeError]:
        """Decode files on the device, whose current stream may then read the pictures. Only its owner may call this.

        If DALI gives up on a batch, it gets one half after the other, so that every other file is decoded as it always is;
        Pillow decides about a file that DALI refuses alone.
        """
        if not files:
            return []
        guard = torch.cuda.device(self.device) if self.device.type == "cuda" else contextlib.nullcontext()
        with guard, self.dali.lock:
            return self.in_halves(files)

    def finished(self, found: Iterable[Decoded | DecodeError]) -> list[Pixels | Region | DecodeError]:
        """What the threads have found, with the files that they have left decoded and copied to the host."""
        found = list(found)
        done = iter(self.decode([one for one in found if isinstance(one, Waiting)]))
        out: list[Pixels | Region | DecodeError] = []
        for one in found:
            if not isinstance(one, Waiting):
                out.append(one)
                continue
            made = next(done)
            if isinstance(made, OnDevice):
                made = made.flat[made.start : made.start + 3 * prod(made.shape)].view(*made.shape, 3).cpu().numpy()
            out.append(Region(made, one.frame) if one.box and not isinstance(made, DecodeError) else made)
        return out

    def in_halves(self, files: Sequence[Waiting]) -> list[OnDevice | Pixels | DecodeError]:
        boxes = np.array([file.box for file in files], np.int32) if files[0].box else None
        out = self.dali.outputs([np.frombuffer(file.data, np.uint8) for file in files], boxes)
        if out is not None:
            flat, shapes = as_tensor(out)
            ends = np.cumsum(shapes.astype(np.int64).prod(axis=1) * 3).tolist()
            return [
                OnDevice(flat, start, (height, width))
                for start, (height, width) in zip([0, *ends[:-1]], shapes.tolist(), strict=True)
            ]
        if len(files) > 1:
            half = len(files) // 2
            return [*self.in_halves(files[:half]), *self.in_halves(files[half:])]
        (file,) = files
        self.refused.add(file.name)
        found = try_decode(file.data, file.name, self.max_pixels)
        if not isinstance(found, DecodeError):
            LOG.warning("%s: the device's decoder refuses this file, so Pillow decodes it", file.name)
        return [found]
