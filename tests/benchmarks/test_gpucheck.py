from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.gpucheck import report, runner, text, verdicts
from benchmarks.gpucheck.augment import two_views
from benchmarks.gpucheck.contenders import KORNIA, REPLAYED, of_peer
from benchmarks.gpucheck.pixels import pictures
from benchmarks.gpucheck.steps import STEPS, Row, Setting, Step, choose
from benchmarks.measure.result import FUSED
from benchmarks.peers import dali, torchvision

BAD = Step("bad", "a step of the tests", "gpucheck_steps", 1.0, small=True)


@pytest.fixture(autouse=True)
def steps_are_importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def strict(path: Path):
    def refuse(constant: str):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def last(how: str, seconds: float = 120.0):
    return list(runner.run_step(BAD, Setting("cpu", data=how, end=time.time() + seconds)))[-1]


def alive(pid: int) -> bool:
    """Whether it is still there after 10 s: the kernel takes a moment to end a process on a busy machine."""
    stat = Path(f"/proc/{pid}/stat")
    end = time.monotonic() + 10
    while (found := stat.exists() and stat.read_text().split()[2] != "Z") and time.monotonic() < end:
        time.sleep(0.05)
    return found


def test_a_step_that_hangs_is_ended_with_its_workers_and_keeps_its_rows(monkeypatch):
    monkeypatch.setattr(runner, "GRACE", 0.5)
    begun = runner.run_step(BAD, Setting("cpu", data="hang", end=time.time() + 120))
    seen = next(found for found in begun if len(found.rows) == 2)
    assert seen.status == "running"
    begun.close()  # as Ctrl-C does
    assert not alive(int(seen.rows[1].value))

    setting = Setting("cpu", data="hang", end=time.time() + 10)
    found = list(runner.run_step(BAD, setting))[-1]
    assert found.status == "failed"
    assert "still running" in found.reason
    assert [row.name for row in found.rows] == ["first", "worker"]
    assert not alive(int(found.rows[1].value))


@pytest.mark.parametrize(
    ("how", "reason", "names"),
    [
        ("raise", "1 of 2 failed", ["first", "the rest of the step"]),
        ("die", "killed by SIGSEGV", ["first"]),
        ("infinite", "1 of 2 failed", ["first", "speed"]),
    ],
)
def test_a_step_that_fails_says_how(how, reason, names):
    found = last(how)
    assert found.status == "failed"
    assert found.reason.startswith(reason)
    assert [row.name for row in found.rows] == names
    if how == "raise":
        assert found.rows[-1].text == "MemoryError: out of memory"


def test_the_next_step_runs_and_the_file_is_strict_json_at_every_row(tmp_path, monkeypatch):
    path = tmp_path / "there" / "check.json"
    saved = []
    save = report.save

    def watched(check, place):
        save(check, place)
        saved.append(strict(place))

    monkeypatch.setattr(report, "save", watched)
    two = (replace(BAD, name="one"), replace(BAD, name="two", share=0.5), replace(BAD, name="three", small=False))
    check = runner.run_all(two, Setting("cpu", data="infinite"), 240, path, False, lambda line: None)
    assert [(s.name, s.status) for s in check.steps] == [("one", "failed"), ("two", "failed"), ("three", "skipped")]
    counts = [[len(s["rows"]) for s in one["steps"]] for one in saved]
    for one in ([0], [1], [2], [2, 0], [2, 1], [2, 2]):
        assert one in counts
    assert [s["status"] for s in strict(path)["steps"]] == ["failed", "failed", "skipped"]
    assert list(path.parent.iterdir()) == [path]  # nothing half written is left


def test_a_step_is_not_begun_without_time(tmp_path):
    check = runner.run_all((BAD,), Setting("cpu"), 1.0, tmp_path / "c.json", True, lambda line: None)
    assert check.steps[0].reason.startswith("no time left")


# Verdicts.


def cuda(**steps: list[Row]):
    check = report.begin(Setting("cuda"), 600)
    for name, rows in steps.items():
        check = report.with_step(check, report.StepResult(name, name, "ok", rows=tuple(rows)))
    return check


def speed(name: str, value: float, share: float = 0.0) -> Row:
    return Row(name, value=value, unit="views/s", more={"share": share}, rounds=(value, 2 * value, 3 * value))


def kept(check) -> list[bool | None]:
    return [v.kept for v in verdicts.judge(check)]


