"""Runs the steps: a process each, ended when its time is over; the report is rewritten at each row."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO

from . import report
from .report import Report, StepResult
from .steps import Row, Setting, Step

LEAST = 5.0
"""Seconds below which a step is not begun: importing torch takes as long."""

GRACE = 3.0
"""Seconds that a step has to end after its time, before it is ended."""

ROOT = Path(__file__).parents[2]


def run_all(
    steps: Sequence[Step], setting: Setting, seconds: float, path: Path, named: bool, progress: Callable[[str], None]
) -> Report:
    """Every step in turn. named: the user asked for these, so they run on the CPU too."""
    end = time.time() + seconds
    check = report.begin(setting, seconds)
    for step in steps:
        found = StepResult(step.name, step.title)
        if not (setting.cuda or step.small or named):
            found = replace(found, status="skipped", reason="needs CUDA")
        elif (left := end - time.time()) < LEAST:
            found = replace(found, status="skipped", reason="no time left; give more --minutes")
        else:
            progress(f"gpu-check: {step.title}, up to {max(LEAST, left * step.share):.0f} s")
            own = replace(setting, end=time.time() + max(LEAST, left * step.share))
            for found in run_step(step, own):
                report.save(report.with_step(check, found), path)
        check = report.with_step(check, found)
        report.save(check, path)
        progress(f"gpu-check: {step.title}: {found.status}{f', {found.reason}' if found.reason else ''}")
    return check


def run_step(step: Step, setting: Setting) -> Iterator[StepResult]:
    """What is known of a step, after each row and at its end."""
    start = time.time()
    found = StepResult(step.name, step.title, "running")
    yield found
    with tempfile.TemporaryFile("w+") as errors:
        process = begin(step, setting, errors)
        try:
            for row in rows(process, setting.end + GRACE):
                found = replace(found, rows=(*found.rows, row))
                yield replace(found, seconds=round(time.time() - start, 1))
            late = time.time() >= setting.end + GRACE
        finally:
            finish(process)
        found = replace(found, seconds=round(time.time() - start, 1))
        if late:
            yield replace(found, status="failed", reason=f"ended: still running after its {found.seconds:.0f} s")
        elif process.returncode:
            errors.seek(0)
            yield replace(found, status="failed", reason=last_words(process.returncode, errors.read()))
        else:
            bad = sum(row.status == "failed" for row in found.rows)
            yield replace(found, status="failed" if bad else "ok", reason=f"{bad} of {len(found.rows)} failed" if bad else "")


def begin(step: Step, setting: Setting, errors: IO[str]) -> subprocess.Popen[bytes]:
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    if not setting.cuda:
        environment |= {"CUDA_VISIBLE_DEVICES": ""} | ({"TRITON_INTERPRET": "1"} if step.interpret else {})
    command = [sys.executable, "-m", "benchmarks.gpucheck.child", step.module, json.dumps(asdict(setting))]
    # A session of its own, so that the workers that a step starts can be ended with it.
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment, start_new_session=True)


def rows(process: subprocess.Popen[bytes], end: float) -> Iterator[Row]:
    """Rows as they come, until the process closes its output or the time is over."""
    assert process.stdout is not None
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := end - time.time()) > 0:
            if not selector.select(left):
                return
            data = os.read(process.stdout.fileno(), 65536)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                given = json.loads(line)
                yield Row(**given | {"rounds": tuple(given["rounds"])})
    try:
        process.wait(max(0.0, end - time.time()))
    except subprocess.TimeoutExpired:  # its rows are done, it is not
        return


def finish(process: subprocess.Popen[bytes]) -> None:
    """End the process and what it has started, whether or not it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def last_words(code: int, errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    what = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    return f"{what}: {lines[-1][:300]}" if lines else what
