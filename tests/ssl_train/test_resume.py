"""`--resume auto` begins a run or continues it: one command for every start, and the weights of an uninterrupted run."""

from __future__ import annotations

import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_train import arguments, interrupt_at, rows, same, weights

from ssl_train import Settings, checkpoint
from ssl_train.__main__ import main, parse
from ssl_train.errors import UserError
from ssl_train.run import saved_settings, start
from ssl_train.settings import resolve
from ssl_train.train import Trainer, train


@pytest.fixture(scope="module")
def uninterrupted(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of the run of the fixture `tiny`, without evaluations."""
    out = str(tmp_path_factory.mktemp("uninterrupted") / "run")
    s = Settings(data=str(image_folder), backbone="resnet10_quarter", size=16, batch_size=4, epochs=2, optimizer="adamw")
    train(replace(s, device="cpu", knn_k=3, eval_every=0, out=out), progress=False)
    return out


@pytest.fixture
def auto(tiny: Settings) -> Settings:
    return replace(tiny, eval_every=0, resume="auto")


def test_one_command_begins_goes_on_and_finds_the_run_finished(
    auto: Settings, uninterrupted: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = arguments(auto)
    interrupt_at(6, monkeypatch)
    assert main(command) == 130  # begun
    monkeypatch.undo()
    assert main(command) == 0
    assert "continues after step 7 of 10" in capsys.readouterr().out
    assert same(weights(auto.out), weights(uninterrupted))
    assert rows(auto.out) == rows(uninterrupted)
    assert main(command) == 0
    assert rows(auto.out) == rows(uninterrupted)
    said = capsys.readouterr().out
    assert "the run was finished already: no step was made" in said
    assert "nan" not in said


def test_without_it_a_used_folder_is_refused_and_with_always_a_fresh_one(
    auto: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(replace(auto, resume="always"))) == 2
    assert "there is no run in" in capsys.readouterr().err
    assert not Path(auto.out or "").exists()
    assert main(arguments(replace(auto, epochs=1))) == 0
    assert main(arguments(replace(auto, epochs=1, resume="never"))) == 2
    assert "there is a run in it; continue it with --resume" in capsys.readouterr().err


def test_resume_alone_means_always(auto: Settings) -> None:
    train(replace(auto, epochs=1), progress=False)
    assert auto.out is not None
    for words in (["--out", auto.out, "--resume"], ["--resume", "--out", auto.out], ["--resume", "always", "--out", auto.out]):
        assert parse(words).resume == "always"
        assert parse(words).batch_size == 4  # the run's
    assert parse(["--resume", "auto", "--out", auto.out]).batch_size == 256  # while this is a whole command


def test_a_continued_run_can_undo_a_switch(auto: Settings) -> None:
    out = str(auto.out)
    start(Path(out), resolve(replace(auto, compile=True, resume="never")), {})
    assert parse(["--resume", "--out", out]).compile
    for resumed in (["--resume"], ["--resume", "always"], ["--resume=always"]):
        assert not parse([*resumed, "--no-compile", "--out", out]).compile


def test_another_run_than_the_command_describes_is_refused_by_name(auto: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    train(replace(auto, epochs=1), progress=False)
    before = weights(auto.out)
    assert main(arguments(auto)) == 2
    assert "--epochs 2: the run was started with 1; give that, or choose another --out" in capsys.readouterr().err
    assert same(weights(auto.out), before)


def test_a_run_that_got_no_further_than_its_settings_is_begun(auto: Settings, uninterrupted: str) -> None:
    folder = Path(auto.out or "")
    folder.mkdir()
    (folder / "settings.json").write_bytes((Path(uninterrupted) / "settings.json").read_bytes()[:50])
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 0')
    (folder / ".checkpoint.pt.12345678.partial").write_bytes(b"a part")  # as a process that is killed leaves it
    (folder / ".checkpoint.pt.123.tmp").write_bytes(b"a part")  # as one of an earlier version left it
    train(auto, progress=False)
    assert same(weights(auto.out), weights(uninterrupted))
    assert rows(auto.out) == rows(uninterrupted)
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("resume", ["auto", "always"])
def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(
    auto: Settings, uninterrupted: str, resume: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_at(7, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(auto, progress=False)
    monkeypatch.undo()
    last = Path(auto.out or "") / "checkpoint.pt"
    last.write_bytes(last.read_bytes()[:-1000])
    assert main(arguments(replace(auto, resume=resume))) == 0
    out, err = capsys.readouterr()
    assert "checkpoint.pt cannot be read as a checkpoint" in err
    assert "continuing from checkpoint.previous.pt, of step 5" in err
    assert "continues after step 5 of 10" in out
    assert same(weights(auto.out), weights(uninterrupted))
    assert rows(auto.out) == rows(uninterrupted)


def test_where_both_are_damaged_nothing_is_begun(auto: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    train(replace(auto, epochs=1), progress=False)
    for file in Path(auto.out or "").glob("checkpoint*.pt"):
        file.write_bytes(b"damaged")
    assert main(arguments(replace(auto, epochs=1))) == 2
    assert re.search(r"/checkpoint\.pt cannot be read as a checkpoint .*; delete it to start afresh", capsys.readouterr().err)
    assert [row["step"] for row in rows(auto.out)] == [1, 2, 3, 4, 5]


def test_the_checkpoint_before_is_kept_and_there_is_one_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, before = tmp_path / "c.pt", tmp_path / "c.previous.pt"
    checkpoint.save(path, {"step": 1}, keep=before)
    assert not before.exists()
    checkpoint.save(path, {"step": 2}, keep=before)
    checkpoint.save(path, {"step": 3}, keep=before)
    assert (checkpoint.load(before)["step"], checkpoint.load(path)["step"]) == (2, 3)

    def fail(*given: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="not supported"):
        checkpoint.save(path, {"step": 4}, keep=before)
    assert (checkpoint.load(before)["step"], checkpoint.load(path)["step"]) == (2, 3)
    monkeypatch.undo()
    monkeypatch.setattr(os, "link", fail)  # a file system without hard links
    checkpoint.save(path, {"step": 4}, keep=before)
    assert checkpoint.load(path)["step"] == 4


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signal on this system")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_cluster_that_takes_its_machine_back_loses_no_step(
    auto: Settings,
    uninterrupted: str,
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    handler = signal.getsignal(number)
    update = Trainer.update

    def signalled(self: Trainer, *given: Any) -> Any:
        if self.step == 6:
            signal.raise_signal(number)
            signal.raise_signal(number)  # only Ctrl-C is impatient
        return update(self, *given)

    monkeypatch.setattr(Trainer, "update", signalled)
    assert main(arguments(auto)) == 128 + number
    assert signal.getsignal(number) is handler
    assert "continue with: python -m ssl_train --resume" in capsys.readouterr().err
    monkeypatch.undo()
    assert torch.load(Path(auto.out or "") / "checkpoint.pt", weights_only=True)["step"] == 7
    assert main(arguments(auto)) == 0
    assert same(weights(auto.out), weights(uninterrupted))


def test_a_run_of_an_earlier_version_goes_on(auto: Settings) -> None:
    train(replace(auto, epochs=1), progress=False)
    path = Path(auto.out or "") / "settings.json"
    about = json.loads(path.read_text())
    about["settings"] |= {"resume": False, "grow_from": None}  # as they were written then
    del about["settings"]["checkpoint_every"], about["settings"]["head_norm"]  # as if they had been added since
    path.write_text(json.dumps(about))
    assert parse(["--resume", "--out", str(auto.out)]).resume == "always"
    assert saved_settings(path.parent) == replace(resolve(auto), epochs=1, warmup_epochs=0.1, resume="never")
    train(replace(auto, epochs=1), progress=False)


def test_a_checkpoint_that_lacks_a_part_is_of_another_version(auto: Settings) -> None:
    train(replace(auto, epochs=1), progress=False)
    path = Path(auto.out or "") / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    del state["probe"]
    torch.save(state, path)
    with pytest.raises(UserError, match=r"the checkpoint in .* is of another version \('probe'\)"):
        train(replace(auto, epochs=1), progress=False)