def figures(strong: float, cheap: float, kornia: float, shares: tuple[float, float], wait: float):
    return {
        "augment": [
            speed(f"simclr / {FUSED}", strong, shares[0] / 2),
            speed(f"cheap / {FUSED}", cheap, shares[1] / 2),
            speed(f"simclr / {KORNIA}", kornia),
            speed(f"simclr / {REPLAYED}", strong, shares[0]),
            speed(f"cheap / {REPLAYED}", cheap, shares[1]),
        ],
        "train": [
            Row("ResNet-50, 224 / gpuaug", value=100.0, unit="ms a step", more={"data wait": wait}),
            Row("ResNet-50, 224 / torchvision", value=900.0, unit="ms a step", more={"data wait": 0.9}),
        ],
    }


def test_verdicts_follow_from_figures():
    parity = [Row("triton / policy simclr", value=1e-6), Row("facts / finite", text="64 views")]
    good = figures(strong=600, cheap=1000, kornia=5, shares=(0.31, 0.61), wait=0.002)
    assert kept(cuda(**good, correct=parity)) == [True] * 6
    bad = figures(strong=400, cheap=1000, kornia=5, shares=(0.29, 0.59), wait=0.02)
    assert kept(cuda(**bad, correct=[*parity, Row("kornia ops / hue", "failed")])) == [False] * 6
    check = cuda(**bad, correct=parity)
    assert replace(check, verdicts=verdicts.judge(check)).failed
    by = {v.promise: v.text for v in verdicts.judge(check)}
    assert "1.2 times too much" in by["strong at the price of cheap: time at most 2 x"]
    assert "1.2 times too little" in by["at least 100 x Kornia on CUDA (simclr)"]


def test_what_was_not_measured_is_neither_kept_nor_missed():
    assert kept(cuda()) == [None] * 6
    assert kept(cuda(correct=[Row("facts / finite", text="fine")])) == [None] * 6  # facts alone compare nothing
    skipped = [Row(f"simclr / {KORNIA}", "skipped", "not installed"), speed(f"simclr / {FUSED}", 5)]
    assert kept(cuda(augment=skipped))[1] is None
    assert not cuda().failed


def test_the_table_fits_100_columns():
    long = "x" * 70 + " " + "y" * 60
    steps = {
        "machine": [Row("GPU", text=long * 3), Row("copy bandwidth", value=3000.0, unit="GB/s", low=2990.0, high=3010.0)],
        "correct": [Row(f"fused float32, ops / {k}", "failed", long) for k in range(20)],
        "augment": [Row("simclr / triton-augment", "skipped", long), speed("simclr / kornia", 1.0)],
    }
    check = cuda(**steps)
    shown = text.render(replace(check, verdicts=verdicts.judge(check)))
    assert max(map(len, shown.splitlines())) <= 100
    assert "12 more failures" in shown


def test_unknown_steps_and_bad_options_are_named(capsys, tmp_path):
    assert choose([]) == STEPS
    assert main(["gpu-check", "--step", "machin"]) == 2
    assert "unknown machin; one of machine, correct" in capsys.readouterr().err
    assert main(["gpu-check", "--minutes", "0"]) == 2
    assert "--minutes must be above 0" in capsys.readouterr().err
    assert main(["gpu-check", "--data", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_the_command_runs_here_in_the_small(capsys, tmp_path):
    """On the CPU and in Triton's interpreter, whatever the machine has."""
    path = tmp_path / "check.json"
    arguments = ["--quick", "--device", "cpu", "--minutes", "8", "--step", "machine", "correct", "--json", str(path)]
    assert main(["gpu-check", *arguments]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("No CUDA device")
    assert max(map(len, shown.splitlines())) <= 100
    found = strict(path)
    assert [(s["name"], s["status"]) for s in found["steps"]] == [("machine", "ok"), ("correct", "ok")]
    groups = {row["name"].partition(" / ")[0] for row in found["steps"][1]["rows"] if row["status"] == "ok"}
    assert {"triton interpreted", "facts", "fused float32, ops", "fused bfloat16, policies", "kornia float32, ops"} <= groups
    assert [v["kept"] for v in found["verdicts"]] == [None] * 5 + [True]


def test_a_peer_makes_every_view_of_a_policy_or_says_what_it_lacks():
    views = of_peer(torchvision.CONTENDER, "").prepare(two_views("byol"), pictures(2, 256, 256))()
    assert [(view.shape, view.dtype) for view in views] == [((2, 3, 224, 224), torch.bfloat16)] * 2
    with pytest.raises(ValueError, match="has no RandomSolarize"):  # which only BYOL's second view has
        of_peer(dali.CONTENDER, "").prepare(two_views("byol"), pictures(2, 256, 256))
