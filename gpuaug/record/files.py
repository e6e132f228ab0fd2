"""Writing draws to files batch by batch, and reading them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from ..ops.base import Array, is_integer
from ..policy import Policy
from ..sampling import Draws, sample_indices
from .lines import LinesFile
from .parquet import ParquetFolder
from .rows import Rows, to_draws, to_rows, with_policy

FORMATS: dict[str, type[LinesFile | ParquetFolder]] = {".jsonl": LinesFile, ".parquet": ParquetFolder}
"""Ending of a path -> the class that reads and writes it."""


class DrawsWriter:
    """Writes draws to a file, batch by batch, so that `read_draws` finds those of every sample again.

    A path that ends in .jsonl becomes a file of JSON lines: one line for each sample, with the parameters of every view, below
    a header with the policy and the seed. A path that ends in .parquet becomes a folder of Parquet files, one for each
    `flush`, each with the header in its schema's metadata. Both have columns such as "view0.ColorJitter.brightness", with the
    bits and types of the draws. After a crash, JSON lines hold all batches but the one that was being written; Parquet holds
    those before the last flush. docs/draws.md has sizes and times.

    Args:
        path: Where to write. A record that is there is continued.
        resume_at: The last step that counts, in a record that is continued: samples of later steps are dropped, as those
            that a resumed run will make again. None keeps all.

    Raises:
        ValueError: The path has another ending, or holds something else than a record.
        ImportError: For Parquet, pyarrow is not installed.
        OSError: The file cannot be written.
    """

    def __init__(self, path: str | Path, resume_at: int | None = None) -> None:
        self.path = Path(path)
        if self.path.suffix not in FORMATS:
            raise ValueError(f"DrawsWriter: path must end in {' or '.join(FORMATS)}, got {str(path)!r}")
        if resume_at is not None and not (is_integer(resume_at) and resume_at >= 0):
            raise ValueError(f"DrawsWriter: resume_at must be an integer >= 0, or None, got {resume_at!r}")
        self.file = FORMATS[self.path.suffix](self.path)
        self.file.begin(resume_at)
        self.header: tuple[Policy, dict[str, Any]] | None = None

    def write(self, draws: Draws, step: int | None = None) -> None:
        """Add a batch.

        Args:
            draws: The draws that were used, changed or not.
            step: The training step that used them, at least 0, if `resume_at` shall find it.

        Raises:
            TypeError: `draws` is no Draws, or a table holds something else than numbers.
        """
        if not isinstance(draws, Draws):
            raise TypeError(f"DrawsWriter: draws must be gpuaug.Draws, got {type(draws).__name__}")
        header, columns = to_rows(draws, step)
        before = self.header
        if before is None or before[0] != draws.policy or {**before[1], **header} != before[1]:
            self.header = before = (draws.policy, with_policy(header, draws.policy))
        self.file.append(before[1], columns)

    def flush(self) -> None:
        """Write everything so far to the disk, so that not even a power cut loses it."""
        self.file.flush()

    def close(self) -> None:
        """Write what is left, and close the file."""
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.close()


def read_draws(
    path: str | Path,
    index: int | Sequence[int] | range | Array | torch.Tensor | None = None,
    epoch: int = 0,
    ops: Mapping[str, type] | None = None,
) -> Draws:
    """The draws of some samples in one epoch, as a `DrawsWriter` has written them.

    Args:
        path: What was written, or a folder with several records, such as a run's.
        index: Sample indices; of a sample that was written twice the last draws count. None takes all samples of the epoch, in
            the order in which they were written.
        epoch: The epoch.
        ops: Name -> class of ops of your own.

    Returns:
        Draws with one row for each index, with the bits and types that were written.

    Raises:
        LookupError: The record does not hold the draws of one of these samples in this epoch.
        ValueError: A file is damaged, an op is unknown, or the samples were drawn from different policies or seeds.
        OSError: There is no record at this path.
        ImportError: For Parquet, pyarrow is not installed.
    """
    rows = sample_indices("read_draws", [] if index is None else index, 0, epoch)
    records = records_in(Path(path))
    if not records:
        raise FileNotFoundError(f"{path}: no record of draws here; it ends in {' or '.join(FORMATS)}")
    wanted = None if index is None else rows
    header, columns = merged([one for record in records for one in record.read(wanted, epoch)], str(path), epoch)
    if wanted is not None:
        last = {int(i): k for k, i in enumerate(columns["index"])}
        missing = [i for i in wanted.tolist() if i not in last]
        if missing:
            raise LookupError(f"{path}: holds no draws of sample {missing[0]} in epoch {epoch}")
        where = np.array([last[i] for i in wanted.tolist()], np.int64)
        columns = {key: column[where] for key, column in columns.items()}
    return to_draws(header, columns, epoch, ops)


def records_in(path: Path) -> list[LinesFile | ParquetFolder]:
    """The record at a path, or those in a folder."""
    if path.suffix in FORMATS:
        paths = [path] if path.exists() else []
    else:
        paths = sorted(one for ending in FORMATS for one in path.glob(f"draws*{ending}"))
    return [FORMATS[one.suffix](one) for one in paths]


def merged(groups: Sequence[Rows], path: str, epoch: int) -> Rows:
    """Rows under equal headers as one. Raises ValueError if headers differ, and LookupError for no rows."""
    if not groups:
        raise LookupError(f"{path}: holds no draws of these samples in epoch {epoch}")
    header = groups[0][0]
    if any(other != header for other, _ in groups):
        raise ValueError(
            f"{path}: these samples of epoch {epoch} were drawn from different policies or seeds; read fewer of them at a time"
        )
    return header, {key: np.concatenate([columns[key] for _, columns in groups]) for key in groups[0][1]}
