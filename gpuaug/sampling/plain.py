"""Draws as plain data, and back, bit by bit: dicts, lists and numbers, which JSON holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..convert.plain import policy_from_dict, policy_to_dict, shown
from ..ops import OpDraws
from ..ops.base import Array
from ..policy import Policy
from .choosing import unless_own
from .counter import sample_indices
from .tables import ViewDraws

if TYPE_CHECKING:
    from .draws import Draws

FORMAT, VERSION = "gpuaug draws", 1
"""What plain draws call themselves. This version reads no other."""

MOST_VIEWS = 2**16
"""Views have 16 bits of the counter of the draws."""


def draws_to_dict(draws: Draws) -> dict[str, Any]:
    """See `Draws.to_dict`."""
    steps = [[columns_to_dict(step, name) for step, name in named(view, v)] for v, view in enumerate(draws.tables)]
    return {
        "format": FORMAT,
        "version": VERSION,
        "policy": policy_to_dict(draws.policy),
        "seed": draws.seed,
        "epoch": draws.epoch,
        "index": draws.index.tolist(),
        "shapes": None if draws.shapes is None else draws.shapes.tolist(),
        "drawn_as": None if draws.drawn_as is None else draws.drawn_as.tolist(),
        "tables": steps,
    }


def fields_from_dict(data: Any, ops: Mapping[str, type] | None) -> dict[str, Any]:
    """The fields of the Draws that `draws_to_dict` has written, checked: see `Draws.from_dict`."""
    check_format(data, "Draws.from_dict")
    if missing := [key for key in ("policy", "seed", "epoch", "index", "tables") if key not in data]:
        raise ValueError(f"Draws.from_dict: the key {missing[0]!r} is missing")
    policy = policy_from_dict(data["policy"], ops)
    index = sample_indices("Draws.from_dict", data["index"], data["seed"], data["epoch"])
    shapes = data.get("shapes")
    own = data["tables"]
    check_steps(own, policy)
    tables = tuple(
        tuple(columns_from_dict(step, len(index), name) for step, name in named(view, v)) for v, view in enumerate(own)
    )
    check_columns(tables, policy)
    numbers = data.get("drawn_as")
    return {
        "policy": policy,
        "seed": int(data["seed"]),
        "epoch": int(data["epoch"]),
        "index": index,
        "tables": tables,
        "shapes": None if shapes is None else np.array(shapes or np.empty((0, 2), int)),
        "drawn_as": None if numbers is None else view_numbers(numbers, len(policy), len(index)),
    }


def view_numbers(given: Any, views: int, count: int) -> npt.NDArray[np.int64] | None:
    """`Draws.drawn_as` of `views` views of `count` samples. Raises ValueError if these are no such numbers."""
    if not isinstance(given, list) or len(given) != views:
        raise ValueError(f"drawn_as: must be {views} lists, one for each view, got {shown(given)}")
    found = from_numbers(given, np.dtype(np.int64), (count,), "drawn_as")
    if found.size and not 0 <= found.min() <= found.max() < MOST_VIEWS:
        raise ValueError(f"drawn_as: must be numbers of views in 0..{MOST_VIEWS - 1}, got {found.min()} to {found.max()}")
    return unless_own(found)


def check_format(data: Any, who: str, format: str = FORMAT, version: int = VERSION) -> None:
    """Raise ValueError unless `data` is a dict that says that it has this format and version."""
    if not isinstance(data, Mapping) or data.get("format") != format:
        raise ValueError(f"{who}: must be a dict with the format {format!r}, got {shown(data)}")
    if data.get("version") != version:
        raise ValueError(f"{who}: version {shown(data.get('version'))} of the format; this gpuaug reads version {version}")


def named(view: Sequence[Any], v: int) -> Iterator[tuple[Any, str]]:
    """The steps of a view, each with its name in errors."""
    return ((step, f"tables[{v}][{k}]") for k, step in enumerate(view))


def check_steps(tables: Any, policy: Policy) -> None:
    """Raise ValueError unless there is one table for each step of each view."""
    counts = [len(view.steps) for view in policy.views]
    if not isinstance(tables, list) or not all(isinstance(view, list) for view in tables):
        raise ValueError(f"tables: must be a list of views, each a list of steps, got {shown(tables)}")
    if (found := [len(view) for view in tables]) != counts:
        raise ValueError(f"tables: the policy has {counts} steps in its views, but there are tables for {found}")


def check_columns(tables: Sequence[Sequence[OpDraws]], policy: Policy) -> None:
    """Raise ValueError for a step that lacks a column which its op draws, other than `apply`, without which it is applied."""
    for v, (view, found) in enumerate(zip(policy.views, tables, strict=True)):
        drawn = ViewDraws(policy, v, 0, 0, np.empty(0, np.int64))
        for op, step, own, (_, name) in zip(view.steps, drawn, found, named(found, v), strict=True):
            missing = sorted(step.keys() - own.keys() - {"apply"})
            if missing and "boxes" not in own:  # boxes stand for all that a crop draws
                raise ValueError(f"{name}: {type(op).__name__} lacks the column {missing[0]!r}")


def columns_to_dict(step: OpDraws, where: str) -> dict[str, Any]:
    """One table, each column as {"dtype": "float32", "row": the shape of a row, "values": nested lists}."""
    return {name: {**column_type(column, f"{where}.{name}"), "values": numbers(column)} for name, column in step.items()}


def columns_from_dict(data: Any, count: int, where: str) -> OpDraws:
    """The table of `count` rows that `columns_to_dict` has written. Raises ValueError that names the column."""
    if not isinstance(data, dict):
        raise ValueError(f"{where}: must be a dict of columns, got {shown(data)}")
    found = {}
    for name, column in data.items():
        place = f"{where}.{name}"
        dtype, row = type_of_column(column, place)
        values = column.get("values")
        if not isinstance(values, list) or len(values) != count:
            length = len(values) if isinstance(values, list) else shown(values)
            raise ValueError(f"{place}: values must have {count} rows, one for each index, got {length}")
        found[name] = from_numbers(values, dtype, row, place)
    return found


def column_type(column: Array, where: str) -> dict[str, Any]:
    """The dtype of a column and the shape of its rows. Raises TypeError if it holds no numbers."""
    if column.dtype.kind not in ALLOWED or column.dtype.itemsize > 8:
        raise TypeError(f"{where}: a column of {column.dtype} cannot be written; draws are numbers of at most 64 bits")
    return {"dtype": column.dtype.name, "row": list(column.shape[1:])}


def type_of_column(data: Any, where: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """What `column_type` has written. Raises ValueError for anything else."""
    try:
        dtype, row = DTYPES[data["dtype"]], tuple(data["row"])
        if all(type(n) is int and n >= 0 for n in row):
            return dtype, row
    except (TypeError, KeyError, ValueError):
        pass
    raise ValueError(f"{where}: a column is a dict with dtype, a number's, and row, a shape, got {shown(data)}")


ALLOWED: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}
"""Kind of a dtype -> Python's types of its values."""

