"""A tiny image folder and tiny settings: a run of them takes about a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_train import Settings


def write_images(root: Path, per_class: dict[str, int], side: int = 16) -> Path:
    """root/SPLIT/CLASS/K.png: noise around one colour a class."""
    rng = np.random.default_rng(0)
    colours = {"blue": (40, 60, 200), "red": (200, 50, 40)}
    for split, count in per_class.items():
        for name, colour in colours.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for k in range(count):
                pixels = rng.normal(colour, 30, size=(side, side, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{k}.png")
    return root


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 training and 6 test images in two classes."""
    return write_images(tmp_path_factory.mktemp("images"), {"train": 10, "test": 3})


@pytest.fixture
def tiny(image_folder: Path, tmp_path: Path) -> Settings:
    """5 steps an epoch, 2 epochs."""
    return Settings(
        data=str(image_folder),
        backbone="resnet10_quarter",
        size=16,
        batch_size=4,
        epochs=2,
        optimizer="adamw",
        device="cpu",
        knn_k=3,
        eval_every=1,
        out=str(tmp_path / "run"),
    )


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """One thread: tiny networks are quicker with it, and tests compare bits with other processes that have one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
