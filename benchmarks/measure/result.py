"""The result of a suite, and its JSON: the dataclasses are the schema, and pydantic checks every key and type on reading.

A file holds one result or several, of different suites. That of `gpu-check` also holds what the tests found.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from .machine import Machine
from .stats import Record, Spread

Schema = Literal["gpuaug-benchmark/4"]
SCHEMA: Schema = "gpuaug-benchmark/4"

RESULTS = Path(__file__).parents[1] / "results"

FUSED, REPLAYED, OURS = "gpuaug-fused", "gpuaug-fused-replayed", "gpuaug"
"""The contender that ratios are of, its kernels alone on CUDA, and what the names of all of gpuaug's begin with."""

Key = tuple[str, str]
"""(contender, workload)."""


@dataclass(frozen=True)
class Run(Record):
    """The command's settings.

    dtype: of the views. seconds: that a repeat lasts at least, by calling a fast contender several times.
    """

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
class WorkloadRecord(Record):
    """What every contender is given.

    image, view: (height, width) in pixels; () where they differ. batch: images a call. perfect_bytes: a view's, each moved
    once; None where the suite has no such limit. axis, x: what is varied, and its value; None where nothing is. decode: the
    images/s of one thread that decodes such images from JPEG with Pillow; None where the suite does not measure it.
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
class ContenderRecord(Record):
    name: str
    regime: str
    note: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Cell(Record):
    """One contender on one workload.

    status: "ok", "skipped" (not installed), "unsupported" or "error"; reason: why not ok. first_call_s: preparation and first
    call, with any compilation. calls: in a repeat. values: each repeat's, in the suite's unit, in the order of the rounds.
    processor: seconds of processor time a call, each repeat's; () where that is not the work of one thread of this process.
    figure: the values' median and quartiles. cores: processor time over wall time. share: of the bound set by copy bandwidth.
    ratio: gpuaug-fused over this contender, the median of the rounds' and its 95 % interval. deviations: from the truth.
    more: what else was found, by name.
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
class Fit(Record):
    """Time grows as axis ** exponent: the slope of a line through the logarithms, with its 95 % interval."""

    contender: str
    axis: str
    exponent: Spread


@dataclass(frozen=True)
class Verdict(Record):
    """A target and what was measured: one cell over another, or one figure; None where it is missing."""

    target: str
    least: float | None
    most: float | None
    measured: Spread | None
    met: bool | None


@dataclass(frozen=True)
class Result(Record):
    """unit: of the cells' values. better: "higher" or "lower". bandwidth: bytes/s, read and written, of a large copy with
    the run's threads; None where the suite does not measure it. matrix: FLOP/s of large products in bfloat16, likewise."""

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


@dataclass(frozen=True)
class Step(Record):
    """A step of `gpu-check`. reason: why it is not ok, or a remark. seconds: taken. late: it was ended, its time was over."""

    name: str
    status: Literal["ok", "failed", "skipped"]
    reason: str = ""
    seconds: float = 0.0
    late: bool = False


@dataclass(frozen=True)
class Outcomes(Record):
    """Outcomes of a test function's cases. failed: each with what it said."""

    name: str
    passed: int
    skipped: int
    failed: tuple[str, ...]


@dataclass(frozen=True)
class Check(Record):
    """What `gpu-check` found besides the results of the suites. minutes: that it had."""

    device: str
    quick: bool
    minutes: float
    steps: tuple[Step, ...]
    tests: tuple[Outcomes, ...]
    promises: tuple[Verdict, ...]


@dataclass(frozen=True)
class File(Record):
    schema: Schema
    results: tuple[Result, ...]
    check: Check | None = None


FILE = TypeAdapter(File)


def is_ours(contender: str) -> bool:
    return contender.startswith(OURS)


def save(results: Sequence[Result], path: Path, check: Check | None = None) -> None:
    """Write the file in one step, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(asdict(File(SCHEMA, tuple(results), check)), indent=1, allow_nan=False) + "\n")
    temporary.replace(path)


def load(path: Path) -> tuple[Result, ...]:
    """Raises ValueError naming the file and the key where it does not hold results of this schema, OSError without it."""
    try:
        found = FILE.validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise ValueError(f"{path}: {where}: {first['msg']}, got {first['input']!r:.60}") from None
    if not found.results:
        raise ValueError(f"{path}: results: expected one result or more, got none")
    return found.results


def file_name(results: Sequence[Result]) -> str:
    """MACHINE--DEVICE--DATE.json: the GPU or processor, the device, the day, in letters that every file system takes."""
    first = results[0]
    machine = (first.machine.gpu or first.machine.cpu).split(" @")[0].split(" (")[0]
    words = (machine.replace("(R)", "").replace("(TM)", ""), first.run.device, first.date[:10])
    return "--".join(re.sub(r"[^a-z0-9.]+", "-", word.lower()).strip("-") for word in words) + ".json"


def place(results: Sequence[Result], given: str) -> Path:
    """Where a run is written: the path as given, or for "auto" the name above in the folder of committed results."""
    return RESULTS / file_name(results) if given == "auto" else Path(given)
