"""What the loader asks of the operating system: the cores of this process, and a call after a fork."""

from __future__ import annotations

import os
from collections.abc import Callable


def cores() -> int:
    """Cores that this process may use, which in a container or under `taskset` are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def after_fork(function: Callable[[], None]) -> None:
    """Call a function in every forked child of this process; systems without fork, such as Windows, have none."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)
