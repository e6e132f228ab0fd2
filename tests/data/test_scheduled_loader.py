"""A loader with a scheduled policy: each epoch's views are those of the policy of that epoch, in every way of running it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

import gpuaug
from gpuaug import ColorJitter, RandomGrayscale, RandomResizedCrop, View, cosine, linear, steps
from gpuaug.data.doctor import diagnose

EPOCHS = 4


@pytest.fixture(params=["arguments", "policies"])
def scheduled(request: pytest.FixtureRequest) -> gpuaug.Policy:
    """Sizes 16, 16, 24, 24 in epochs 0 to 3, and other draws in each. Regions are decoded in some epochs of the second one."""
    crop = RandomResizedCrop(scale=linear((0.5, 1), (0.1, 1), 3))
    view = View(linear(16, 24, 3, step=8), crop, ColorJitter(cosine(0, 0.8, 3), p=linear(0.5, 1, 3)), repeat=2)
    if request.param == "arguments":
        return gpuaug.Policy(view)
    later = View(24, gpuaug.Resize(26), gpuaug.RandomCrop(), RandomGrayscale(linear(0, 1, 3)), repeat=2)
    return gpuaug.ScheduledPolicy(steps({0: gpuaug.Policy(view), 2: gpuaug.Policy(later)}))


class Pictures(Dataset[Any]):
    """Pictures of different sizes, decoded in worker processes."""

    def __init__(self, pictures: list[Any]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        return self.pictures[i], i


def batches(loader: gpuaug.DataLoader) -> list[tuple[list[torch.Tensor], list[int]]]:
    """A pass over one epoch, with the draws checked to be those of a plain policy."""
    out = []
    for views, _ in loader:
        assert not loader.draws.policy.scheduled
        assert loader.draws.policy == loader.policy.at(loader.draws.epoch)
        out.append(([view.clone() for view in views], loader.index.tolist()))
    return out


def equal(one: list[tuple[list[torch.Tensor], list[int]]], other: list[tuple[list[torch.Tensor], list[int]]]) -> bool:
    """Whether two passes gave the same samples in the same order with the same bits."""
    indices = [index for _, index in one] == [index for _, index in other]
    pairs = zip([v for views, _ in one for v in views], [v for views, _ in other for v in views], strict=True)
    return indices and all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)


def alone(source: Any, policy: gpuaug.Policy, epoch: int, **options: Any) -> list[tuple[list[torch.Tensor], list[int]]]:
    """One epoch of a loader that has the plain policy of that epoch."""
    loader = gpuaug.DataLoader(source, policy.at(epoch), 16, seed=3, **options)
    loader.set_epoch(epoch)
    return batches(loader)


def source_of(kind: str, folder: Path, pictures: list[Any]) -> Any:
    if kind == "arrays":
        return np.stack([np.resize(p, (24, 28, 3)) for p in pictures]), np.arange(len(pictures))
    return folder if kind == "folder" else Pictures(pictures)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["folder", "dataset", "arrays"])
def test_every_epoch_has_the_views_of_its_policy(
    kind: str, workers: int, scheduled: gpuaug.Policy, folder: Path, pictures: list[Any]
) -> None:
    source = source_of(kind, folder, pictures)
    loader = gpuaug.DataLoader(source, scheduled, 16, shuffle=True, seed=3, num_workers=workers, persistent_workers=workers > 0)
    sizes = []
    for epoch in range(EPOCHS):
        found = batches(loader)
        assert equal(found, alone(source, scheduled, epoch, shuffle=True))
        sizes.append({view.shape[-1] for views, _ in found for view in views})
    assert sizes == [{16}, {16}, {24}, {24}]
    loader.set_epoch(1)
    assert equal(batches(loader), alone(source, scheduled, 1, shuffle=True))
    assert equal(batches(loader), alone(source, scheduled, 2, shuffle=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_saved_state_goes_on_in_the_middle_of_its_epoch(workers: int, scheduled: gpuaug.Policy, folder: Path) -> None:
    options: dict[str, Any] = {"shuffle": True, "seed": 3, "num_workers": workers, "persistent_workers": workers > 0}
    loader = gpuaug.DataLoader(folder, scheduled, 16, **options)
    batches(loader)
    batches(loader)
    iterator = iter(loader)
    next(iterator)
    next(iterator)
    state = loader.state_dict()
    rest = [([view.clone() for view in views], loader.index.tolist()) for views, _ in iterator]
    again = gpuaug.DataLoader(folder, scheduled, 16, **options)
    again.load_state_dict(state)
    again.set_epoch(state["epoch"])  # keeps the position
    found = batches(again)
    assert len(found) == 3
    assert equal(found, rest)
    assert equal(batches(again), alone(folder, scheduled, 3, shuffle=True))


def test_a_copy_and_a_pickle_have_the_same_epochs(scheduled: gpuaug.Policy, folder: Path) -> None:
    loader = pickle.loads(pickle.dumps(gpuaug.DataLoader(folder, scheduled, 16, shuffle=True, seed=3)))
    loader.set_epoch(3)
    assert equal(batches(loader), alone(folder, scheduled, 3, shuffle=True))
    assert "epoch 0:" in str(loader.augment)


def test_views_of_another_size_are_mixed(folder: Path) -> None:
    policy = gpuaug.Policy(View(steps({0: 16, 1: 24}), RandomResizedCrop()))
    loader = gpuaug.DataLoader(folder, policy, 16, num_workers=2, persistent_workers=True, mix=gpuaug.CutMix(num_classes=3))
    assert [{view.shape[-1] for view, _ in loader} for _ in range(3)] == [{16}, {24}, {24}]


def test_the_policy_of_an_epoch_is_made_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    make_at = gpuaug.Policy.make_at

    def counted(self: gpuaug.Policy, epoch: int) -> gpuaug.Policy:
        made.append(epoch)
        return make_at(self, epoch)

    policy = gpuaug.Policy(View(linear(16, 24, 2, step=8), RandomResizedCrop(), RandomGrayscale(linear(0, 1, 3))))
    loader = gpuaug.DataLoader(folder, policy, 4, num_workers=2, persistent_workers=True)
    made.clear()
    monkeypatch.setattr(gpuaug.Policy, "make_at", counted)
    for _ in range(3):
        for _ in loader:
            assert loader.draws.policy.views
    assert len(made) <= 6  # 54 batches: each epoch when it begins, and a little before that by persistent workers


def test_an_op_for_other_images_is_refused_in_whatever_epoch() -> None:
    grey = gpuaug.Policy(View(8, gpuaug.CenterCrop(), gpuaug.Normalize((0.1, 0.2), (0.3, 0.4))))
    policy = gpuaug.ScheduledPolicy(steps({0: gpuaug.Policy(View(8, gpuaug.CenterCrop())), 9: grey}))
    with pytest.raises(ValueError, match="Normalize: mean has 2 numbers, but images have 3 channels"):
        gpuaug.DataLoader(np.zeros((4, 8, 8, 3), np.uint8), policy)


def test_the_doctor_measures_a_scheduled_policy(scheduled: gpuaug.Policy, folder: Path) -> None:
    found = diagnose(folder, scheduled, batch_size=8, seconds=0.1)
    assert found.rates["augment"] > 0
