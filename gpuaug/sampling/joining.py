"""concat: several Draws as one, by rows or by views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..isolation import eager
from ..ops import Nested, OpDraws
from ..policy import Policy, View
from .choosing import check_alike, drawn_again, numbers_of, unless_own, unmade
from .draws import Draws
from .tables import copies


@eager
def concat(parts: Sequence[Draws], axis: str = "rows") -> Draws:
    """Put draws together: the samples of several batches, or the views of one batch.

    Args:
        parts: One or more draws of the same seed and epoch. Either all know the `shapes` of their images, or none does.
        axis: "rows": the parts have the same policy, and their samples come one after another. "views": the parts have the same
            samples, and the views of their policies come one after another.

    Returns:
        Draws of all rows, or of the policy with all views. Each row keeps what was drawn for it, as `Draws.drawn_as` says.

    Raises:
        TypeError: `parts` are not Draws.
        ValueError: There is no part; `axis` is another word; or the parts differ in what must be equal.
    """
    parts = list(parts) if isinstance(parts, (list, tuple)) else [parts]  # type: ignore[list-item]
    for part in parts:
        if not isinstance(part, Draws):
            raise TypeError(f"concat: parts must be a list of gpuaug.Draws, got {type(part).__name__}")
    if axis not in ("rows", "views"):
        raise ValueError(f'concat: axis must be "rows" or "views", got {axis!r}')
    if not parts:
        raise ValueError("concat: parts must be one or more gpuaug.Draws, got none")
    first = parts[0]
    for k, part in enumerate(parts):
        check_equal("seed", first.seed, part.seed, k)
        check_equal("epoch", first.epoch, part.epoch, k)
        if (part.shapes is None) != (first.shapes is None):
            raise ValueError(f"concat: parts[0] and parts[{k}] must both have shapes, or neither; see Draws.with_shapes")
    return joined_rows(parts) if axis == "rows" else joined_views(parts)


def check_equal(name: str, first: int, other: int, k: int) -> None:
    if first != other:
        raise ValueError(f"concat: parts must have the same {name}, but parts[0] has {first} and parts[{k}] has {other}")


def joined_rows(parts: Sequence[Draws]) -> Draws:
    first = parts[0]
    for k, part in enumerate(parts):
        if part.policy != first.policy:
            raise ValueError(f"concat: parts must have the same policy, but parts[{k}] has another than parts[0]")
    views = len(first.tables)
    numbers = np.concatenate([numbers_of(part.drawn_as, views, len(part)) for part in parts], axis=1)
    tables = tuple(joined_tables([part.tables[view] for part in parts], numbers[view]) for view in range(views))
    return Draws(
        first.policy,
        first.seed,
        first.epoch,
        np.concatenate([part.index for part in parts]),
        tables,
        None if first.shapes is None else np.concatenate([part.shapes for part in parts if part.shapes is not None]),
        unless_own(numbers),
    )


def joined_tables(parts: Sequence[Sequence[OpDraws]], numbers: npt.NDArray[np.int64]) -> Sequence[OpDraws]:
    """One view's tables of several batches, one after another; they stay unmade if all are. numbers: (B,), see `Draws`."""
    lazy = unmade(parts)
    if lazy:
        first = lazy[0]
        return drawn_again(first.policy, first.view, first, np.concatenate([part.samples for part in lazy]), numbers)
    out: list[OpDraws] = []
    for steps in zip(*parts, strict=True):
        check_alike(steps, "concat: the tables of parts", range(len(parts)))
        out.append({name: np.concatenate([step[name] for step in steps]) for name in steps[0]})
    return tuple(out)


def joined_views(parts: Sequence[Draws]) -> Draws:
    first = parts[0]
    for k, part in enumerate(parts):
        if not np.array_equal(part.index, first.index):
            raise ValueError(f"concat: parts must have the same index for their views to be joined, but parts[{k}] has another")
        if part.shapes is not None and not np.array_equal(part.shapes, first.shapes):  # type: ignore[arg-type]
            raise ValueError(f"concat: parts must have the same shapes for their views to be joined, but parts[{k}] has others")
    numbers = [numbers_of(part.drawn_as, len(part.tables), len(part)) for part in parts]
    before = np.cumsum([0, *(len(part.tables) for part in parts)]).tolist()
    return Draws(
        Policy(views=[moved(view, n) for part, n in zip(parts, before, strict=False) for view in part.policy.views]),
        first.seed,
        first.epoch,
        first.index.copy(),
        tuple(copies(view) for part in parts for view in part.tables),
        first.shapes,
        unless_own(np.concatenate(numbers)),
    )


def moved(view: View, count: int) -> View:
    """A view behind `count` others, which counts the view that it is nested in from the first of these."""
    first = view.ops[0]
    if not isinstance(first, Nested):
        return view
    return View(view.size, replace(first, within=first.within + count), *view.ops[1:])
