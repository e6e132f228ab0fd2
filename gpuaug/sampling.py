"""Drawing parameters: a pure function of (policy, seed, epoch, sample index, view).

Philox4x32-10 turns a counter into four random words and keeps no state, so any draw can be computed again, anywhere and in any
order. The key is the seed. The counter's four words are: the number of the block of four random words; the view, with the upper
16 bits of the sample index above it; the lower 32 bits of the index; the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt
import torch

from .isolation import eager
from .ops import OneOf, Op, OpDraws
from .ops.base import Array, is_integer
from .philox import philox4x32
from .policy import Policy

MAX_INDEX = 2**48
"""Sample indices are below this, since the counter holds 48 bits of them."""


def uniforms(seed: int, epoch: int, index: npt.NDArray[np.int64], view: int, count: int) -> npt.NDArray[np.float64]:
    """Independent uniform numbers in [0, 1), each a 32-bit word times 2^-32: shape (len(index), count)."""
    blocks = -(-count // 4)
    counter = np.zeros((4, len(index), blocks), dtype=np.uint64)
    counter[0] = np.arange(blocks)
    counter[1] = view + ((index >> 32) << 16)[:, None]
    counter[2] = (index & 0xFFFFFFFF)[:, None]
    counter[3] = epoch
    bits = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))
    words = np.moveaxis(bits, 0, -1).reshape(len(index), 4 * blocks)[:, :count]
    return words.astype(np.float64) * 2.0**-32


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
        steps: Which steps of the view.
    """

    def __init__(self, policy: Policy, view: int, seed: int, epoch: int, samples: npt.NDArray[np.int64]) -> None:
        self.policy, self.view, self.seed, self.epoch, self.samples = policy, view, seed, epoch, samples
        self.steps = range(len(policy.views[view].steps))
        self._tables: list[list[OpDraws]] = []  # shared with the runs that are cut from this one

    @property
    def made(self) -> bool:
        return bool(self._tables)

    def _all(self) -> list[OpDraws]:
        if not self._tables:
            ops = self.policy.views[self.view].ops
            u = uniforms(self.seed, self.epoch, self.samples, self.view, needed(ops))
            self._tables.append(draw_ops(ops, u, None))
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


@dataclass(frozen=True, eq=False)
class Draws:
    """What did happen to a batch: the parameters of every view of every sample. `gpuaug.sample` makes them.

    Attributes:
        policy: The policy that they were drawn from.
        seed: The seed of the draws.
        epoch: The epoch of the draws.
        index: (B,) int64 sample indices.
        tables: tables[view][step] maps a parameter's name to an array (B, ...), in the order of `policy.views[view].steps`. An
            op that is not applied to every image has the bool column `apply`.
    """

    policy: Policy
    seed: int
    epoch: int
    index: npt.NDArray[np.int64]
    tables: tuple[Sequence[OpDraws], ...]

    def __len__(self) -> int:
        return len(self.index)

    @eager
    def take(self, rows: int | slice | Sequence[int] | Array | torch.Tensor) -> Draws:
        """The draws of some samples of the batch.

        Args:
            rows: An index as for one dimension of a NumPy array: a number (which gives a batch of one), a slice, integers in
                any order (negative ones count from the end), or a mask of B bools. Tensors may be on any device.

        Raises:
            IndexError: A row is outside the batch, or a mask has another length.
            TypeError: `rows` is none of the above.
        """
        rows = chosen(rows, len(self))
        tables = tuple(table_rows(view, rows) for view in self.tables)
        return Draws(self.policy, self.seed, self.epoch, self.index[rows], tables)

    def columns(self, view: int) -> dict[str, Array]:
        """One view's parameters as a flat table.

        Args:
            view: Index of the view.

        Returns:
            A dict such as {"ColorJitter.hue": array (B, ...)}. A second op of the same type is "GaussianBlur#2".

        Raises:
            IndexError: The policy has no such view.
        """
        if not is_integer(view) or not -len(self.tables) <= view < len(self.tables):
            raise IndexError(f"Draws: view must be an integer in 0..{len(self.tables) - 1}, got {view!r}")
        flat: dict[str, Array] = {}
        seen: dict[str, int] = {}
        for op, step in zip(self.policy.views[view].steps, self.tables[view], strict=True):
            kind = type(op).__name__
            seen[kind] = seen.get(kind, 0) + 1
            label = kind if seen[kind] == 1 else f"{kind}#{seen[kind]}"
            flat.update({f"{label}.{name}": a for name, a in step.items()})
        return flat


def table_rows(view: Sequence[OpDraws], rows: Array | slice) -> Sequence[OpDraws]:
    """Some samples' rows of a view's tables, which stay unmade if they are."""
    if isinstance(view, ViewDraws) and not view.made:
        return ViewDraws(view.policy, view.view, view.seed, view.epoch, view.samples[rows])
    return tuple({name: a[rows] for name, a in step.items()} for step in view)


def chosen(rows: Any, count: int) -> Array | slice:
    """Rows of a batch of `count` samples, as a slice or as integers in 0..count-1; see `Draws.take`."""
    if isinstance(rows, slice):
        return rows
    found = on_host(rows)
    if found.dtype == np.bool_ and found.ndim == 1:
        if len(found) != count:
            raise IndexError(f"Draws: a mask must have one bool a row, {count}, got {len(found)}")
        return np.flatnonzero(found)
    if found.size == 0:
        found = found.astype(np.int64)
    if found.ndim > 1 or found.dtype.kind not in "iu":
        kind = f"{found.dtype} of {found.ndim} dimensions" if found.dtype != np.object_ else type(rows).__name__
        raise TypeError(f"Draws: rows must be a number, a slice, integers or a mask of bools, got {kind}")
    found = np.atleast_1d(found)
    outside = found[(found < -count) | (found >= count)]
    if len(outside):
        raise IndexError(f"Draws: row {outside[0]} is outside a batch of {count}")
    return np.asarray(found.astype(np.int64) % max(count, 1))


