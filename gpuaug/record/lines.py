"""A record as JSON lines: a header, then a line for each sample; another header where policy, seed or columns change."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from io import BufferedWriter
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from ..data.atomic import sync
from ..ops.base import Array
from ..sampling.plain import from_numbers, numbers
from .rows import FORMAT, Rows, columns_of, types_of

BEGIN = json.dumps({"format": FORMAT})[:-1].encode()
"""What every header, and so every file, begins with."""


HEAD = 200
"""Bytes of a line in which we write its index."""


class LinesFile:
    """A file of JSON lines. What follows its last line break is what a crash has left of a line, and does not count."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: BufferedWriter | None = None
        self.header: dict[str, Any] | None = None

    def begin(self, step: int | None) -> None:
        """Open the file for writing at its end, less a torn line and, unless `step` is None, the samples of later steps."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        end = kept(self.path, step) if self.path.exists() else 0
        self.file = self.path.open("ab")
        self.file.truncate(end)

    def append(self, header: dict[str, Any], columns: dict[str, Array]) -> None:
        assert self.file is not None
        lines = [header] if header != self.header else []
        self.header = header
        listed = [numbers(column) for column in columns.values()]
        lines += [dict(zip(columns, row, strict=True)) for row in zip(*listed, strict=True)]
        self.file.write("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines).encode())
        self.file.flush()

    def flush(self) -> None:
        """Wait until all is on the disk."""
        if self.file is not None:
            sync(self.file)

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    def read(self, index: Array | None, epoch: int) -> Iterator[Rows]:
        """The rows of an epoch under each header. index: the samples to look for; None takes all. Raises ValueError."""
        wanted = None if index is None else set(index.tolist())
        # To read a line as JSON takes longer than to see by its beginning that it is of another sample, and no header.
        relevant = re.compile(rb'^\{"format"|"index": ?(' + b"|".join(b"%d" % i for i in wanted or ()) + rb")\b")
        header: dict[str, Any] | None = None
        rows: list[dict[str, Any]] = []
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                other = wanted is not None and b'"index"' in line[:HEAD] and not relevant.search(line[:HEAD])
                if other or not line.endswith(b"\n"):
                    continue
                found = self.parsed(line, number)
                if "format" in found:
                    if header is not None and rows:
                        yield header, self.columns(header, rows)
                    header, rows = found, []
                    columns_of(header, f"{self.path}, line {number}")
                elif header is None:
                    raise ValueError(f"{self.path}, line {number}: there is no header before the first sample")
                elif found.get("epoch") == epoch and (wanted is None or found.get("index") in wanted):
                    rows.append(found)
        if header is not None and rows:
            yield header, self.columns(header, rows)

    def parsed(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.path}, line {number}: is no JSON ({error})") from None
        if not isinstance(found, dict):
            raise ValueError(f"{self.path}, line {number}: must be an object, got {line[:40]!r}")
        return found

    def columns(self, header: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Array]:
        """Rows as columns, with the types that the header says."""
        out = {}
        for key, (dtype, row) in types_of(header, str(self.path)).items():
            try:
                values = [one[key] for one in rows]
            except KeyError:
                raise ValueError(f"{self.path}: a sample of epoch {rows[0]['epoch']} lacks the column {key!r}") from None
            out[key] = from_numbers(values, dtype, row, f"{self.path}: {key}")
        return out


def kept(path: Path, step: int | None) -> int:
    """Where the part of a file ends that a continued record keeps: whole lines, and no samples of steps after `step`.

    Reads backwards from the end, so only what is cut is read. Raises ValueError for a file that is no record.
    """
    if not path.stat().st_size:
        return 0
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as lines:
        if not BEGIN.startswith(lines[: len(BEGIN)]):
            raise ValueError(f"{path}: is there already, and is no record of draws; choose another path")
        end = lines.rfind(b"\n") + 1
        while end and step is not None:
            start = lines.rfind(b"\n", 0, end - 1) + 1
            last = json.loads(lines[start:end])
            if "format" not in last and last.get("step", step) <= step:
                break
            end = start
    return end
