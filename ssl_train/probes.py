"""Linear probes trained along with the network, and the evaluation that training reports."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from . import distributed
from .evaluate import features, knn
from .interrupts import stoppable
from .loaders import Loaders, readable
from .model import JointEmbedding
from .options import ResolvedSettings

Tensor = torch.Tensor


class Probes:
    """A linear classifier on each layer that `--probe` names, with an optimizer of their own; none without labels.

    classifiers: one for each of `model.layer_widths`. optimizer: None without classifiers.
    """

    def __init__(self, model: JointEmbedding, s: ResolvedSettings, loaders: Loaders, device: torch.device) -> None:
        self.s, self.loaders, self.device = s, loaders, device
        widths = model.layer_widths(s.probe) if loaders.labelled else []
        self.classifiers = nn.ModuleList(nn.Linear(width, loaders.classes) for width in widths).to(device)
        self.optimizer = torch.optim.Adam(self.classifiers.parameters(), 1e-3) if widths else None

    def train(self, layers: list[Tensor], labels: Tensor) -> None:
        """Make one step of the probes, on the features of all ranks."""
        if not self.optimizer:
            return
        everyone = distributed.gather(labels)
        self.optimizer.zero_grad()
        for classifier, layer in zip(self.classifiers, layers, strict=True):
            torch.autograd.backward(F.cross_entropy(classifier(distributed.gather(layer.float())), everyone))
        self.optimizer.step()

    def measure(self, model: JointEmbedding, interrupted: Callable[[], int]) -> dict[str, float | list[float]]:
        """kNN accuracy of the features, and accuracy of each probe, on the test images. The model is left in eval mode."""
        assert self.loaders.queries is not None
        model.eval()
        bank = features(model.backbone, stoppable(readable(self.loaders.bank), interrupted), self.device)
        x, y = features(
            lambda view: torch.cat(model.layers(view, self.s.probe)[0], dim=1),
            stoppable(readable(self.loaders.queries), interrupted),
            self.device,
        )
        layers = torch.split(x, [model.width, *model.layer_widths(self.s.probe)[1:]], dim=1)
        found: dict[str, float | list[float]] = {"knn": knn(bank, (layers[0], y), self.s.knn_k)}
        if len(self.classifiers):
            with torch.no_grad():
                right = [(c(layer).argmax(dim=1) == y) for c, layer in zip(self.classifiers, layers, strict=True)]
            found["probe"] = [float(r.double().mean()) for r in right]
        return found
