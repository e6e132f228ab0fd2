"""The soak test for some seconds; `python -m tests.data.soak` runs it for longer."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--minutes", "0.2"], r"[1-9]\d* epochs, \d+ restarts, \d+ bad files, \d+ killed workers; 0 descriptors more"),
        (["--memory", "--epochs", "12"], r"12 epochs: \d+ descriptors throughout, memory of the last 6 [+-]\d+\.\d+%"),
    ],
)
def test_soak(options, expected):
    command = [sys.executable, "-W", "ignore", "-m", "tests.data.soak", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert re.match(expected, done.stdout), done.stdout
