"""Large pictures: found by their headers, so that only one at a time is in memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence

from PIL import Image

from ...images import LARGE
from .jpeg_header import header_size


def group_by_memory(
    samples: Sequence[int], files: Mapping[int, bytes | OSError], held: Callable[[int, bytes], int] | None = None
) -> Iterator[tuple[list[int], int]]:
    """Split samples, in order, into groups whose pixels may be in memory together; each large picture is a group of its own.

    held: for the k-th sample and its file, large by its header, the pixels that it takes in memory, if these may be fewer.
    Yields each group with the number of pixels of its large picture, or 0.
    """
    group: list[int] = []
    for k, i in enumerate(samples):
        data = files[i]
        size = 0 if isinstance(data, OSError) else header_pixels(data)
        if size > LARGE and held is not None and not isinstance(data, OSError):
            size = held(k, data)
        if size <= LARGE:
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
