"""A pytest plugin, `-p benchmarks.outcomes`: writes each outcome at once, so that it survives if the run is killed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .measure.result import Outcomes

FILE = "BENCHMARKS_OUTCOMES"
"""Environment variable with the path to write to."""


def pytest_runtest_logreport(report: Any) -> None:
    if report.when == "call" or report.outcome != "passed":
        write(report)


def pytest_collectreport(report: Any) -> None:
    if report.outcome == "failed":
        write(report)


def write(report: Any) -> None:
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = (crash.message if crash else str(report.longrepr or "")).strip().splitlines() or [""]
    text = lines[0] if crash else lines[-1]
    with Path(os.environ[FILE]).open("a") as out:
        out.write(json.dumps({"test": report.nodeid, "outcome": report.outcome, "text": text[:300]}) + "\n")


def read(path: Path) -> tuple[Outcomes, ...]:
    """The outcomes of each test function; a test whose tear-down fails counts once more, as failed."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in path.read_text().splitlines():
        one = json.loads(line)
        name = one["test"].removeprefix("tests/parity/").partition("[")[0]
        found.setdefault(name, {}).setdefault(one["outcome"], []).append(f"{one['test']}: {one['text']}")
    return tuple(
        Outcomes(name, len(by.get("passed", [])), len(by.get("skipped", [])), tuple(by.get("failed", [])))
        for name, by in found.items()
    )
