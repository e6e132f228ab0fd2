"""What all suites share: the request, its threads, and a measurement that turns contenders into cells."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from statistics import median
from typing import Any

import torch

from gpuaug import Policy

from ..measure import cores, machine
from ..measure.result import FUSED, Cell, ContenderRecord, Key, Result, Run, WorkloadRecord
from ..measure.stats import quartiles, ratio
from ..measure.timing import Call, Timing, rounds, synchronize
from ..peers.contender import Contender, Setting
from ..sources import Large, Remote, Source

Progress = Callable[[str], None]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Request:
    """What the command asks of a suite.

    Attributes:
        settings: Device, threads, repeats and the like.
        policies: Names of policies; empty for the suite's own.
        contenders: Names of contenders; empty for the suite's own.
        batch: Images in a call; None for the suite's own number.
        data: A folder of images; None for one that is cut from scikit-image's photographs.
        end: When no further round begins, as `time.monotonic()`, even if fewer were made than asked for.
    """

    settings: Run
    policies: tuple[str, ...] = ()
    contenders: tuple[str, ...] = ()
    batch: int | None = None
    data: Path | None = None
    end: float = inf

    def late(self) -> bool:
        return time.monotonic() >= self.end


def chosen(all_of_them: Sequence[Contender], names: Sequence[str], everything: bool = False) -> list[Contender]:
    """The contenders of these names; without names all of them, or all that do not run on request only.

    Raises ValueError for an unknown name.
    """
    known = [c.name for c in all_of_them]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"--contender: unknown {', '.join(unknown)}; one of {', '.join(known)}")
    return [c for c in all_of_them if c.name in names or not (names or (c.on_request and not everything))]


def usable(device: str) -> None:
    """Raise ValueError if this machine has no such device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no CUDA device here; use --device cpu")


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Set torch's threads. Contenders set those of OpenCV and DALI, `__main__` those of OpenMP before anything loads it."""
    was = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(was)


@contextmanager
def reported(progress: Progress, what: str) -> Iterator[None]:
    """A figure beside the cells, which go without it if the device fails."""
    try:
        yield
    except Exception as error:
        progress(f"{what}: not measured ({type(error).__name__}: {str(error)[:200]})")


def setting(run: Run, scratch: Path | None = None) -> Setting:
    """The part of the settings that contenders need."""
    return Setting(run.threads, run.seed, DTYPES[run.dtype], scratch, run.device)


def obstacle(contender: Contender, workload: str, settings: Run, policy: Policy | None, source: Source | None) -> Cell:
    """A cell with the reason why a contender cannot be timed, or an empty cell with the status "ok"."""
    cell, needed = Cell(workload, contender.name, "ok"), contender.threads * settings.threads
    if settings.device not in contender.devices:
        reason = f"runs on {', '.join(contender.devices)} only"
    elif contender.missing:
        return replace(cell, status="skipped", reason=f"not installed; install it with: {contender.install}")
    elif settings.device == "cpu" and not (contender.load or contender.decode) and needed > cores():
        reason = f"needs {needed} cores, this machine has {cores()}"
    else:
        reason = (contender.supports(policy) if policy else None) or refusal(contender, source)
    return replace(cell, status="unsupported", reason=reason) if reason else cell


def refusal(contender: Contender, source: Source | None) -> str:
    """Why a loader cannot read a source; "" if it can."""
    if source is None or isinstance(source, contender.takes):
        return ""
    jpegs = (Path, Large, Remote)
    only = set(contender.takes) <= set(jpegs) and not isinstance(source, jpegs)
    return "takes JPEGs only" if only else "takes no such source"


def failed(cell: Cell, error: Exception) -> Cell:
    lines = str(error).strip().splitlines() or [""]
    text = " ".join((lines[-1] if "Traceback" in str(error) else str(error)).split())  # a worker's error ends with its cause
    return replace(cell, status="error", reason=f"{type(error).__name__}: {text[:300]}")


