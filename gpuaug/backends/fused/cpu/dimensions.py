"""What the sizes of a workspace depend on, found from the tables of a batch."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from ..plan import Tables
from .kernels.rows.across import SLACK
from .kernels.views import extremes
from .simd.llvm import LANES

STRIP_FLOATS = 1024
"""Floats in a plane of a strip, about: enough to hide the cost of calls, few enough for the L1 cache."""


def round_up(n: int, multiple: int = LANES) -> int:
    return -(-n // multiple) * multiple


SMALL = 64
"""Largest side of boxes and views whose filters are kept. Those of larger ones would not stay in the L2 cache."""


class Dimensions(NamedTuple):
    """What the sizes of a workspace depend on. Numbers that vary between batches are rounded up, so that workspaces are reused.

    Attributes:
        height: Height of a view in pixels.
        width: Width of a view in pixels.
        strip_rows: Rows in a strip.
        taps_y: Most source pixels that the vertical filter sums for an output pixel.
        taps_x: Most source pixels that the horizontal filter sums.
        ring: Rows in the ring buffer, a power of two.
        row_bytes: Bytes of a source row, including what a filter reads beyond it.
        radius: Largest radius of any blur, in pixels.
        second: 1 if a second image buffer is needed, else 0.
        framed: How many buffers of framed images are needed: 0, 1 or 2.
        mixes: 1 if buffers for sums of views are needed, else 0.
        steps: Columns of the programs.
        slots: Slots of `Filters`: 1, or for small views of small boxes enough for the filters of all of them.
    """

    height: int
    width: int
    strip_rows: int
    taps_y: int
    taps_x: int
    ring: int
    row_bytes: int
    radius: int
    second: int
    framed: int
    mixes: int
    steps: int
    slots: int


def dimensions(tables: Tables) -> Dimensions:
    height, width = tables.size
    support = 2 if tables.cubic else 1
    scale_y, scale_x, box_height, box_width, second, warps, mixes, radius = extremes(
        tables.boxes, tables.codes, tables.arguments
    )
    strip_rows = min(height, max(1, STRIP_FLOATS // round_up(width)))
    taps_y, taps_x = (power_of_two_above(2 * support * max(1.0, scale) + 1) for scale in (scale_y, scale_x))
    return Dimensions(
        height,
        width,
        strip_rows,
        taps_y,
        taps_x,
        ring=power_of_two_above(2 * support * max(1.0, scale_y) + 1 + (strip_rows - 1) * scale_y),
        row_bytes=power_of_two_above(3 * (box_width + SLACK + 2 * taps_x)),
        radius=max(tables.radius, int(radius)),
        second=int(second),
        framed=min(int(warps), 2),
        mixes=int(mixes),
        steps=tables.codes.shape[1],
        slots=2 * power_of_two_above(max(box_height, box_width)) if max(height, width, box_height, box_width) <= SMALL else 1,
    )


def power_of_two_above(number: float) -> int:
    """The smallest power of two greater than a number rounded up."""
    return 1 << ceil(number).bit_length()
