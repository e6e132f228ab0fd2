"""From uniform numbers to the parameters of a list of ops, one table for each step."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, cast, overload

import numpy as np
import numpy.typing as npt

from ..ops import Op, OpDraws, RandomResizedCrop, leaves
from ..ops.base import Array, is_integer, needed, plain, probability
from ..ops.choice import Choice
from ..ops.shared import outer_of
from ..policy import Policy
from .streams import view_uniforms


class ViewDraws(Sequence[OpDraws]):
    """The draws of some samples for one view, or for a run of its steps: one table per step, made when one is first read.

    A backend may compute what it needs from the attributes instead, as long as `made` is False. Once a table has been read, its
    arrays count, since the caller may have changed them.

    Attributes:
        policy: The policy.
        view: Index of the view.
        seed: See `sample`.
        epoch: See `sample`.
        samples: (B,) int64 sample indices.
        drawn_as: The view number in the counter of the draws: one, or (B,) int64, one for each sample. See `Draws`.
        steps: Which steps of the view.
        frames: (B, 5) int32, if the images are parts of pictures: top and left of each in its picture, the picture's height and
            width, and how many pixels of it each pixel stands for in either direction. The view's first step is then a random
            crop, whose boxes are drawn in the picture. See `in_frames`.
    """

    frames: npt.NDArray[np.int32] | None = None

    def __init__(
        self,
        policy: Policy,
        view: int,
        seed: int,
        epoch: int,
        samples: npt.NDArray[np.int64],
        drawn_as: int | npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.policy, self.view, self.seed, self.epoch, self.samples = policy, view, seed, epoch, samples
        self.drawn_as = view if drawn_as is None else drawn_as
        self.steps = range(len(policy.views[view].steps))
        self._tables: list[list[OpDraws]] = []  # shared with the runs that are cut from this one

    @property
    def made(self) -> bool:
        return bool(self._tables)

    def _all(self) -> list[OpDraws]:
        if not self._tables:
            tables = draw_view(self.policy, self.view, self.seed, self.epoch, self.samples, self.drawn_as)
            self._tables.append(tables if self.frames is None else boxed(tables, self.policy, self.view, self.frames))
        return self._tables[0]

    def __len__(self) -> int:
        return len(self.steps)

    @overload
    def __getitem__(self, step: int) -> OpDraws: ...
    @overload
    def __getitem__(self, step: slice) -> ViewDraws: ...
    def __getitem__(self, step: int | slice) -> OpDraws | ViewDraws:
        if not isinstance(step, slice):
            return self._all()[self.steps[step]]
        steps = self.steps[step]
        if steps == self.steps:
            return self
        part = copy(self)
        part.steps = steps
        return part


def in_frames(view: Sequence[OpDraws], policy: Policy, number: int, frames: npt.NDArray[np.int32]) -> Sequence[OpDraws]:
    """The tables of a view for images that are parts of pictures; they stay unmade if they are. frames: see `ViewDraws`."""
    if isinstance(view, ViewDraws) and not view.made:
        part = copy(view)
        part.frames, part._tables = frames, []
        return part
    return boxed(view, policy, number, frames)


def boxed(view: Sequence[OpDraws], policy: Policy, number: int, frames: npt.NDArray[np.int32]) -> list[OpDraws]:
    """Tables whose first crop is given as boxes in parts of pictures."""
    boxes = cast(RandomResizedCrop, policy.views[number].steps[0]).boxes(view[0], frames[:, 2], frames[:, 3])
    return [{"boxes": in_region(boxes, frames[:, :2], frames[:, 4:])}, *view[1:]]


def in_region(boxes: Array, corner: Array, scale: Array) -> Array:
    """Boxes (..., B, 4) in pixels of regions. corner: (B, 2), where each region begins in its picture. scale: (B, 1)."""
    start, end = boxes[..., :2] - corner, boxes[..., :2] + boxes[..., 2:] - corner
    start, end = (2 * start + scale) // (2 * scale), (2 * end + scale) // (2 * scale)
    return np.concatenate([start, end - start], axis=-1)


def table_rows(view: Sequence[OpDraws], rows: Array | slice) -> Sequence[OpDraws]:
    """Copies of some samples' rows of a view's tables, which stay unmade if they are."""
    if isinstance(view, ViewDraws) and not view.made:
        drawn_as = view.drawn_as if is_integer(view.drawn_as) else np.asarray(view.drawn_as)[rows]
        return ViewDraws(view.policy, view.view, view.seed, view.epoch, view.samples[rows], drawn_as)
    return copies([{name: a[rows] for name, a in step.items()} for step in view])


def copies(view: Sequence[OpDraws]) -> Sequence[OpDraws]:
    """A view's tables with arrays of their own; they stay unmade if they are."""
    if isinstance(view, ViewDraws) and not view.made:
        return ViewDraws(view.policy, view.view, view.seed, view.epoch, view.samples, view.drawn_as)
    return tuple({name: a.copy() for name, a in step.items()} for step in view)


