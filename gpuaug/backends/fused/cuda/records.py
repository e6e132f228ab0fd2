"""What the CUDA kernels read: one record of 32-bit words an image, made on the host from the tables of `plan`.

A record holds all that is done to its image, so a launch needs one pointer and a batch one copy:

    head | begin and end of each pass | codes | arguments

A pass runs from one barrier of its image to the next. Launches are shared by all images, so barriers are put on *levels*: an
image without contrast leaves the level of the contrast out, and its blur still happens in the launch of everybody's blur.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ....images import Images
from ....ops import Op
from ..instructions import ARGUMENTS, BARRIERS, IS_BARRIER, IS_BOUNDED
from ..plan import Tables, codes_of

# Words of the head. The first two are one 64-bit number: the byte where the box begins.
BASE, LAST, PITCH, BOX_H, BOX_W, FULL_H, FULL_W, SKIP_Y, SKIP_X, FLIPS, SNAP, TAPS_Y, TAPS_X, SCALE_Y, SCALE_X = (
    0,
    *range(2, 16),
)
GAIN, BIAS, HEAD = 16, 19, 22

OFF = -1
"""The end of a pass in which nothing happens to an image."""

MAX_IMAGE = 2**31 - 64
"""Bytes of one image, which is addressed by 32-bit numbers; a batch may have any number of bytes."""

Words = npt.NDArray[np.int32]


Place = tuple[int, int, npt.NDArray[np.intp]]
"""A column of the programs with a barrier, its kind, and the images that have them there."""


def barriers(codes: npt.NDArray[np.uint8]) -> list[Place]:
    """The places of all barriers, in order; codes (B, N)."""
    found: list[Place] = []
    for n, column in enumerate(codes.T.copy()):
        rows = IS_BARRIER[column].nonzero()[0]
        if len(rows):
            kinds = column[rows]
            one = int(kinds[0])
            if (kinds == one).all():
                found.append((n, one, rows))
            else:
                found += [(n, kind, rows[kinds == kind]) for kind in BARRIERS]
    return found


def levels_of(places: Sequence[Place], count: int) -> tuple[int, ...]:
    """The kinds of barriers such that those of each of the `count` images are among them in order."""
    levels: list[int] = []
    free = np.ones(count, dtype=np.bool_)  # images without a barrier on the last level
    for _, kind, rows in places:
        if not (levels and levels[-1] == kind and free[rows].all()):
            levels.append(kind)
            free[:] = True
        free[rows] = False
    return tuple(levels)


def levels_of_ops(ops: Sequence[Op]) -> tuple[int, ...]:
    """The barriers that any batch of a stage can need: for a CUDA graph, whose launches cannot change."""
    return tuple(code for o in ops for code in codes_of(o) if IS_BARRIER[code])


def passes(places: Sequence[Place], levels: Sequence[int], count: int, columns: int) -> Words:
    """Begin and end (2 * levels + 2, count) of every pass: columns of barriers, -1 before the first, else `columns`."""
    out = np.full((2 * len(levels) + 2, count), OFF, dtype=np.int32)
    # following[kind][k]: the first level of this kind from level k on.
    following = {kind: np.full(len(levels) + 1, -1) for kind in BARRIERS}
    for k in reversed(range(len(levels))):
        for kind, first in following.items():
            first[k] = k if levels[k] == kind else first[k + 1]
    at = np.zeros(count, dtype=np.intp)  # the level after the last barrier of an image
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
    """Images (B,) whose values are within [0, 1] at every barrier, if they begin so: no instruction before the last one leaves
    the range."""
    wide = ~IS_BOUNDED[codes]
    if not wide.any():
        return np.ones(len(codes), dtype=np.bool_)
    before = np.logical_or.accumulate(IS_BARRIER[codes][:, ::-1], axis=1)[:, ::-1]
    inside: npt.NDArray[np.bool_] = ~np.asarray((wide & before).any(axis=1))
    return inside


def taps(n_in: Words, n_full: Words, cubic: bool) -> tuple[npt.NDArray[np.float32], Words]:
    """Source pixels an output pixel, in float32 as torch computes it, and the most pixels that its filter reads."""
    scale: npt.NDArray[np.float32] = np.asarray(n_in.astype(np.float32) / n_full.astype(np.float32), np.float32)
    support = np.maximum(scale, np.float32(1)) * np.float32(2 if cubic else 1)
    most: Words = np.minimum(np.ceil(2 * support).astype(np.int32), n_in)
    return scale, most


def runs_over(words: Words, cubic: bool, size: int) -> bool:
    """Whether the windows of a box narrower than they are reach beyond the memory of `size` bytes."""
    step = 4 if cubic else 3
    span = -(-words[:, TAPS_X] // step) * step
    narrow = words[span > words[:, BOX_W]]
    base = np.ascontiguousarray(narrow[:, BASE : BASE + 2]).view(np.int64)[:, 0]
    end = base + (narrow[:, BOX_H] - 1).astype(np.int64) * narrow[:, PITCH] + 3 * span[span > words[:, BOX_W]]
    return bool((end > size).any())


def records(
    batch: object, tables: Tables, levels: tuple[int, ...] | None, snap: bool, lead: int = 0
) -> tuple[Words, tuple[int, ...]]:
    """The records (B, words) int32, and the levels.

    levels: of a graph; None takes those that the batch needs. snap: whether scratch may be rounded to fixed point, where a
    program allows it. lead: bytes in front of the first image in the memory that the kernels are given.
    """
    count, columns = tables.codes.shape
    places = barriers(tables.codes)
    levels = levels_of(places, count) if levels is None else levels
    codes_at = HEAD + 2 * (len(levels) + 1)
    args_at = codes_at + columns
    head = np.zeros((codes_at, count), dtype=np.int32)  # a word of all images is a row here, which is quicker to fill
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
    floats[SCALE_Y], head[TAPS_Y] = taps(boxes[2], boxes[4], tables.cubic)
    floats[SCALE_X], head[TAPS_X] = taps(boxes[3], boxes[5], tables.cubic)
    floats[GAIN : GAIN + 3], floats[BIAS : BIAS + 3] = tables.scale[:, None], tables.bias[:, None]
    if snap and isinstance(batch, Images):  # floats may come from a Normalize
        head[SNAP] = bounded(tables.codes)
    head[HEAD:] = passes(places, levels, count, columns)
    out = np.empty((count, args_at + ARGUMENTS * columns), dtype=np.int32)
    out[:, :codes_at] = head.T
    out[:, codes_at:args_at] = tables.codes
    out[:, args_at:] = tables.arguments.reshape(count, -1).view(np.int32)
    return out, levels
