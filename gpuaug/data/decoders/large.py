"""Large pictures: found by their headers, so that only one at a time is in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence

from PIL import Image

from ...images import LARGE
from .jpeg_header import header_size


def group_by_memory(samples: Sequence[int], files: Mapping[int, bytes | OSError]) -> Iterator[tuple[list[int], int]]:
    """Split samples, in order, into groups whose pixels may be in memory together; each large picture is a group of its own.

    Yields each group with the number of pixels of its large picture, or 0.
    """
    group: list[int] = []
    for i in samples:
        data = files[i]
        if isinstance(data, OSError) or (size := header_pixels(data)) <= LARGE:
            group.append(i)
            continue
        if group:
            yield group, 0
        yield [i], size
        group = []
    if group:
        yield group, 0


def header_pixels(data: bytes) -> int:
    """Number of pixels by the header; 0 if the header cannot be read."""
    if data.startswith(b"\x89PNG") and len(data) >= 24:
        return int.from_bytes(data[16:20], "big") * int.from_bytes(data[20:24], "big")
    if size := header_size(data):
        return size[0] * size[1]
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.width * image.height
    except Exception:  # `decode` will say what is wrong
        return 0
