"""Draws, the parameters of a batch as a value, and `sample`, which makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias, overload

import numpy as np
import numpy.typing as npt
import torch

from ..isolation import eager
from ..ops import OpDraws
from ..ops.base import Array, is_integer, walk
from ..ops.choice import Choice
from ..policy import Policy
from . import tensors
from .choosing import chosen_tables, chosen_views, numbers_of, unless_own
from .counter import sample_indices
from .labels import labels
from .plain import draws_to_dict, fields_from_dict
from .rows import chosen, on_host
from .tables import ViewDraws, draw_view, resized_tables, table_rows

Rows: TypeAlias = int | slice | Sequence[int] | Array | torch.Tensor


@dataclass(frozen=True, eq=False)
class Draws:
    """What did happen to a batch: the parameters of every view of every sample. `gpuaug.sample` makes them.

    `len(draws)` is the number of samples, and `draws[rows]` is `draws.take(rows)`. Loops go over `draws.tables` or over rows by
    number; Draws by themselves are not iterable, since they have both.

    Attributes:
        policy: The policy that they were drawn from, which has no schedules: that of the epoch.
        seed: The seed of the draws.
        epoch: The epoch of the draws.
        index: (B,) int64 sample indices.
        tables: tables[view][step] maps a parameter's name to an array (B, ...), in the order of `policy.views[view].steps`. An
            op that is not applied to every image has the bool column `apply`. A choice is no step: `choices` says what it drew.
        shapes: (B, 2) int32 heights and widths of the images, if they are known, as in `loader.draws`: see `with_shapes`.
        drawn_as: (views, B) int64, the number of the view that each row was drawn as, where `take(view, choice)` or `concat`
            has moved rows to other views; None if each view was drawn as itself. Draws are a function of this number.
    """

    policy: Policy
    seed: int
    epoch: int
    index: npt.NDArray[np.int64]
    tables: tuple[Sequence[OpDraws], ...]
    shapes: npt.NDArray[np.int32] | None = None
    drawn_as: npt.NDArray[np.int64] | None = None

    __iter__: ClassVar[None] = None  # with __getitem__ alone, Python would take Draws for a sequence of batches of one

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: Rows) -> Draws:
        return self.take(rows)

    @overload
    def take(self, rows: Rows, /) -> Draws: ...
    @overload
    def take(self, view: int, /, choice: int | Sequence[int] | Array | torch.Tensor) -> Draws: ...
    @eager
    def take(self, rows: Rows, /, choice: int | Sequence[int] | Array | torch.Tensor | None = None) -> Draws:
        """The draws of some samples of the batch; or of one view, chosen for each image among equal views.

        `take(rows)` has the same views for these samples. `take(view, choice)` has the same samples, and one view, that of the
        ops of `view`: in it, image k gets what was drawn for it in the view `choice[k]`. Its policy is
        `Policy(policy.views[view])`. Views of several choices are put side by side by `gpuaug.concat(parts, axis="views")`.

        Args:
            rows: An index as for one dimension of a NumPy array: a number (which gives a batch of one), a slice, integers in
                any order (negative ones count from the end), or a mask of B bools. Tensors may be on any device.
            view: In place of rows, if there is a choice: the number of a view.
            choice: (B,) integers in 0..views-1, the number of a view for each image, all equal to `view` as
                `policy.views[...]` are compared; or one number for all images. A tensor may be on any device.

        Raises:
            IndexError: A row is outside the batch, a mask has another length, or there is no such view.
            TypeError: `rows` or `choice` is none of the above.
            ValueError: There is not one choice for each image, a chosen view is not equal to `view`, or `view` is `Nested` in
                another; or tables of the chosen views have different columns, since they were changed.
        """
        if choice is not None:
            return self.take_view(self.check_view(rows) % len(self.tables), choice)
        rows = chosen(rows, len(self))
        tables = tuple(table_rows(view, rows) for view in self.tables)
        shapes = None if self.shapes is None else self.shapes[rows].copy()
        drawn_as = None if self.drawn_as is None else unless_own(self.drawn_as[:, rows])
        return Draws(self.policy, self.seed, self.epoch, self.index[rows].copy(), tables, shapes, drawn_as)

    def take_view(self, view: int, choice: Any) -> Draws:
        views = chosen_views(choice, view, self.policy, len(self))
        numbers = numbers_of(self.drawn_as, len(self.tables), len(self))[views, np.arange(len(self))]
        one = Policy(self.policy.views[view])
        tables = chosen_tables(self.tables, view, views, numbers, one)
        return replace(self, policy=one, tables=(tables,), index=self.index.copy(), drawn_as=unless_own(numbers[None]))

    @eager
    def at_size(self, size: int | Sequence[int]) -> Draws:
        """The same draws for views of another size, such as small ones that only serve to choose; see `View.at_size`.

        The crops have the same boxes, and parameters in pixels are scaled: sigma of `GaussianBlur`, and shifts in pixels of
        automatic ops. Tables that have not been made yet are drawn from the policy at this size. They differ from made ones by
        a rounding to float32 at most.

        Args:
            size: (height, width) of all views in pixels, or one number for both.

        Raises:
            ValueError: As of `View.at_size`.
        """
        policy = self.policy.at_size(size)
        tables = tuple(resized_tables(view, k, self.policy, policy, size) for k, view in enumerate(self.tables))
        return replace(self, policy=policy, tables=tables, index=self.index.copy())

    @eager
    def with_shapes(self, shapes: Any) -> Draws:
        """The same draws, with the sizes of their images, on which the box of a crop depends.

        Args:
            shapes: (B, 2), the height and width of each image in pixels, at least 1; or the batch of `gpuaug.Images`.

        Raises:
            ValueError: There is not one pair of positive integers for each row.
        """
        found = on_host(getattr(shapes, "shapes", shapes))
        if found.shape != (len(self), 2) or found.dtype.kind not in "iu" or ((found < 1) | (found >= 2**31)).any():
            raise ValueError(
                f"Draws: shapes must be {len(self)} pairs (height, width) of integers in 1..2^31-1, got {shapes!r}"
            )
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
        number = self.check_view(view)
        found: list[OpDraws] = []
        if any(isinstance(op, Choice) for op in walk(self.policy.views[number].ops)):
            drawn_as = None if self.drawn_as is None else self.drawn_as[number]
            draw_view(self.policy, number, self.seed, self.epoch, self.index, drawn_as, found)
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

    def check_view(self, view: Any) -> int:
        if not is_integer(view) or not -len(self.tables) <= view < len(self.tables):
            raise IndexError(f"Draws: view must be an integer in 0..{len(self.tables) - 1}, got {view!r}")
        return int(view) % len(self.tables)

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
        for label, op in labels(self.policy.views[view].ops):
            drawn = next(chosen if isinstance(op, Choice) else steps)
            flat.update({f"{label}.{name}": a for name, a in drawn.items()})
        return flat

    @eager
    def vector(self, view: int, normalize: bool = True) -> torch.Tensor:
        """One view's parameters as numbers, one column for each that its ops have: docs/draws.md lists them.

        Where an op was not applied, its columns hold the values that change nothing.

        Args:
            view: Index of the view.
            normalize: Whether each column holds its distance from the value that changes nothing, as a share of the largest one
                that the op's arguments allow, so that it is in [-1, 1]; 0 where they allow only that value. The columns of the
                crop are fractions anyway. False gives the units of `columns`.

        Returns:
            float32 (B, D) on the CPU; `vector_names` names its columns.

        Raises:
            IndexError: The policy has no such view.
            ValueError: The sizes of the images are not known: see `with_shapes`. Or an op of yours changes the size of images
                and has no method `boxes`.
        """
        return torch.from_numpy(tensors.vector(self, self.check_view(view), normalize))

    @eager
    def vector_names(self, view: int) -> tuple[str, ...]:
        """The names of the columns of `vector`, such as "crop.top", "ColorJitter.hue" and "GaussianBlur#2.sigma".

        They depend on the types of the view's ops, the slots of automatic ops and the branches of choices, and on nothing else.
        """
        return tensors.vector_names(self, self.check_view(view))

    @eager
    def relative(self, i: int, j: int) -> torch.Tensor:
        """What takes view i to view j, with the columns of both; docs/draws.md says how each is computed.

        The crop is that of j in the frame of i's; factors are compared by the logarithm of their ratio, whether a flip was made
        by exclusive or, and everything else by its difference. An op that one view lacks counts there as not applied.

        Args:
            i: Index of the view to start from.
            j: Index of the view to arrive at.

        Returns:
            float32 (B, D) on the CPU; `relative_names` names its columns. All 0 for i = j.

        Raises:
            IndexError: The policy has no such view.
            ValueError: As of `vector`.
        """
        return torch.from_numpy(tensors.relative(self, self.check_view(i), self.check_view(j)))

    @eager
    def relative_names(self, i: int, j: int) -> tuple[str, ...]:
        """The names of the columns of `relative`: those of view i, then those that only view j has."""
        return tensors.relative_names(self, self.check_view(i), self.check_view(j))

    @eager
    def compose(self, i: int, relative: torch.Tensor | Array, j: int | None = None) -> torch.Tensor:
        """The inverse of `relative`: `draws.compose(i, draws.relative(i, j), j)` is `draws.vector(j, normalize=False)`.

        It is so but for rounding, and for factors below 1/256, which come back as 1/256.

        Args:
            i: Index of the view to start from.
            relative: (B, D), as `relative(i, j)` returns it.
            j: Index of the view to arrive at, if it has ops of other types than view i.

        Returns:
            float32 (B, columns of view j) on the CPU.

        Raises:
            IndexError: The policy has no such view.
            ValueError: `relative` has another shape, or as of `vector`.
        """
        start = self.check_view(i)
        return torch.from_numpy(tensors.compose(self, start, on_host(relative), start if j is None else self.check_view(j)))

    @eager
    def overlap(self, i: int, j: int) -> torch.Tensor:
        """Intersection over union of what two views show of each image, float32 (B,) in [0, 1], on the CPU.

        Padding shows nothing. Of two views that show nothing it is 1 if their boxes are equal, else 0. Raises as `vector`.
        """
        return torch.from_numpy(tensors.overlap(self, self.check_view(i), self.check_view(j)))

    @eager
    def strength(self, view: int) -> dict[str, torch.Tensor]:
        """How strongly each op changed an image, from 0, not at all, to 1, as strongly as its arguments allow.

        Args:
            view: Index of the view.

        Returns:
            Label of an op, such as "GaussianBlur#2", or "crop" -> float32 (B,) on the CPU. docs/draws.md has the formulas.

        Raises:
            IndexError: The policy has no such view.
            ValueError: As of `vector`.
        """
        return {label: torch.from_numpy(values) for label, values in tensors.strength(self, self.check_view(view)).items()}


@eager
def sample(policy: Policy, index: int | Sequence[int] | range | Array | torch.Tensor, seed: int = 0, epoch: int = 0) -> Draws:
    """Draw the parameters of every view of these samples.

    Equal arguments give equal draws, whatever else is drawn before, after or at the same time.

    Args:
        policy: What to draw from. With schedules, the draws are those of its policy of this epoch, `policy.at(epoch)`.
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
    policy = policy.at(int(epoch))
    tables = tuple(ViewDraws(policy, v, int(seed), int(epoch), own) for v in range(len(policy.views)))
    return Draws(policy, int(seed), int(epoch), rows, tables)
