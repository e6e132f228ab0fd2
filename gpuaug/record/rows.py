"""Draws as rows of named columns, which both formats hold, and back.

A header says what the rows under it have in common: policy, seed, and the type and place of each column, such as
"view0.ColorJitter.brightness". Every row also has `epoch` and `index`, and if they are known `step`, `height` and `width`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..convert.plain import policy_from_dict, policy_to_dict
from ..ops import OpDraws
from ..ops.base import Array
from ..policy import Policy, View
from ..sampling import Draws
from ..sampling.plain import check_columns, check_format, column_type, type_of_column

FORMAT, VERSION = "gpuaug record of draws", 1

OWN = {"epoch": "int64", "index": "int64", "step": "int64", "height": "int32", "width": "int32"}
"""Column that is no parameter -> its dtype. The last three may be missing."""


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
    own, types = list(columns), {}
    for v, (view, table) in enumerate(zip(draws.policy.views, draws.tables, strict=True)):
        for k, (label, drawn) in enumerate(zip(labels(view), table, strict=True)):
            for name, column in drawn.items():
                key = f"view{v}.{label}.{name}"
                columns[key] = column
                types[key] = {"view": v, "step": k, "name": name, **column_type(column, key)}
    return {"format": FORMAT, "version": VERSION, "seed": draws.seed, "own": own, "columns": types}, columns


def labels(view: View) -> Iterator[str]:
    """The name of each step of a view: its op's, with #2 for the second of a kind, as in `Draws.columns`."""
    seen: dict[str, int] = {}
    for op in view.steps:
        kind = type(op).__name__
        seen[kind] = seen.get(kind, 0) + 1
        yield kind if seen[kind] == 1 else f"{kind}#{seen[kind]}"


def with_policy(header: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
    """The header with its policy."""
    return {**header, "policy": policy_to_dict(policy)}


def types_of(header: Any, where: str) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """The type of every column below a header, and the shape of its rows. Raises ValueError for anything else than a header."""
    return {key: (column.dtype, column.row) for key, column in columns_of(header, where).items()} | {
        key: (np.dtype(OWN[key]), ()) for key in header["own"]
    }


def columns_of(header: Any, where: str) -> dict[str, Column]:
    """The parameters that a header describes. Raises ValueError that names `where` for anything else than a header."""
    check_format(header, where, FORMAT, VERSION)
    try:
        found = {}
        for key, own in header["columns"].items():
            dtype, row = type_of_column(own, f"{where}: {key}")
            found[key] = Column(int(own["view"]), int(own["step"]), str(own["name"]), dtype, row)
        if not {"epoch", "index"} <= set(header["own"]) <= OWN.keys():
            raise KeyError("own")
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
    rows = tuple(tuple(view) for view in tables)
    return Draws(policy, int(header["seed"]), epoch, columns["index"], rows, shapes)
