"""Runs of a tiny network: which files they write, and that stopping and resuming does not change a single bit."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ssl_train import Settings
from ssl_train import probes as module
from ssl_train.__main__ import main
from ssl_train.run import Run
from ssl_train.train import Trainer, train

ROOT = Path(__file__).parents[2]
UNTIMED = ("step", "epoch", "loss", "learning_rate", "knn", "probe")


def arguments(settings: Settings) -> list[str]:
    """The settings as a command line."""
    given = {name: value for name, value in asdict(settings).items() if value is not None and not isinstance(value, bool)}
    return [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def rows(folder: str | Path | None) -> list[dict[str, Any]]:
    """A run's metrics without what the clock says."""
    assert folder is not None
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name in UNTIMED} for line in lines]


def weights(folder: str | Path | None) -> dict[str, torch.Tensor]:
    assert folder is not None
    state: dict[str, torch.Tensor] = torch.load(Path(folder) / "checkpoint.pt", weights_only=True)["model"]
    return state


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def whole(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run of the fixture `tiny`, uninterrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    settings = Settings(data=str(image_folder), backbone="resnet10_quarter", size=16, batch_size=4, epochs=2)
    return train(replace(settings, optimizer="adamw", device="cpu", knn_k=3, eval_every=1, out=str(out)), progress=False)


def test_a_run_leaves_its_settings_metrics_and_checkpoint(whole: Run) -> None:
    about = json.loads((whole.folder / "settings.json").read_text())
    assert about["settings"]["learning_rate"] == 1e-3  # what was left open has been filled in
    assert about["settings"]["policy"] == "simclr_cifar"
    assert "RandomResizedCrop" in about["policy"]
    assert about["versions"]["torch"] == torch.__version__

    found = rows(whole.folder)
    steps = [row for row in found if "loss" in row]
    assert [row["step"] for row in steps] == list(range(1, 11))
    assert [row["epoch"] for row in steps] == pytest.approx([k / 5 for k in range(1, 11)])
    assert [row["epoch"] for row in found if "knn" in row] == [0, 1, 2] == list(whole.knn)
    assert all(0 < row["loss"] < 2 * math.log(7) for row in steps)
    assert 0 <= whole.data_wait < 1
    assert whole.images_per_s > 0


def test_it_learns_and_the_last_checkpoint_is_the_model(whole: Run) -> None:
    assert same(weights(whole.folder), whole.model.state_dict())
    assert whole.knn[2] >= 0.5  # two classes of one colour each; SimCLR's jitter leaves at least that


def test_the_same_settings_give_the_same_bits_and_another_seed_does_not(whole: Run, tiny: Settings) -> None:
    assert same(train(replace(tiny, num_workers=0), progress=False).model.state_dict(), whole.model.state_dict())
    assert rows(tiny.out) == rows(whole.folder)
    other = train(replace(tiny, seed=1, out=f"{tiny.out}1", epochs=1, eval_every=0), progress=False)
    assert not same(other.model.state_dict(), whole.model.state_dict())
    assert other.knn == {}


def test_the_default_device_changes_no_bit_of_a_run(whole: Run, tiny: Settings) -> None:
    with torch.device("meta"):
        assert same(train(tiny, progress=False).model.state_dict(), whole.model.state_dict())
        assert torch.get_default_device().type == "meta"


KILLED = """
import contextlib, os, signal, sys
from ssl_train import checkpoint
from ssl_train.__main__ import main
from ssl_train.train import Trainer

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[1] == "in a step":
    update = Trainer.update
    Trainer.update = lambda self, *given: kill() if self.step == 8 else update(self, *given)
else:
    atomic = checkpoint.atomic
    @contextlib.contextmanager
    def atomic_until_killed(path, keep=None):
        with atomic(path, keep) as file:
            yield file
            if steps[-1] == 9:
                file.truncate(1000)
                file.flush()
                kill()
    steps = []
    save = Trainer.save
    Trainer.save = lambda self: (steps.append(self.step), save(self))
    checkpoint.atomic = atomic_until_killed
main(sys.argv[2:])
"""


@pytest.mark.parametrize("moment", ["in a step", "in a checkpoint"])
def test_killed_in_the_middle_of_an_epoch_and_resumed_the_weights_are_the_same(
    whole: Run, tiny: Settings, moment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", KILLED, moment, *arguments(replace(tiny, checkpoint_every=3))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # as here, see conftest.py
    killed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert tiny.out is not None
    state = torch.load(Path(tiny.out) / "checkpoint.pt", weights_only=True)
    assert state["step"] == 6  # one step into the second of two epochs
    assert len(rows(tiny.out)) > 6 + 2  # the metrics had gone on

    assert main(["--resume", "--out", tiny.out]) == 0
    assert "after 2 epochs" in capsys.readouterr().out
    assert same(weights(tiny.out), weights(whole.folder))
    assert rows(tiny.out) == rows(whole.folder)


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while that step is under way."""
    update = Trainer.update

    def interrupted(self: Trainer, *given: Any) -> tuple[torch.Tensor, float]:
        if self.step == step:
            signal.raise_signal(signal.SIGINT)
        return update(self, *given)

    monkeypatch.setattr(Trainer, "update", interrupted)


def test_ctrl_c_leaves_a_checkpoint_of_the_step_and_says_how_to_go_on(
    whole: Run, tiny: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGINT)
    interrupt_at(7, monkeypatch)
    assert main(arguments(tiny)) == 130
    assert signal.getsignal(signal.SIGINT) is before
    error = capsys.readouterr().err
    assert f"continue with: python -m ssl_train --resume --out {tiny.out}" in error
    assert "Traceback" not in error
    monkeypatch.undo()
    assert tiny.out is not None
    assert [row["step"] for row in rows(tiny.out) if "loss" in row] == list(range(1, 9))  # the step was finished
    assert train(replace(tiny, resume="always"), progress=False).knn == whole.knn
    assert same(weights(tiny.out), weights(whole.folder))
    assert rows(tiny.out) == rows(whole.folder)


def test_ctrl_c_in_an_evaluation_loses_nothing(whole: Run, tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    features = module.features
    calls = []

    def interrupted(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:  # of the second evaluation
            signal.raise_signal(signal.SIGINT)
        return features(*given)

    monkeypatch.setattr(module, "features", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tiny, progress=False)
    monkeypatch.undo()
    assert train(replace(tiny, resume="always"), progress=False).knn == whole.knn
    assert rows(tiny.out) == rows(whole.folder)


def test_resuming_a_finished_run_changes_nothing(whole: Run) -> None:
    before, state = rows(whole.folder), weights(whole.folder)
    again = train(replace(whole.settings, resume="always"), progress=False)
    assert rows(whole.folder) == before
    assert same(again.model.state_dict(), state)
    assert again.knn == whole.knn


@pytest.mark.parametrize("optimizer", ["lars", "sgd"])
def test_other_optimizers_resume_exactly_too(
    tiny: Settings, optimizer: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tiny = replace(tiny, optimizer=optimizer, eval_every=0)
    train(replace(tiny, out=str(tmp_path / "whole")), progress=False)
    interrupt_at(6, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(tiny, progress=False)
    train(replace(tiny, resume="always"), progress=False)
    assert same(weights(tiny.out), weights(tmp_path / "whole"))


def test_bfloat16_and_another_policy_run(tiny: Settings) -> None:
    run = train(replace(tiny, precision="bf16", policy="simsiam", size=32, epochs=1, eval_every=0), progress=False)
    assert all(p.dtype == torch.float32 for p in run.model.parameters())
    assert all(math.isfinite(row["loss"]) for row in rows(run.folder))


def test_the_command_shows_its_progress_and_leaves_curves(tiny: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments(replace(tiny, epochs=1)), "--tensorboard"]) == 0
    out, err = capsys.readouterr()
    assert "loss" in err
    assert "images/s" in err
    assert "data wait" in err
    assert "kNN accuracy" in out
    assert os.fspath(Path(tiny.out or "")) in out
    assert Path(tiny.out or "", "curves.png").read_bytes().startswith(b"\x89PNG")
    events = EventAccumulator(f"{tiny.out}/tensorboard").Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [
        (row["step"], pytest.approx(row["loss"])) for row in rows(tiny.out) if "loss" in row
    ]
    assert [e.step for e in events.Scalars("knn")] == [0, 5]
