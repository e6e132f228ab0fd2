"""How strongly each op of a view changed an image, from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ... import ops as op
from ...ops import Op
from ...ops.automatic.ops import AugMix, Automatic
from ...ops.base import Array
from ...ops.choice import Choice
from .automatic import WIDTH, functions, normalized
from .boxes import Sizes, shown
from .columns import Column
from .table import tabulate

if TYPE_CHECKING:
    from ..draws import Draws


def strength(draws: Draws, view: int) -> dict[str, Array]:
    """Label of an op -> (B,) float32 in [0, 1]; see `Draws.strength`."""
    table = tabulate(draws, view)
    found = {"crop": 1 - np.minimum(shown(table.geometry), 1)}
    for block in table.blocks[1:]:
        if block.op is not None and not isinstance(block.op, Choice):
            formula = formula_of(block.op, block.columns)
            found[block.label] = formula.compute(block.op, table.values[block.rows], block.columns, table.sizes[block.label])
    return {label: np.clip(values, 0, 1).astype(np.float32) for label, values in found.items()}


class Formula(NamedTuple):
    """How strong an op is.

    Attributes:
        words: The formula in words.
        compute: (op, the values of its columns (D, B), the columns, sizes of the images before it) -> (B,), at least 0.
    """

    words: str
    compute: Callable[[Any, Array, Any, Sizes], Array]


def formula_of(o: Op, columns: Sequence[Column]) -> Formula:
    if isinstance(o, AugMix):
        return CHAINS
    if isinstance(o, Automatic):
        return SLOTS
    if type(o) in SPECIAL:
        return SPECIAL[type(o)]
    return DISTANCE if any(column.counts for column in columns) else APPLIED


def distances(o: Op, rows: Array, columns: list[Column], sizes: Sizes) -> Array:
    counted = [(row, column) for row, column in zip(rows, columns, strict=True) if column.counts and column.reach > 0]
    moved = [np.abs(row - column.neutral) / column.reach for row, column in counted]
    return np.asarray(np.mean(moved, axis=0)) if moved else np.zeros(rows.shape[1])


def moved_channels(o: Op, rows: Array, columns: list[Column], sizes: Sizes) -> Array:
    return np.asarray((rows[-3:] != np.arange(3)[:, None]).mean(axis=0))


def distort(o: op.RandomPhotometricDistort, rows: Array, columns: list[Column], sizes: Sizes) -> Array:
    varied = sum(column.counts and column.reach > 0 for column in columns)
    return (distances(o, rows, columns, sizes) * varied + moved_channels(o, rows, columns, sizes)) / (varied + 1)


def erasing(o: op.RandomErasing, rows: Array, columns: list[Column], sizes: Sizes) -> Array:
    return np.asarray(rows[3] * rows[4] / (o.scale[1] or 1.0))


def cutout(o: op.Cutout, rows: Array, columns: list[Column], sizes: Sizes) -> Array:
    side, (height, width) = o.length // 2 * 2, sizes
    return np.asarray(rows[3] * rows[4] * height * width / (np.minimum(side, height) * np.minimum(side, width)))


def slots(o: Automatic, rows: Array, columns: list[Column], sizes: Sizes) -> Array:
    """(slots, B): how far each slot's function is from changing nothing; 1 for one that has no magnitude."""
    count = rows.shape[1]
    scaled = normalized(o, rows)[1 : 1 + o.slots * WIDTH].reshape(o.slots, WIDTH, count)
    return np.maximum(np.abs(scaled[:, -1]), functions(o, rows))


def mean_of_slots(o: Automatic, rows: Array, columns: list[Column], sizes: Sizes) -> Array:
    return np.asarray(slots(o, rows, columns, sizes).mean(axis=0)) if o.slots else np.zeros(rows.shape[1])


def chains(o: AugMix, rows: Array, columns: list[Column], sizes: Sizes) -> Array:
    each = slots(o, rows, columns, sizes).reshape(o.mixture_width, o.depth, rows.shape[1]).mean(axis=1)
    return np.asarray((each * rows[-o.mixture_width :]).sum(axis=0))


APPLIED = Formula("1 where it was applied", lambda o, rows, columns, sizes: rows[0])
DISTANCE = Formula("distance of {}", distances)
SLOTS = Formula(
    "mean over the slots: distance of the magnitude; 1 for AutoContrast, Equalize and Invert, 0 for Identity",
    mean_of_slots,
)
CHAINS = Formula("sum over the chains: weight x mean over the slots, as of RandAugment", chains)
SPECIAL: dict[type[Op], Formula] = {
    op.RandomChannelPermutation: Formula("share of channels that left their place", moved_channels),
    op.RandomPhotometricDistort: Formula(
        "mean of the distances of {} and of the share of channels that left their place", distort
    ),
    op.RandomErasing: Formula("area of the erased box / the largest in `scale`", erasing),
    op.Cutout: Formula("area of the erased box / the largest that the image allows", cutout),
}
"""Op -> its formula, if it is not the mean distance of its columns; {} stands for those that count and have a range."""
