"""Every method, a row of one table: views -> encoder -> projector -> loss (Morningstar et al. 2024, arXiv 2403.05726)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .losses import nt_xent

Loss = Callable[[Sequence[torch.Tensor], float], torch.Tensor]
"""Embeddings, one (B, D) tensor a view, and the temperature -> a scalar."""


@dataclass(frozen=True)
class Recipe:
    """What a method's authors publish for LARS: learning rate per 256 images, weight decay, temperature."""

    learning_rate: float
    weight_decay: float
    temperature: float


@dataclass(frozen=True)
class Method:
    """A method.

    views: how many its loss takes. projector_layers, projector_dim: the projector's depth and output width (its hidden
    layers are as wide as the features). small, large: its authors' policy and settings at CIFAR's and at
    ImageNet's size.
    """

    views: int
    loss: Loss
    projector_layers: int
    projector_dim: int
    small: tuple[str, Recipe]
    large: tuple[str, Recipe]
    source: str


METHODS = {
    "simclr": Method(
        views=2,
        loss=lambda z, temperature: nt_xent(z[0], z[1], temperature),
        projector_layers=2,
        projector_dim=128,
        small=("simclr_cifar", Recipe(learning_rate=1.0, weight_decay=1e-6, temperature=0.5)),
        large=("simclr", Recipe(learning_rate=0.3, weight_decay=1e-6, temperature=0.1)),
        source="Chen et al. 2020, arXiv 2002.05709; commands in the README of google-research/simclr",
    ),
}
