"""The result of a suite, and its JSON file: dataclasses are the schema.

A file holds one result or several, of different suites. The file of `gpu-check` also holds what the tests found.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from .machine import Machine
from .schema import read
from .stats import Spread

Schema = Literal["gpuaug-benchmark/4"]
SCHEMA: Schema = "gpuaug-benchmark/4"

RESULTS = Path(__file__).parents[1] / "results"

FUSED, REPLAYED, OURS = "gpuaug-fused", "gpuaug-fused-replayed", "gpuaug"
"""The contender that the others are compared with, its kernels alone on CUDA, and the prefix of all of gpuaug's contenders."""

Key = tuple[str, str]
"""(contender, workload)."""


@dataclass(frozen=True)
class Run:
    """The command's settings. dtype: of the views. seconds: least length of a repeat, of several calls if they are fast."""

    device: str
    threads: int
    dtype: str
    repeats: int
    seed: int
    quick: bool
    seconds: float

    @property
    def in_threads(self) -> str:
        return f"{self.threads} thread{'s' * (self.threads > 1)}"


@dataclass(frozen=True)
class WorkloadRecord:
    """What every contender is given.

    Attributes:
        image: (height, width) of the images in pixels; () if they differ.
        view: (height, width) of the views in pixels; () if they differ.
        batch: Images in a call.
        perfect_bytes: Bytes of a view if each moves once; None if the suite has no such limit.
        axis: What is varied; None if nothing is.
        x: Its value.
        decode: Images/s of one thread that decodes such images from JPEG with Pillow; None if the suite does not measure it.
    """

    name: str
    policy: str
    image: tuple[int, ...]
    view: tuple[int, ...]
    batch: int
    perfect_bytes: int | None = None
    axis: str | None = None
    x: float | None = None
    decode: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ContenderRecord:
    name: str
    regime: str
    note: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Cell:
    """One contender on one workload.

    Attributes:
        status: "ok", "skipped" (not installed), "unsupported" or "error".
        reason: Why the status is not "ok".
        first_call_s: Seconds of preparation and first call, with any compilation.
        calls: Calls in a repeat.
        values: One for each repeat, in the suite's unit, in the order of the rounds.
        processor: Seconds of processor time a call, for each repeat; () unless one thread of this process does all the work.
        figure: Median and quartiles of the values.
        cores: Processor time divided by time by the clock.
        share: Share of the limit that copy bandwidth sets.
        ratio: gpuaug-fused's speed divided by this contender's: the median over the rounds, and its 95 % interval.
        deviations: How its views differ from the truth.
        more: Further figures, by name.
    """

    workload: str
    contender: str
    status: Literal["ok", "skipped", "unsupported", "error"]
    reason: str | None = None
    first_call_s: float | None = None
    calls: int | None = None
    values: tuple[float, ...] = ()
    processor: tuple[float, ...] = ()
    figure: Spread | None = None
    cores: float | None = None
    share: float | None = None
    ratio: Spread | None = None
    deviations: tuple[str, ...] = ()
    more: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Fit:
    """Time grows as axis ** exponent: the slope of a line through the logarithms, with its 95 % interval."""

    contender: str
    axis: str
    exponent: Spread


@dataclass(frozen=True)
class Verdict:
    """A target and what was measured: the ratio of two cells, or one figure; None if it is missing."""

    target: str
    least: float | None
    most: float | None
    measured: Spread | None
    met: bool | None


@dataclass(frozen=True)
class Result:
    """The result of a suite.

    Attributes:
        unit: Unit of the cells' values.
        better: "higher" or "lower".
        bandwidth: Bytes/s, read and written, of a large copy with the run's threads; None if the suite does not measure it.
        matrix: FLOP/s of large bfloat16 matrix products; None if they are not measured.
    """

    suite: str
    unit: str
    better: str
    date: str
    run: Run
    machine: Machine
    bandwidth: Spread | None
    workloads: tuple[WorkloadRecord, ...]
    contenders: tuple[ContenderRecord, ...]
    cells: tuple[Cell, ...]
    fits: tuple[Fit, ...] = ()
    targets: tuple[Verdict, ...] = ()
    matrix: Spread | None = None

    def cell(self, contender: str, workload: str) -> Cell | None:
        return next((c for c in self.cells if (c.contender, c.workload) == (contender, workload)), None)

    def figure(self, contender: str, workload: str) -> Spread | None:
        """The figure of a cell, if it was measured."""
        return cell.figure if (cell := self.cell(contender, workload)) else None


@dataclass(frozen=True)
class Step:
    """A step of `gpu-check`. reason: why it is not ok, or a remark. late: it was killed when its time was over."""

    name: str
    status: Literal["ok", "failed", "skipped"]
    reason: str = ""
    seconds: float = 0.0
    late: bool = False


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of a test function's cases. failed: each failed case, with its message."""

    name: str
    passed: int
    skipped: int
    failed: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """What `gpu-check` found, besides the results of the suites. minutes: the time that it was given."""

    device: str
    quick: bool
    minutes: float
    steps: tuple[Step, ...]
    tests: tuple[Outcomes, ...]
    promises: tuple[Verdict, ...]


@dataclass(frozen=True)
class File:
    schema: Schema
    results: tuple[Result, ...]
    check: Check | None = None


def is_ours(contender: str) -> bool:
    return contender.startswith(OURS)


def save(results: Sequence[Result], path: Path, check: Check | None = None) -> None:
    """Write the file in one step, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(asdict(File(SCHEMA, tuple(results), check)), indent=1, allow_nan=False) + "\n")
    temporary.replace(path)


def load(path: Path) -> tuple[Result, ...]:
    """The results in a file. Raises ValueError naming the key that does not match the schema, OSError without the file."""
    try:
        found: File = read(File, json.loads(path.read_bytes()))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not found.results:
        raise ValueError(f"{path}: results: expected one result or more, got none")
    return found.results


def file_name(results: Sequence[Result]) -> str:
    """MACHINE--DEVICE--DATE.json: GPU or processor, device and day, in characters that every file system allows."""
    first = results[0]
    machine = (first.machine.gpu or first.machine.cpu).split(" @")[0].split(" (")[0]
    words = (machine.replace("(R)", "").replace("(TM)", ""), first.run.device, first.date[:10])
    return "--".join(re.sub(r"[^a-z0-9.]+", "-", word.lower()).strip("-") for word in words) + ".json"


def output_path(results: Sequence[Result], given: str) -> Path:
    """Where to write a run: the given path, or for "auto" `file_name` in the folder of committed results."""
    return RESULTS / file_name(results) if given == "auto" else Path(given)
