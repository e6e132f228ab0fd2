"""The table of methods, on a handful of images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssl_train.table import cell, main


def test_a_row_a_method_and_a_second_call_makes_nothing_again(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"--data {image_folder} --methods simclr byol --seeds 0 1 --images 12 --epochs 1 --batch-size 4 --size 16 --knn-k 3"
    arguments = [*words.split(), "--projector-hidden", "16", "--device", "cpu", "--num-workers", "0", "--out", str(tmp_path)]
    assert main(arguments) == 0
    shown = (tmp_path / "table.md").read_text()
    assert shown in capsys.readouterr().out
    assert [line.split(" | ")[0] for line in shown.splitlines()[4:6]] == ["| simclr", "| byol"]
    about = json.loads((tmp_path / "table.json").read_text())
    assert {name: len(rows) for name, rows in about["rows"].items()} == {"simclr": 2, "byol": 2}
    assert len(list((tmp_path / "images" / "train" / "red").iterdir())) == 6
    written = (tmp_path / "simclr-0" / "checkpoint.pt").stat().st_mtime_ns
    assert main(arguments) == 0
    assert capsys.readouterr().out == shown + "\n"
    assert (tmp_path / "simclr-0" / "checkpoint.pt").stat().st_mtime_ns == written


def test_mean_and_standard_error() -> None:
    assert cell([0.5]) == "50.0"
    assert cell([0.4, 0.5, 0.6]) == "50.0 ± 5.8"  # 10 / sqrt(3)
    assert cell([7.25, 7.25], percent=False) == "7.2 ± 0.0"


def test_unknown_methods_are_named(image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(image_folder), "--methods", "byolo", "--out", str(tmp_path)]) == 2
    assert "--methods byolo: unknown; there are simclr" in capsys.readouterr().err
