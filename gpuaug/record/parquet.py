"""A record as a folder of Parquet files, one for each flush: part-00000.parquet and so on, each whole or absent.

Other programs read the folder as one table. Each part has its header in the schema's metadata, under the key "gpuaug".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..data.atomic import atomic
from ..ops.base import Array
from .rows import Rows, types_of

KEY = b"gpuaug"
MOST = 2**16
"""Rows that are held in memory at most, before they are written as a part."""


def pyarrow() -> tuple[Any, Any]:
    """pyarrow and its Parquet module. Raises ImportError that says how to install it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("Parquet needs pyarrow; install it with: pip install pyarrow, or write .jsonl") from error
    return pyarrow, pyarrow.parquet


class ParquetFolder:
    """A folder of parts, in the order of their numbers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        pyarrow()
        self.header: dict[str, Any] | None = None
        self.waiting: list[dict[str, Array]] = []

    def parts(self) -> list[Path]:
        return sorted(self.path.glob("part-*.parquet"), key=lambda part: int(part.stem.removeprefix("part-")))

    def begin(self, step: int | None) -> None:
        """Make the folder, or drop from the one that is there the samples of steps after `step`, unless it is None."""
        self.path.mkdir(parents=True, exist_ok=True)
        for part in self.path.glob(".part-*.partial"):  # left by a process that was killed
            part.unlink()
        pa, parquet = pyarrow()
        for part in reversed(self.parts() if step is not None else []):
            table = parquet.read_table(part)
            if "step" not in table.column_names:
                continue
            early = np.asarray(table["step"]) <= step
            if early.all():
                break
            if early.any():
                self.save(table.filter(pa.array(early)), part)
            else:
                part.unlink()

    def append(self, header: dict[str, Any], columns: dict[str, Array]) -> None:
        if header != self.header:
            self.write()
        self.header = header
        self.waiting.append({key: column.copy() for key, column in columns.items()})
        if sum(len(one["index"]) for one in self.waiting) >= MOST:
            self.write()

    def write(self) -> None:
        """Write what is waiting as the next part."""
        if not self.waiting:
            return
        pa, _ = pyarrow()
        columns = {key: np.concatenate([one[key] for one in self.waiting]) for key in self.waiting[0]}
        arrays = {key: to_arrow(column) for key, column in columns.items() if prod(column.shape[1:])}
        table = pa.table(arrays).replace_schema_metadata({KEY: json.dumps(self.header)})
        numbers = [int(part.stem.removeprefix("part-")) for part in self.parts()]
        self.save(table, self.path / f"part-{max(numbers, default=-1) + 1:05}.parquet")
        self.waiting = []

    def save(self, table: Any, part: Path) -> None:
        _, parquet = pyarrow()
        with atomic(part) as file:  # a dictionary of values would make all NaNs one
            parquet.write_table(table, file, compression="zstd", use_dictionary=False)

    def flush(self) -> None:
        """Write a part; `atomic` waits for the disk."""
        self.write()

    def close(self) -> None:
        self.write()

    def read(self, index: Array | None, epoch: int) -> Iterator[Rows]:
        """The rows of an epoch in each part. index: the samples to look for; None takes all. Raises ValueError."""
        _, parquet = pyarrow()
        filters = [("epoch", "=", epoch)] + ([] if index is None else [("index", "in", index.tolist())])
        for part in self.parts():
            try:
                table = parquet.read_table(part, filters=filters)
                header = json.loads(table.schema.metadata[KEY])
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{part}: is no part of a record of draws ({error})") from error
            if not len(table):
                continue
            types = types_of(header, str(part))
            yield header, {key: from_arrow(table, key, dtype, row, part) for key, (dtype, row) in types.items()}


def to_arrow(column: Array) -> Any:
    """A column as Arrow's array, with rows of more than one number as lists of fixed length."""
    pa, _ = pyarrow()
    flat = pa.array(np.ascontiguousarray(column).reshape(-1))
    return flat if column.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, prod(column.shape[1:]))


def from_arrow(table: Any, key: str, dtype: np.dtype[Any], row: tuple[int, ...], part: Path) -> Array:
    """The column that `to_arrow` has written. Raises ValueError if it is missing or of another type."""
    shape = (len(table), *row)
    if not prod(row):
        return np.empty(shape, dtype)
    if key not in table.column_names:
        raise ValueError(f"{part}: the column {key!r} is missing")
    found = table[key].combine_chunks()
    values = np.array((found.flatten() if row else found).to_numpy(zero_copy_only=False))
    if values.dtype != dtype or values.size != prod(shape):
        raise ValueError(f"{part}: the column {key!r} must be {dtype} of shape {shape}, got {found.type}")
    return values.reshape(shape)
