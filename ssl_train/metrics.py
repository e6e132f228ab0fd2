"""The metrics of a run while it trains: rows wait until the device has made their numbers, then go to file and TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from . import distributed, run
from .run import Run


class Metrics:
    """metrics.jsonl of a run's folder, TensorBoard's events beside it, and the evaluations in the run's result.

    path: the file. rows: steps whose losses and times are still on the device. board: writes TensorBoard's events, if any.
    """

    def __init__(self, result: Run) -> None:
        self.result = result
        self.path = result.folder / "metrics.jsonl"
        self.board: Callable[..., None] | None = None
        self.rows: list[run.Row] = []

    def open_board(self, step: int) -> None:
        """Write TensorBoard's events from now on; earlier ones after `step` are replaced."""
        if distributed.rank() == 0:
            self.board = run.board(self.result.folder, step)

    def log(self, *rows: run.Row) -> None:
        """Append rows to the file, and to TensorBoard's events."""
        run.append_metrics(self.path, *rows)
        if self.board:
            self.board(*rows)

    def flush(self) -> run.Row | None:
        """Write the rows of the steps since the last call. Returns the first whose loss is not finite: it is not written."""
        for row in self.rows:
            # Reading numbers waits for the device, so that the step's events have passed.
            row |= {name: float(value) for name, value in row.items() if isinstance(value, torch.Tensor)}
            row["data_wait"] = row["data_wait"].share()
            if not math.isfinite(row["loss"]):
                return row
        if distributed.rank() == 0:
            self.log(*self.rows)
        self.rows = []
        return None

    def remember(self, row: run.Row) -> None:
        """Add an evaluation to the run's result."""
        self.result.knn[row["epoch"]] = row["knn"]
        if "probe" in row:
            self.result.probe[row["epoch"]] = row["probe"]

    def cut(self, step: int) -> None:
        """Delete the rows after a step, which a continued run writes again, and remember the evaluations up to it."""
        for row in distributed.on_rank_0(lambda: run.cut_metrics(self.path, step)):
            if "knn" in row:
                self.remember(row)
