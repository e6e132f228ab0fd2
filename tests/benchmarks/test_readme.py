"""The README says what its result files say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.measure.result import RESULTS, file_name, output_path, save
from benchmarks.measure.stats import Spread
from benchmarks.report import readme

ROOT = Path(__file__).parents[2]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(f"# title\n\n{readme.BEGIN}\nnothing yet\n{readme.END}\n\nthe rest\n")
    return path


def test_the_repository_says_what_its_result_file_says():
    assert main(["readme", "--check", "--readme", str(ROOT / "README.md")]) == 0


def test_the_table_is_written_and_then_agrees(results, page, tmp_path, capsys):
    save(results, tmp_path / "r.json")
    named = ["readme", "--check", "--readme", str(page)]
    assert main(named) == 2
    assert "names no result files yet" in capsys.readouterr().err
    arguments = ["readme", str(tmp_path / "r.json"), "--readme", str(page)]
    assert main([*arguments, "--check"]) == 1
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == 0
    text = page.read_text()
    assert text.startswith("# title\n")
    assert text.endswith("\n\nthe rest\n")
    assert "| torchvision | 150* (50.0x) | 1,500 |" in text
    assert "- Targets missed: a / b: 1.50 (1.40-1.60), wanted >= 2." in text
    assert "`r.json`" in text
    assert main(named) == 0
    assert (tmp_path / "docs" / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    page.write_text(text.replace("150*", "160*"))
    assert main(named) == 1


def test_the_loader_has_a_table_of_its_own(results, page, tmp_path):
    loader = replace(results[2], suite="loader", run=replace(results[2].run, threads=2))
    save([results[0], loader], tmp_path / "r.json")
    assert main(["readme", str(tmp_path / "r.json"), "--readme", str(page)]) == 0
    text = page.read_text()
    assert "Pixels in memory to views, 1 thread, in views/s:\n\n| views/s | strong-256 | cheap-256 |" in text
    assert "Files, and arrays on one thread, to batches of views, 2 threads, in images/s:\n\n| images/s | resnet18 |" in text
    assert "| torchvision | 50.0 |" in text
    assert "gpuaug-fused: a note." in text


def test_several_files_stand_one_after_the_other(results, page, tmp_path):
    gpu = replace(results[0].machine, gpu="a GPU (sm_90)", driver="600")
    save(results, tmp_path / "cpu.json")
    save([replace(results[0], run=replace(results[0].run, device="cuda"), machine=gpu)], tmp_path / "gpu.json")
    arguments = ["readme", str(tmp_path / "cpu.json"), str(tmp_path / "gpu.json"), "--readme", str(page)]
    assert main(arguments) == 0
    assert main(["readme", "--check", "--readme", str(page)]) == 0
    text = page.read_text()
    assert text.index("to views, 1 thread") < text.index("to views, a GPU (sm_90), in views/s")
    assert "- a GPU (sm_90), driver 600; a processor, float32" in text
    assert readme.sources(page) == [tmp_path / "cpu.json", tmp_path / "gpu.json"]


def test_losses_are_named(results):
    slow = tuple(replace(c, ratio=Spread(0.8, 0.7, 0.9)) if c.contender == "torchvision" else c for c in results[0].cells)
    assert "loses to torchvision on strong-256 (0.80x), torchvision on cheap" in readme.losses(replace(results[0], cells=slow))
    assert readme.losses(results[0]) == "gpuaug-fused loses to none of them."


def test_bad_input(results, page, tmp_path, capsys):
    save(results[1:], tmp_path / "r.json")
    assert main(["readme", str(tmp_path / "r.json"), "--readme", str(page)]) == 2
    assert "the suite augment, which is not measured" in capsys.readouterr().err
    save(results, tmp_path / "r.json")
    (tmp_path / "deep").mkdir()
    bare = tmp_path / "deep" / "README.md"
    bare.write_text("no markers\n")
    assert main(["readme", str(tmp_path / "r.json"), "--readme", str(bare)]) == 2
    assert "lies in its repository" in capsys.readouterr().err
    save(results, tmp_path / "deep" / "r.json")
    assert main(["readme", str(tmp_path / "deep" / "r.json"), "--readme", str(bare)]) == 2
    assert "lacks the markers" in capsys.readouterr().err


def test_a_result_is_named_after_machine_device_and_day(results):
    xeon = replace(results[0], machine=replace(results[0].machine, cpu="Intel(R) Xeon(R) Platinum 8480+ @ 2.0GHz (AVX512)"))
    assert file_name([xeon]) == "intel-xeon-platinum-8480--cpu--2030-01-01.json"
    assert output_path([xeon], "auto") == RESULTS / file_name([xeon])
    h100 = replace(xeon, run=replace(xeon.run, device="cuda"), machine=replace(xeon.machine, gpu="NVIDIA H100 (sm_90)"))
    assert file_name([h100]) == "nvidia-h100--cuda--2030-01-01.json"
    assert output_path([xeon], "mine.json") == Path("mine.json")
