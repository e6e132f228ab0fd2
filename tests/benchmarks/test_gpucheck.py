"""`gpu-check` ends every step in time, keeps what was found, and judges the promises."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import gpucheck, outcomes
from benchmarks.__main__ import main
from benchmarks.gpucheck import CUT_SHORT, TASKS, Setting, Task, choose, ended, promises
from benchmarks.measure.result import FUSED, REPLAYED, SCHEMA, Cell, Check, Outcomes, Step, load
from benchmarks.measure.stats import Spread
from benchmarks.suites import targets

HERE = Setting("cpu", False, None, False)


def strict(path: Path):
    def refuse(constant: str):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def alive(pid: int) -> bool:
    """Whether it is still there after 10 s: the kernel takes a moment to end a process on a busy machine."""
    stat = Path(f"/proc/{pid}/stat")
    end = time.monotonic() + 10
    while (found := stat.exists() and stat.read_text().split()[2] != "Z") and time.monotonic() < end:
        time.sleep(0.05)
    return found


def program(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_step_that_hangs_is_ended_with_its_workers(monkeypatch, tmp_path):
    monkeypatch.setattr(gpucheck, "GRACE", 0.5)
    place = tmp_path / "pid"
    worker = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    code = f"import subprocess, sys, time; w = {worker}; open({str(place)!r}, 'w').write(str(w.pid)); time.sleep(600)"
    found = ended("bad", program(code), gpucheck.environment(), 10)
    assert (found.status, found.late) == ("failed", True)
    assert "still running" in found.reason
    assert not alive(int(place.read_text()))


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("raise MemoryError('out of memory')", "failed", "exit status 1: MemoryError: out of memory"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "failed", "killed by SIGSEGV"),
        ("print('fine')", "ok", ""),
    ],
)
def test_a_step_says_how_it_ended(code, status, reason):
    found = ended("bad", program(code), gpucheck.environment(), 60)
    assert (found.status, found.reason, found.late) == (status, reason, False)


def test_the_outcome_of_a_test_is_known_even_if_the_run_is_killed(tmp_path):
    """By case, with what a failing one said; also of one that cannot be collected."""
    (tmp_path / "test_some.py").write_text(
        "import os, pytest\n"
        "@pytest.mark.parametrize('k', [1, 2, 3])\n"
        "def test_small(k):\n    assert k < 3, 'too\\nlarge'\n"
        "def test_skipped():\n    pytest.skip('needs CUDA')\n"
        "def test_set_up(no_such_fixture):\n    pass\n"
        "def test_killed():\n    os.abort()\n"
        "def test_never_reached():\n    pass\n"
    )
    (tmp_path / "test_broken.py").write_text("import no_such_module\n")
    place = tmp_path / "outcomes"
    environment = gpucheck.environment(**{outcomes.FILE: str(place)})
    for name in ("test_broken.py", "test_some.py"):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "benchmarks.outcomes", "-p", "no:cacheprovider", name]
        subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    found = {one.name.partition("::")[2] or one.name: one for one in outcomes.read(place)}
    assert list(found) == ["test_broken.py", "test_small", "test_skipped", "test_set_up"]
    assert (found["test_small"].passed, len(found["test_small"].failed)) == (2, 1)
    assert "test_small[3]: AssertionError: too" in found["test_small"].failed[0]
    assert found["test_skipped"].skipped == 1
    assert "no_such_fixture" in found["test_set_up"].failed[0] or found["test_set_up"].failed
    assert "no_such_module" in found["test_broken.py"].failed[0]


def test_the_next_step_runs_and_the_file_is_strict_json_after_each(tmp_path, monkeypatch, results):
    path, saved = tmp_path / "there" / "check.json", []
    kept = tmp_path / "kept.json"
    gpucheck.result.save(results[:1], kept)
    save = gpucheck.result.save

    def watched(found, place, check=None):
        save(found, place, check)
        saved.append(strict(place))

    def step_program(task, setting, seconds, place):
        copy = f"import shutil; shutil.copy({str(kept)!r}, {str(place)!r})"
        return program("raise ValueError('fell apart')" if task.name == "one" else copy)

    monkeypatch.setattr(gpucheck.result, "save", watched)
    monkeypatch.setattr(gpucheck, "program", step_program)
    three = (Task("one", 0.5, small=True), Task("two", 0.5, small=True), Task("three", 0.5))
    check, found = gpucheck.run(three, HERE, 4, path, lambda line: None)
    assert [(s.name, s.status) for s in check.steps] == [("one", "failed"), ("two", "ok"), ("three", "skipped")]
    assert [len(one["check"]["steps"]) for one in saved] == [1, 2, 3]
    assert found == results[:1]
    assert load(path) == (results[0],)  # a file that report, compare and readme read too
    assert saved[-1]["schema"] == SCHEMA
    assert list(path.parent.iterdir()) == [path]  # nothing half written is left


def test_a_step_is_not_begun_without_time(tmp_path):
    check, _ = gpucheck.run((TASKS[2],), HERE, 1 / 60, tmp_path / "c.json", lambda line: None)
    assert check.steps[0].reason.startswith("no time left")


# Promises.


def spread(median: float) -> Spread:
    return Spread(median, 0.9 * median, 1.1 * median)


def kept(
    price: float, kernels: float, kornia: float, cheap: float, strong: float, wait: float, failed: int, results
) -> list[bool | None]:
    ratios = {
        (FUSED, "cheap-256"): spread(price),
        (REPLAYED, "cheap-256"): spread(kernels),
        (FUSED, "strong-256"): spread(kornia),
    }
    shares = {(REPLAYED, "cheap-256"): spread(cheap), (REPLAYED, "strong-256"): spread(strong)}
    augment = replace(results[0], targets=targets.judge_cuda(lambda of, to: ratios[of], shares.get))
    train = replace(results[2], targets=(targets.data_wait(wait),))
    tests = [Outcomes("test_device.py::test_an_op", 5, 1, ("test_an_op[hue]: 0.1",) * failed)]
    return [v.met for v in promises([augment, train], tests)]


def test_promises_follow_from_figures(results):
    assert kept(1.9, 1.8, 101, 0.61, 0.31, 0.002, 0, results) == [True] * 7
    assert kept(2.1, 2.2, 99, 0.59, 0.29, 0.02, 1, results) == [False] * 7


def test_what_was_not_measured_is_neither_kept_nor_missed(results):
    assert [v.met for v in promises(results, [])] == [None] * 7
    assert [v.met for v in promises(results, [Outcomes("test_x", 0, 3, ())])] == [None] * 7  # skipped tests compare nothing


def test_tests_that_were_cut_short_prove_nothing_unless_one_failed():
    cut, passed = [Step("correct", "ok", CUT_SHORT)], [Outcomes("test_x", 3, 0, ())]
    assert promises([], passed)[-1].met
    assert promises([], passed, cut)[-1].met is None
    assert promises([], [Outcomes("test_x", 3, 0, ("broken",))], cut)[-1].met is False


def test_what_fails_or_is_missed_fails_the_check():
    good = Check("cuda", False, 10, (Step("augment", "ok"), Step("train", "skipped", "no time")), (), promises([], []))
    assert not gpucheck.failed(good)
    assert gpucheck.failed(replace(good, steps=(Step("augment", "failed", "killed"),)))
    assert gpucheck.failed(replace(good, promises=(targets.data_wait(0.02),)))
    assert not gpucheck.failed(replace(good, promises=(targets.data_wait(0.002),)))


def test_the_text_fits_100_columns():
    long = "x" * 70 + " " + "y" * 60
    steps = (Step("augment", "failed", long * 2, 12.3), Step("train", "skipped", "needs CUDA"))
    tests = (Outcomes("test_device.py::test_an_op_that_keeps_the_size_equals_the_truth", 7, 2, (long,) * 20),)
    check = Check("cuda", True, 10, steps, tests, promises([], tests))
    shown = gpucheck.render(check)
    assert max(map(len, shown.splitlines())) <= 100
    assert "12 more failures" in shown
    assert "MISSED" in shown
    assert "not measured" in shown
    assert "needs CUDA" in gpucheck.render(replace(check, device="cpu"))


def test_unknown_steps_and_bad_options_are_named(capsys, tmp_path):
    assert choose([]) == TASKS
    assert main(["gpu-check", "--step", "machin"]) == 2
    assert "unknown machin; one of machine, correct, augment" in capsys.readouterr().err
    assert main(["gpu-check", "--minutes", "0"]) == 2
    assert "--minutes must be above 0" in capsys.readouterr().err
    assert main(["gpu-check", "--data", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_the_command_runs_here_in_the_small(capsys, tmp_path):
    """On the CPU and in Triton's interpreter, whatever the machine has."""
    path = tmp_path / "check.json"
    assert main(["gpu-check", "--quick", "--device", "cpu", "--minutes", "20", "--step", "correct", "--json", str(path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("No CUDA device")
    assert max(map(len, shown.splitlines())) <= 100
    check = strict(path)["check"]
    assert [(s["name"], s["status"]) for s in check["steps"]] == [("correct", "ok")]
    passed = {one["name"].partition("::")[2] for one in check["tests"] if one["passed"]}
    assert {
        "test_a_kernel_equals_the_truth_in_the_interpreter",
        "test_views_of_extreme_pictures_are_finite",
        "test_a_view_has_the_same_bits_in_any_batch_and_again",
        "test_a_named_policy_equals_the_truth",
        "test_an_op_that_keeps_the_size_equals_the_truth",
        "test_a_crop_of_ragged_images_equals_the_truth",
    } <= passed
    assert [v["met"] for v in check["promises"]] == [None] * 6 + [True]


def test_tests_of_a_backend_that_is_missing_are_left_out(monkeypatch, tmp_path):
    """One file that cannot be collected would otherwise stop all of them."""
    commands = []

    def watched(name, command, *more, **options):
        commands.append(command)
        return Step(name, "ok")

    monkeypatch.setattr(gpucheck, "ended", watched)
    monkeypatch.setattr(gpucheck.machine, "importable", lambda package: package != "kornia")
    step, _ = gpucheck.correct(Setting("cuda", False, None, False), 60, tmp_path / "found")
    assert step.reason == "without test_kornia.py, which needs kornia"
    files = [Path(word).name for word in commands[0] if word.endswith(".py")]
    assert files[0] == "test_device.py"
    assert "test_dali.py" in files
    assert "test_kornia.py" not in files


def test_a_step_fails_with_a_contender_of_gpuaugs(results):
    broken = Cell("strong-256", FUSED, "error", "RuntimeError: out of memory")
    other = replace(broken, contender="kornia")
    found = [replace(results[0], cells=(*results[0].cells, broken, other))]
    step = gpucheck.judged(Step("augment", "ok"), found)
    assert (step.status, step.reason) == ("failed", "gpuaug-fused on strong-256: RuntimeError: out of memory")
    assert gpucheck.judged(Step("augment", "ok"), [replace(results[0], cells=(other,))]).status == "ok"
