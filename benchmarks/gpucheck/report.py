"""What is known so far, and its file: strict JSON, replaced in one step, so that a reader never sees half of it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from ..measure.machine import commit
from .steps import Row, Setting

SCHEMA = "gpuaug-gpu-check/1"


@dataclass(frozen=True)
class StepResult:
    """status: "running", "ok", "failed" or "skipped"; reason: why not ok. seconds: taken."""

    name: str
    title: str
    status: str = "skipped"
    reason: str = ""
    seconds: float = 0.0
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """A promise of the README. kept: None where it was not measured; text: by how much, or why not."""

    promise: str
    kept: bool | None
    text: str


@dataclass(frozen=True)
class Report:
    schema: str
    date: str
    commit: str | None
    device: str
    quick: bool
    seconds: float
    steps: tuple[StepResult, ...] = ()
    verdicts: tuple[Verdict, ...] = ()

    def rows(self, step: str) -> tuple[Row, ...]:
        return next((s.rows for s in self.steps if s.name == step), ())

    def row(self, step: str, name: str) -> Row | None:
        """The row, where it has a figure."""
        return next((r for r in self.rows(step) if r.name == name and r.status == "ok" and r.value is not None), None)

    @property
    def failed(self) -> bool:
        return any(s.status == "failed" for s in self.steps) or any(v.kept is False for v in self.verdicts)


def begin(setting: Setting, seconds: float) -> Report:
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return Report(SCHEMA, date, commit(), setting.device, setting.quick, seconds)


def with_step(check: Report, found: StepResult) -> Report:
    return replace(check, steps=(*(s for s in check.steps if s.name != found.name), found))


def with_verdicts(check: Report, verdicts: tuple[Verdict, ...]) -> Report:
    return replace(check, verdicts=verdicts)


def save(check: Report, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(asdict(check), indent=1, allow_nan=False) + "\n")
    temporary.replace(path)
