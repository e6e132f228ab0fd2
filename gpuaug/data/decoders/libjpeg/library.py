"""Pillow's libjpeg: where it is, and whether it can be called."""

from __future__ import annotations

import ctypes
import io
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image

from . import routine

PLACES = ("pillow.libs/libjpeg*.so*", "PIL/.dylibs/libjpeg*.dylib")
"""Where Pillow's wheels keep it, from the folder of packages on."""

OPAQUE_POINTERS = (0, 62)
"""The first version of Numba whose LLVM has pointers without a type, as the routine does."""

Addresses = npt.NDArray[np.int64]


class Library:
    """Pillow's libjpeg and the routine that decodes by it.

    Raises:
        OSError: The library is not there or cannot be loaded, it lacks a function, or it does not do what it should.
    """

    def __init__(self) -> None:
        if sys.maxsize < 2**32 or sys.platform == "win32":
            raise OSError("this system is not a 64-bit one with setjmp")
        packages = Path(PIL.__file__).parents[1]
        found = [path for place in PLACES for path in packages.glob(place)]
        if not found:
            raise OSError("this Pillow has no libjpeg of its own, as PyPI's wheels have; pip install --force-reinstall pillow")
        try:
            self.functions = routine.table(ctypes.CDLL(str(found[0])))
        except AttributeError as error:  # ctypes' of a missing function
            raise OSError(f"{found[0].name}: {error}") from error
        if numba.version_info[:2] < OPAQUE_POINTERS:
            raise OSError("it needs Numba 0.62 or later, whose LLVM knows opaque pointers: pip install -U numba")
        self.engine = routine.engine()  # kept, since two threads may make a library each at the same time
        self.run = routine.routine(self.engine)
        self.check(found[0].name)

    def decode(self, contents: list[bytes], boxes: npt.NDArray[np.int32], outs: Addresses) -> list[int]:
        """Decode files, without the GIL.

        Args:
            contents: The files.
            boxes: (n, 8) height and width of each picture; top, left, height and width of the part to decode, whose columns
                must begin at a multiple of the picture's block, unless they are all; how many pixels of its rows to leave out
                on the left, at most 17; and how many to write then.
            outs: (n,) The addresses to which the pixels go, uint8 without gaps. What lies up to `SLACK` bytes before them is
                kept if the file is good, and up to as many behind them are overwritten.

        Returns:
            0 for each file that was decoded without an error or a warning, and some other number for others, whose pixels are
            undefined.
        """
        count = len(contents)
        datas = (ctypes.c_char_p * count)(*contents)
        sizes = np.fromiter(map(len, contents), np.int64, count)
        boxes = np.ascontiguousarray(boxes, np.int32)
        found = np.full(count, -1, np.int32)
        pointers = (sizes.ctypes.data, boxes.ctypes.data, outs.ctypes.data, found.ctypes.data)
        self.run(ctypes.addressof(self.functions), count, ctypes.addressof(datas), *pointers)
        return found.tolist()

    def check(self, name: str) -> None:
        """Decode part of a small picture, half of it, and what is none: an unexpected library shall not be used."""
        pixels = np.arange(3 * 40 * 48, dtype=np.uint32).reshape(40, 48, 3) % 251
        stream = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(stream, "JPEG", quality=90)
        data = stream.getvalue()
        memory = np.zeros(routine.SLACK + 20 * 12 * 3 + routine.SLACK, np.uint8)
        boxes = np.array([[40, 48, 10, 16, 20, 32, 1, 12]], np.int32)
        out = np.array([memory.ctypes.data + routine.SLACK])
        cut, none = data[: len(data) // 2] + b"\xff\xd9", b"\xff\xd8\xff"
        found = [self.decode([file], boxes, out)[0] for file in (cut, none, data)]
        with Image.open(stream) as image:
            truth = np.asarray(image)[10:30, 17:29]
        part = memory[routine.SLACK : -routine.SLACK].reshape(truth.shape)
        if found != [routine.WARNED, routine.FAILED, routine.GOOD] or not np.array_equal(part, truth):
            raise OSError(f"{name}: its ABI or its pixels are not those of libjpeg-turbo in Pillow's wheels")


@cache
def library() -> Library | str:
    """Pillow's libjpeg, loaded once; or why it cannot be used."""
    try:
        return Library()
    except OSError as error:
        return str(error)


def missing() -> str:
    """Why Pillow's libjpeg cannot be called directly; empty if it can."""
    found = library()
    return found if isinstance(found, str) else ""


def usable() -> Any:
    """Pillow's libjpeg. Raises ImportError if it cannot be called directly."""
    found = library()
    if isinstance(found, str):
        raise ImportError(f'decoder "libjpeg" calls Pillow\'s libjpeg directly, which does not work here: {found}')
    return found
