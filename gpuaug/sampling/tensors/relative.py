"""What takes one view of an image to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...ops.base import Array
from .columns import Column, compare, undo
from .table import Table, blocks, names, tabulate

if TYPE_CHECKING:
    from ..draws import Draws


def union(draws: Draws, *views: int) -> dict[str, Column]:
    """The columns of some views by name: those of the first, and then those that only the others have."""
    found: dict[str, Column] = {}
    for view in views:
        for block in blocks(draws.policy.views[view]):
            for column in block.columns:
                found.setdefault(f"{block.label}.{column.name}", column)
    return found


def relative_names(draws: Draws, i: int, j: int) -> tuple[str, ...]:
    return tuple(union(draws, i, j))


def spread_over(table: Table, own: tuple[str, ...], columns: dict[str, Column]) -> Array:
    """The values of a view in a union's columns, (D, B); those that it lacks are neutral."""
    at = {name: k for k, name in enumerate(columns)}
    out = np.empty((len(columns), table.values.shape[1]))
    out[:] = np.array([column.neutral for column in columns.values()])[:, None]
    out[[at[name] for name in own]] = table.values
    return out


def rules(columns: dict[str, Column]) -> Array:
    return np.array([column.rule for column in columns.values()])


def relative(draws: Draws, i: int, j: int) -> Array:
    """(B, D) float32; see `Draws.relative`."""
    columns = union(draws, i, j)
    a, b = (spread_over(tabulate(draws, v), names(draws.policy.views[v]), columns) for v in (i, j))
    return np.ascontiguousarray(compare(rules(columns), a, b).T, dtype=np.float32)


def compose(draws: Draws, i: int, given: Array, j: int) -> Array:
    """(B, D of view j) float32; see `Draws.compose`. given: (B, D of the union)."""
    columns = union(draws, i, j)
    if given.shape != (len(draws), len(columns)):
        raise ValueError(
            f"Draws: relative must be ({len(draws)}, {len(columns)}), one number for each of relative_names({i}, {j}), "
            f"got {given.shape}"
        )
    a = spread_over(tabulate(draws, i), names(draws.policy.views[i]), columns)
    b = undo(rules(columns), a, given.T.astype(np.float64))
    order = {name: k for k, name in enumerate(columns)}
    return np.ascontiguousarray(b[[order[name] for name in names(draws.policy.views[j])]].T, dtype=np.float32)
