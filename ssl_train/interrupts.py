"""Ctrl-C, and the signals of a cluster that wants its machine back, held until the training loop can stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]
"""SLURM sends SIGTERM before it kills, and SIGUSR1 where a job asks to be warned earlier (`--signal=USR1@300`)."""


class Stopped(KeyboardInterrupt):
    """The run has stopped because of a signal, whose number is `args[0]`."""


def stoppable(loader: Iterable[Any], interrupted: Callable[[], int]) -> Iterator[Any]:
    """The loader's batches; Stopped between two of them after a signal."""
    for batch in loader:
        if interrupted():
            raise Stopped(interrupted())
        yield batch


@contextmanager
def held_interrupts() -> Iterator[Callable[[], int]]:
    """Within, a signal is only noted, for a place where stopping is safe; a second Ctrl-C raises at once.

    Gives a function that returns the number of the first signal, 0 before one. In other threads than the main one nothing is
    held.
    """
    noted: list[int] = []

    def first() -> int:
        return noted[0] if noted else 0

    if threading.current_thread() is not threading.main_thread():
        yield first
        return

    def note(number: int, frame: FrameType | None) -> None:
        if noted and number == signal.SIGINT:
            raise KeyboardInterrupt
        noted.append(number)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield first
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: one not set from Python
