"""How the Triton kernels divide a view among programs, and how many registers a thread gets."""

from __future__ import annotations

from dataclasses import dataclass

import torch

TILE = (32, 32)
"""Rows and columns of pixels in a tile. 224, 96 and 32 are multiples of 32, and a warp's load then covers one row."""

GENERAL_TILE = (16, 32)
"""Rows and columns of a tile of `general_pass`, whose gathers take more registers."""

BLOCKS = 16
"""Rows and columns of a tile of `jpeg_blocks`: of what has one block of either colour."""

WARPS = 4
"""Warps of a program: a thread then makes eight pixels of a tile, over which it spreads the cost of finding its image."""


def register_limit(noisy: bool) -> int:
    """Triton's option `maxnreg` for `first_pass`, `next_pass` and `general_pass`. noisy: whether programs may have noise.

    By itself the assembler allocates too few registers on some devices and under some Tritons, and spills two to four.
    """
    return 168 if noisy else 128


STRIP_REGISTERS = {torch.bfloat16: 168, torch.float16: 208, torch.float32: 208}
"""Triton's option `maxnreg` for the kernels in strips, by the dtype of the view.

With 168, three programs share a multiprocessor. By itself the assembler spills on some devices, although it could use more.
"""


@dataclass(frozen=True)
class Strips:
    """How the kernels in `strips` divide their work. Hopper multiplies 64 rows of a matrix at a time, here columns of a view.

    Attributes:
        rows: Rows of pixels in a tile.
        columns: Columns of pixels in a tile, and in a strip.
        chunk_rows: Rows of the source that are multiplied by weights at a time.
        chunk_columns: Columns of the source that are multiplied by weights at a time.
    """

    rows: int = 32
    columns: int = 64
    chunk_rows: int = 16
    chunk_columns: int = 16


def strips_for(capability: tuple[int, int], noisy: bool) -> Strips | None:
    """The strips on devices of a compute capability, or None before Ampere (8.0), where Triton cannot use tensor cores.

    noisy: whether programs may have noise, whose generator needs registers.
    """
    if capability < (8, 0):
        return None
    return Strips(rows=16 if noisy else 32, chunk_columns=32 if capability[0] == 9 else 16)
