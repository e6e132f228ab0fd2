"""Ctrl-C, and the signals by which a cluster stops a job: noted at once, obeyed when the training loop can stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]
"""SLURM sends SIGTERM before it kills a job, and SIGUSR1 earlier if the job asks for it (`--signal=USR1@300`)."""


class Stopped(KeyboardInterrupt):
    """The run has stopped because of a signal; `args[0]` is the signal's number."""


def stoppable(loader: Iterable[Any], interrupted: Callable[[], int]) -> Iterator[Any]:
    """The loader's batches. After a signal, raises Stopped before the next one."""
    for batch in loader:
        if interrupted():
            raise Stopped(interrupted())
        yield batch


@contextmanager
def held_interrupts() -> Iterator[Callable[[], int]]:
    """Note signals within the block instead of stopping at once, so that the loop can stop where it is safe.

    Yields a function that returns the number of the first signal, or 0. A second Ctrl-C raises KeyboardInterrupt at once. Only
    the main thread can handle signals; in any other thread nothing changes.
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
