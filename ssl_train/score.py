"""Weights of positive pairs by how differently their views were changed (ScoreCL: Ki et al. 2023, arXiv 2306.04175).

This is a reconstruction, because the paper's exact scalar and normalisation were not available. Our weight is
w = |q(v1) - q(v2)| with q(v) = ||s(v)||_2 and the score network s. It is divided by its mean over the batch, clipped to CLIP,
and has no gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

import gpuaug

from . import distributed

Tensor = torch.Tensor

SIGMA = 0.3
"""Standard deviation of the noise that the score network is trained with, in normalised pixels; our choice."""
CLIP = 3.0
"""Largest weight; our choice."""
IDENTITY = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0, "sigma": 0.0}
"""Parameters that say how strongly an image is changed -> their value for an unchanged image."""


class ScoreNet(nn.Sequential):
    """Five convolutions that estimate sigma * the gradient of the log density of images; (B, 3, H, W) -> the same shape."""

    def __init__(self, width: int = 32) -> None:
        inner: list[nn.Module] = []
        for _ in range(3):
            inner += [nn.Conv2d(width, width, 3, padding=1), nn.SiLU()]
        super().__init__(nn.Conv2d(3, width, 3, padding=1), nn.SiLU(), *inner, nn.Conv2d(width, 3, 3, padding=1))


def denoising_loss(net: nn.Module, x: Tensor, noise: Tensor) -> Tensor:
    """Denoising score matching (Vincent 2011), mean over pixels of (sigma * s(x + sigma * noise) + noise)^2; 1 for s = 0."""
    error: Tensor = net(x + SIGMA * noise) + noise
    return error.square().mean()


def train_score(net: nn.Module, loader: Iterable[Any], epochs: int, seed: int, device: torch.device) -> list[float]:
    """Train on images without augmentation, with Adam; returns each epoch's mean loss. Every rank does the same."""
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(seed)
    history = []
    for _ in range(epochs):
        found = []
        for x, _ in loader:
            loss = denoising_loss(net, x, torch.randn(x.shape, generator=generator, device="cpu").to(device))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            found.append(loss.detach())
        history.append(float(torch.stack(found).mean()))
    net.requires_grad_(False)
    return history


@torch.no_grad()
def magnitude(net: nn.Module, view: Tensor) -> Tensor:
    """q(v) = ||s(v)||_2 / sqrt(number of values), (B,)."""
    score: Tensor = net(view.float()) / SIGMA
    return score.flatten(1).square().mean(dim=1).sqrt()


def strength(draws: gpuaug.Draws, view: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """How strongly each image of a batch is changed in a view, (B,).

    This is the sum, over the parameters of colour jitter, blur, grayscale and solarize, of their distance from the value that
    changes nothing, each divided by its standard deviation over the batch.
    """
    columns = draws.columns(view)
    total = np.zeros(len(draws))
    for name, values in columns.items():
        op, parameter = name.rsplit(".", 1)
        applied = columns.get(f"{op}.apply", np.ones(len(draws), bool))
        if parameter in IDENTITY:
            distance = np.abs(values.astype(np.float64) - IDENTITY[parameter]) * applied
        elif parameter == "apply" and not any(f"{op}.{known}" in columns for known in IDENTITY):
            distance = values.astype(np.float64)
        else:
            continue
        total += distance / (distance.std() or 1.0)
    return total


def pair_weights(one: Tensor, other: Tensor) -> Tensor:
    """|one - other| divided by its mean over all ranks, at most CLIP; all 1 if nothing differs. (B,) each."""
    w = (one - other).abs().float()
    scale = distributed.mean(w.mean())
    return torch.where(scale > 0, w / scale.clamp(min=1e-12), torch.ones_like(w)).clamp(max=CLIP)


def score_weights(net: nn.Module, views: Sequence[Tensor]) -> Tensor:
    """Weights of the images, (B,), by the difference of their first two views' magnitudes."""
    return pair_weights(magnitude(net, views[0]), magnitude(net, views[1]))


def draw_weights(draws: gpuaug.Draws, device: torch.device) -> Tensor:
    """Weights of the images, (B,), by the difference of the strengths that were drawn for their first two views."""
    one, other = (torch.from_numpy(strength(draws, k)).to(device) for k in (0, 1))
    return pair_weights(one, other)
