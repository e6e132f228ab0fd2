"""The loaders of a run share one listing of the training folder, and know its classes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from test_train import rows

import gpuaug
from gpuaug.cli import main as gpuaug_command
from ssl_train import Settings
from ssl_train import loaders as module
from ssl_train.data import Data
from ssl_train.loaders import Loaders, class_count, view_dtype
from ssl_train.settings import resolve
from ssl_train.train import train


@pytest.fixture
def packed(image_folder: Path, tmp_path: Path) -> Path:
    for split in ("train", "test"):
        words = ["pack", str(image_folder / split), str(tmp_path / split), "--format", "raw", "--size", "16", "--workers", "1"]
        assert gpuaug_command(words) == 0
    return tmp_path


def test_the_training_folder_is_listed_once(tiny: Settings) -> None:
    loaders = Loaders(resolve(replace(tiny, size=64, grow_from=32)), False)
    assert loaders.views.dataset is loaders.bank.dataset
    assert loaders.queries is not None
    assert loaders.queries.dataset is not loaders.bank.dataset


def test_classes_are_counted_in_folders_packed_folders_and_arrays(
    tiny: Settings, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = shutil.copytree(tiny.data, packed / "folders")
    (folders / "train" / ".cache").mkdir()  # hidden, so not a class
    assert Loaders(resolve(replace(tiny, data=str(folders))), False).classes == 2
    assert Loaders(resolve(replace(tiny, data=str(packed))), False).classes == 2
    images, targets = np.zeros((20, 16, 16, 3), np.uint8), np.arange(20) % 5
    monkeypatch.setattr(module, "open_data", lambda name, progress: Data((images, targets), (images[:3], targets[:3])))
    assert Loaders(resolve(tiny), False).classes == 5


def test_shards_without_class_names_are_counted_by_their_targets(image_folder: Path) -> None:
    source = gpuaug.data.FolderSource(image_folder / "train")
    assert class_count(source) == 2
    source.classes = []
    assert class_count(source) == 2


def test_views_have_the_type_that_autocast_computes_in(tiny: Settings) -> None:
    s = resolve(replace(tiny, precision="bf16"))
    assert view_dtype(s) == torch.float32  # on the CPU
    assert view_dtype(replace(s, device="cuda:1")) == torch.bfloat16
    assert view_dtype(replace(s, device="cuda", precision="float32")) == torch.float32


@pytest.mark.parametrize("weights", ["uniform", "score"])
def test_bfloat16_views_change_no_loss_beyond_their_rounding(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch, weights: Literal["uniform", "score"]
) -> None:
    """Losses, targets, the score network and the features that kNN compares stay in float32."""
    s = replace(tiny, precision="bf16", epochs=1, weights=weights, score_epochs=1)
    wide = train(s, progress=False)
    monkeypatch.setattr(module, "view_dtype", lambda s: torch.bfloat16)
    assert {view.dtype for view in next(iter(Loaders(resolve(s), False).views))[0]} == {torch.bfloat16}
    narrow = train(replace(s, out=f"{s.out}-bf16"), progress=False)
    one, other = ([row["loss"] for row in rows(run.folder) if "loss" in row] for run in (wide, narrow))
    assert other == pytest.approx(one, rel=1e-6 if weights == "uniform" else 0.05)
    assert narrow.knn.keys() == wide.knn.keys()
