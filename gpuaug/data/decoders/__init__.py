"""Decoders: encoded files become 8-bit RGB, the same pixels whichever library does it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ...backends import findable
from .dali import SharedDecoder
from .pillow import DecodeError, Pixels, decode_batch
from .regions import Decoder, Region, Regional

DECODERS = ("auto", "pillow", "dali")


def decoder_of(name: str, max_pixels: int) -> Decoder:
    """The decoder of that name. Raises ImportError where DALI is asked for and missing."""
    if name == "dali" or (name == "auto" and findable("nvidia.dali")):
        return SharedDecoder(max_pixels)
    return partial(pillow_decoder, max_pixels)


def pillow_decoder(
    max_pixels: int, datas: Sequence[bytes], names: Sequence[str], regional: Regional | None
) -> list[Pixels | Region | DecodeError]:
    """Pillow decodes whole pictures only."""
    return list(decode_batch(datas, names, max_pixels))
