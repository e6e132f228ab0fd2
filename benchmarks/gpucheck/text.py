"""A report as text that fits 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from itertools import groupby

from ..measure.stats import brief
from .report import Report, StepResult
from .steps import Row

WIDTH = 100
NAME = 42
SHOWN = 8
"""Failures of a step in full; the JSON has them all."""


def render(check: Report) -> str:
    """The whole report, verdicts last."""
    lines = [line for step in check.steps for line in (*step_lines(step), "")]
    lines += ["promises"]
    for v in check.verdicts:
        kept = {True: "kept", False: "MISSED", None: "not measured"}[v.kept]
        lines += wrapped(f"  {v.promise:{NAME}}  {kept}: {v.text}", " " * (NAME + 4))
    return "\n".join(lines)


def wrapped(text: str, indent: str = "    ") -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def step_lines(step: StepResult) -> Iterator[str]:
    reason = f": {step.reason}" if step.reason else ""
    yield from wrapped(
        f"{step.title}: {step.status}{reason} ({step.seconds:.0f} s)"
        if step.seconds
        else f"{step.title}: {step.status}{reason}"
    )
    if any(row.unit for row in step.rows) or step.name == "machine":
        for row in step.rows:
            yield from row_lines(row)
        return
    for group, found in groupby(step.rows, key=lambda row: row.group):
        yield from group_lines(group, list(found))
    bad = [row for row in step.rows if row.status == "failed"]
    for row in bad[:SHOWN]:
        yield from wrapped(f"  FAILED {row.name}: {row.text}")
    if len(bad) > SHOWN:
        yield f"  and {len(bad) - SHOWN} more failures; the JSON file has them"


def row_lines(row: Row) -> list[str]:
    if row.value is None:
        return wrapped(f"  {row.name:{NAME}}  {'FAILED ' * (row.status == 'failed')}{row.text or row.status}", " " * (NAME + 4))
    spread = (
        f" ±{(row.high - row.low) / 2 / row.value:.0%}" if row.low is not None and row.high is not None and row.value else ""
    )
    more = {"share": ".1%", "data wait": ".2%", "slowdown": ".1%"}
    parts = [f"{format(v, more[k])} {k}" if k in more else f"{brief(v)} {k}" for k, v in row.more.items()]
    said = "; ".join(filter(None, [", ".join(parts), row.text]))
    return wrapped(
        f"  {row.name:{NAME}}  {brief(row.value)} {row.unit}{spread}" + (f"; {said}" if said else ""), " " * (NAME + 4)
    )


def group_lines(group: str, rows: list[Row]) -> Iterator[str]:
    """A line for many cases; facts one by one, since each is its own."""
    if group == "facts":
        for row in rows:
            if row.status != "failed":
                yield from row_lines(row)
        return
    good, bad = ([row for row in rows if row.status == status] for status in ("ok", "failed"))
    skipped = [row for row in rows if row.status == "skipped"]
    largest = max((row.value for row in good if row.value is not None), default=None)
    parts = [f"{len(good)} of {len(good) + len(bad)} right" if good or bad else "nothing compared"]
    parts += [f"largest error {largest:.1e}"] if largest is not None else []
    reasons = list(dict.fromkeys(row.text.partition(": ")[0] for row in skipped))
    parts += [f"{len(skipped)} skipped ({'; '.join(reasons[:2])})"] if skipped else []
    yield from wrapped(f"  {group:{NAME}}  {', '.join(parts)}", " " * (NAME + 4))
