"""Every target of the Makefile exists and runs what its name says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TARGETS = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
RUNS = {
    "demo": "-m ssl_train.demo",
    "test": "--cov-fail-under=90",
    "test-oldest": ".venv-oldest/bin/python -m pytest",
    "test-oldest-triton": "tests/parity/test_triton.py",
    "test-clients": "tests/clients/test_*.py",
    "test-matrix": "tests/version_matrix.py",
    "check": "bin/mypy",
    "format": "ruff check --fix",
    "fuzz": "-m tests.fuzz --minutes 1",
    "bench": "-m benchmarks run",
    "gpu-check": "-m benchmarks gpu-check",
    "clean": "rm -rf .venv",
}
"""Target -> a part of what it runs."""


def test_every_target_is_known():
    assert sorted(TARGETS) == sorted(RUNS)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("target", RUNS)
def test_a_target_runs_what_it_is_named_for(target):
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True)
    assert RUNS[target] in done.stdout
    assert not done.stderr  # such as: overriding recipe for target 'check'