def resized_tables(tables: Sequence[OpDraws], number: int, before: Policy, after: Policy, size: Any) -> Sequence[OpDraws]:
    """The tables of view `number` of a policy, for the policy at another size; they stay unmade if they are."""
    if isinstance(tables, ViewDraws) and not tables.made:
        policy = after if tables.policy is before else tables.policy.at_size(size)
        return ViewDraws(policy, tables.view, tables.seed, tables.epoch, tables.samples, tables.drawn_as)
    view, to = before.views[number], after.views[number].size
    first = len(list(leaves(view.ops[: view.first_sized])))
    return copies(
        [
            step if k < first else op.resized_draws(step, view.size, to)
            for k, (op, step) in enumerate(zip(view.steps, tables, strict=True))
        ]
    )


def draw_view(
    policy: Policy,
    view: int,
    seed: int,
    epoch: int,
    samples: npt.NDArray[np.int64],
    drawn_as: int | npt.NDArray[np.int64] | None = None,
    choices: list[OpDraws] | None = None,
) -> list[OpDraws]:
    """Draws of every step of a view; drawn_as: see `ViewDraws`, None is `view`.

    The draws of its choices are appended to `choices`, in the order of `walk`.
    """
    ops, outer = policy.views[view].ops, outer_of([v.ops for v in policy.views], view)
    u, around = view_uniforms(policy, view, seed, epoch, samples, view if drawn_as is None else drawn_as)
    tables = draw_ops(ops, u, None, choices)
    if outer is not None:
        tables[0].update(cast(RandomResizedCrop, plain(outer)).outer(around))
    return tables


def draw_ops(ops: Sequence[Op], u: Array, allowed: Array | None, choices: list[OpDraws] | None = None) -> list[OpDraws]:
    """Draws of a list of ops from the columns of `u`, in order; `allowed` (B,) masks the images that took this branch.

    The draws of choices are appended to `choices`, in the order of `walk`.
    """
    out: list[OpDraws] = []
    at = 0
    for op in ops:
        width = needed([op])
        mine = u[:, at : at + width]
        at += width
        p = probability(op)
        apply = allowed
        if p is not None:
            apply = mine[:, 0] < p if allowed is None else allowed & (mine[:, 0] < p)
            mine = mine[:, 1:]
        inner = plain(op)
        if isinstance(inner, Choice):
            out += draw_choice(inner, mine, apply, choices)
        else:
            step = inner.draw(mine)
            out.append(step if apply is None else {"apply": apply, **step})
    return out


def draw_choice(op: Choice, u: Array, apply: Array | None, choices: list[OpDraws] | None = None) -> list[OpDraws]:
    """Draws of every branch of a choice; its own numbers, which select each image's branches, come first in `u`."""
    drawn = op.draw(u[:, : op.uniforms])
    if apply is not None:
        drawn = {name: np.where(apply.reshape(-1, *(1,) * (a.ndim - 1)), a, a.dtype.type(-1)) for name, a in drawn.items()}
    if choices is not None:
        choices.append(drawn)
    out: list[OpDraws] = []
    at = op.uniforms
    for branch, mask in zip(op.branches, op.takes(drawn).T, strict=True):
        width = needed(branch)
        out += draw_ops(branch, u[:, at : at + width], np.ascontiguousarray(mask), choices)
        at += width
    return out
