"""Three small images, a policy whose views need every kind of stage, and its draws, for the tests of the Augmenter."""

from __future__ import annotations

import numpy as np
import torch

import gpuaug

GENERATOR = np.random.default_rng(0)
RAGGED = [GENERATOR.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((40, 50), (33, 31), (64, 48))]
BATCH = torch.from_numpy(GENERATOR.integers(0, 256, (3, 3, 40, 36), dtype=np.uint8))
POLICY = gpuaug.Policy(
    gpuaug.View(
        16,
        gpuaug.RandomResizedCrop(),
        gpuaug.RandomHorizontalFlip(),
        gpuaug.ColorJitter(0.4, 0.4, 0.2, 0.1, p=0.8),
        gpuaug.OneOf(gpuaug.RandomGrayscale(1.0), gpuaug.RandomSolarize(p=1.0), gpuaug.GaussianBlur(5, p=1.0)),
        gpuaug.Normalize(),
        repeat=2,
    ),
    gpuaug.View((8, 12), gpuaug.Resize(20), gpuaug.RandomCrop(), gpuaug.GaussianNoise()),
    name="test",
)


def draws_of(policy: gpuaug.Policy = POLICY, count: int = 3, seed: int = 3) -> gpuaug.Draws:
    return gpuaug.sample(policy, range(count), seed=seed)
