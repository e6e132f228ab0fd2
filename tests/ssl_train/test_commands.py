"""The commands that docs/training.md gives for each method run, in a tiny setting."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path

import pytest
from test_train import ROOT, rows

from ssl_train import METHODS
from ssl_train.__main__ import parse
from ssl_train.train import train

TEXT = (ROOT / "docs" / "training.md").read_text()
COMMANDS = re.findall(r"`python -m ssl_train (--method \S+ \$(?:QUICK|FULL)[^`]*)`", TEXT)


def test_every_method_has_two() -> None:
    assert [command.split()[1:3] for command in COMMANDS] == [[m, kind] for m in METHODS for kind in ("$QUICK", "$FULL")]


@pytest.mark.parametrize("command", COMMANDS)
def test_it_runs(command: str, image_folder: Path, tmp_path: Path) -> None:
    for name in ("QUICK", "FULL"):
        found = re.search(rf'{name}="(.*)"', TEXT)
        assert found
        command = command.replace(f"${name}", found[1])
    tiny = f"--data {image_folder} --size {72 if 'resnet50' in command else 16} --backbone resnet10_quarter --batch-size 4"
    tiny += f" --epochs 1 --eval-every 0 --num-workers 0 --device cpu --out {tmp_path / 'run'}"
    if "supervised" not in command:
        tiny += " --projector-hidden 16 --projector-dim 8"
    if "swav" in command or "dino" in command:
        tiny += " --prototypes 12"
    if "resnet50" in command and ("swav" in command or "dino" in command or "lejepa" in command):
        tiny += " --multi-crop 1"
    run = train(parse([*shlex.split(command), *shlex.split(tiny)]), progress=False)
    assert [math.isfinite(row["loss"]) for row in rows(run.folder)] == [True] * 5
