"""Labels of a view's ops: the name of the type, and a number from the second op of a type on."""

from __future__ import annotations

from collections.abc import Sequence

from ..ops import Op
from ..ops.base import walk


def labels(ops: Sequence[Op]) -> list[tuple[str, Op]]:
    """The label of every op, such as "GaussianBlur" and "GaussianBlur#2", in the order of `walk`."""
    seen: dict[str, int] = {}
    found: list[tuple[str, Op]] = []
    for op in walk(ops):
        kind = type(op).__name__
        seen[kind] = seen.get(kind, 0) + 1
        found.append((kind if seen[kind] == 1 else f"{kind}#{seen[kind]}", op))
    return found
