"""Steps that go wrong, each in its own way, for test_gpucheck: named `MODULE` = this file, chosen by the setting's data."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.gpucheck.steps import Row, Setting


def rows(setting: Setting) -> Iterator[Row]:
    print("what a library prints is no row")
    yield Row("first", value=1.5, unit="ms")
    if setting.data == "hang":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        yield Row("worker", value=float(child.pid))
        time.sleep(600)
    if setting.data == "raise":
        raise MemoryError("out of\nmemory")
    if setting.data == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if setting.data == "infinite":
        yield Row("speed", value=float("inf"))
