"""Ctrl-C, held until the training loop is at a place where it can stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


def stoppable(loader: Iterable[Any], interrupted: Callable[[], bool]) -> Iterator[Any]:
    """The loader's batches; KeyboardInterrupt between two of them after Ctrl-C."""
    for batch in loader:
        if interrupted():
            raise KeyboardInterrupt
        yield batch


@contextmanager
def held_interrupts() -> Iterator[Callable[[], bool]]:
    """Within, the first Ctrl-C is only noted, for a place where stopping is safe; a second one raises at once.

    Gives a function that says whether there was one. In other threads than the main one nothing is held.
    """
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted.is_set
        return

    def note(number: int, frame: FrameType | None) -> None:
        if noted.is_set():
            raise KeyboardInterrupt
        noted.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield noted.is_set
    finally:
        signal.signal(signal.SIGINT, before)
