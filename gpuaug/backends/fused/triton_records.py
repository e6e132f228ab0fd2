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

from ... import ops as op
from ...images import Images
from ...ops import Op
from .plan import AFFINE, ARGUMENTS, BLUR, CONTRAST, ERASE_WITH_NOISE, Tables

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


def levels_of(codes: npt.NDArray[np.uint8]) -> tuple[int, ...]:
    """The barriers of a batch, CONTRAST or BLUR, such that every image's are among them in order; codes (B, N)."""
    levels: list[int] = []
    free = np.ones(len(codes), dtype=np.bool_)  # images without a barrier on the last level
    for column in codes.T:
        for kind in (CONTRAST, BLUR):
            rows = column == kind
            if rows.any():
                if not (levels and levels[-1] == kind and free[rows].all()):
                    levels.append(kind)
                    free[:] = True
                free &= ~rows
    return tuple(levels)


def levels_of_ops(ops: Sequence[Op]) -> tuple[int, ...]:
    """The barriers that any batch of a stage can need: for a CUDA graph, whose launches cannot change."""
    kinds = []
    for o in ops:
        if isinstance(o, op.ColorJitter) and o.limits("contrast") is not None:
            kinds.append(CONTRAST)
        elif isinstance(o, op.GaussianBlur):
            kinds.append(BLUR)
    return tuple(kinds)


def passes(codes: npt.NDArray[np.uint8], levels: Sequence[int]) -> Words:
    """Begin and end (B, levels + 1, 2) of every pass: columns of barriers, -1 before the first, N after the last."""
    count, columns = codes.shape
    place = np.full((count, len(levels)), OFF, dtype=np.int32)
    # following[kind][k]: the first level of this kind from level k on.
    following = {
        kind: np.array([next((j for j in range(k, len(levels)) if levels[j] == kind), -1) for k in range(len(levels) + 1)])
        for kind in (CONTRAST, BLUR)
    }
    at = np.zeros(count, dtype=np.intp)
    for n in range(columns):
        for kind in (CONTRAST, BLUR):
            rows = np.flatnonzero(codes[:, n] == kind)
            if len(rows):
                level = following[kind][at[rows]]
                if (level < 0).any():
                    raise ValueError("fused: the batch needs a contrast or a blur that its CUDA graph was not captured with")
                place[rows, level] = n
                at[rows] = level + 1
    out = np.empty((count, len(levels) + 1, 2), dtype=np.int32)
    end = np.full(count, columns, dtype=np.int32)
    for k in reversed(range(len(levels))):
        active = place[:, k] != OFF
        out[:, k + 1, 0] = place[:, k]
        out[:, k + 1, 1] = np.where(active, end, OFF)
        end = np.where(active, place[:, k], end)
    out[:, 0, 0] = -1
    out[:, 0, 1] = end
    return out


def bounded(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Images (B,) whose values are within [-2, 2) at every barrier: nothing before the last one leaves the colours' range."""
    barrier = (codes == CONTRAST) | (codes == BLUR)
    before = np.logical_or.accumulate(barrier[:, ::-1], axis=1)[:, ::-1]
    return ~np.asarray((codes >= AFFINE) & (codes <= ERASE_WITH_NOISE) & before).any(axis=1)


def taps(n_in: Words, n_full: Words, cubic: bool) -> tuple[npt.NDArray[np.float32], Words]:
    """Source pixels an output pixel, in float32 as torch computes it, and the most pixels that its filter reads."""
    scale = n_in.astype(np.float32) / n_full.astype(np.float32)
    support = np.maximum(scale, np.float32(1)) * np.float32(2 if cubic else 1)
    return scale, np.minimum(np.ceil(2 * support).astype(np.int32), n_in)


def runs_over(words: Words, cubic: bool, size: int) -> bool:
    """Whether the windows of a box narrower than they are reach beyond the memory of `size` bytes."""
    step = 4 if cubic else 3
    span = -(-words[:, TAPS_X] // step) * step
    end = words[:, BASE : BASE + 2].view(np.int64)[:, 0] + (words[:, BOX_H] - 1).astype(np.int64) * words[:, PITCH] + 3 * span
    return bool(((span > words[:, BOX_W]) & (end > size)).any())


def records(batch: object, tables: Tables, levels: Sequence[int], snap: bool, lead: int = 0) -> Words:
    """(B, words) int32.

    snap: whether scratch may be rounded to fixed point, where a program allows it. lead: bytes in front of the first image
    in the memory that the kernels are given.
    """
    count, columns = tables.codes.shape
    codes_at = HEAD + 2 * (len(levels) + 1)
    args_at = codes_at + columns
    out = np.zeros((count, args_at + ARGUMENTS * columns), dtype=np.int32)
    floats = out.view(np.float32)
    boxes = tables.boxes
    if isinstance(batch, Images):
        if (batch.sizes > MAX_IMAGE).any():
            k = int(np.argmax(batch.sizes > MAX_IMAGE))
            raise ValueError(f"fused: image {k} of the batch has {batch.sizes[k]} bytes; at most {MAX_IMAGE} are supported")
        pitch = batch.shapes[:, 1].astype(np.int64) * 3
        base = lead + batch.offsets + boxes[:, 0] * pitch + boxes[:, 1] * 3
        out[:, BASE : BASE + 2] = base[:, None].view(np.int32)
        out[:, LAST] = np.minimum((lead + batch.buffer.numel() - 1) // 4 - base // 4, 2**31 - 1)
        out[:, PITCH] = pitch
    out[:, BOX_H : SKIP_X + 1] = boxes[:, 2:]
    out[:, FLIPS] = tables.flips @ np.array([1, 2])
    floats[:, SCALE_Y], out[:, TAPS_Y] = taps(boxes[:, 2], boxes[:, 4], tables.cubic)
    floats[:, SCALE_X], out[:, TAPS_X] = taps(boxes[:, 3], boxes[:, 5], tables.cubic)
    floats[:, GAIN : GAIN + 3], floats[:, BIAS : BIAS + 3] = tables.scale, tables.bias
    out[:, SNAP] = snap and bounded(tables.codes)
    out[:, HEAD:codes_at] = passes(tables.codes, levels).reshape(count, -1)
    out[:, codes_at:args_at] = tables.codes
    floats[:, args_at:] = tables.arguments.reshape(count, -1)
    return out