def timed(cell: Cell, timing: Timing, amount: float, fused: Timing | None, *, one_thread: bool) -> Cell:
    """The cell with its figures; see `Measurement.fill`."""
    if timing.error is not None:
        return failed(cell, timing.error)
    values = tuple(amount / s for s in timing.seconds)
    return replace(
        cell,
        calls=timing.calls,
        values=values,
        processor=tuple(timing.processor) if one_thread and min(timing.processor) > 0 else (),
        figure=quartiles(values),
        cores=median(p / s for p, s in zip(timing.processor, timing.seconds, strict=True)),
        ratio=ratio(timing.seconds, fused.seconds) if fused is not None and fused.error is None else None,
    )


@dataclass
class Measurement:
    """A suite at work: the cells of its contenders, and the timings of each cell that can be timed."""

    request: Request
    contenders: Sequence[Contender]
    progress: Progress
    load: float = field(default_factory=machine.load)
    cells: dict[Key, Cell] = field(default_factory=dict)
    timings: dict[Key, Timing] = field(default_factory=dict)

    def ready(self, contender: Contender, workload: str, policy: Policy | None = None, source: Source | None = None) -> bool:
        """Begin a cell. Returns whether the contender can be timed; if it cannot, the cell says why."""
        cell = obstacle(contender, workload, self.request.settings, policy, source)
        self.cells[contender.name, workload] = cell
        return cell.status == "ok"

    def prepare(
        self,
        contender: Contender,
        workload: str,
        policy: Policy | None,
        make: Callable[[], Call],
        source: Source | None = None,
        before: Call | None = None,
    ) -> bool:
        """Prepare a contender, and time that with its first call. Returns whether it worked; if not, the cell says why.

        before: What to do before each timed call.
        """
        key, device = (contender.name, workload), self.request.settings.device
        if self.ready(contender, workload, policy, source):
            with self.caught(key):
                start = time.perf_counter()
                call = make()
                call()
                synchronize(device)
                self.cells[key] = replace(self.cells[key], first_call_s=time.perf_counter() - start)
                self.timings[key] = Timing(call, device, before=before)
        return key in self.timings

    @contextmanager
    def caught(self, key: Key) -> Iterator[None]:
        """A library may raise anything: its cell then says what, and the other contenders go on."""
        try:
            yield
        except Exception as error:
            self.cells[key] = failed(self.cells[key], error)
            self.timings.pop(key, None)

    def time(self, *others: Timing) -> None:
        """Time all contenders, and other calls that belong to no contender, in interleaved rounds."""
        s = self.request.settings
        rounds([*self.timings.values(), *others], s.repeats, s.seconds, self.progress, self.request.late)

    def fill(
        self, amounts: Mapping[str, float], one_thread: Callable[[Key], bool] = lambda key: False, ratios: bool = True
    ) -> None:
        """Put what was timed into the cells.

        Args:
            amounts: For each workload, what a call makes, in units of the figure, such as views.
            one_thread: Whether one thread of this process does all the work, so that processor time tells of the code alone.
            ratios: Whether to compare with gpuaug-fused on the same workload.
        """
        for key, timing in self.timings.items():
            fused = self.timings.get((FUSED, key[1])) if ratios else None
            self.cells[key] = timed(self.cells[key], timing, amounts[key[1]], fused, one_thread=one_thread(key))

    def result(
        self, suite: str, unit: str, workloads: Sequence[WorkloadRecord], *, better: str = "higher", **more: Any
    ) -> Result:
        """The result. more: further fields of `Result`."""
        names = [name for c in self.contenders for name in c.distributions]
        fields: Any = {"bandwidth": None} | {k: tuple(value) if isinstance(value, list) else value for k, value in more.items()}
        return Result(
            suite=suite,
            unit=unit,
            better=better,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            run=self.request.settings,
            machine=machine.record(names, self.load, self.request.settings.device),
            workloads=tuple(workloads),
            contenders=tuple(ContenderRecord(c.name, c.regime, c.note, c.versions) for c in self.contenders),
            cells=tuple(self.cells.values()),
            **fields,
        )
