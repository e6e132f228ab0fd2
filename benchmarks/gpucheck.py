"""`python -m benchmarks gpu-check`: one command that proves gpuaug on a CUDA machine.

    pytest tests/parity, then the suites, a process each, bounded in time -> one result file, a page, a picture, the promises

Without CUDA it runs the first two steps in the small, on the CPU and in Triton's interpreter.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from . import outcomes
from .measure import result
from .measure.cores import cores
from .measure.result import Check, Outcomes, Result, Step
from .report.figures import judged
from .report.text import table, wrapped
from .suites import targets

ROOT = Path(__file__).parents[1]
PARITY = ROOT / "tests" / "parity"
FIRST = "test_device.py"
"""Of tests/parity, the file that runs first; in the small, alone."""

MINUTES = {"cuda": 10.0, "cpu": 4.0}
"""That all steps may take together, unless said."""

LEAST, GRACE = 5.0, 3.0
"""Seconds below which a step is not begun, and those that it has to end after its time, before it is ended."""

ROUNDS = 0.8
"""Share of a suite's time after which it begins no further round."""

SHOWN = 8
"""Failures that are printed in full; the file has them all."""

CORRECT = "correct"
POLICIES = ("simclr", "cheap", "byol:1", "byol:2", "dino:1", "dino:2")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """A step: the tests, or the suite of this name. share: of the time that is left when it begins, which it may take.

    options: of the suite. small: whether it also runs, in the small, without CUDA. data: whether it takes the user's images.
    """

    name: str
    share: float
    options: tuple[str, ...] = ()
    small: bool = False
    data: bool = False


TASKS = (
    Task(CORRECT, 0.4, small=True),
    Task("augment", 0.4, ("--policy", *POLICIES), small=True),
    Task("decode", 0.2, data=True),
    Task("loader", 0.4, data=True),
    Task("train", 0.6, data=True),
    Task("scaling", 0.5),
    Task("memory", 1.0),
)
"""Most important first, since time may run out."""


@dataclass(frozen=True)
class Setting:
    """What every step is told. named: the user asked for these steps, so they run on the CPU too."""

    device: str
    quick: bool
    data: Path | None
    named: bool


def device_of(given: str) -> str:
    """ "cuda" or "cpu", for "auto" what there is."""
    return "cuda" if given != "cpu" and torch.cuda.is_available() else "cpu"


def choose(names: Sequence[str]) -> tuple[Task, ...]:
    """The steps of these names, in their own order; all for none. Raises ValueError for an unknown one."""
    known = [task.name for task in TASKS]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"--step: unknown {', '.join(unknown)}; one of {', '.join(known)}")
    return tuple(task for task in TASKS if not names or task.name in names)


def run(tasks: Sequence[Task], setting: Setting, minutes: float, path: Path, progress: Progress) -> tuple[Check, list[Result]]:
    """Every step in turn; the file is replaced after each."""
    end = time.monotonic() + 60 * minutes
    steps: list[Step] = []
    tests: tuple[Outcomes, ...] = ()
    found: list[Result] = []
    for task in tasks:
        left = end - time.monotonic()
        if setting.device != "cuda" and not task.small and not setting.named:
            steps.append(Step(task.name, "skipped", "needs CUDA"))
        elif left < LEAST:
            steps.append(Step(task.name, "skipped", "no time left; give more --minutes"))
        else:
            seconds = max(LEAST, left * task.share)
            progress(f"gpu-check: {task.name}, up to {seconds:.0f} s")
            with tempfile.TemporaryDirectory() as scratch:
                place = Path(scratch, "found")
                if task.name == CORRECT:
                    step, tests = correct(setting, seconds, place)
                else:
                    step = ended(task.name, suite(task, setting, seconds, place), environment(), seconds)
                    found += result.load(place) if place.is_file() else ()
            steps.append(step)
            progress(f"gpu-check: {task.name}: {step.status}{f', {step.reason}' if step.reason else ''}")
        check = Check(setting.device, setting.quick, minutes, tuple(steps), tests, promises(found, tests))
        result.save(found, path, check)
    return check, found


def environment(**more: str) -> dict[str, str]:
    """A child's: it imports the packages from here."""
    own = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": own, **more}


