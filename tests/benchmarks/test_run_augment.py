"""The suite `augment` in the small: tables, files, contenders that fail, and the rounds of the timing."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
import torch

from benchmarks.__main__ import SUITES, main, suites_of, threads_of
from benchmarks.measure.result import FUSED, Cell, Run, Verdict, load
from benchmarks.measure.stats import Spread
from benchmarks.measure.timing import LEAST_ROUNDS, Timing, rounds
from benchmarks.report.figures import judged
from benchmarks.report.table import render
from benchmarks.report.text import WIDTH
from benchmarks.suites import augment
from benchmarks.suites.common import Request
from benchmarks.suites.targets import TARGETS, judge, losses
from benchmarks.workloads import DEFAULT

TINY = ["run", "augment", "--quick", "--repeats", "10", "--batch", "2", "--policy", "simclr_cifar"]


def silent(text: str) -> None:
    pass


def test_a_tiny_run_prints_its_table_and_writes_its_files(contenders, capsys, tmp_path):
    json, png = tmp_path / "r.json", tmp_path / "r.png"
    assert main([*TINY, "--json", str(json), "--plot", str(png)]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "views/s" in text
    assert "copy bandwidth" in text
    assert "pip install no-such-package" in text
    assert "RuntimeError: the pipeline fell apart" in text
    assert "not measured" in text
    assert png.read_bytes().startswith(b"\x89PNG")

    (found,) = load(json)
    cells = {cell.contender: cell for cell in found.cells}
    assert list(cells) == [c.name for c in contenders]
    assert [cells[c.name].status for c in contenders] == ["ok", "ok", "skipped", "error", "error", "unsupported"]
    assert cells["fleeting"].reason == "RuntimeError: out of memory"
    assert cells["triton-augment"].reason == "runs on cuda only"
    ok = cells["torchvision"]
    assert len(ok.values) == found.run.repeats == 10
    assert ok.figure is not None
    assert ok.ratio is not None
    assert ok.share is not None
    assert ok.share > 0
    assert cells[FUSED].ratio == Spread(1, 1, 1)
    assert cells[FUSED].deviations == ()
    assert {v.met for v in found.targets if v.measured is None} == {None}
    measured = [v for v in found.targets if v.measured is not None]
    assert [v.target.partition(":")[0] for v in measured] == ["cifar", "cells in which another library is faster"]


def test_what_is_on_request_takes_the_core_workloads_alone(contenders):
    asked = replace(contenders[1], on_request=True)
    workloads = [replace(w, batch=1) for w in DEFAULT if w.name in ("cifar", "mae")]
    settings = Run("cpu", 1, "float32", 1, 0, True, 0.0)
    for core, expected in ((["cifar"], {"cifar"}), ([], {"cifar", "mae"})):
        found = augment.run(workloads, [asked], Request(settings), silent, core)
        assert {cell.workload for cell in found.cells} == expected


def test_more_threads_have_no_targets(contenders, capsys):
    assert main([*TINY, "--threads", "2", "--contender", "torchvision"]) == 0
    assert "--threads 1" in capsys.readouterr().out


def test_strong_and_cheap_are_put_beside_each_other(contenders, capsys):
    arguments = ["--policy", "simclr", "cheap", "--contender", FUSED, "--batch", "1", "--repeats", "10"]
    assert main(["run", "augment", "--quick", *arguments]) == 0
    text = capsys.readouterr().out
    assert "strong / cheap" in text
    assert max(map(len, text.splitlines())) <= WIDTH


def test_threads_are_one_or_all_where_a_loader_is_fed(monkeypatch):
    monkeypatch.setattr("benchmarks.__main__.cores", lambda: 7)
    assert [threads_of(name, None) for name in ("augment", "loader", "train")] == [1, 7, 7]
    assert threads_of("loader", 3) == 3


def test_all_suites_are_run_in_order():
    assert suites_of(["all"]) == list(SUITES)
    assert suites_of(["loader", "all", "loader"]) == ["loader", *(name for name in SUITES if name != "loader")]


def test_strong_costs_more_than_cheap_in_time_alone(results):
    assert "strong / cheap" in render(results[0])
    assert "strong / cheap" not in render(replace(results[0], suite="memory", unit="MiB/view", better="lower"))


def test_list_shows_workloads_contenders_and_targets(capsys):
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    for name in ("strong-256", "cifar", "moco_v2", FUSED, "albumentationsx", "triton-augment", ">= 50"):
        assert name in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repeats", "9"], "--repeats must be at least 10, got 9"),
        (["--threads", "0"], "--threads must be at least 1, got 0"),
        (["--batch", "0"], "--batch must be at least 1"),
        (["--contender", "slowlib"], "unknown slowlib; one of gpuaug-fused"),
        (["--policy", "simclrr"], "unknown policy 'simclrr'"),
        (["--minutes", "0"], "--minutes must be above 0 and below a day, got 0"),
        (["--device", "cuda"], "torch finds no CUDA device here; use --device cpu"),
    ],
)
def test_bad_options_say_what_is_accepted(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["run", "augment", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_rounds_are_interleaved_and_a_failing_lane_drops_out():
    order = []

    def make(name: str, last: int | None = None):
        def call():
            assert not gc.isenabled()
            order.append(name)
            if last is not None and order.count(name) > last:
                raise RuntimeError(name)

        return call

    timings = [Timing(make("a")), Timing(make("b", last=3)), Timing(make("c"))]
    rounds(timings, repeats=9, seconds=0, progress=silent)
    assert "".join(order[:6]) == "aabbcc"
    assert [sorted(order[k : k + 3]) for k in (6, 9)] == [["a", "b", "c"]] * 2
    later = ["".join(order[k : k + 2]) for k in range(12, len(order), 2)]
    assert len(later) == 7
    assert set(later) == {"ac", "ca"}  # another order each time
    assert [len(timing.seconds) for timing in timings] == [9, 1, 9]
    assert [timing.error is None for timing in timings] == [True, False, True]
    assert gc.isenabled()


def test_rounds_end_when_it_is_late_but_not_before_the_third():
    timing = Timing(lambda: None)
    rounds([timing], repeats=9, seconds=0, progress=silent, late=lambda: True)
    assert len(timing.seconds) == LEAST_ROUNDS == 3


def test_a_fast_lane_is_called_more_often():
    timing = Timing(lambda: None)
    rounds([timing], repeats=1, seconds=1e-3, progress=silent)
    assert timing.calls > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "augmentation"], "augmentation"),
        (["run", "augment", "--repeat", "10"], "--repeats"),
        (["compare", "old.json"], "NEW.json"),
        (["report", "r.json", "--out"], "--out"),
    ],
)
def test_a_wrong_command_line_has_status_2_and_names_what_is_wrong(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "message"), [(["run"], "one SUITE or more"), (["report"], "one FILE.json or more")])
def test_what_a_command_needs_is_named(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_targets_are_judged_by_the_median():
    verdicts = judge(lambda of, to: Spread(10, 5, 20) if "strong-256" in of else None)
    by_text = {v.target: v for v in verdicts}
    assert len(by_text) == len(TARGETS)
    assert by_text[f"strong-256: {FUSED} / albumentationsx"].met is True
    assert by_text[f"strong-256: {FUSED} / torchvision"].met is False
    assert by_text[f"cifar: {FUSED} / kornia"].met is None


def test_losses_to_other_libraries_are_counted_and_named(results):
    def at(contender: str, low: float, high: float) -> Cell:
        return Cell("affine", contender, "ok", ratio=Spread((low + high) / 2, low, high))

    none = losses([at(FUSED, 1, 1)])
    assert (none.measured, none.met) == (None, None)
    level = losses([at("a", 0.9, 1.1), at("b", 2, 3), at("gpuaug-batched", 0.1, 0.2)])
    assert (level.met, judged(level)[2]) == (True, "met")
    lost = losses([at("a", 0.9, 1.1), at("b", 0.5, 0.8)])
    assert lost.target.endswith(": b on affine")
    assert judged(lost) == ("<= 0", "1.00 (1.00-1.00)", "MISSED")


def test_prices_are_in_units_of_a_crop(results):
    first = replace(results[0].workloads[1], name="affine")
    cells = (*results[0].cells, replace(results[0].cells[3], workload="affine", values=(810.0, 900.0, 990.0)))
    text = render(replace(results[0], workloads=(*results[0].workloads, first), cells=cells))
    price = text.partition("in units of a crop\n")[2].splitlines()
    assert price[0].split() == ["affine"]
    assert price[1].split()[:2] == [FUSED, "10.0"]


def test_a_verdict_says_when_it_is_within_noise():
    assert judged(Verdict("t", None, 2.0, Spread(1.8, 1.5, 2.5), True))[2] == "met, within noise"
    assert judged(Verdict("t", 2.0, None, Spread(1.8, 1.5, 1.9), False))[2] == "MISSED"
    assert judged(Verdict("t", 2.0, None, None, None))[2] == "not measured"
