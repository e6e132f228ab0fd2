"""The structure of a JPEG without decoding it: its size, and whether the file is complete.

A JPEG is a sequence of segments, each a marker (FF and another byte), a length and that many bytes. A scan follows the segment
SOS: compressed data in which FF is followed by 00, or by D0 to D7 in turn, where the decoder restarts.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from .pillow import MAX_PIXELS, orientation

START, END = b"\xff\xd8", b"\xff\xd9"
"""First and last bytes of a JPEG."""

SCAN = 0xDA
FRAMES = frozenset({0xC0, 0xC1, 0xC2})
"""Markers of a scan, and of Huffman-coded frames: baseline, extended, progressive (ITU-T T.81, table B.1)."""


class PlainJPEG(NamedTuple):
    """What decoders need to know of a file that `plain` accepts.

    Attributes:
        size: Height and width.
        block: Pixels from one column at which decoding may begin to the next.
        progressive: Whether it is coded in several scans, each of the whole picture.
    """

    size: tuple[int, int]
    block: int
    progressive: bool


def plain(data: bytes, max_pixels: int = MAX_PIXELS) -> PlainJPEG | None:
    """A file for which libjpeg and DALI give the same pixels as `decode`; None for any other.

    Such a file is a JPEG in gray or RGB that is upright, complete and not too large, for Pillow either. libjpeg conceals damage
    inside its scans in the same way for DALI and Pillow, and warns of it. For an incomplete file some callers give up and
    others go on, so Pillow decides.
    """
    if Image.MAX_IMAGE_PIXELS is not None:
        max_pixels = min(max_pixels, 2 * Image.MAX_IMAGE_PIXELS)
    if not (data.startswith(START) and data.endswith(END)):
        return None
    size = header_size(data)
    if size is not None and size[0] * size[1] > max_pixels:
        return None
    complete, blocks, progressive = kernels().structure(np.frombuffer(data, np.uint8))
    if not complete:
        return None
    size = size or pillow_size(data)
    return PlainJPEG(size, 8 * max(blocks, 1), progressive) if size and size[0] * size[1] <= max_pixels else None


def plain_size(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[int, int] | None:
    """(height, width) of a file that `plain` accepts, else None."""
    found = plain(data, max_pixels)
    return found and found.size


@cache
def kernels() -> Any:
    """The module of the kernels, imported when the first file is looked at: Numba takes a while."""
    from . import jpeg_scan

    return jpeg_scan


def header_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) from the segments of a header, in 1 us where Pillow takes 70 us.

    None if there is anything unusual, such as EXIF data, which may rotate the picture.
    """
    size: tuple[int, int] = kernels().header_size(np.frombuffer(data, np.uint8))
    return size if size[0] else None


def pillow_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) of an upright JPEG in gray or RGB, read by Pillow; else None."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            upright = image.format == "JPEG" and image.mode in ("L", "RGB") and orientation(image) == 1
            return (image.height, image.width) if upright else None
    except Exception:  # `decode` will say what is wrong
        return None
