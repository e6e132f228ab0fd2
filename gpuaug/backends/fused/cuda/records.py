"""Packs the tables of `plan` into records for the CUDA kernels: one record of 32-bit words per image.

A record holds everything that happens to its image, so a launch needs one pointer and a batch needs one copy:

    head | begin and end of each pass | codes | arguments

A pass runs from one barrier of an image's program to the next. Since all images share the launches, barriers are assigned to
*levels*, one launch or two for each. An image without contrast skips the level of the contrast, and its blur still runs in the
same launch as the other images' blur.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ....images import Images
from ....ops import Op
from ..instructions import ARGUMENTS, BARRIERS, IS_BARRIER, IS_BOUNDED
from ..plan import Tables, codes_of

# Words of the head. The first two form one 64-bit number, the byte at which the box begins.
BASE, LAST, PITCH, BOX_H, BOX_W, FULL_H, FULL_W, SKIP_Y, SKIP_X, FLIPS, SNAP, SCALE_Y, SCALE_X = 0, *range(2, 14)
GAIN, BIAS, HEAD = 14, 17, 20

OFF = -1
"""Stored as the end of a pass that an image skips."""

MAX_IMAGE = 2**31 - 64
"""Most bytes of one image, since 32-bit numbers address its pixels. A batch may have any number of bytes."""

Words = npt.NDArray[np.int32]


class Barrier(NamedTuple):
    """One kind of barrier in one column of the programs.

    Attributes:
        column: The column.
        code: The instruction, CONTRAST or BLUR.
        images: The images whose programs have this instruction in this column.
    """

    column: int
    code: int
    images: npt.NDArray[np.intp]


def barriers(codes: npt.NDArray[np.uint8]) -> list[Barrier]:
    """All barriers of programs (B, N), by column."""
    found: list[Barrier] = []
    for n, column in enumerate(codes.T.copy()):
        rows = IS_BARRIER[column].nonzero()[0]
        if len(rows):
            kinds = column[rows]
            one = int(kinds[0])
            if (kinds == one).all():
                found.append(Barrier(n, one, rows))
            else:
                found += [Barrier(n, kind, rows[kinds == kind]) for kind in BARRIERS]
    return found


def levels_of(places: Sequence[Barrier], count: int) -> tuple[int, ...]:
    """A sequence of barriers that contains, in order, the barriers of each of the `count` images."""
    levels: list[int] = []
    free = np.ones(count, dtype=np.bool_)  # images without a barrier on the last level
    for _, kind, rows in places:
        if not (levels and levels[-1] == kind and free[rows].all()):
            levels.append(kind)
            free[:] = True
        free[rows] = False
    return tuple(levels)


def levels_of_ops(ops: Sequence[Op]) -> tuple[int, ...]:
    """The barriers that any batch of a stage can need, for a CUDA graph, whose launches are fixed."""
    return tuple(code for o in ops for code in codes_of(o) if IS_BARRIER[code])


def passes(places: Sequence[Barrier], levels: Sequence[int], count: int, columns: int) -> Words:
    """Begin and end of every pass, (2 * levels + 2, count).

    Each is the column of a barrier; the first pass begins at -1, and the last one ends at `columns`.

    Raises:
        ValueError: The levels lack a barrier that an image needs.
    """
    out = np.full((2 * len(levels) + 2, count), OFF, dtype=np.int32)
    # following[kind][k]: the first level from level k on that has this kind of barrier, -1 if there is none.
    following = {kind: np.full(len(levels) + 1, -1) for kind in BARRIERS}
    for k in reversed(range(len(levels))):
        for kind, first in following.items():
            first[k] = k if levels[k] == kind else first[k + 1]
    at = np.zeros(count, dtype=np.intp)  # for each image, the level after that of its last barrier so far
    for n, kind, rows in places:
        level = following[kind][at[rows]]
        if (level < 0).any():
            raise ValueError("fused: the batch needs a contrast or a blur that its CUDA graph was not captured with")
        out[2 * level + 2, rows] = n
        at[rows] = level + 1
    end: Words = np.full(count, columns, dtype=np.int32)
    for k in reversed(range(1, len(levels) + 1)):
        active = out[2 * k] != OFF
        out[2 * k + 1] = np.where(active, end, OFF)
        end = np.where(active, out[2 * k], end)
    out[1] = end
    return out


def bounded(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Images (B,) whose values stay in [0, 1] up to their last barrier, provided that they start there."""
    wide = ~IS_BOUNDED[codes]
    if not wide.any():
        return np.ones(len(codes), dtype=np.bool_)
    before = np.logical_or.accumulate(IS_BARRIER[codes][:, ::-1], axis=1)[:, ::-1]
    inside: npt.NDArray[np.bool_] = ~np.asarray((wide & before).any(axis=1))
    return inside


