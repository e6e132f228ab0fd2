"""gpu-check as a program: on a machine without most packages, and on a GPU of which every call fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import bare
from benchmarks.gpucheck import TASKS

ROOT = Path(__file__).parents[2]
LACKING = ("tyro", "rich", "pydantic", "kornia", "kornia_rs", "nvidia.dali", "albumentations", "webdataset", "ffcv", "timm")


def write_images(root: Path, per_class: dict[str, int]) -> Path:
    """root/SPLIT/CLASS/K.png, all black."""
    for split, count in per_class.items():
        for k in range(2 * count):
            path = root / split / f"class{k % 2}" / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16)).save(path)
    return root


def program(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python with sitecustomize.py of the folder `bare`."""
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parent / "bare"), os.environ.get("PYTHONPATH")]))
    run = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, **environment}
    return subprocess.run([sys.executable, *words], cwd=ROOT, env=run, capture_output=True, text=True, timeout=900, check=False)


IMPORTS = """
import sys
from importlib import import_module
import benchmarks.__main__ as command
for name in command.SUITES: import_module(f"benchmarks.suites.{name}")
import ssl_train.train, ssl_train.evaluate
from ssl_train import Settings
where = {"data": sys.argv[1], "out": sys.argv[2], "device": "cpu"}
settings = Settings(backbone="resnet10_quarter", size=16, batch_size=2, epochs=1, **where)
run = ssl_train.train.train(settings, progress=False)
print(run.data_wait >= 0)
"""


def test_it_runs_without_the_packages_that_a_gpu_machine_lacks(tmp_path: Path) -> None:
    path = tmp_path / "check.json"
    words = ("-m", "benchmarks", "gpu-check", "--quick", "--device", "cpu", "--minutes", "30", "--json", str(path))
    blocked = ",".join((*LACKING, "matplotlib"))
    done = program(*words, "--step", "machine", "decode", BLOCKED=blocked)
    assert done.returncode == 0, done.stderr
    steps = {s["name"]: (s["status"], s["reason"]) for s in json.loads(path.read_text())["check"]["steps"]}
    status, reason = steps.pop("page")
    assert status == "skipped"
    assert "matplotlib" in reason
    assert steps == {"machine": ("ok", ""), "decode": ("ok", "")}


def test_every_suite_and_a_run_of_the_trainer_do_without_them_too(tmp_path: Path) -> None:
    data = write_images(tmp_path / "images", {"train": 2})
    done = program("-c", IMPORTS, str(data / "train"), str(tmp_path / "run"), BLOCKED=",".join((*LACKING, "matplotlib")))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n"


COMMANDS = """
import sys
from importlib import import_module
for name in sys.argv[1:]:
    try:
        import_module(name).main(["--help"])
    except SystemExit as stopped:
        print(stopped.code)
"""


def test_a_command_of_the_trainer_names_tyro() -> None:
    names = ["ssl_train", *(f"ssl_train.{name}" for name in ("evaluate", "export", "demo", "table"))]
    done = program("-c", COMMANDS, "ssl_train.__main__", *names[1:], BLOCKED="tyro")
    assert done.stdout.split() == ["2"] * len(names)
    needs = "its options are read by tyro, which is not installed; run `pip install tyro`"
    assert done.stderr.splitlines() == [f"python -m {name}: {needs}" for name in names]


def test_every_step_reports_and_the_next_one_runs_on_a_gpu_that_fails(tmp_path: Path) -> None:
    """Most steps: `memory`, for one, starts two dozen processes, which takes minutes."""
    path, calls = tmp_path / "check.json", tmp_path / "calls"
    words = ("-m", "benchmarks", "gpu-check", "--quick", "--device", "cuda", "--minutes", "30", "--json", str(path))
    names = [task.name for task in TASKS if task.name in ("machine", "correct", "augment", "loader", "train")]
    done = program(*words, "--step", *names, FAILING_CUDA=str(calls))
    assert done.returncode == 1, done.stderr
    found = json.loads(path.read_text())
    steps = {s["name"]: s for s in found["check"]["steps"]}
    assert list(steps) == [*names, "page"]
    assert [one["suite"] for one in found["results"]] == [name for name in names if name not in ("machine", "correct")]
    for name in ("machine", "augment", "loader", "train"):
        assert (steps[name]["status"], "CUDA error" in steps[name]["reason"]) == ("failed", True), steps[name]
    assert steps["correct"]["status"] == "failed"
    assert len(set(calls.read_text().split())) >= 3
    assert not any(v["met"] for v in found["check"]["promises"])
    table = done.stdout.rpartition("\nsteps\n")[2]
    assert all(f"  {name} " in table for name in steps)


def test_what_the_machine_lacks_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(bare.sysconfig, "get_path", lambda name: "/nowhere")
    monkeypatch.setattr(bare, "PACKAGES", {"torch": "", "no-such-package": "", "another": "its rows"})
    assert bare.main("cuda") == 1
    said = capsys.readouterr()
    for text in (
        "no-such-package: ImportError: missing",
        "C compiler: RuntimeError: no no-such-compiler;",
        "Python.h: RuntimeError: not in /nowhere",
    ):
        assert text in said.err
    assert "known to Triton" in said.out
    assert "missing, and with it its rows" in said.out
