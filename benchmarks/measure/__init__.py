"""What every suite measures with: interleaved rounds, their statistics, the machine, and the result file."""

from __future__ import annotations

import os


def cores() -> int:
    """Cores that this process may use. It stands here because the command asks before anything may load OpenMP."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
