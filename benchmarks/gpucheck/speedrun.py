"""Step 6: the CIFAR-10 speedrun, where ssl_train has one and there is time for it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from ..measure.machine import importable
from .steps import Row, Setting

MODULES = ("ssl_train.speedrun", "ssl_train.studies.speedrun")
"""Where a speedrun would be: run as `python -m`, it ends with a line that says what it reached."""

LEAST = 120.0
"""Seconds under which it is not begun."""


def rows(setting: Setting) -> Iterator[Row]:
    module = next((name for name in MODULES if importable(name)), None)
    if module is None:
        yield Row("speedrun", "skipped", f"ssl_train has no recipe for it: neither {' nor '.join(MODULES)}")
    elif not setting.cuda:
        yield Row("speedrun", "skipped", "needs CUDA")
    elif setting.left < LEAST:
        yield Row("speedrun", "skipped", f"{setting.left:.0f} s left, it needs {LEAST:.0f}; give more --minutes")
    else:
        start = time.time()
        done = subprocess.run([sys.executable, "-m", module], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        last = (done.stdout.strip().splitlines() or ["it said nothing"])[-1]
        yield Row("speedrun", "ok" if done.returncode == 0 else "failed", last[:300], time.time() - start, "s")
