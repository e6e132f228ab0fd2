"""Decoders: from encoded files to 8-bit RGB, with the same pixels from every library."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ...backends import findable
from .dali import SharedDecoder
from .pillow import DecodeError, Pixels, decode_batch
from .regions import Decoder, Region, Regional

DECODERS = ("auto", "pillow", "dali")


def decoder_of(name: str, max_pixels: int) -> Decoder:
    """The decoder of that name. Raises ImportError if DALI is asked for but not installed."""
    if name == "dali" or (name == "auto" and findable("nvidia.dali")):
        return SharedDecoder(max_pixels)
    return partial(pillow_decoder, max_pixels)


def pillow_decoder(
    max_pixels: int, datas: Sequence[bytes], names: Sequence[str], regional: Regional | None
) -> list[Pixels | Region | DecodeError]:
    """Decode whole pictures by Pillow, which cannot decode only a region."""
    return list(decode_batch(datas, names, max_pixels))
