"""How many cores torch's operations take in a thread of ours."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")

LOCK = threading.Lock()


def take_cores(count: int) -> None:
    """Let torch's operations in this thread use so many cores, on the CPU.

    `torch.set_num_threads` also sets the number of threads yet to come, the user's too; that is put back.
    """
    with LOCK:
        default = elsewhere(torch.get_num_threads)
        torch.set_num_threads(count)
        elsewhere(lambda: torch.set_num_threads(default))


def elsewhere(call: Callable[[], T]) -> T:
    """The result of a call in a new thread, which has torch's default."""
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(call()), name="gpuaug-default", daemon=True)
    thread.start()
    thread.join()
    return found[0]
