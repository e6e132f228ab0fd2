"""The table of methods, on a handful of images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ssl_train.settings import resolve
from ssl_train.table import VARIANTS, Options, cell, main, markdown, run_settings

DOCS = Path(__file__).parents[2] / "docs"


def test_a_row_a_method_and_a_second_call_makes_nothing_again(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shutil.copytree(image_folder, tmp_path / "data") / "train" / ".cache").mkdir()  # hidden, so not a class
    words = f"--data {tmp_path / 'data'} --images 12 --test-images 6 --epochs 1 --batch-size 4 --size 8"
    words += f" --stored 16 --knn-k 3 --projector 16 --num-workers 0 --out {tmp_path} --results {tmp_path}/table.json"
    once = [*words.split(), "--methods", "simclr", "byol", "byol + hard views", "--seeds", "0"]
    arguments = [*once, "1"]
    assert main(once) == 0  # as if it had been stopped there
    first = (tmp_path / "table.md").read_text()
    assert main(arguments) == 0
    shown = (tmp_path / "table.md").read_text()
    assert shown in capsys.readouterr().out
    names = ["raw pixels", "untrained", "simclr", "byol", "byol + hard views"]
    assert [line.split(" | ")[0] for line in shown.splitlines()[7:12]] == [f"| {name}" for name in names]
    assert shown.splitlines()[-1].startswith("| byol + hard views | 2 | ")
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert {name: list(seeds) for name, seeds in rows.items()} == {
        "raw pixels": ["0"],
        "untrained": ["0", "1"],
        "simclr": ["0", "1"],
        "byol": ["0", "1"],
        "byol + hard views": ["0", "1"],
    }
    assert all({"knn", "linear", "colour", "rankme"} <= row.keys() for seeds in rows.values() for row in seeds.values())
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
    assert cell([7.25, 7.25], scale=1) == "7.2 ± 0.0"
    assert cell([0.01, 0.03], sign="+") == "+2.0 ± 1.0"
    assert cell([]) == ""


def test_additions_are_compared_seed_by_seed_and_results_without_colour_can_still_be_shown() -> None:
    new = {"knn": 0.5, "linear": 0.5, "colour": 0.2, "rankme": 9.0, "first_loss": 2.0, "last_loss": 1.0, "cpu_s": 10.0}
    old = {name: value for name, value in new.items() if name != "colour"}
    found = json.loads((DOCS / "methods.json").read_text()) | {
        "rows": {
            "simclr + hard views": {"0": new | {"knn": 0.53, "colour": 0.25}, "1": new | {"knn": 0.55, "cpu_s": 15.0}},
            "byol": {"0": old},
            "simclr": {"0": new, "1": old | {"knn": 0.54}, "2": new | {"knn": 0.1}},
        }
    }
    lines = markdown(found, "some.json").splitlines()
    assert [line.split(" | ")[0] for line in lines[7:10]] == ["| simclr", "| byol", "| simclr + hard views"]
    assert "| byol | 1 | 50.0 | 50.0 |  | 9.0 | 2 to 1 | 10 |" in lines
    assert lines[-1] == "| simclr + hard views | 2 | +2.0 ± 1.0 | +0.0 ± 0.0 | +5.0 | +2.5 ± 2.5 |"


@pytest.mark.parametrize("name", VARIANTS)
def test_an_addition_changes_what_it_names_and_nothing_else(name: str, tmp_path: Path) -> None:
    method, more = VARIANTS[name]
    plain, added = (vars(resolve(run_settings(Options(), tmp_path, row, 0, tmp_path))) for row in (method, name))
    changed = {key for key, value in added.items() if value != plain[key]}
    assert changed - {"aware_weight"} == more.keys()  # which is 0 without --aware


def test_unknown_methods_are_named(image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(image_folder), "--methods", "byolo", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "--methods byolo: unknown; choose from simclr" in said
    assert "'simclr + hard views'" in said


def test_the_documented_table_is_that_of_the_committed_results() -> None:
    found = json.loads((DOCS / "methods.json").read_text())
    assert markdown(found, "methods.json") == (DOCS / "methods.md").read_text()
