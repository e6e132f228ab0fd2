"""What every suite does alike: threads, obstacles, and cells made of timings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from statistics import median
from typing import TypeVar

import torch

from gpuaug import Policy

from ..measure import cores, machine
from ..measure.result import Cell, ContenderRecord, Fit, Result, Run, Verdict, WorkloadRecord
from ..measure.stats import Spread, quartiles, ratio
from ..measure.timing import Lane
from ..peers.contender import Contender, Peer, Setting

Progress = Callable[[str], None]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


P = TypeVar("P", bound=Peer)


@dataclass(frozen=True)
class Request:
    """What the command asks of a suite: names of policies and contenders (none: the suite's own), images a call (None: the
    suite's own), and a folder of images (None: one made from scikit-image's photographs). end: when rounds stop, as
    `time.monotonic()`, though there are fewer than asked for."""

    settings: Run
    policies: tuple[str, ...] = ()
    contenders: tuple[str, ...] = ()
    batch: int | None = None
    data: Path | None = None
    end: float = inf

    def late(self) -> bool:
        return time.monotonic() >= self.end


def chosen(all_of_them: Sequence[P], names: Sequence[str], everything: bool = False) -> list[P]:
    """Those named; without names, those that need not be asked for, or all. Raises ValueError for an unknown name."""
    known = [c.name for c in all_of_them]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"--contender: unknown {', '.join(unknown)}; one of {', '.join(known)}")
    return [c for c in all_of_them if c.name in names or not (names or (c.on_request and not everything))]


def usable(device: str) -> None:
    """Raises ValueError where this machine has no such device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no CUDA device here; use --device cpu")


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch's threads; OpenCV's and DALI's are set by their contenders, OpenMP's in `__main__` before anything loads it."""
    was = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(was)


def setting(run: Run, scratch: Path | None = None) -> Setting:
    """What the run tells its contenders."""
    return Setting(run.threads, run.seed, DTYPES[run.dtype], scratch, run.device)


def obstacle(contender: Peer, workload: str, settings: Run, policy: Policy | None = None) -> Cell:
    """The cell of a contender that cannot be timed, with the reason; or an empty one with the status "ok"."""
    cell, needed = Cell(workload, contender.name, "ok"), contender.threads * settings.threads
    if settings.device not in contender.devices:
        reason = f"runs on {', '.join(contender.devices)} only"
    elif contender.missing:
        return replace(cell, status="skipped", reason=f"not installed; install it with: {contender.install}")
    elif settings.device == "cpu" and isinstance(contender, Contender) and needed > cores():
        reason = f"needs {needed} cores, this machine has {cores()}"
    else:
        reason = (contender.supports(policy) or "") if policy else ""
    return replace(cell, status="unsupported", reason=reason) if reason else cell


@contextmanager
def filled(cells: dict[tuple[str, str], Cell], key: tuple[str, str]) -> Iterator[None]:
    """A library may raise anything: the cell then says what, and the others go on."""
    try:
        yield
    except Exception as error:
        cells[key] = failed(cells[key], error)


def failed(cell: Cell, error: Exception) -> Cell:
    lines = str(error).strip().splitlines() or [""]
    text = " ".join((lines[-1] if "Traceback" in str(error) else str(error)).split())  # a worker's error ends with what it was
    return replace(cell, status="error", reason=f"{type(error).__name__}: {text[:300]}")


def timed(cell: Cell, lane: Lane, amount: float, fused: Lane | None = None, *, one_thread: bool = False) -> Cell:
    """The cell with what was measured.

    amount: done by a call, in units of the figure, e.g. views. fused: gpuaug-fused's lane. one_thread: all work is done by
    one thread of this process, so that processor time tells of the code alone.
    """
    if lane.error is not None:
        return failed(cell, lane.error)
    values = tuple(amount / s for s in lane.seconds)
    return replace(
        cell,
        calls=lane.calls,
        values=values,
        processor=tuple(lane.processor) if one_thread and min(lane.processor) > 0 else (),
        figure=quartiles(values),
        cores=median(p / s for p, s in zip(lane.processor, lane.seconds, strict=True)),
        ratio=ratio(lane.seconds, fused.seconds) if fused is not None and fused.error is None else None,
    )


def result(
    suite: str,
    unit: str,
    settings: Run,
    before: float,
    workloads: Sequence[WorkloadRecord],
    contenders: Sequence[Peer],
    cells: Sequence[Cell],
    *,
    better: str = "higher",
    bandwidth: Spread | None = None,
    fits: Sequence[Fit] = (),
    targets: Sequence[Verdict] = (),
    matrix: Spread | None = None,
) -> Result:
    """before: the machine's load when the suite began."""
    return Result(
        suite=suite,
        unit=unit,
        better=better,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        run=settings,
        machine=machine.record([name for c in contenders for name in c.distributions], before, settings.device),
        bandwidth=bandwidth,
        workloads=tuple(workloads),
        contenders=tuple(ContenderRecord(c.name, c.regime, c.note, c.versions) for c in contenders),
        cells=tuple(cells),
        fits=tuple(fits),
        targets=tuple(targets),
        matrix=matrix,
    )