def correct(setting: Setting, seconds: float, place: Path) -> tuple[Step, tuple[Outcomes, ...]]:
    """pytest on tests/parity. What has not been reached when the time is over is said, and is no failure."""
    if not PARITY.is_dir():
        return Step(CORRECT, "skipped", "the tests are in the repository: run this from a clone"), ()
    place.touch()
    more = {outcomes.FILE: str(place)}
    if setting.device != "cuda":
        more |= {"CUDA_VISIBLE_DEVICES": "", "TRITON_INTERPRET": "1"}
    files = [FIRST]
    if setting.device == "cuda" and not setting.quick:
        files += [path.name for path in sorted(PARITY.glob("test_*.py")) if path.name != FIRST]
    command = [sys.executable, "-m", "pytest", *(str(PARITY / name) for name in files), "-q", "-o", "addopts="]
    chosen = "alone or not test_a_kernel" if setting.quick else "not interpreter" if setting.device == "cuda" else ""
    command += ["-p", "benchmarks.outcomes", "-p", "no:cacheprovider", "-k", chosen]
    step = ended(CORRECT, command, environment(**more), seconds, said=False)
    tests = outcomes.read(place)
    failed, passed = sum(len(one.failed) for one in tests), sum(one.passed for one in tests)
    if failed:
        return Step(CORRECT, "failed", f"{failed} of {passed + failed} tests failed", step.seconds), tests
    if step.late and passed:
        return Step(CORRECT, "ok", "its time was over before all tests were reached; give more --minutes", step.seconds), tests
    return step, tests


def suite(task: Task, setting: Setting, seconds: float, place: Path) -> list[str]:
    """The command of a suite; on CUDA its views are bfloat16."""
    command = [sys.executable, "-m", "benchmarks", "run", task.name, *task.options]
    command += ["--device", setting.device, "--json", str(place), "--minutes", f"{ROUNDS * seconds / 60:.4f}"]
    if task.name == "decode":
        command += ["--threads", str(cores())]
    if setting.device == "cuda":
        command += ["--dtype", "bfloat16"]
    if setting.quick or setting.device != "cuda":
        command += ["--quick", "--repeats", "10", "--batch", "8"]
    return command + (["--data", str(setting.data)] if setting.data and task.data else [])


def ended(name: str, command: Sequence[str], environment: dict[str, str], seconds: float, said: bool = True) -> Step:
    """Run a command until it ends or its time is over; said: what it prints is shown.

    It has a session of its own, so that the workers that it starts are ended with it.
    """
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            stdout=None if said else subprocess.DEVNULL,
            stderr=errors,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
        )
        late = False
        try:
            process.wait(seconds + GRACE)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        errors.seek(0)
        reason = last_words(process.returncode, errors.read()) if process.returncode else ""
    taken = round(time.monotonic() - start, 1)
    if late:
        return Step(name, "failed", f"ended: still running after its {taken:.0f} s", taken, late=True)
    return Step(name, "failed" if reason else "ok", reason, taken)


def last_words(code: int, errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    what = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    return f"{what}: {lines[-1][:300]}" if lines else what


def promises(found: Sequence[Result], tests: Sequence[Outcomes]) -> tuple[result.Verdict, ...]:
    """Of the README, each with the figure of a suite where it was measured."""
    known = {verdict.target: verdict for one in found for verdict in one.targets}
    same = targets.same_views(sum(one.passed for one in tests), sum(len(one.failed) for one in tests))
    return (*(known.get(verdict.target, verdict) for verdict in targets.unmeasured()), same)


def failed(check: Check) -> bool:
    """Whether a step failed or a promise is missed."""
    return any(step.status == "failed" for step in check.steps) or any(v.met is False for v in check.promises)


def render(check: Check) -> str:
    """What was proved and what failed, as text that fits 100 columns."""
    lines = ["steps", table(((f"  {s.name}", s.status, f"{s.seconds:.0f} s", s.reason) for s in check.steps), align="llrl")]
    if check.tests:
        counts = [(f"  {t.name}", str(t.passed), str(len(t.failed)), str(t.skipped)) for t in check.tests]
        lines += ["", table(counts, ["tests of tests/parity", "passed", "FAILED", "skipped"])]
    bad = [text for one in check.tests for text in one.failed]
    lines += [wrapped(f"  FAILED {text}", "    ") for text in bad[:SHOWN]]
    lines += [f"  and {len(bad) - SHOWN} more failures; the JSON file has them"] if len(bad) > SHOWN else []
    rows = [(f"  {v.target}", *judged(v)) for v in check.promises]
    words = {"met": "kept", "not measured": "not measured" if check.device == "cuda" else "not measured: needs CUDA"}
    kept = [(*row[:3], words.get(row[3], row[3].replace("met,", "kept,"))) for row in rows]
    return "\n".join([*lines, "", "promises", table(kept, align="lrll")])
