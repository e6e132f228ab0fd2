"""What a TIFF's tags say of its values, for those that Pillow takes for others, or for no image."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BITS, SAMPLES, FORMAT = 258, 277, 339
"""Tags, each of 16-bit numbers (TIFF 6.0, pages 29, 39 and 80)."""

BANDS = 6
"""Most that Pillow reads, its TiffImagePlugin.MAX_SAMPLESPERPIXEL."""

MOST = 1000
"""Tags, and numbers of one, that are looked at: a damaged file may promise any number."""

FORMATS = {1: "unsigned integers", 2: "signed integers", 3: "floats", 5: "complex integers", 6: "complex numbers"}


@dataclass(frozen=True)
class Kind:
    """Bands, and the bits and the sort of their values (a key of FORMATS)."""

    bands: int
    bits: int
    format: int

    def __str__(self) -> str:
        return f"{self.bands} band{'s' * (self.bands > 1)} of {self.bits}-bit {FORMATS.get(self.format, 'values')}"


def kind(data: bytes) -> Kind | None:
    """What a TIFF holds, in its first picture; None for another file, and for one whose tags lie outside of it."""
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
    except (struct.error, ValueError):
        return None
    return Kind(found.get(SAMPLES, 1), found.get(BITS, 1), found.get(FORMAT, 1))


def problem(kind: Kind) -> str | None:
    """What is to be done before Pillow would read wrong values without a word, or log a line that names no file."""
    if kind.bands > BANDS:
        return f"Pillow reads at most {BANDS}; save the three that are meant as RGB"
    if kind.format == 2 or (kind.format == 1 and kind.bits == 32):
        return "their range is not known; save them as 8-bit or 16-bit unsigned integers"
    if kind.bits == 12:
        return "Pillow would take them for 16-bit ones; save them as 16-bit, times 16"
    return None
