"""The policy of a run: which views of the named policy it keeps, and which small views it adds."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_train import arguments

import gpuaug
from ssl_train import Settings, evaluate
from ssl_train.__main__ import main
from ssl_train.views import run_policy


@pytest.mark.parametrize("name", gpuaug.policies)
def test_every_policy_goes_without_small_views(name: str) -> None:
    own = run_policy(name, 32, None, None)
    without = run_policy(name, 32, 0, None)
    assert list(without.views) == [view for view in own.views if view.size == (32, 32)]
    assert len(without.views) >= 2


@pytest.mark.parametrize("policy", ["gaussian_noise", "appearance"])
def test_a_run_without_crops_trains_and_is_measured(
    policy: str, tiny: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments(tiny)
    assert main([*words, "--policy", policy, "--multi-crop", "0", "--epochs", "1", "--eval-every", "0"]) == 0
    assert evaluate.main([str(tiny.out), "--device", "cpu", "--knn-k", "3", "--probe-epochs", "1"]) == 0
    assert '"alignment"' in capsys.readouterr().out


@pytest.mark.parametrize(("name", "side"), [("dinov2", 98), ("dinov3", 98), ("dino", 96), ("simclr", 96)])
def test_small_views_are_in_the_published_proportion_to_224(name: str, side: int) -> None:
    assert run_policy(name, 224, 2, None).views[-1].size == (side, side)
