"""A checkpoint is complete or not there, whatever happens while it is written; and it cannot run code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from gpuaug.data.atomic import atomic
from ssl_train import checkpoint
from ssl_train.errors import UserError


def test_a_state_comes_back(tmp_path: Path) -> None:
    state = {"weights": {"w": torch.arange(3.0)}, "step": 7, "loader": {"epoch": 1, "shuffle": True}}
    checkpoint.save(tmp_path / "c.pt", state)
    loaded = checkpoint.load(tmp_path / "c.pt")
    assert torch.equal(loaded["weights"]["w"], torch.arange(3.0))
    assert (loaded["step"], loaded["loader"]) == (7, state["loader"])


@pytest.mark.parametrize("moment", ["write", "fsync", "rename"])
def test_a_failure_at_any_moment_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    path = tmp_path / "c.pt"
    path.write_bytes(b"old")

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    def write() -> None:
        with atomic(path) as file:
            file.write(b"new, in part")
            if moment == "write":
                fail()

    if moment == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    if moment == "rename":
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


def test_the_bytes_are_on_the_disk_before_the_name_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: (events.append("fsync"), fsync(number)))
    monkeypatch.setattr(Path, "replace", lambda self, target: (events.append("rename"), replace(self, target)))
    with atomic(tmp_path / "c.pt") as file:
        file.write(b"new")
    assert events == ["fsync", "rename", "fsync"]
    assert (tmp_path / "c.pt").read_bytes() == b"new"


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, ("trapped",))


def test_code_in_a_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Trap()}, "c.pt")
    with pytest.raises(UserError, match=r"c\.pt cannot be read as a checkpoint"):
        checkpoint.load(Path("c.pt"))
    assert not Path("trapped").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_what_is_no_checkpoint_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "c.pt"
    if content is None:
        checkpoint.save(path, {"step": 1})
        content = path.read_bytes()[:-40]  # cut short
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"c\.pt cannot be read as a checkpoint"):
        checkpoint.load(path)


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="start the run without --resume"):
        checkpoint.load(tmp_path / "c.pt")