def on_host(values: Any) -> Array:
    """Numbers as a NumPy array; a tensor may be on any device."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def sample_indices(
    who: str, index: int | Sequence[int] | range | Array | torch.Tensor, seed: int, epoch: int
) -> npt.NDArray[np.int64]:
    """The sample indices of draws, int64 (B,). Raises ValueError if one of them, the seed or the epoch is outside its range."""
    for name, value, bits in (("seed", seed, 64), ("epoch", epoch, 32)):
        if not (is_integer(value) and 0 <= value < 2**bits):
            raise ValueError(f"{who}: {name} must be an integer in 0..2^{bits}-1, got {value!r}")
    rows = np.atleast_1d(on_host(index))
    if rows.size == 0:
        rows = rows.astype(np.int64)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or (rows.size and not 0 <= int(rows.min()) <= int(rows.max()) < MAX_INDEX):
        raise ValueError(f"{who}: index must be integers in 0..2^48-1, in one dimension")
    return rows.astype(np.int64)


@eager
def sample(policy: Policy, index: int | Sequence[int] | range | Array | torch.Tensor, seed: int = 0, epoch: int = 0) -> Draws:
    """Draw the parameters of every view of these samples.

    Equal arguments give equal draws, whatever else is drawn before, after or at the same time.

    Args:
        policy: What to draw from.
        index: One or many sample indices, each in 0..2^48-1; a tensor may be on any device.
        seed: In 0..2^64-1.
        epoch: In 0..2^32-1.

    Returns:
        Draws with one row per sample index.

    Raises:
        TypeError: `policy` is not a Policy.
        ValueError: An argument is outside its range.
    """
    if not isinstance(policy, Policy):
        raise TypeError(f"sample: policy must be a gpuaug.Policy, got {type(policy).__name__}")
    rows = sample_indices("sample", index, seed, epoch)
    own = rows.copy()  # what the caller does to `Draws.index` changes no draw, whether it has been made or not
    tables = tuple(ViewDraws(policy, v, int(seed), int(epoch), own) for v in range(len(policy.views)))
    return Draws(policy, int(seed), int(epoch), rows, tables)


def needed(ops: Sequence[Op]) -> int:
    """How many uniform numbers a list of ops needs per image."""
    count = 0
    for op in ops:
        count += op.uniforms + (probability(op) is not None)
        for branch in getattr(op, "branches", ()):
            count += needed(branch)
    return count


def probability(op: Op) -> float | None:
    """The op's probability per image; None if it is always applied, or if it decides on its parts by itself."""
    p: float | None = None if op.p_of_parts else getattr(op, "p", None)
    return p


def draw_ops(ops: Sequence[Op], u: npt.NDArray[np.float64], allowed: npt.NDArray[np.bool_] | None) -> list[OpDraws]:
    """Draws of a list of ops from the columns of `u`, in order; `allowed` (B,) masks the images that took this branch."""
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
        if isinstance(op, OneOf):
            out += draw_choice(op, mine, apply)
        else:
            step = op.draw(mine)
            out.append(step if apply is None else {"apply": apply, **step})
    return out


def draw_choice(op: OneOf, u: npt.NDArray[np.float64], apply: npt.NDArray[np.bool_] | None) -> list[OpDraws]:
    """Draws of every branch of a choice; the first column of `u` selects each image's branch."""
    chosen = np.searchsorted(branch_ends(op), u[:, 0], side="right")
    out: list[OpDraws] = []
    at = 1
    for k, branch in enumerate(op.branches):
        width = needed(branch)
        mask = chosen == k
        out += draw_ops(branch, u[:, at : at + width], mask if apply is None else mask & apply)
        at += width
    return out


def branch_ends(op: OneOf) -> npt.NDArray[np.float64]:
    """Branch k of a choice is taken where its uniform number is below the k-th of these, and not below the one before."""
    ends = np.cumsum(op.weights)
    ends[-1] = 1.0  # the sum may be rounded below 1
    return ends


class Slot(NamedTuple):
    """Where a step finds its numbers: what `draw_ops` does, for those who draw in another way.

    Attributes:
        column: Column of the first uniform number that its `draw` gets.
        conditions: (column, low, high): the step is applied to an image if each of these columns is in [low, high).
    """

    column: int
    conditions: tuple[tuple[int, float, float], ...]


def slots(ops: Sequence[Op], column: int = 0, conditions: tuple[tuple[int, float, float], ...] = ()) -> list[Slot]:
    """The slot of each step of a list of ops whose first number is in `column`."""
    out: list[Slot] = []
    for op in ops:
        p, first, own = probability(op), column, conditions
        if p is not None:
            first, own = column + 1, (*conditions, (column, 0.0, p))
        if isinstance(op, OneOf):
            low, at = 0.0, first + 1
            for branch, high in zip(op.branches, branch_ends(op).tolist(), strict=True):
                out += slots(branch, at, (*own, (first, low, high)))
                low, at = high, at + needed(branch)
        else:
            out.append(Slot(first, own))
        column += needed([op])
    return out
