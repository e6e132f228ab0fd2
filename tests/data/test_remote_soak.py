"""The soak test of remote shards for some seconds; `python -m tests.data.remote_soak` runs it for longer."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_remote_soak():
    command = [sys.executable, "-W", "ignore", "-m", "tests.data.remote_soak", "--minutes", "0.33", "--seed", "5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    *_, last = done.stdout.splitlines()
    assert re.match(r"\d+ rounds, \d+ samples, each once an epoch with its own views; \d+ restarts, .* [1-9]\d* faults", last)
