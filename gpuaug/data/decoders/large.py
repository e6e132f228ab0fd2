"""Large pictures: told by their headers, so that they are in memory one at a time."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence

from PIL import Image

from ...images import LARGE
from .jpeg_header import header_size


def group_by_memory(samples: Sequence[int], files: Mapping[int, bytes | OSError]) -> Iterator[tuple[list[int], int]]:
    """Samples in order, in groups of which the pixels may be in memory together: a large picture is alone.

    With each group comes the number of pixels of its large picture, or 0.
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
    """Pixels that a header promises; 0 where there is none that can be read."""
    if data.startswith(b"\x89PNG") and len(data) >= 24:
        return int.from_bytes(data[16:20], "big") * int.from_bytes(data[20:24], "big")
    if size := header_size(data):
        return size[0] * size[1]
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.width * image.height
    except Exception:  # as in `decode`, which will say what is wrong
        return 0
