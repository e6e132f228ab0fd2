"""The kind of values in a TIFF, by its tags, for those that Pillow would misread or reject."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BITS, SAMPLES, FORMAT = 258, 277, 339
"""Numbers of tags whose values are 16-bit integers (TIFF 6.0, pages 29, 39 and 80)."""

BANDS = 6
"""The most that Pillow reads: its TiffImagePlugin.MAX_SAMPLESPERPIXEL."""

MOST = 1000
"""Limit on the tags, and on the values of a tag, that are read; a damaged file may claim any number."""

FORMATS = {1: "unsigned integers", 2: "signed integers", 3: "floats", 5: "complex integers", 6: "complex numbers"}


@dataclass(frozen=True)
class Kind:
    """Number of bands, and the bits and format (a key of FORMATS) of their values."""

    bands: int
    bits: int
    format: int

    def __str__(self) -> str:
        return f"{self.bands} band{'s' * (self.bands > 1)} of {self.bits}-bit {FORMATS.get(self.format, 'values')}"


def kind(data: bytes) -> Kind | None:
    """The kind of values in a TIFF's first picture; None for other files, and if the tags lie outside of the file."""
    if not data.startswith(MAGIC):
        return None
    order = "<" if data.startswith(b"II") else ">"
    large = 43 in data[2:4]  # a BigTIFF, whose numbers have 8 bytes
    number, count, value_size = ("Q", "Q", 8) if large else ("I", "H", 4)
    found = {}
    try:
        (at,) = struct.unpack_from(order + number, data, value_size)
        (tags,) = struct.unpack_from(order + count, data, at)
        at += struct.calcsize(order + count)
        for _ in range(min(tags, MOST)):
            tag, _, length = struct.unpack_from(f"{order}HH{number}", data, at)
            value_at = at + 4 + value_size
            if tag in (BITS, SAMPLES, FORMAT):
                if 2 * length > value_size:
                    (value_at,) = struct.unpack_from(order + number, data, value_at)
                found[tag] = max(struct.unpack_from(f"{order}{min(length, MOST)}H", data, value_at))
            at += 4 + 2 * value_size
    except (struct.error, ValueError, OverflowError):
        return None
    return Kind(found.get(SAMPLES, 1), found.get(BITS, 1), found.get(FORMAT, 1))


def problem(kind: Kind) -> str | None:
    """What to do about a kind of values that Pillow would misread silently, or log without the file's name; else None."""
    if kind.bands > BANDS:
        return f"Pillow reads at most {BANDS}; save the three that you want as RGB"
    if kind.format == 2 or (kind.format == 1 and kind.bits == 32):
        return "their range is unknown; save them as 8-bit or 16-bit unsigned integers"
    if kind.bits == 12:
        return "Pillow would read them as 16-bit ones; multiply them by 16 and save them as 16-bit"
    return None
