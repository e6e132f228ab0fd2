"""The loaders of a run share one listing of the training folder, and know its classes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gpuaug
from gpuaug.cli import main as gpuaug_command
from ssl_train import Settings
from ssl_train import loaders as module
from ssl_train.data import Data
from ssl_train.loaders import Loaders, class_count
from ssl_train.settings import resolve


@pytest.fixture
def packed(image_folder: Path, tmp_path: Path) -> Path:
    for split in ("train", "test"):
        words = ["pack", str(image_folder / split), str(tmp_path / split), "--format", "raw", "--size", "16", "--workers", "1"]
        assert gpuaug_command(words) == 0
    return tmp_path


def test_the_training_folder_is_listed_once(tiny: Settings) -> None:
    loaders = Loaders(resolve(replace(tiny, size=64, grow_from=32)), False)
    assert len(loaders.stages) == 2
    assert all(stage.dataset is loaders.bank.dataset for stage in loaders.stages)
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
