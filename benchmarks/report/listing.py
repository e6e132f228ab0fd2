"""What there is to run: suites, workloads, contenders and targets, as `python -m benchmarks list` prints them."""

from __future__ import annotations

from collections.abc import Mapping

import gpuaug

from .. import peers, workloads
from ..suites import targets
from .figures import verdict_rows
from .text import fill


def render(suites: Mapping[str, str]) -> str:
    """suites: each suite's name, and what it measures."""
    shown = {w.policy for w in workloads.DEFAULT}
    return fill(
        "list.txt",
        suites=suites,
        core=len(workloads.CORE),
        workloads=workloads.DEFAULT,
        more=[name for name in (*workloads.OWN, *gpuaug.policies) if name not in shown],
        contenders=peers.ALL,
        targets=[row[:2] for row in verdict_rows(targets.judge(lambda of, to: None))],
        promises=[row[:2] for row in verdict_rows(targets.unmeasured())],
    )
