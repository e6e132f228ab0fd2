"""Weighted kNN against a brute-force reference; evaluation views against Pillow."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import gpuaug
from ssl_train.evaluate import evaluation_policy, features, knn


def brute_force(bank: torch.Tensor, labels: torch.Tensor, queries: torch.Tensor, k: int, temperature: float) -> list[int]:
    """Predictions, one query and one neighbour at a time."""
    out = []
    for q in queries:
        similarity = [float(q @ b / (q.norm() * b.norm())) for b in bank]
        nearest = sorted(range(len(bank)), key=lambda i: -similarity[i])[:k]
        votes: dict[int, float] = {}
        for i in nearest:
            votes[int(labels[i])] = votes.get(int(labels[i]), 0.0) + math.exp(similarity[i] / temperature)
        out.append(max(votes, key=lambda c: votes[c]))
    return out


@pytest.mark.parametrize("k", [1, 5, 40])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_equals_brute_force(k: int, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssl_train.evaluate.CHUNK", 7)
    generator = torch.Generator().manual_seed(1)
    bank, queries = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (60, 25))
    labels, truth = (torch.randint(0, 4, (n,), generator=generator) for n in (60, 25))
    predicted = torch.tensor(brute_force(bank, labels, queries, k, temperature))
    assert knn((bank, labels), (queries, truth), k, temperature) == float((predicted == truth).double().mean())


def test_a_near_neighbour_outvotes_two_farther_ones() -> None:
    bank = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8]])
    labels = torch.tensor([0, 1, 1])
    query = (torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert knn((bank, labels), query, k=3, temperature=0.07) == 1.0
    assert knn((bank, labels), query, k=3, temperature=10.0) == 0.0


@pytest.mark.parametrize("k", [0, 4])
def test_k_outside_the_bank_is_refused(k: int) -> None:
    data = (torch.eye(3), torch.arange(3))
    with pytest.raises(ValueError, match=r"k must be in 1\.\.3"):
        knn(data, data, k)


def test_features_of_a_loader(image_folder: Path) -> None:
    loader = gpuaug.DataLoader(str(image_folder / "test"), evaluation_policy(16), batch_size=4)
    x, y = features(lambda view: view, loader, torch.device("cpu"))
    assert x.shape == (6, 3 * 16 * 16)
    assert y.tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.equal(x[:4], next(iter(loader))[0].flatten(1))


@pytest.mark.parametrize(("size", "edge"), [(32, 32), (64, 64), (224, 256)])
def test_evaluation_sees_the_whole_shorter_edge_or_seven_eighths_of_it(size: int, edge: int) -> None:
    resize, crop, _ = evaluation_policy(size).views[0].steps
    assert resize == gpuaug.Resize(edge)
    assert crop == gpuaug.CenterCrop((size, size))
