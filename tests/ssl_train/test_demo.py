"""What `make demo` prints. Whether it runs is not tested here, since it takes minutes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ssl_train.demo import interpreter


def test_the_commands_at_its_end_name_the_python_that_ran_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(Path(sys.executable).parents[1])
    assert interpreter() == f"bin/{Path(sys.executable).name}"
    monkeypatch.chdir(tmp_path)
    assert interpreter() == sys.executable
