"""A run's progress: a bar on a terminal, and in a log a line now and then instead of one per step."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from test_train import ROOT, arguments

from ssl_train import Settings, progress
from ssl_train.progress import Progress

RARELY = """
import sys
from ssl_train import progress
from ssl_train.__main__ import main

progress.INTERVAL = 1e9
sys.exit(main(sys.argv[1:]))
"""


def test_a_log_has_a_line_an_epoch_where_steps_are_quick(tiny: Settings) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RARELY, *arguments(replace(tiny, epochs=3, eval_every=2))],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"\r" not in done.stderr + done.stdout
    lines = [line for line in done.stderr.decode().splitlines() if not line.startswith("gpuaug: ")]
    starts = [f"simclr: epoch {k} of 3, step {5 * k} of 15" for k in (1, 2, 3)]
    assert [line.split(", loss ")[0] for line in lines] == starts
    assert lines[-1].endswith(" 00:00 left")
    assert [line.split(":")[0] for line in done.stdout.decode().splitlines()[:3]] == ["epoch 0", "epoch 2", "epoch 3"]


def test_slow_steps_have_a_line_each_interval(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    with Progress("byol", total=400, done=100, epoch_steps=100, shown=True) as shown:
        for k in range(101, 301):
            now[0] += 1.5
            shown.step("loss 1.000" if k % 2 == 0 else None)  # a GPU's loss is not read at every step
    lines = capsys.readouterr().err.splitlines()
    # 10 s have passed at every eighth step, counted from the line before; epochs end at steps 200 and 300.
    expected = [*range(108, 200, 8), 200, *range(208, 300, 8), 300]
    assert [int(line.split("step ")[1].split(" ")[0]) for line in lines] == expected
    assert lines[0] == "byol: epoch 1.08 of 4, step 108 of 400, loss 1.000, 07:18 left"
    assert lines[12] == "byol: epoch 2 of 4, step 200 of 400, loss 1.000, 05:00 left"


@pytest.mark.parametrize("shown", [True, False])
def test_a_terminal_has_a_bar(shown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("byol", total=4, done=0, epoch_steps=2, shown=shown) as bar:
        for _ in range(4):
            bar.step("loss 1.000")
    text = terminal.getvalue()
    assert ("\r" in text, "4/4" in text, "loss 1.000" in text) == (shown,) * 3
    assert "step 2 of 4" not in text
