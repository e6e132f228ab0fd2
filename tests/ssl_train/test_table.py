"""The table of methods, on a handful of images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ssl_train.table import cell, main, markdown

DOCS = Path(__file__).parents[2] / "docs"


def test_a_row_a_method_and_a_second_call_makes_nothing_again(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shutil.copytree(image_folder, tmp_path / "data") / "train" / ".cache").mkdir()  # hidden, so not a class
    words = f"--data {tmp_path / 'data'} --methods simclr byol --images 12 --test-images 6 --epochs 1 --batch-size 4 --size 8"
    words += f" --stored 16 --knn-k 3 --projector 16 --num-workers 0 --out {tmp_path} --results {tmp_path}/table.json"
    arguments = [*words.split(), "--seeds", "0", "1"]
    assert main([*words.split(), "--seeds", "0"]) == 0  # as if it had been stopped there
    first = (tmp_path / "table.md").read_text()
    assert main(arguments) == 0
    shown = (tmp_path / "table.md").read_text()
    assert shown in capsys.readouterr().out
    assert [line.split(" | ")[0] for line in shown.splitlines()[7:]] == ["| raw pixels", "| untrained", "| simclr", "| byol"]
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert {name: list(seeds) for name, seeds in rows.items()} == {
        "raw pixels": ["0"],
        "untrained": ["0", "1"],
        "simclr": ["0", "1"],
        "byol": ["0", "1"],
    }
    assert "±" in shown
    assert "±" not in first
    assert json.loads((tmp_path / "images" / "train" / "packed.json").read_text())["count"] == 12
    written = (tmp_path / "simclr-0" / "checkpoint.pt").stat().st_mtime_ns
    for again in (arguments, [*arguments, "--render"]):
        assert main(again) == 0
        assert capsys.readouterr().out.endswith(shown + "\n")
    assert (tmp_path / "simclr-0" / "checkpoint.pt").stat().st_mtime_ns == written
    assert main([*arguments, "--epochs", "2"]) == 2
    assert "--epochs: " in capsys.readouterr().err


def test_mean_and_standard_error() -> None:
    assert cell([0.5]) == "50.0"
    assert cell([0.4, 0.5, 0.6]) == "50.0 ± 5.8"  # 10 / sqrt(3)
    assert cell([7.25, 7.25], percent=False) == "7.2 ± 0.0"


def test_unknown_methods_are_named(image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(image_folder), "--methods", "byolo", "--out", str(tmp_path)]) == 2
    assert "--methods byolo: unknown; choose from simclr" in capsys.readouterr().err


def test_the_documented_table_is_that_of_the_committed_results() -> None:
    found = json.loads((DOCS / "methods.json").read_text())
    assert markdown(found, "methods.json") == (DOCS / "methods.md").read_text()
