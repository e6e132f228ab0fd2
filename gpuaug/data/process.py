"""What the loader asks of the operating system: the cores of this process."""

from __future__ import annotations

import os


def cores() -> int:
    """Cores that this process may use, which in a container or under `taskset` are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
