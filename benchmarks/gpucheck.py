"""`python -m benchmarks gpu-check`: one command that proves gpuaug on a CUDA machine.

    the machine, pytest tests/parity, the suites, a process each, bounded in time -> a result file, a page, a picture, promises

No step can keep the next one from running, whatever it raises. Without CUDA the first three steps run on a few small cases, on
the CPU and in Triton's interpreter.
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
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from . import outcomes
from .measure import cores, machine, result
from .measure.result import Check, Outcomes, Result, Step
from .report import charts, html
from .report.figures import verdict_rows
from .report.text import fill
from .suites import targets

ROOT = Path(__file__).parents[1]
PARITY = ROOT / "tests" / "parity"
FIRST = "test_device.py"
"""The file of tests/parity that runs first; without CUDA, or with --quick, no other one runs."""

MINUTES = {"cuda": 10.0, "cpu": 4.0}
"""Minutes that all steps may take together, unless `--minutes` says otherwise."""

LEAST, GRACE = 5.0, 3.0
"""Seconds that must be left to begin a step, and seconds after the end of its time when a running step is killed."""

ROUNDS = 0.8
"""Share of a suite's time after which it begins no further round."""

SHOWN = 8
"""Failures that are printed; the file has all of them."""

MACHINE, CORRECT, PAGE = "machine", "correct", "page"

CUT_SHORT = "its time was over before all tests were reached; give more --minutes"

PACKAGES = {"test_kornia.py": "kornia", "test_dali.py": "nvidia.dali", "test_policies.py": "nvidia.dali"}
"""Files of tests/parity that need a package which a machine may lack."""

POLICIES = ("simclr", "cheap", "byol:1", "byol:2", "dino:1", "dino:2")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """A step: the look at the machine, the tests, or the suite of this name.

    Attributes:
        share: Share that it may take of the time that is left when it begins.
        options: Options of the suite.
        small: Whether it also runs without CUDA, on a few small cases.
        data: Whether it takes the user's images.
    """

    name: str
    share: float
    options: tuple[str, ...] = ()
    small: bool = False
    data: bool = False


TASKS = (
    Task(MACHINE, 0.2, small=True),
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
    """Settings of all steps. named: the user asked for these steps by name, so they run on the CPU too."""

    device: str
    quick: bool
    data: Path | None
    named: bool


def device_of(given: str) -> str:
    """The device, "cuda" or "cpu"; "auto" takes CUDA if there is any."""
    return "cuda" if given != "cpu" and torch.cuda.is_available() else "cpu"


def choose(names: Sequence[str]) -> tuple[Task, ...]:
    """The steps of these names, most important first; all steps without names. Raises ValueError for an unknown name."""
    known = [task.name for task in TASKS]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"--step: unknown {', '.join(unknown)}; one of {', '.join(known)}")
    return tuple(task for task in TASKS if not names or task.name in names)


def run(tasks: Sequence[Task], setting: Setting, minutes: float, path: Path, progress: Progress) -> tuple[Check, list[Result]]:
    """Run every step in turn; the file is replaced after each."""
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
                try:
                    if task.name == CORRECT:
                        step, tests = correct(setting, seconds, place)
                    else:
                        step = ended(task.name, program(task, setting, seconds, place), environment(), seconds)
                        made = result.load(place) if place.is_file() else ()
                        found, step = [*found, *made], judged(step, made)
                except Exception as error:  # no process, no disk, a file that is cut short
                    step = Step(task.name, "failed", f"{type(error).__name__}: {error}")
            steps.append(step)
            progress(f"gpu-check: {task.name}: {step.status}{f', {step.reason}' if step.reason else ''}")
        check = Check(setting.device, setting.quick, minutes, tuple(steps), tests, promises(found, tests, steps))
        result.save(found, path, check)
    return check, found


def environment(**more: str) -> dict[str, str]:
    """Environment of a child process, which imports the packages from this repository."""
    own = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": own, **more}


def correct(setting: Setting, seconds: float, place: Path) -> tuple[Step, tuple[Outcomes, ...]]:
    """Run pytest on tests/parity. If time runs out before the last test, the step says so, but does not fail."""
    if not PARITY.is_dir():
        return Step(CORRECT, "skipped", "the tests are in the repository: run this from a clone"), ()
    place.touch()
    more = {outcomes.FILE: str(place)}
    if setting.device != "cuda":
        more |= {"CUDA_VISIBLE_DEVICES": "", "TRITON_INTERPRET": "1"}
    files, without = [FIRST], ""
    if setting.device == "cuda" and not setting.quick:
        lacking = {name: package for name, package in PACKAGES.items() if not machine.importable(package)}
        files += [path.name for path in sorted(PARITY.glob("test_*.py")) if path.name not in (FIRST, *lacking)]
        without = "; ".join(f"without {name}, which needs {package}" for name, package in lacking.items())
    command = [sys.executable, "-m", "pytest", *(str(PARITY / name) for name in files), "-q", "-o", "addopts="]
    command += ["--continue-on-collection-errors"]
    chosen = "alone or not test_a_kernel" if setting.quick else "not interpreter" if setting.device == "cuda" else ""
    command += ["-p", "benchmarks.outcomes", "-p", "no:cacheprovider", "-k", chosen]
    step = ended(CORRECT, command, environment(**more), seconds, said=False)
    tests = outcomes.read(place)
    failed, passed = sum(len(one.failed) for one in tests), sum(one.passed for one in tests)
    if failed:
        return Step(CORRECT, "failed", f"{failed} of {passed + failed} tests failed", step.seconds), tests
    if step.late and passed:
        return Step(CORRECT, "ok", CUT_SHORT, step.seconds), tests
    return replace(step, reason=step.reason or without), tests