DTYPES = {np.dtype(code).name: np.dtype(code) for code in "?bhilqBHILQefd"}
"""Name of a dtype that a column may have -> the dtype. NumPy's own parser of names would also take whole expressions."""


def numbers(column: Array) -> list[Any]:
    """The values as nested lists; a number that is not finite is a word (see `spelt`)."""
    listed: list[Any] = column.tolist()  # Python's floats hold every float32 exactly
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        flat = column.reshape(-1)
        words = np.array(flat.tolist(), object)
        for k in np.flatnonzero(~np.isfinite(flat)):
            words[k] = spelt(flat[k])
        listed = words.reshape(column.shape).tolist()
    return listed


def spelt(number: Any) -> str:
    """A NumPy scalar that is not finite: "inf", "-inf", "nan", or of another NaN than the usual its bits, as "nan:ffc00000"."""
    bits = number.view(f"u{number.itemsize}")
    usual = number.dtype.type("nan").view(bits.dtype)
    return f"nan:{int(bits):x}" if np.isnan(number) and bits != usual else str(float(number))


def from_numbers(values: Sequence[Any], dtype: np.dtype[Any], row: tuple[int, ...], where: str) -> Array:
    """The column (len(values), *row) whose `numbers` these are. Raises ValueError that names `where` for anything else."""
    try:
        flat = [number for one in values for number in flattened(one, row)]
        words = {k: flat[k] for k in range(len(flat)) if isinstance(flat[k], str) and dtype.kind == "f"}
        for k in words:
            flat[k] = 0.0
        if not {type(number) for number in flat} <= ALLOWED[dtype.kind]:
            raise ValueError(f"holds something else than numbers of {dtype}")
        with np.errstate(over="raise"):
            found = np.array(flat, np.float64 if dtype.kind == "f" else dtype).astype(dtype)
        for k, word in words.items():
            if word.startswith("nan:"):
                found.view(f"u{dtype.itemsize}")[k] = int(word[4:], 16)
            else:
                found[k] = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}[word]
    except (ValueError, KeyError, OverflowError, FloatingPointError) as error:
        raise ValueError(f"{where}: {error}") from None
    return found.reshape(len(values), *row)


def flattened(value: Any, shape: Sequence[int]) -> Iterator[Any]:
    """The numbers in nested lists of this shape. Raises ValueError for another shape."""
    if not shape:
        yield value
        return
    if not isinstance(value, list) or len(value) != shape[0]:
        raise ValueError(f"a row must have the shape {tuple(shape)}, got {shown(value)}")
    for one in value:
        yield from flattened(one, shape[1:])
