"""Weighted k-nearest-neighbour accuracy, on backbone features or on any others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

import gpuaug

CHUNK = 1024
"""Queries at a time: 1024 x 50,000 similarities are 200 MB."""


def evaluation_policy(size: int) -> gpuaug.Policy:
    """Views without augmentation: at CIFAR's sizes the whole shorter edge, above it the usual 224 out of 256."""
    edge = size if size <= 64 else round(size * 256 / 224)
    view = gpuaug.View(size, gpuaug.Resize(edge), gpuaug.CenterCrop(), gpuaug.Normalize())
    return gpuaug.Policy(view, name="evaluation")


@torch.no_grad()
def features(
    encode: Callable[[torch.Tensor], torch.Tensor], loader: Iterable[Any], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (N, D) float32 and targets (N,) int64 of everything in a loader of one view, on the device."""
    x, y = zip(*((encode(view).flatten(1).float(), target) for view, target in loader), strict=True)
    return torch.cat(x), torch.cat(y).to(device)


def knn(
    train: tuple[torch.Tensor, torch.Tensor], test: tuple[torch.Tensor, torch.Tensor], k: int, temperature: float = 0.07
) -> float:
    """Accuracy of the weighted kNN classifier (Wu et al. 2018, arXiv 1805.01978, section 3.4), in 0..1.

    train, test: features (N, D) and targets (N,). Each of the k nearest training features by cosine similarity s votes for
    its class with exp(s / temperature). Raises ValueError where k is not in 1..len(train).
    """
    bank, labels = F.normalize(train[0], dim=1), train[1]
    if not 1 <= k <= len(bank):
        raise ValueError(f"knn: k must be in 1..{len(bank)}, the number of training images, got {k}")
    classes = int(labels.max()) + 1
    right = 0
    for x, y in zip(torch.split(test[0], CHUNK), torch.split(test[1], CHUNK), strict=True):
        similarity, nearest = (F.normalize(x, dim=1) @ bank.T).topk(k, dim=1)
        votes = torch.zeros(len(x), classes, device=x.device, dtype=similarity.dtype)
        votes.scatter_add_(1, labels[nearest], (similarity / temperature).exp())
        right += int((votes.argmax(dim=1) == y).sum())
    return right / len(test[0])
