"""A classifier is trained on mixed samples and soft labels, and resumes in the middle of an epoch to the same weights."""

from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

import gpuaug

CLASSES, SAMPLES = 4, 96
MIX = gpuaug.RandomChoice([gpuaug.MixUp(0.8, CLASSES), gpuaug.CutMix(1.0, CLASSES)])
POLICY = gpuaug.Policy(
    gpuaug.View(16, gpuaug.RandomResizedCrop(scale=(0.5, 1.0)), gpuaug.RandomHorizontalFlip(), gpuaug.Normalize())
)


def data():
    """Noisy pictures of one colour a class, and their classes."""
    rng = np.random.default_rng(0)
    targets = np.arange(SAMPLES) % CLASSES
    colours = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [200, 200, 60]])
    noise = rng.normal(0, 40, (SAMPLES, 20, 20, 3))
    return (colours[targets][:, None, None] + noise).clip(0, 255).astype(np.uint8), targets


class Run:
    """Everything that a checkpoint of a training run holds."""

    def __init__(self, seed, workers):
        torch.manual_seed(seed)
        self.model = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)
        )
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.3, momentum=0.9)
        self.loader = gpuaug.DataLoader(data(), POLICY, 16, True, num_workers=workers, seed=7, mix=MIX)

    @property
    def parts(self):
        return self.model, self.optimizer, self.loader

    def state(self):
        return [part.state_dict() for part in self.parts]

    def train(self, epoch, steps=None):
        """Train for (the rest of) an epoch, or its next steps."""
        self.model.train()
        self.loader.set_epoch(epoch)
        for views, labels in islice(self.loader, steps):
            loss = nn.functional.cross_entropy(self.model(views), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def accuracy(self):
        views, targets = next(iter(gpuaug.DataLoader(data(), POLICY, SAMPLES)))
        with torch.no_grad():
            return (self.model.eval()(views).argmax(1) == targets).float().mean().item()


@pytest.fixture(autouse=True)
def _own_seed():
    with torch.random.fork_rng():
        yield


@pytest.mark.parametrize("workers", [0, 2])
def test_two_epochs_and_a_restart_in_the_second(tmp_path, workers):
    whole = Run(0, workers)
    for epoch in range(2):
        whole.train(epoch)
    assert whole.accuracy() > 0.8  # by chance 0.25

    first = Run(0, workers)
    first.train(0)
    first.train(1, steps=2)
    torch.save(first.state(), tmp_path / "checkpoint.pt")

    second = Run(1, 2 - workers)
    for part, state in zip(second.parts, torch.load(tmp_path / "checkpoint.pt"), strict=True):
        part.load_state_dict(state)
    second.train(1)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name
        if value.is_floating_point():
            assert not torch.equal(first.model.state_dict()[name], value), name
