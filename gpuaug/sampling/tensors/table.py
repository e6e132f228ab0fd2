"""All columns of a view, with the values that a batch has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from ...ops import Op, OpDraws
from ...ops.automatic.ops import Automatic
from ...ops.base import Array
from ...ops.choice import Choice
from ...policy import View
from ..labels import labels
from .automatic import normalized, read_slots, slot_columns
from .boxes import Geometry, Sizes, geometry
from .columns import APPLY, CROP, Column
from .quantities import QUANTITIES, WITHOUT, Quantities

if TYPE_CHECKING:
    from ..draws import Draws


class Block(NamedTuple):
    """The columns of one op of a view.

    Attributes:
        label: See `labels`; "crop" for the view's crop.
        op: The op; None for the crop.
        columns: Its columns.
        rows: Where they are among the view's.
    """

    label: str
    op: Op | None
    columns: Sequence[Column]
    rows: slice


class Table(NamedTuple):
    """The columns of a view and their values.

    Attributes:
        blocks: The ops that have columns.
        values: (D, B) float64 in published units.
        geometry: Where the view lies in the image.
        sizes: Label of an op -> the sizes of the images before it.
    """

    blocks: list[Block]
    values: Array
    geometry: Geometry
    sizes: dict[str, Sizes]

    def field(self, name: str) -> npt.NDArray[Any]:
        """An attribute of every column, (D,)."""
        return np.array([getattr(column, name) for block in self.blocks for column in block.columns])


def blocks(view: View) -> list[Block]:
    """The columns of a view, the crop's first."""
    found = [Block("crop", None, CROP, slice(0, len(CROP)))]
    for label, op in labels(view.ops):
        columns = columns_of(op)
        start = found[-1].rows.stop
        if columns:
            found.append(Block(label, op, columns, slice(start, start + len(columns))))
    return found


def columns_of(op: Op) -> Sequence[Column]:
    if isinstance(op, WITHOUT):
        return ()
    if isinstance(op, Choice):
        return [Column(str(k), "0 or 1") for k in range(len(op.branches))]
    if isinstance(op, Automatic):
        return slot_columns(op)
    return QUANTITIES.get(type(op), USER).columns(op)


def user_shapes(op: Op) -> Iterator[tuple[str, int | None]]:
    """The names of the numeric draws of a user's op, and the width of those of two dimensions. uint32 holds random bits."""
    drawn = op.draw(np.zeros((1, op.uniforms)))
    for name, values in drawn.items():
        found = np.asarray(values)
        if found.ndim <= 2 and found.dtype.kind in "biuf" and found.dtype != np.uint32:
            yield name, found.shape[1] if found.ndim == 2 else None


def user_columns(op: Op) -> list[Column]:
    names = [[name] if width is None else [f"{name}.{k}" for k in range(width)] for name, width in user_shapes(op)]
    return [APPLY, *(Column(name, "as drawn") for some in names for name in some)]


def read_user(op: Op, d: OpDraws, sizes: Sizes) -> list[Array]:
    found: list[Array] = []
    for name, width in user_shapes(op):
        found += [d[name]] if width is None else list(d[name].T)
    return found


USER = Quantities(user_columns, read_user)


def names(view: View) -> tuple[str, ...]:
    """The columns' names, such as "GaussianBlur#2.sigma"."""
    return tuple(f"{block.label}.{column.name}" for block in blocks(view) for column in block.columns)


def tabulate(draws: Draws, view: int) -> Table:
    """The table of one view of `Draws`. Raises ValueError if the sizes of the images are not known."""
    where = geometry(draws, view)
    made, tables, shapes = draws.policy.views[view], draws.tables[view], cast(Array, draws.shapes)
    found = blocks(made)
    values = np.zeros((found[-1].rows.stop, len(draws)))
    values[:4] = where.box
    values[4] = np.log(where.box[3] * shapes[:, 1]) - np.log(where.box[2] * shapes[:, 0])
    sizes: dict[str, Sizes] = {}
    by_label = {block.label: block for block in found}
    steps = iter(zip(tables, where.sizes, strict=True))
    choices = iter(draws.choices(view))
    for label, op in labels(made.ops):
        if isinstance(op, Choice):
            values[by_label[label].rows] = op.takes(next(choices)).T
            continue
        drawn, sizes[label] = next(steps)
        if label in by_label:
            fill(values[by_label[label].rows], by_label[label], drawn, sizes[label])
    return Table(found, values, where, sizes)


def fill(rows: Array, block: Block, drawn: OpDraws, sizes: Sizes) -> None:
    """Write an op's values, those of no change where it was not applied."""
    apply = drawn.get("apply")
    rows[0] = 1.0 if apply is None else apply
    op, columns = block.op, block.columns[1:]
    if isinstance(op, Automatic):
        read: Any = read_slots(op, drawn, sizes)
    else:
        quantities = QUANTITIES.get(type(op), USER)  # type: ignore[arg-type]
        if quantities.read is None:
            read = [drawn.get(column.name, column.neutral) for column in columns]
        else:
            read = quantities.read(op, drawn, sizes)
    for row, column, values in zip(rows[1:], columns, read, strict=True):
        row[:] = values if apply is None else np.where(apply, values, column.neutral)


def normalize(table: Table) -> Array:
    """The values (D, B) as shares of their largest distances from the neutral values; those of the crop as they are."""
    far = table.field("reach")
    out = (table.values - table.field("neutral")[:, None]) / np.where(far > 0, far, 1)[:, None]
    out[far == 0] = 0.0
    for block in table.blocks:
        if isinstance(block.op, Automatic):
            out[block.rows] = normalized(block.op, table.values[block.rows])
    return np.asarray(out)


def vector(draws: Draws, view: int, scaled: bool) -> Array:
    """(B, D) float32; see `Draws.vector`."""
    table = tabulate(draws, view)
    return np.ascontiguousarray((normalize(table) if scaled else table.values).T, dtype=np.float32)


def vector_names(draws: Draws, view: int) -> tuple[str, ...]:
    return names(draws.policy.views[view])
