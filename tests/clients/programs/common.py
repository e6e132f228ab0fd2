"""What every program trains on, and what it writes down: which samples, with which views, each rank and epoch has seen."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gpuaug

SAMPLES, BATCH, SEED = 40, 5, 3
IMAGES = np.random.default_rng(0).integers(0, 256, (SAMPLES, 20, 20, 3), dtype=np.uint8)
POLICY = gpuaug.policy("simclr_cifar", size=16)


def make_loader(**options: Any) -> gpuaug.DataLoader:
    """A loader whose targets are the sample indices."""
    return gpuaug.DataLoader((IMAGES, np.arange(SAMPLES)), POLICY, BATCH, **{"shuffle": True, "seed": SEED, **options})


def rows(batch: Any) -> list[tuple[int, str]]:
    """(sample, a digest of its views) of a batch."""
    views, target = batch
    return [
        (int(i), hashlib.sha1(b"".join(view[k].numpy().tobytes() for view in views)).hexdigest())
        for k, i in enumerate(target.tolist())
    ]


class Network(torch.nn.Module):
    """The smallest network that trains on two views."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3 * 16 * 16, 2)

    def forward(self, batch: Any) -> torch.Tensor:
        (first, second), _ = batch
        return (self.linear(first.flatten(1)) - self.linear(second.flatten(1))).square().mean()


def write(name: str | int, seen: Any) -> None:
    """Keep what was seen in $SEEN/NAME.json."""
    Path(os.environ["SEEN"], f"{name}.json").write_text(json.dumps(seen), encoding="utf-8")