def columns_read(words: Words, cubic: bool, columns: int) -> int:
    """Most columns of an image that the resize reads for so many neighbouring columns of a view."""
    scale = np.ascontiguousarray(words[:, SCALE_X]).view(np.float32)
    span = scale * columns + 2 * np.maximum(scale, 1) * (2 if cubic else 1) + 2
    return int(np.minimum(span.astype(np.int64), words[:, BOX_W]).max(initial=1))


def records(
    batch: object, tables: Tables, levels: tuple[int, ...] | None, snap: bool, lead: int = 0
) -> tuple[Words, tuple[int, ...]]:
    """Pack the tables of a batch.

    Args:
        batch: `Images`, or a float32 tensor (B, 3, H, W).
        tables: What happens to each image.
        levels: Levels of a CUDA graph; None: those that the batch needs.
        snap: Whether scratch may be rounded to fixed point if the program of an image allows it.
        lead: Bytes before the first image in the memory that the kernels read.

    Returns:
        The records (B, words) int32, and the levels.

    Raises:
        ValueError: An image has more than MAX_IMAGE bytes, or the levels lack a barrier that an image needs.
    """
    count, columns = tables.codes.shape
    places = barriers(tables.codes)
    levels = levels_of(places, count) if levels is None else levels
    codes_at = HEAD + 2 * (len(levels) + 1)
    args_at = codes_at + columns
    head = np.zeros((codes_at, count), dtype=np.int32)  # one row per word of all images, which is faster to fill
    floats = head.view(np.float32)
    boxes = np.ascontiguousarray(tables.boxes.T)
    if isinstance(batch, Images):
        height, width = batch.shapes.T.astype(np.int64)
        pitch = 3 * width
        sizes = pitch * height
        if sizes.max(initial=0) > MAX_IMAGE:
            k = int(sizes.argmax())
            raise ValueError(f"fused: image {k} of the batch has {sizes[k]} bytes; at most {MAX_IMAGE} are supported")
        base = lead + batch.offsets + boxes[0] * pitch + boxes[1] * 3
        head[BASE], head[BASE + 1] = base & 0xFFFFFFFF, base >> 32
        head[LAST] = np.minimum((lead + batch.buffer.numel() - 1) // 4 - base // 4, 2**31 - 1)
        head[PITCH] = pitch
    head[BOX_H : SKIP_X + 1] = boxes[2:]
    head[FLIPS] = tables.flips[:, 0] + 2 * tables.flips[:, 1]
    # Source pixels per output pixel, in float32 as torch computes it.
    floats[SCALE_Y : SCALE_X + 1] = boxes[2:4].astype(np.float32) / boxes[4:6].astype(np.float32)
    floats[GAIN : GAIN + 3], floats[BIAS : BIAS + 3] = tables.scale[:, None], tables.bias[:, None]
    if snap and isinstance(batch, Images):  # floats may lie outside [0, 1], after a Normalize
        head[SNAP] = bounded(tables.codes)
    head[HEAD:] = passes(places, levels, count, columns)
    out = np.empty((count, args_at + ARGUMENTS * columns), dtype=np.int32)
    out[:, :codes_at] = head.T
    out[:, codes_at:args_at] = tables.codes
    out[:, args_at:] = tables.arguments.reshape(count, -1).view(np.int32)
    return out, levels
