"""Decoders: from encoded files to 8-bit RGB; on the CPU with the same pixels from every library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch

from ...backends import findable
from .dali import SharedDecoder
from .device import DeviceDecoder
from .pillow import DecodeError, Pixels, try_decode
from .regions import Decoder, Regional

DECODERS = ("auto", "nvjpeg", "dali", "pillow")


def decoder_of(
    name: str, max_pixels: int, device: torch.device | None = None, threads: int = 1, hw_load: float = 1.0
) -> Decoder:
    """The decoder of that name. device, threads, hw_load: as in `DeviceDecoder`, for "nvjpeg" alone.

    Raises ImportError if DALI is asked for but not installed.
    """
    if name == "nvjpeg" and device is not None:
        return DeviceDecoder(device, threads, hw_load, max_pixels)
    return SharedDecoder(max_pixels) if cpu_decoder(name) == "dali" else partial(pillow_decoder, max_pixels)


def cpu_decoder(name: str) -> str:
    """The decoder that a name stands for on the CPU: "auto" is "dali" if that is installed."""
    if name == "auto":
        return "dali" if findable("nvidia.dali") else "pillow"
    return name


def pillow_decoder(
    max_pixels: int, datas: Sequence[bytes], names: Sequence[str], regional: Regional | None
) -> Iterator[Pixels | DecodeError]:
    """Decode whole pictures by Pillow, which cannot decode only a region, each when it is asked for."""
    for data, name in zip(datas, names, strict=True):
        yield try_decode(data, name, max_pixels)
