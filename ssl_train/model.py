"""Backbones and the joint-embedding network: images -> features -> embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock

from .methods import Method

SMALL = 64
"""Images up to this size get the CIFAR stem, a 3x3 convolution of stride 1 without pooling (SimCLR's appendix B.9)."""


def resnet(name: str, size: int) -> tuple[nn.Module, int]:
    """One of torchvision's ResNets without its classifier."""
    net = torchvision.models.get_model(name, weights=None)
    width: int = net.fc.in_features
    net.fc = nn.Identity()
    if size <= SMALL:
        net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
        net.maxpool = nn.Identity()
    return net, width


def resnet18_quarter(size: int) -> tuple[nn.Module, int]:
    """ResNet-18 with a quarter of its channels (16, 32, 64, 128), a sixteenth of its work: for CPUs and demonstrations."""
    stem: list[nn.Module] = (
        [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
        if size <= SMALL
        else [nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    )
    blocks: list[nn.Module] = []
    width = 16
    for out in (16, 32, 64, 128):
        stride = out // width
        shortcut = nn.Sequential(nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out)) if stride > 1 else None
        blocks += [BasicBlock(width, out, stride, shortcut), BasicBlock(out, out)]
        width = out
    net = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net, width


BACKBONES: dict[str, Callable[[int], tuple[nn.Module, int]]] = {
    "resnet18_quarter": resnet18_quarter,
    **{name: partial(resnet, name) for name in ("resnet18", "resnet34", "resnet50")},
}


def backbone(name: str, size: int) -> tuple[nn.Module, int]:
    """A randomly initialised backbone for images of this size, and the width of its features (B, width)."""
    return BACKBONES[name](size)


def projector(width: int, layers: int, out: int) -> nn.Sequential:
    """SimCLR's projector MLP: every layer is followed by BatchNorm, the last without bias and ReLU (its `model_util.py`)."""
    parts: list[nn.Module] = []
    for _ in range(layers - 1):
        parts += [nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
    last = nn.BatchNorm1d(out)
    last.bias.requires_grad_(False)
    return nn.Sequential(*parts, nn.Linear(width, out, bias=False), last)


class JointEmbedding(nn.Module):
    """Backbone and projector. Calling it gives each view's embeddings; `model.backbone(x)` gives the features."""

    def __init__(self, name: str, size: int, method: Method) -> None:
        super().__init__()
        self.backbone, self.width = backbone(name, size)
        self.projector = projector(self.width, method.projector_layers, method.projector_dim)

    def forward(self, views: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """views: (B, 3, H, W) each, of one size, normalized as one batch. Returns (B, D) each."""
        z: torch.Tensor = self.projector(self.backbone(torch.cat(list(views))))
        return list(z.chunk(len(views)))
