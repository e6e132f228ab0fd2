"""Decoding at a smaller scale: JPEGs much larger than the views, by libjpeg's scaled inverse transform, through Pillow.

file --header, draws--> scale 1: the loader's decoder, or 2, 4, 8: Pillow --> the region of the smaller picture that views read
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ...images import rgb
from ...sampling.tables import in_region
from .jpeg_header import FRAMES, SCAN, START
from .large import header_pixels
from .pillow import UPRIGHT, DecodeError, memory_for, orientation
from .regions import Decoded, Decoder, DrawnRegions, Region, Regional

REVERSED = {2: (0, 1), 3: (1, 1), 4: (1, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}
"""EXIF orientation -> whether the (rows, columns) of the upright picture run against the stored ones."""

SIDEWAYS = 5
"""From this EXIF orientation on the rows of the upright picture are the stored columns."""


@dataclass(frozen=True)
class ScaledDecoder:
    """A `Decoder` that decodes large JPEGs at the scale that their draws allow, and leaves all other files to another one.

    A file that Pillow cannot decode at that scale is left to it too, so which files are bad, and why, does not depend on scale.

    Attributes:
        decode: The other decoder, on the CPU.
        max_pixels: Largest number of pixels in a picture.
    """

    decode: Decoder
    max_pixels: int

    def __call__(
        self, datas: Sequence[bytes], names: Sequence[str], regional: Regional | None
    ) -> Iterable[Decoded | DecodeError]:
        if not isinstance(regional, DrawnRegions):
            return self.decode(datas, names, regional)
        least = regional.least_edge
        large = [k for k, data in enumerate(datas) if longer_edge(data) >= least]
        done = {k: found for k in large if (found := self.region(datas[k], regional.take([k])))}
        if not done:
            return self.decode(datas, names, regional)
        rest = [k for k in range(len(datas)) if k not in done]
        others = self.decode([datas[k] for k in rest], [names[k] for k in rest], regional.take(rest)) if rest else ()
        return in_order(len(datas), done, others)

    def region(self, data: bytes, regional: DrawnRegions) -> Region | None:
        """What the views read of a file, at its scale; None if that is 1, or if Pillow cannot decode it so."""
        try:
            with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
                return self.drafted(image, regional)
        except Exception:  # Pillow's parsers raise what they like; the other decoder will say what is wrong
            return None

    def drafted(self, image: Image.Image, regional: DrawnRegions) -> Region | None:
        width, height = image.size
        scale = scale_of(image, regional)
        if scale == 1 or width * height > self.max_pixels:
            return None
        image.draft(None, (width // scale, height // scale))
        if image.size != (-(-width // scale), -(-height // scale)):  # not with this libjpeg, or this kind of JPEG
            return None
        with memory_for(held(image, width * height)):
            image.load()
            turned = orientation(image)
            picture = image.transpose(UPRIGHT[turned]) if turned in UPRIGHT else image
            size = upright_size(turned, width, height)
            # Pixels of the smaller picture count from the stored corner, where the first of them begins. Where rows or columns
            # are reversed they end there, so the first one may begin outside of the picture.
            down, across = REVERSED.get(turned, (0, 0))
            y, x = down * (size[0] - scale * picture.height), across * (size[1] - scale * picture.width)
            box = regional([0], np.array([size], np.int32))
            (found,) = in_region(box, np.array([[y, x]], np.int32), np.array([[scale]], np.int32)).tolist()
            top, left, rows, columns = found
            pixels = rgb(picture.crop((left, top, left + columns, top + rows)))
            return Region(pixels, (y + scale * top, x + scale * left, *size), scale)

    def held(self, regional: DrawnRegions, data: bytes) -> int:
        """The pixels that a file takes in memory while it is decoded."""
        with contextlib.suppress(Exception), Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            scale, whole = scale_of(image, regional), image.width * image.height
            if scale > 1:
                image.draft(None, (image.width // scale, image.height // scale))
                return held(image, whole)
        return header_pixels(data)


def in_order(count: int, done: dict[int, Region], others: Iterable[Decoded | DecodeError]) -> Iterator[Decoded | DecodeError]:
    """The pictures of `count` files; those that are not done come from `others`, each when it is asked for."""
    rest = iter(others)
    for k in range(count):
        yield done[k] if k in done else next(rest)


def scale_of(image: Image.Image, regional: DrawnRegions) -> int:
    """The scale of an opened file, by its size and draws."""
    size = upright_size(orientation(image), *image.size)
    (scale,) = regional.scales([0], np.array([size], np.int32))
    return scale


def upright_size(turned: int, width: int, height: int) -> tuple[int, int]:
    """(height, width) of the upright picture of a stored one with that EXIF orientation."""
    return (width, height) if turned >= SIDEWAYS else (height, width)


def held(image: Image.Image, whole: int) -> int:
    """Pixels in memory for a file opened at its scale: those of its scale, but libjpeg keeps all of a progressive file."""
    return whole if "progressive" in image.info else image.width * image.height


def longer_edge(data: bytes) -> int:
    """The longer edge of a JPEG in pixels, by its first frame header; 0 for other files. Takes 2 us, and trusts the file."""
    at = len(START)
    while data.startswith(START) and at + 9 <= len(data) and data[at] == 0xFF and data[at + 1] != SCAN:
        if data[at + 1] in FRAMES:
            return max(int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big"))
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0
