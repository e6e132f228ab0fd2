"""The steps, in order of importance, and what a step gets and gives."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One figure or finding of a step.

    name: unique in its step, "group / what". status: "ok", "failed" or "skipped"; text: why not ok, or a remark. value: the
    median, in `unit`; low, high: its quartiles. more: further figures. rounds: the value of every round, in the order in which
    the rows of one group were measured, so that ratios can be taken round by round.
    """

    name: str
    status: str = "ok"
    text: str = ""
    value: float | None = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    more: dict[str, float] = field(default_factory=dict)
    rounds: tuple[float, ...] = ()

    @property
    def group(self) -> str:
        """What the table puts together."""
        return self.name.partition(" / ")[0]

    def checked(self) -> Row:
        """The row itself, or a failed one where a figure is not finite: the report is strict JSON."""
        figures = [self.value, self.low, self.high, *self.more.values(), *self.rounds]
        bad = [f for f in figures if f is not None and not math.isfinite(f)]
        return Row(self.name, "failed", f"{self.text} a figure is {bad[0]}".strip()) if bad else self


@dataclass(frozen=True)
class Setting:
    """What a step is told. quick: a few cases. data: a folder of images. end: of its time, as `time.time()`."""

    device: str
    quick: bool = False
    data: str | None = None
    end: float = math.inf

    @property
    def cuda(self) -> bool:
        return self.device == "cuda"

    @property
    def left(self) -> float:
        """Seconds that the step still has."""
        return self.end - time.time()


@dataclass(frozen=True)
class Step:
    """module: has `rows(setting) -> Iterator[Row]`. share: of the time that is left when it begins, which it may take.

    small: whether it is also run, in the small, without CUDA. interpret: whether Triton's interpreter then runs its kernels.
    """

    name: str
    title: str
    module: str
    share: float
    small: bool = False
    interpret: bool = False


HERE = "benchmarks.gpucheck"
STEPS = (
    Step("machine", "the machine", f"{HERE}.hardware", 0.2, small=True),
    Step("correct", "correctness on the device", f"{HERE}.correctness", 0.5, small=True, interpret=True),
    Step("augment", "augmentation: views/s", f"{HERE}.augment", 0.5, small=True),
    Step("loader", "decoding and loading: images/s", f"{HERE}.loading", 0.4),
    Step("train", "training: a step's time", f"{HERE}.training", 0.9),
    Step("speedrun", "CIFAR-10 speedrun", f"{HERE}.speedrun", 1.0),
)


def choose(names: Sequence[str]) -> tuple[Step, ...]:
    """The steps of these names, in their own order; all for none. Raises ValueError for an unknown one."""
    known = [step.name for step in STEPS]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"--step: unknown {', '.join(unknown)}; one of {', '.join(known)}")
    return tuple(step for step in STEPS if not names or step.name in names)


def attempt(name: str, rows: Iterator[Row]) -> Iterator[Row]:
    """The rows; where they break off with an error, a failed one called `name` that says so."""
    try:
        yield from rows
    except Exception as error:  # whatever a library raises
        yield Row(name, "failed", words(error))


def words(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
