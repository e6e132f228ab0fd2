"""A run whose policy is scheduled over epochs, killed in the middle of them, ends in the weights of an uninterrupted run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from test_train import arguments, rows, same, weights

from ssl_train import Settings
from ssl_train.views import growth

PROGRAM = """
import json, os, signal, sys

import gpuaug
from ssl_train import loaders
from ssl_train.__main__ import main
from ssl_train.train import Trainer


def run_policy(name, size, crops, local_size):
    crop = gpuaug.RandomResizedCrop(scale=gpuaug.cosine((0.5, 1), (0.1, 1), 2))
    jitter = gpuaug.ColorJitter(gpuaug.linear(0.1, 0.9, 2), hue=0.1, p=gpuaug.linear(0.5, 1, 2))
    return gpuaug.Policy(gpuaug.View(size, crop, jitter, gpuaug.Normalize(), repeat=2))


def update(self, views, labels):
    if self.step == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    draws = self.loaders.views.draws
    steps = [draws.policy.views[0].steps[1].brightness, draws.policy.views[0].steps[1].p]
    with open(sys.argv[1], "a") as seen:
        print(json.dumps([self.step, views[0].shape[-1], *steps]), file=seen)
    return made(self, views, labels)


loaders.run_policy = run_policy
made, Trainer.update = Trainer.update, update
sys.exit(main(sys.argv[3:]))
"""
"""Its strength, its crops and, by --grow-from, its size follow the epoch. It is killed at a step, if it comes to that one."""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal on this system")
def test_a_scheduled_run_killed_twice_ends_in_the_same_weights(tiny: Settings, tmp_path: Path) -> None:
    """Five steps an epoch, with a checkpoint after every fourth step and after every epoch."""
    s = replace(tiny, size=64, grow_from=32, epochs=3, eval_every=0, checkpoint_every=4, resume="auto")
    whole = replace(s, out=str(tmp_path / "whole"))

    def run(s: Settings, killed_at: int) -> tuple[int, list[list[float]]]:
        seen = tmp_path / f"seen-{killed_at}"
        command = [sys.executable, "-c", PROGRAM, str(seen), str(killed_at), *arguments(s)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode, [json.loads(line) for line in seen.read_text().splitlines()]

    code, seen = run(whole, -1)
    assert code == 0
    assert [size for _, size, *_ in seen] == [32] * 10 + [64] * 5
    assert [strength for *_, strength, _ in seen[::5]] == [0.1, 0.5, 0.9]
    assert [p for *_, p in seen[::5]] == [0.5, 0.75, 1.0]
    workers = replace(s, num_workers=2)
    for killed_at, begins in ((9, 0), (13, 8)):
        code, part = run(workers, killed_at)
        assert (code, [step for step, *_ in part]) == (-signal.SIGKILL, list(range(begins, killed_at)))
        assert part == seen[begins:killed_at]
    code, part = run(workers, 99)
    assert (code, part) == (0, seen[12:])
    assert same(weights(s.out), weights(whole.out))
    assert rows(s.out) == rows(whole.out)


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 10, 100, 800])
@pytest.mark.parametrize(("start", "end"), [(224, 224), (160, 224), (32, 224), (64, 96)])
def test_sizes_grow_as_they_did(start: int, end: int, epochs: int) -> None:
    """Every size has an equal share of the epochs, as for the runs in docs/training.md."""
    sizes = list(range(start, end + 1, 32))
    found = growth(start, end, epochs)
    for epoch in range(epochs):
        stage = min(int(epoch / (epochs / len(sizes))), len(sizes) - 1)
        assert found[max(begin for begin in found if begin <= epoch)] == sizes[stage]