def program(task: Task, setting: Setting, seconds: float, place: Path) -> list[str]:
    """The command that looks at the machine, or that runs a suite; on CUDA its views are bfloat16."""
    if task.name == MACHINE:
        return [sys.executable, "-m", "benchmarks.bare", setting.device]
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
    """Run a command until it ends or its time is over. said: whether its output is shown.

    The command gets a session of its own, so that the workers it starts are killed with it.
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


def judged(step: Step, made: Sequence[Result]) -> Step:
    """The step, failed if a contender of gpuaug's has failed in it. What other libraries raise is in their rows."""
    errors = [cell for one in made for cell in one.cells if cell.status == "error" and result.is_ours(cell.contender)]
    if step.status == "failed" or not errors:
        return step
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return replace(step, status="failed", reason=f"{errors[0].contender} on {errors[0].workload}{more}: {errors[0].reason}")


def last_words(code: int, errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    what = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    return f"{what}: {lines[-1][:300]}" if lines else what


def promises(found: Sequence[Result], tests: Sequence[Outcomes], steps: Sequence[Step] = ()) -> tuple[result.Verdict, ...]:
    """The README's promises, each with its figure if a suite measured it.

    Equal views are not proved by tests of which some were not reached, but disproved by one that failed.
    """
    known = {verdict.target: verdict for one in found for verdict in one.targets}
    passed = 0 if any(step.reason == CUT_SHORT for step in steps) else sum(one.passed for one in tests)
    same = targets.same_views(passed, sum(len(one.failed) for one in tests))
    return (*(known.get(verdict.target, verdict) for verdict in targets.unmeasured()), same)


def failed(check: Check) -> bool:
    """Whether a step failed or a promise is missed."""
    return any(step.status == "failed" for step in check.steps) or any(v.met is False for v in check.promises)


def render(check: Check) -> str:
    """What was proved and what failed, as text that fits 100 columns."""
    words = {"met": "kept", "not measured": "not measured" if check.device == "cuda" else "not measured: needs CUDA"}
    rows = [(*row[:3], words.get(row[3], row[3].replace("met,", "kept,"))) for row in verdict_rows(check.promises)]
    failures = [text for one in check.tests for text in one.failed]
    steps = [(f"  {s.name}", s.status, f"{s.seconds:.0f} s", s.reason) for s in check.steps]
    tests = [(f"  {t.name}", str(t.passed), str(len(t.failed)), str(t.skipped)) for t in check.tests]
    return fill("check.txt", steps=steps, tests=tests, failures=failures, SHOWN=SHOWN, promises=rows)


def command(names: Sequence[str], device: str, quick: bool, data: Path | None, minutes: float | None, path: Path) -> int:
    """Run the steps of these names, write the file, its page and its picture, and print what was found.

    Returns the exit status, 1 if a step failed or a promise is missed. Raises ValueError for an unknown step.
    """
    tasks = choose(names)
    if device == "cpu":
        print("No CUDA device: a few small cases run on the CPU and in Triton's interpreter.", flush=True)
    setting = Setting(device, quick, data.resolve() if data else None, bool(names))
    check, found = run(tasks, setting, minutes or MINUTES[device], path, lambda text: print(text, file=sys.stderr, flush=True))
    if found:
        check = replace(check, steps=(*check.steps, drawn(found, path)))
        result.save(found, path, check)
    print(f"{render(check)}\nwrote {path}")
    return int(failed(check))


def drawn(found: Sequence[Result], path: Path) -> Step:
    """Write the page and the picture beside the file."""
    try:
        path.with_suffix(".html").write_text(html.page([(path.name, found)]), encoding="utf-8")
        charts.png(next(iter(charts.charts(found[0]).values()), charts.bars), found[0], path.with_suffix(".png"))
    except ImportError as error:
        return Step(PAGE, "skipped", str(error))
    except Exception as error:  # the figures are in the file, whatever cannot be drawn
        return Step(PAGE, "failed", f"{type(error).__name__}: {error}")
    return Step(PAGE, "ok")
