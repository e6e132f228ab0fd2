"""Draws, the parameters of a batch as a value, and `sample`, which makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..isolation import eager
from ..ops import OpDraws
from ..ops.base import Array, is_integer, walk
from ..ops.choice import Choice
from ..policy import Policy
from .counter import sample_indices, uniforms
from .plain import draws_to_dict, fields_from_dict
from .rows import chosen, on_host
from .tables import ViewDraws, draw_ops, needed, table_rows


@dataclass(frozen=True, eq=False)
class Draws:
    """What did happen to a batch: the parameters of every view of every sample. `gpuaug.sample` makes them.

    Attributes:
        policy: The policy that they were drawn from.
        seed: The seed of the draws.
        epoch: The epoch of the draws.
        index: (B,) int64 sample indices.
        tables: tables[view][step] maps a parameter's name to an array (B, ...), in the order of `policy.views[view].steps`. An
            op that is not applied to every image has the bool column `apply`. A choice is no step: `choices` says what it drew.
        shapes: (B, 2) int32 heights and widths of the images, if they are known, as in `loader.draws`: see `with_shapes`.
    """

    policy: Policy
    seed: int
    epoch: int
    index: npt.NDArray[np.int64]
    tables: tuple[Sequence[OpDraws], ...]
    shapes: npt.NDArray[np.int32] | None = None

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
        shapes = None if self.shapes is None else self.shapes[rows]
        return Draws(self.policy, self.seed, self.epoch, self.index[rows], tables, shapes)

    @eager
    def with_shapes(self, shapes: Any) -> Draws:
        """The same draws, with the sizes of their images, on which the box of a crop depends.

        Args:
            shapes: (B, 2), the height and width of each image in pixels, at least 1; or the batch of `gpuaug.Images`.

        Raises:
            ValueError: There is not one pair of positive integers for each row.
        """
        found = on_host(getattr(shapes, "shapes", shapes))
        if found.shape != (len(self), 2) or found.dtype.kind not in "iu" or (found < 1).any():
            raise ValueError(f"Draws: shapes must be {len(self)} pairs (height, width) of integers >= 1, got {shapes!r}")
        return replace(self, shapes=found.astype(np.int32))

    @eager
    def choices(self, view: int) -> list[OpDraws]:
        """Which branches each image got: the draws of one view's choices (`OneOf`, `SomeOf`), which have no tables.

        They are drawn again from (policy, seed, epoch, index), so they say what was drawn even if the tables have been changed.

        Args:
            view: Index of the view.

        Returns:
            One dict for each choice, in the order of the ops, a nested choice behind the one that it is in: of a `OneOf`
            {"branch": (B,) int16}, of a `SomeOf` {"branches": (B, n) int16}; -1 is none.

        Raises:
            IndexError: The policy has no such view.
        """
        ops = self.policy.views[self.check_view(view)].ops
        found: list[OpDraws] = []
        if any(isinstance(op, Choice) for op in ops):
            draw_ops(ops, uniforms(self.seed, self.epoch, self.index, view % len(self.tables), needed(ops)), None, found)
        return found

    @eager
    def to_dict(self) -> dict[str, Any]:
        """The draws as plain data: a dict of strings, numbers and lists, which JSON holds and `from_dict` reads.

        The tables are always written, so a record says what happened even if they were changed, or if a later version of gpuaug
        draws otherwise. `docs/draws.md` describes the format.

        Raises:
            TypeError: A table holds something else than numbers, or the policy something that is no plain data.
        """
        return draws_to_dict(self)

    @classmethod
    @eager
    def from_dict(cls, data: Mapping[str, Any], ops: Mapping[str, type] | None = None) -> Draws:
        """The draws that `to_dict` has written, with the same bits and dtypes.

        Args:
            data: What `to_dict` returned; JSON keeps all of it.
            ops: Name -> class of ops of your own, such as {"Mine": Mine}. No name in `data` is ever imported.

        Raises:
            ValueError: The format or its version is another one, an op or an argument is unknown, a column is missing or has
                another length than `index`, or a value is outside its range. The message names it.
            TypeError: An op refuses its arguments.
        """
        found = fields_from_dict(data, ops)
        shapes = found.pop("shapes")
        draws = cls(**found)
        return draws if shapes is None else draws.with_shapes(shapes)

    def check_view(self, view: int) -> int:
        if not is_integer(view) or not -len(self.tables) <= view < len(self.tables):
            raise IndexError(f"Draws: view must be an integer in 0..{len(self.tables) - 1}, got {view!r}")
        return int(view)

    def columns(self, view: int) -> dict[str, Array]:
        """One view's parameters as a flat table.

        Args:
            view: Index of the view.

        Returns:
            A dict such as {"ColorJitter.hue": array (B, ...)}. A second op of the same type is "GaussianBlur#2". Choices have
            their branches, such as "OneOf.branch". The functions of an automatic op, such as "RandAugment.op", are numbers in
            `gpuaug.ops.KINDS`.

        Raises:
            IndexError: The policy has no such view.
        """
        chosen, steps = iter(self.choices(view)), iter(self.tables[view])
        flat: dict[str, Array] = {}
        seen: dict[str, int] = {}
        for op in walk(self.policy.views[view].ops):
            kind = type(op).__name__
            seen[kind] = seen.get(kind, 0) + 1
            label = kind if seen[kind] == 1 else f"{kind}#{seen[kind]}"
            drawn = next(chosen if isinstance(op, Choice) else steps)
            flat.update({f"{label}.{name}": a for name, a in drawn.items()})
        return flat


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
