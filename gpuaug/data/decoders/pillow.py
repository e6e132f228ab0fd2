"""Decoding by Pillow: from the bytes of an image file to 8-bit RGB, by one set of rules."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ...images import LARGE, rgb
from ...isolation import after_fork
from . import libtiff_messages, tiff_tags

Pixels = npt.NDArray[np.uint8]

LOG = logging.getLogger("gpuaug")

ORIENTATION_TAG = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> the operation that makes the picture upright (Exif 2.32, tag 0x0112)."""

MAX_PIXELS = 178_956_970
"""Default limit on the pixels of a picture: that of Pillow, 0.5 GB once decoded."""

LARGE_PICTURE = threading.RLock()
"""Held by the thread that has a large picture in memory."""

# A new one in a fork, where the thread that holds it may not exist.
after_fork(lambda: globals().update(LARGE_PICTURE=threading.RLock()))


def memory_for(pixels: int) -> AbstractContextManager[Any]:
    """For a picture of more than `LARGE` pixels, wait until no other thread of this process holds such a picture."""
    return LARGE_PICTURE if pixels > LARGE else nullcontext()


class DecodeError(OSError):
    """An image that cannot be read or decoded; the message holds the name of the file and the reason."""


def decode_batch(data: Sequence[bytes], names: Sequence[str], max_pixels: int = MAX_PIXELS) -> list[Pixels | DecodeError]:
    """Decode files one after the other by Pillow; for each, its pixels or its error."""
    return [try_decode(one, name, max_pixels) for one, name in zip(data, names, strict=True)]


def try_decode(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Pixels | DecodeError:
    try:
        return decode(data, name, max_pixels)
    except DecodeError as error:
        return error


def decode(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decode an image file to upright 8-bit RGB; docs/data.md has the rules for each kind of file.

    Args:
        data: Content of the file, which alone decides on its format.
        name: Name of the file, for errors and warnings.
        max_pixels: Largest number of pixels, checked in the header before anything is decoded.

    Returns:
        uint8 (H, W, 3).

    Raises:
        DecodeError: The file is empty, truncated, damaged or no image, or has more than `max_pixels` pixels or more than
            twice PIL.Image.MAX_IMAGE_PIXELS.
    """
    if not data:
        raise DecodeError(f"{name}: the file is empty")
    kind = tiff_tags.kind(data)
    if kind and (problem := tiff_tags.problem(kind)):
        raise DecodeError(f"{name}: a TIFF of {kind}: {problem}")
    heard: AbstractContextManager[list[str]] = (
        libtiff_messages.captured() if data.startswith(tiff_tags.MAGIC) else nullcontext([])
    )
    with heard as lines:
        try:
            pixels = by_pillow(data, name, max_pixels)
        except UnidentifiedImageError as error:
            if kind:
                raise DecodeError(f"{name}: a TIFF of {kind}, which Pillow does not read; save it as 8-bit RGB") from error
            raise DecodeError(f"{name}: not an image in a format that Pillow reads; it starts with {data[:8]!r}") from error
        except DecodeError:
            raise
        except Exception as error:  # Pillow's plugins raise what their parsers do: OSError, SyntaxError, struct.error, ...
            why = f" ({lines[0]})" if lines else ""
            raise DecodeError(f"{name}: cannot be decoded: {error or type(error).__name__}{why}") from error
    if lines:
        LOG.warning("%s: libtiff went on after an error, so part of the picture may be wrong: %s", name, lines[0])
    return pixels


def by_pillow(data: bytes, name: str, max_pixels: int) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > max_pixels:
            raise DecodeError(
                f"{name}: {image.width} x {image.height} pixels are more than max_pixels={max_pixels}; raise max_pixels if "
                "the picture is wanted and there is enough memory"
            )
        with memory_for(image.width * image.height):
            image.load()
            turn = UPRIGHT.get(orientation(image))
            return rgb(image if turn is None else image.transpose(turn))


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1..8; damaged EXIF data counts as upright, since the pixels may be good."""
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # Pillow's parsers may raise anything for a damaged file
        return 1
