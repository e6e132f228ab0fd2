"""The result of a run, and its JSON: the dataclasses are the schema, and reading checks every key and type."""

from __future__ import annotations

import json
import types
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from .machine import Machine
from .stats import Spread

SCHEMA = "gpuaug-benchmark/1"

T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """The command's settings. seconds: that a repeat lasts at least, by calling a fast contender several times."""

    device: str
    threads: int
    repeats: int
    seed: int
    quick: bool
    seconds: float


@dataclass(frozen=True)
class WorkloadRecord:
    """image, view: (height, width) in pixels. perfect_bytes: a view's, each moved once."""

    name: str
    policy: str
    image: tuple[int, ...]
    view: tuple[int, ...]
    batch: int
    perfect_bytes: int


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
    call, with any compilation. calls: in a repeat. seconds: of one call, each repeat's. views_per_s: median and quartiles.
    cores: processor time over wall time. share: of the bound set by copy bandwidth. ratio: gpuaug-fused over this contender,
    the median of the rounds' and its 95 % interval. deviations: from the truth.
    """

    workload: str
    contender: str
    status: str
    reason: str | None = None
    first_call_s: float | None = None
    calls: int | None = None
    seconds: tuple[float, ...] = ()
    views_per_s: Spread | None = None
    cores: float | None = None
    share: float | None = None
    ratio: Spread | None = None
    deviations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """A target and what was measured: views/s of one cell over another's; None where one of them is missing."""

    target: str
    least: float | None
    most: float | None
    measured: Spread | None
    met: bool | None


@dataclass(frozen=True)
class Result:
    """bandwidth: bytes/s, read and written, of a large copy with the run's threads."""

    schema: str
    suite: str
    date: str
    run: Run
    machine: Machine
    bandwidth: Spread
    workloads: tuple[WorkloadRecord, ...]
    contenders: tuple[ContenderRecord, ...]
    cells: tuple[Cell, ...]
    targets: tuple[Verdict, ...]

    def cell(self, contender: str, workload: str) -> Cell | None:
        return next((c for c in self.cells if (c.contender, c.workload) == (contender, workload)), None)


def save(result: Result, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(result), indent=1, allow_nan=False) + "\n")


def load(path: Path) -> Result:
    """Raises ValueError naming the file and the key where it is not a result of this schema."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    try:
        data = json.loads(path.read_text(), parse_constant=refuse)
        if isinstance(data, dict) and data.get("schema") != SCHEMA:
            raise ValueError(f"schema: expected {SCHEMA!r}, got {data.get('schema')!r}")
        return cast(Result, read(Result, data))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


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
