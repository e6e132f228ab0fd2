"""Decoding at a smaller scale: JPEGs much larger than the views, by libjpeg's scaled inverse transform, through Pillow.

file --header, draws--> scale 1: the loader's decoder, or 2, 4, 8: Pillow --> the region of the smaller picture that views read
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

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
        small = at_scale(data, regional, self.max_pixels)
        if small is None:
            return None
        with memory_for(small.held):
            picture = loaded(small)
            if picture is None:
                return None
            # Pixels of the smaller picture count from the stored corner, where the first of them begins. Where rows or columns
            # are reversed they end there, so the first one may begin outside of the picture.
            down, across = REVERSED.get(small.turned, (0, 0))
            height, width = small.size
            y, x = down * (height - small.scale * picture.height), across * (width - small.scale * picture.width)
            box = regional([0], np.array([small.size], np.int32))
            found = in_region(box, np.array([[y, x]], np.int32), np.array([[small.scale]], np.int32))
            ((top, left, rows, columns),) = found.tolist()
            pixels = rgb(picture.crop((left, top, left + columns, top + rows)))
            return Region(pixels, (y + small.scale * top, x + small.scale * left, *small.size), small.scale)

    def held(self, regional: DrawnRegions, data: bytes) -> int:
        """The pixels that a file takes in memory while it is decoded."""
        small = at_scale(data, regional, self.max_pixels)
        return small.held if small else header_pixels(data)


@dataclass(frozen=True)
class Small:
    """A JPEG that Pillow has opened and will decode at a smaller scale.

    Attributes:
        image: The opened file, not yet decoded.
        scale: 2, 4 or 8.
        turned: Its EXIF orientation.
        size: (height, width) of the whole upright picture.
        held: Pixels in memory while it is decoded. libjpeg keeps all of a progressive file.
    """

    image: Image.Image
    scale: int
    turned: int
    size: tuple[int, int]

    @property
    def held(self) -> int:
        return prod(self.size) if "progressive" in self.image.info else self.image.width * self.image.height


def at_scale(data: bytes, regional: DrawnRegions, max_pixels: int) -> Small | None:
    """A file opened at the scale that its draws allow; None if that is 1, or if Pillow cannot decode it so."""
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG",))
        (width, height), turned = image.size, orientation(image)
    except MemoryError:
        raise
    except Exception:  # Pillow's parsers raise what they like; the other decoder will say what is wrong
        return None
    size = (width, height) if turned >= SIDEWAYS else (height, width)
    (scale,) = regional.scales([0], np.array([size], np.int32))
    if scale == 1 or width * height > max_pixels:
        return None
    image.draft(None, (width // scale, height // scale))
    if image.size != (-(-width // scale), -(-height // scale)):  # not with this libjpeg, or this kind of JPEG
        return None
    return Small(image, scale, turned, size)


def loaded(small: Small) -> Image.Image | None:
    """The upright picture, decoded; None if Pillow cannot."""
    try:
        small.image.load()
    except MemoryError:
        raise
    except Exception:  # as above
        return None
    return small.image.transpose(UPRIGHT[small.turned]) if small.turned in UPRIGHT else small.image


def in_order(count: int, done: dict[int, Region], others: Iterable[Decoded | DecodeError]) -> Iterator[Decoded | DecodeError]:
    """The pictures of `count` files; those that are not done come from `others`, each when it is asked for."""
    rest = iter(others)
    for k in range(count):
        yield done[k] if k in done else next(rest)


def longer_edge(data: bytes) -> int:
    """The longer edge of a JPEG in pixels, by its first frame header; 0 for other files. Takes 2 us, and trusts the file."""
    at = len(START)
    while data.startswith(START) and at + 9 <= len(data) and data[at] == 0xFF and data[at + 1] != SCAN:
        if data[at + 1] in FRAMES:
            return max(int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big"))
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0
