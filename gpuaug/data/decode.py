"""Decoding: the bytes of an image file, or an image that PIL has opened, become 8-bit RGB by one set of rules."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ..images import rgb

Pixels = npt.NDArray[np.uint8]

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
"""EXIF orientation -> what makes the picture upright (Exif 2.32, tag 0x0112)."""


class DecodeError(OSError):
    """An image that cannot be read or decoded; the message names the file and the reason."""


def decode(data: bytes, name: str) -> Pixels:
    """The picture in an encoded file, upright, as uint8 (H, W, 3); its content decides on the format, not its name.

    Raises DecodeError naming `name` for an empty, truncated or damaged file, one that is no image, and one of more pixels
    than twice PIL.Image.MAX_IMAGE_PIXELS.
    """
    if not data:
        raise DecodeError(f"{name}: the file is empty")
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            turn = UPRIGHT.get(orientation(image))
            return rgb(image if turn is None else image.transpose(turn))
    except UnidentifiedImageError as error:
        raise DecodeError(f"{name}: not an image in a format that Pillow reads; it starts with {data[:8]!r}") from error
    except Exception as error:  # Pillow's plugins raise what their parsers do: OSError, SyntaxError, struct.error, ...
        raise DecodeError(f"{name}: cannot be decoded: {error or type(error).__name__}") from error


def decode_batch(datas: Sequence[bytes], names: Sequence[str]) -> list[Pixels | DecodeError]:
    """`decode` of each file, in order; a bad file's error stands in its place and costs no other file."""
    return [attempt(data, name) for data, name in zip(datas, names, strict=True)]


def attempt(data: bytes, name: str) -> Pixels | DecodeError:
    """`decode`, its error returned rather than raised."""
    try:
        return decode(data, name)
    except DecodeError as error:
        return error


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1..8; damaged EXIF counts as upright, since the pixels may well be sound."""
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # as above: whatever Pillow's parsers of a damaged file raise
        return 1
