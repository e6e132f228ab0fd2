"""Where each step of a view finds its uniform numbers, for those who draw in another way than `tables`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from ..ops import Nested, Op, Shared, leaves
from ..ops.base import needed, plain, probability
from ..ops.choice import Choice, OneOf


class Slot(NamedTuple):
    """Where a step finds its numbers: what `draw_ops` does, for those who draw in another way.

    Attributes:
        column: Column of the first uniform number that its `draw` gets.
        conditions: (column, low, high): the step is applied to an image if each of these columns is in [low, high).
    """

    column: int
    conditions: tuple[tuple[int, float, float], ...]


def slots(
    ops: Sequence[Op],
    column: int = 0,
    conditions: tuple[tuple[int, float, float], ...] = (),
    keys: Mapping[str, int] = MappingProxyType({}),
) -> list[Slot | None]:
    """The slot of each step of a list of ops whose first number is in `column`, or of a shared op in that of its key.

    It is None inside a choice other than `OneOf`: whether `SomeOf` takes a branch depends on how its numbers compare.
    """
    out: list[Slot | None] = []
    for op in ops:
        wrapped = op.crop if isinstance(op, Nested) else op
        p, first, own = probability(op), keys[wrapped.key] if isinstance(wrapped, Shared) else column, conditions
        if p is not None:
            first, own = first + 1, (*conditions, (first, 0.0, p))
        width, op = needed([op]), plain(op)
        if isinstance(op, OneOf):
            low, at = 0.0, first + 1
            for branch, high in zip(op.branches, op.ends.tolist(), strict=True):
                out += slots(branch, at, (*own, (first, low, high)), keys)
                low, at = high, at + needed(branch)
        elif isinstance(op, Choice):
            out += [None for _ in leaves([op])]
        else:
            out.append(Slot(first, own))
        column += width
    return out
