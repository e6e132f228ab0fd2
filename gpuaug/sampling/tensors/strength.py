"""How strongly each op of a view changed an image, from 0 to 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ... import ops as op
from ...ops.automatic.ops import AugMix, Automatic
from ...ops.base import Array
from ...ops.choice import Choice
from .automatic import PLAIN, WIDTH, normalized
from .boxes import Sizes, shown
from .table import Block, Table, tabulate

if TYPE_CHECKING:
    from ..draws import Draws


def strength(draws: Draws, view: int) -> dict[str, Array]:
    """Label of an op -> (B,) float32 in [0, 1]; see `Draws.strength`."""
    table = tabulate(draws, view)
    found = {"crop": 1 - np.minimum(shown(table.geometry), 1)}
    for block in table.blocks[1:]:
        if not isinstance(block.op, Choice):
            found[block.label] = of_op(table, block)
    return {label: np.clip(values, 0, 1).astype(np.float32) for label, values in found.items()}


def of_op(table: Table, block: Block) -> Array:
    rows = table.values[block.rows]
    if isinstance(block.op, Automatic):
        return of_slots(block.op, rows)
    if isinstance(block.op, (op.RandomErasing, op.Cutout)):
        return np.asarray(rows[3] * rows[4] / largest_erased(block.op, table.sizes[block.label]))
    if isinstance(block.op, op.RandomChannelPermutation):
        return moved_channels(rows[1:])
    counted = [(row, column) for row, column in zip(rows, block.columns, strict=True) if column.counts]
    moved = [np.abs(row - column.neutral) / column.reach for row, column in counted if column.reach > 0]
    if isinstance(block.op, op.RandomPhotometricDistort):
        moved.append(moved_channels(rows[-3:]))
    if moved:
        return np.asarray(np.mean(moved, axis=0))
    return np.zeros_like(rows[0]) if counted else rows[0]


def moved_channels(rows: Array) -> Array:
    """Share of three channels that are not in their own place. rows: (3, B)."""
    return np.asarray((rows != np.arange(3)[:, None]).mean(axis=0))


def largest_erased(o: op.RandomErasing | op.Cutout, sizes: Sizes) -> Array | float:
    """The largest share of an image that may be erased."""
    if isinstance(o, op.RandomErasing):
        return o.scale[1] or 1.0
    height, width = sizes
    side = o.length // 2 * 2
    return np.asarray(np.minimum(side, height) * np.minimum(side, width) / (height * width))


def of_slots(o: Automatic, rows: Array) -> Array:
    """The mean over the slots; of AugMix the mean over each chain, times its weight."""
    count = rows.shape[1]
    slots = rows[1 : 1 + o.slots * WIDTH].reshape(o.slots, WIDTH, count)
    scaled = normalized(o, rows)[1 : 1 + o.slots * WIDTH].reshape(o.slots, WIDTH, count)
    each = np.maximum(np.abs(scaled[:, -1]), PLAIN[slots[:, :-1].argmax(axis=1)])
    if isinstance(o, AugMix):
        each = each.reshape(o.mixture_width, o.depth, count).mean(axis=1) * rows[-o.mixture_width :]
        return np.asarray(each.sum(axis=0))
    return np.asarray(each.mean(axis=0)) if o.slots else np.zeros(count)
