"""Packs the tables of `plan` into records for the CUDA kernels: one record of 32-bit words per image.

A record holds everything that happens to its image, so a launch needs one pointer and a batch needs one copy:

    head | begin and end of each pass | codes | arguments

A pass runs from one barrier of an image's program to the next. Since all images share the launches, barriers are assigned to
*levels*, one launch or two for each. An image without contrast skips the level of the contrast, and its blur still runs in the
same launch as the other images' blur. In stages with general instructions, all barriers that need no
other launches share the levels of one kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ....images import Images
from ....ops import Op, Resize
from .. import plan
from ..cpu import pack
from ..cpu.compilation import FIND_LEVELS, PACK
from ..cpu.pack import ANY, BOX_W, HEAD, SCALE_X
from ..draw_program import plain
from ..instructions import ARGUMENTS, BLUR, CONTRAST, ELASTIC, GENERAL, IS_BARRIER, JPEG
from ..lowering import columns_of
from ..plan import Tables, possible_codes

MAX_IMAGE = 2**31 - 64
"""Most bytes of one image, since 32-bit numbers address its pixels. A batch may have any number of bytes."""

Words = npt.NDArray[np.int32]
NO_STARTS, NO_SHAPES = np.empty(0, dtype=np.int64), np.empty((0, 2), dtype=np.int32)


def kinds_of_levels(possible: frozenset[int]) -> npt.NDArray[np.uint8]:
    """For each code, the kind of level on which it is in a stage whose programs may hold these codes; 0 if it is no barrier.

    Kinds are the codes of barriers with kernels of their own, and ANY. If there may be general instructions, contrast is ANY.
    """
    kinds = np.where(IS_BARRIER, np.uint8(ANY), np.uint8(0))
    for code in (BLUR, JPEG, ELASTIC):
        kinds[code] = code
    if not possible & GENERAL:
        kinds[CONTRAST] = CONTRAST
    return kinds


def levels_of_ops(ops: Sequence[Op]) -> tuple[int, ...]:
    """The levels that any batch of a stage can need, for a CUDA graph, whose launches are fixed."""
    kinds = kinds_of_levels(possible_codes(ops))
    return tuple(kind for o in ops for column in columns_of(o) for kind in sorted(set(kinds[list(column)].tolist())) if kind)


def columns_read(words: Words, cubic: bool, columns: int) -> int:
    """Most columns of an image that the resize reads for so many neighbouring columns of a view."""
    scale = np.ascontiguousarray(words[:, SCALE_X]).view(np.float32)
    span = scale * columns + 2 * np.maximum(scale, 1) * (2 if cubic else 1) + 2
    return int(np.minimum(span.astype(np.int64), words[:, BOX_W]).max(initial=1))


def records(batch: Any, tables: Tables, levels: tuple[int, ...] | None, lead: int = 0) -> tuple[Words, tuple[int, ...]]:
    """Pack the tables of a batch.

    Args:
        batch: `Images`, or a float32 tensor (B, 3, H, W).
        tables: What happens to each image.
        levels: Levels of a CUDA graph; None: those that the batch needs.
        lead: Bytes before the first image in the memory that the kernels read.

    Returns:
        The records (B, words) int32, and the levels.

    Raises:
        ValueError: An image has more than MAX_IMAGE bytes, or the levels lack a barrier that an image needs.
    """
    count, columns = tables.codes.shape
    codes, kinds = plain(tables.codes), kinds_of_levels(tables.possible)
    found = needed_levels(codes, kinds) if levels is None else np.array(levels, dtype=np.uint8)
    words = np.empty((count, words_of(len(found), columns)), dtype=np.int32)
    whole = isinstance(batch, Images)
    starts = batch.starts if whole else None
    with PACK.watched():
        outcome = pack.pack(
            NO_STARTS if starts is None else plain(starts),
            plain(batch.shapes) if whole else NO_SHAPES,
            step_of(batch),
            lead,
            lead + batch.buffer.numel() if whole else 0,
            MAX_IMAGE,
            plain(tables.boxes),
            plain(tables.flips),
            codes,
            plain(tables.arguments).reshape(count, ARGUMENTS * columns).view(np.int32),
            plain(tables.scale),
            plain(tables.bias),
            kinds,
            found,
            words,
            words.view(np.float32),
        )
    if outcome == pack.TOO_LARGE:
        check_sizes(batch)
    if outcome == pack.NO_LEVEL:
        raise ValueError("fused: the batch needs a contrast, a blur or the like that its CUDA graph was not captured with")
    return words, tuple(found.tolist())


def step_of(batch: Any) -> int:
    """Bytes from a pixel of `Images` to the next one in its row: 1 in planes of brightness and colours, else 3."""
    return 1 if isinstance(batch, Images) and batch.layout == "yuv420" else 3


def check_sizes(batch: Images) -> None:
    """Raise ValueError if an image has more than MAX_IMAGE bytes."""
    sizes = batch.sizes
    if sizes.max(initial=0) > MAX_IMAGE:
        k = int(sizes.argmax())
        raise ValueError(f"fused: image {k} of the batch has {sizes[k]} bytes; at most {MAX_IMAGE} are supported")


def needed_levels(codes: npt.NDArray[np.uint8], kinds: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The levels that programs (B, N) need: each image finds its barriers on them in order. kinds: of `kinds_of_levels`."""
    count, columns = codes.shape
    levels = np.empty(len(kinds) * columns, dtype=np.uint8)
    with FIND_LEVELS.watched():
        return levels[: pack.find_levels(codes, kinds, np.empty(count, dtype=np.int32), levels)]


def words_of(levels: int, columns: int) -> int:
    """32-bit words of a record."""
    return HEAD + 2 * (levels + 1) + columns + ARGUMENTS * columns


def warm_up() -> None:
    """Compile the kernels that pack, or load them from the cache, by packing the resize of one pixel."""
    if not PACK.done.is_set():
        pixel, steps = (
            Images(torch.zeros(3, dtype=torch.uint8, device="cpu"), np.ones((1, 2), dtype=np.int32)),
            (Resize((1, 1)),),
        )
        records(pixel, plan.tables(pixel, steps, [{}]), None)
