"""Choosing among equal views: one view whose rows come from the draws of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..ops import Nested, OpDraws
from ..policy import Policy
from .rows import on_host
from .tables import ViewDraws


def chosen_views(choice: Any, view: int, policy: Policy, count: int) -> npt.NDArray[np.int64]:
    """The number of a view for each of `count` images, all of them equal to `view`; see `Draws.take`."""
    found = on_host(choice)
    if found.size == 0:
        found = found.astype(np.int64)
    if found.dtype.kind not in "iu" or found.ndim > 1:
        kind = f"{found.dtype} of {found.ndim} dimensions" if found.dtype != np.object_ else type(choice).__name__
        raise TypeError(f"Draws: choice must be the number of a view, or one for each image, got {kind}")
    if found.ndim == 1 and len(found) != count:
        raise ValueError(f"Draws: choice must have one number for each image, {count}, got {len(found)}")
    most = len(policy.views) - 1
    outside = found[(found < 0) | (found > most)]
    if outside.size:
        raise IndexError(f"Draws: choice must be in 0..{most}, got {outside.flat[0]}")
    if isinstance(policy.views[view].ops[0], Nested):
        raise ValueError(f"Draws: view {view} is Nested within another view, so it cannot be taken without it")
    for other in np.unique(found).tolist():
        if policy.views[other] != policy.views[view]:
            raise ValueError(f"Draws: choice must be of views equal to view {view}, but view {other} is another")
    return np.broadcast_to(found, count).astype(np.int64)


def chosen_tables(
    tables: Sequence[Sequence[OpDraws]],
    view: int,
    choice: npt.NDArray[np.int64],
    drawn_as: npt.NDArray[np.int64],
    alone: Policy,
) -> Sequence[OpDraws]:
    """One view's tables, with row k from those of view choice[k]; they stay unmade if these are.

    drawn_as: (B,), the view number that each row was drawn as. alone: the policy of this view alone.
    """
    used = np.unique(choice) if len(choice) else np.array([view])
    found = [tables[number] for number in used.tolist()]
    lazy = unmade(found)
    if lazy:
        return drawn_again(alone, 0, lazy[0], lazy[0].samples, drawn_as)
    place, rows = np.searchsorted(used, choice), np.arange(len(choice))
    out: list[OpDraws] = []
    for steps in zip(*found, strict=True):
        check_alike(steps, "Draws: the tables of views", used.tolist())
        out.append({name: np.stack([step[name] for step in steps])[place, rows] for name in steps[0]})
    return tuple(out)


def unmade(tables: Sequence[Sequence[OpDraws]]) -> list[ViewDraws]:
    """These tables of several views or batches, if they can still be drawn as those of one; otherwise nothing."""
    lazy = [own for own in tables if isinstance(own, ViewDraws) and not own.made]
    alike = len(lazy) == len(tables) and all(
        own.policy == lazy[0].policy and own.policy.views[own.view] == lazy[0].policy.views[lazy[0].view] for own in lazy
    )
    return lazy if alike else []


def drawn_again(
    policy: Policy, view: int, like: ViewDraws, samples: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64]
) -> ViewDraws:
    """A view's tables, unmade, of these samples, with the seed and epoch of `like`. numbers: (B,), what each is drawn as."""
    one = len(numbers) > 0 and bool((numbers == numbers[0]).all())
    return ViewDraws(policy, view, like.seed, like.epoch, samples, int(numbers[0]) if one else numbers.copy())


def check_alike(steps: Sequence[OpDraws], whose: str, numbers: Sequence[int]) -> None:
    """Raise ValueError unless the same step's draws of several views or parts have the same columns."""
    first = {name: a.shape[1:] for name, a in steps[0].items()}
    for number, step in zip(numbers, steps, strict=True):
        if {name: a.shape[1:] for name, a in step.items()} != first:
            raise ValueError(
                f"{whose} {numbers[0]} and {number} have different columns, since they were changed: {', '.join(first)} and "
                f"{', '.join(step)}"
            )


def numbers_of(drawn_as: npt.NDArray[np.int64] | None, views: int, count: int) -> npt.NDArray[np.int64]:
    """(views, count): the view number that each row of each view was drawn as; see `Draws.drawn_as`."""
    return np.repeat(np.arange(views)[:, None], count, axis=1) if drawn_as is None else drawn_as


def unless_own(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
    """Such numbers as `Draws` keeps them: None if each view was drawn as itself."""
    return None if (numbers == np.arange(len(numbers))[:, None]).all() else numbers
