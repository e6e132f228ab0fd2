"""Draws as rows of named columns, which both formats hold, and back.

A header says what the rows under it have in common: policy, seed, and the type and place of each column, such as
"view0.ColorJitter.brightness". Every row also has `epoch` and `index`, if they are known `step`, `height` and `width`, and for
each view "view0.drawn_as" (see `Draws.drawn_as`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..convert.plain import policy_from_dict, policy_to_dict
from ..ops import OpDraws
from ..ops.base import Array
from ..ops.choice import Choice
from ..policy import Policy, View
from ..sampling import Draws
from ..sampling.choosing import numbers_of, unless_own
from ..sampling.labels import labels
from ..sampling.plain import check_columns, check_format, column_type, type_of_column

FORMAT, VERSION = "gpuaug record of draws", 1

OWN = {"epoch": "int64", "index": "int64", "step": "int64", "height": "int32", "width": "int32"}
"""Column that is no parameter, besides those of `drawn_as` -> its dtype. The last three may be missing."""


@dataclass(frozen=True)
class Column:
    """Type and place of a parameter: `tables[view][step][name]`, of `dtype`, with rows of the shape `row`."""

    view: int
    step: int
    name: str
    dtype: np.dtype[Any]
    row: tuple[int, ...]


Rows = tuple[dict[str, Any], dict[str, Array]]
"""A header, and rows under it as columns by name."""


def to_rows(draws: Draws, step: int | None) -> Rows:
    """The header of draws, without their policy, and their rows."""
    columns: dict[str, Array] = {"epoch": np.full(len(draws), draws.epoch), "index": draws.index}
    if step is not None:
        columns["step"] = np.full(len(draws), step)
    if draws.shapes is not None:
        columns["height"], columns["width"] = draws.shapes.T
    for v, numbers in enumerate(numbers_of(draws.drawn_as, len(draws.tables), len(draws))):
        columns[f"view{v}.drawn_as"] = numbers
    own, types = list(columns), {}
    for v, (view, table) in enumerate(zip(draws.policy.views, draws.tables, strict=True)):
        for k, (label, drawn) in enumerate(zip(step_labels(view), table, strict=True)):
            for name, column in drawn.items():
                key = f"view{v}.{label}.{name}"
                columns[key] = column
                types[key] = {"view": v, "step": k, "name": name, **column_type(column, key)}
    return {"format": FORMAT, "version": VERSION, "seed": draws.seed, "own": own, "columns": types}, columns


def step_labels(view: View) -> list[str]:
    """The label of each step of a view, as in `Draws.columns`."""
    return [label for label, op in labels(view.ops) if not isinstance(op, Choice)]


def with_policy(header: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
    """The header with its policy."""
    return {**header, "policy": policy_to_dict(policy)}


def types_of(header: Any, where: str) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """The type of every column below a header, and the shape of its rows. Raises ValueError for anything else than a header."""
    return {key: (column.dtype, column.row) for key, column in columns_of(header, where).items()} | {
        key: (np.dtype(OWN.get(key, "int64")), ()) for key in header["own"]
    }


def columns_of(header: Any, where: str) -> dict[str, Column]:
    """The parameters that a header describes. Raises ValueError that names `where` for anything else than a header."""
    check_format(header, where, FORMAT, VERSION)
    try:
        found = {}
        for key, own in header["columns"].items():
            dtype, row = type_of_column(own, f"{where}: {key}")
            found[key] = Column(int(own["view"]), int(own["step"]), str(own["name"]), dtype, row)
        if missing := {"policy", "seed"} - header.keys() or {"epoch", "index"} - set(header["own"]):
            raise KeyError(min(missing))
        return found
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{where}: the header of the record is damaged ({error!r})") from error


def to_draws(header: Mapping[str, Any], columns: Mapping[str, Array], epoch: int, ops: Mapping[str, type] | None) -> Draws:
    """The draws whose header and rows, of one epoch, these are. Raises ValueError if a column is missing."""
    policy = policy_from_dict(header["policy"], ops)
    tables: list[list[OpDraws]] = [[{} for _ in view.steps] for view in policy.views]
    for key, column in columns_of(header, "record").items():
        if not (0 <= column.view < len(tables) and 0 <= column.step < len(tables[column.view])):
            raise ValueError(f"record: its policy has no step for the column {key!r}")
        tables[column.view][column.step][column.name] = columns[key]
    check_columns(tables, policy)
    shapes = np.stack([columns["height"], columns["width"]], axis=1) if "height" in columns else None
    own = [f"view{v}.drawn_as" for v in range(len(tables))]
    if missing := [key for key in own if key not in columns]:
        raise ValueError(f"record: the column {missing[0]!r} is missing")
    drawn_as = unless_own(np.stack([columns[key] for key in own]))
    return Draws(policy, int(header["seed"]), epoch, columns["index"], tuple(map(tuple, tables)), shapes, drawn_as)
