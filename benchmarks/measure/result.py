"""The result of a suite, and its JSON: the dataclasses are the schema, and reading checks every key and type.

A file holds one result or several, of different suites.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from .machine import Machine
from .stats import Spread

SCHEMA = "gpuaug-benchmark/4"

RESULTS = Path(__file__).parents[1] / "results"

FUSED, OURS = "gpuaug-fused", "gpuaug"
"""The contender that ratios are of, and what the names of all of gpuaug's begin with."""

T = TypeVar("T")


@dataclass(frozen=True)
class Run:
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
class WorkloadRecord:
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
class ContenderRecord:
    name: str
    regime: str
    note: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Cell:
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
    status: str
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
    """A target and what was measured: one cell over another, or one figure; None where it is missing."""

    target: str
    least: float | None
    most: float | None
    measured: Spread | None
    met: bool | None


@dataclass(frozen=True)
class Result:
    """unit: of the cells' values. better: "higher" or "lower". bandwidth: bytes/s, read and written, of a large copy with
    the run's threads; None where the suite does not measure it."""

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

    def cell(self, contender: str, workload: str) -> Cell | None:
        return next((c for c in self.cells if (c.contender, c.workload) == (contender, workload)), None)


@dataclass(frozen=True)
class File:
    schema: str
    results: tuple[Result, ...]


def is_ours(contender: str) -> bool:
    return contender.startswith(OURS)


def save(results: Sequence[Result], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(File(SCHEMA, tuple(results))), indent=1, allow_nan=False) + "\n")


def load(path: Path) -> tuple[Result, ...]:
    """Raises ValueError naming the file and the key where it does not hold results of this schema, OSError without it."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    try:
        data = json.loads(path.read_text(), parse_constant=refuse)
        if isinstance(data, dict) and data.get("schema") != SCHEMA:
            raise ValueError(f"schema: expected {SCHEMA!r}, got {data.get('schema')!r}")
        found = cast(File, read(File, data, "file")).results
        if not found:
            raise ValueError("file.results: expected one result or more, got none")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return found


def file_name(results: Sequence[Result]) -> str:
    """MACHINE--DEVICE--DATE.json: the GPU or processor, the device, the day, in letters that every file system takes."""
    first = results[0]
    machine = (first.machine.gpu or first.machine.cpu).split(" @")[0].split(" (")[0]
    words = (machine.replace("(R)", "").replace("(TM)", ""), first.run.device, first.date[:10])
    return "--".join(re.sub(r"[^a-z0-9.]+", "-", word.lower()).strip("-") for word in words) + ".json"


def place(results: Sequence[Result], given: str) -> Path:
    """Where a run is written: the path as given, or for "auto" the name above in the folder of committed results."""
    return RESULTS / file_name(results) if given == "auto" else Path(given)


def read(kind: Any, value: Any, where: str = "result") -> Any:
    """The value as a `kind`: a dataclass, tuple[X, ...], dict[str, X], a union, or a plain type."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        names = [f.name for f in fields(kind)]
        if not isinstance(value, dict) or set(value) != set(names):
            found = sorted(value) if isinstance(value, dict) else type(value).__name__
            raise ValueError(f"{where}: expected the keys {sorted(names)}, got {found}")
        return cast(Any, kind)(**{name: read(hints[name], value[name], f"{where}.{name}") for name in names})
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        some = [k for k in inner if k is not types.NoneType]
        return None if value is None else read(some[0], value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(read(inner[0], v, f"{where}[{k}]") for k, v in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: read(inner[1], v, f"{where}.{key}") for key, v in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if origin is None and type(value) is kind:
        return value
    raise ValueError(f"{where}: expected {kind}, got {value!r}")
