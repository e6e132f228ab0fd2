"""Decoders: from encoded files to 8-bit RGB; on the CPU with the same pixels from every library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch

from ...backends import findable, how_to_install
from .dali import SharedDecoder
from .device import DeviceDecoder
from .pillow import DecodeError, Pixels, try_decode
from .regions import Decoder, Regional

DECODERS = ("auto", "nvjpeg", "libjpeg", "dali", "pillow")

NUMBA_MISSING = f"numba is not installed, whose compiler it needs; {how_to_install('numba')}"


def decoder_of(
    name: str, max_pixels: int, device: torch.device | None = None, threads: int = 1, hw_load: float = 1.0
) -> Decoder:
    """The decoder of that name. device, threads, hw_load: as in `DeviceDecoder`, for "nvjpeg" alone.

    Raises ImportError if the decoder that is asked for by name cannot be used.
    """
    if name == "nvjpeg" and device is not None:
        return DeviceDecoder(device, threads, hw_load, max_pixels)
    found = cpu_decoder(name)
    if found == "libjpeg":
        if not findable("numba"):
            raise ImportError(f'decoder "libjpeg" cannot be used: {NUMBA_MISSING}')
        from .libjpeg import LibjpegDecoder

        return LibjpegDecoder(max_pixels)
    return SharedDecoder(max_pixels) if found == "dali" else partial(pillow_decoder, max_pixels)


def cpu_decoder(name: str) -> str:
    """The decoder that a name stands for on the CPU: "auto" is the fastest that can be used."""
    return auto_on_cpu()[0] if name == "auto" else name


def auto_on_cpu() -> tuple[str, str]:
    """The decoder that "auto" stands for on the CPU, and why."""
    lacking = libjpeg_missing()
    if not lacking:
        return "libjpeg", "Pillow's libjpeg, called directly"
    if findable("nvidia.dali"):
        return "dali", f"DALI is installed; libjpeg cannot be called directly: {lacking}"
    return "pillow", f"DALI is not installed; libjpeg cannot be called directly: {lacking}"


def libjpeg_missing() -> str:
    """Why "libjpeg" cannot be used; empty if it can."""
    if not findable("numba"):
        return NUMBA_MISSING
    from .libjpeg import missing  # here, since the compiler that it needs takes a while to import

    return missing()


def pillow_decoder(
    max_pixels: int, datas: Sequence[bytes], names: Sequence[str], regional: Regional | None
) -> Iterator[Pixels | DecodeError]:
    """Decode whole pictures by Pillow, which cannot decode only a region, each when it is asked for."""
    for data, name in zip(datas, names, strict=True):
        yield try_decode(data, name, max_pixels)
