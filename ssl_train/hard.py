"""Hard views: draw several candidates, and train each image on its pair with the largest loss (`--hard-views`).

Hard View Pretraining (Ferreira et al. 2025, arXiv 2310.03940; automl/hvp: `select_crops.py`, and `hvs/` in its branch simclr).
The candidates pass through the networks as in a training step, but without gradient, and leave no trace there: the authors let
the running statistics of BatchNorm follow the candidates too. Small views are not chosen among, while theirs can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations, product

import torch
from torch import nn

import gpuaug

from . import distributed
from .criteria import Step
from .errors import UserError

Tensor = torch.Tensor
Pair = tuple[int, int]


def candidates(policy: gpuaug.Policy, count: int) -> tuple[gpuaug.Policy, list[Pair]]:
    """The policy with `count` large views instead of two, and the pairs of these that an image can be trained on.

    If the two large views are equal, any two candidates are a pair, and the first pair is what is drawn without this option. Of
    two kinds of views each gets half the candidates, the first kind an odd one as well, and a pair has one of each.

    Raises:
        UserError: The policy has another number of large views than two, or a view that is nested in one of them.
    """
    large = [view for view in policy.views if view.size == policy.views[0].size]
    small = policy.views[len(large) :]
    if len(large) != 2:
        raise UserError(f"--hard-views {count}: the policy {policy.name} has {len(large)} large views, and it must have two")
    if any(isinstance(op, gpuaug.Nested) for view in policy.views for op in view.ops):
        raise UserError(f"--hard-views {count}: the policy {policy.name} has a view nested in another, which may not be chosen")
    half = (count + 1) // 2
    drawn = [large[0]] * half + [large[1]] * (count - half)
    pairs = combinations(range(count), 2) if large[0] == large[1] else product(range(half), range(half, count))
    return gpuaug.Policy(*drawn, *small, name=policy.name, source=policy.source), list(pairs)


@contextmanager
def unmoved(*modules: nn.Module | None) -> Iterator[None]:
    """Give the modules' buffers their values back at the end: running statistics, queues and centres."""
    buffers = [buffer for module in modules if module for buffer in module.buffers()]
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)


def image_losses(loss: Callable[[Step], Tensor], step: Step) -> Tensor:
    """Each image's term of a loss that is a mean over images, (B,) float32, without gradient to the outputs.

    The loss is linear in the images' weights, so the terms are its gradient by them, times B. What is the same for all images,
    such as VICReg's variance, has no part in them.
    """
    weights = torch.ones(len(step.target), device=step.target.device, requires_grad=True)
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(loss(replace(step, weights=weights)), weights)
    return slope * len(weights)


class HardViews:
    """The choice among the candidates of a step.

    Args:
        policy: the policy to train on, of whose views the first two are large.
        count: number of candidates, at least 2.
        seen: which views of the policy the trained network sees.
        targets: which of its large views are targets.
        device: where the views are.

    Attributes:
        pairs: the pairs of candidates, see `candidates`.
        table: (pairs, 2) int64, the same on the device.
        index: (B,) int64, the number of each image's pair; None until the choice of a step is made.
    """

    def __init__(
        self, policy: gpuaug.Policy, count: int, seen: Sequence[int], targets: Sequence[int], device: torch.device
    ) -> None:
        self.count, self.pairs = count, candidates(policy, count)[1]
        self.table = torch.tensor(self.pairs, device=device)
        self.index: Tensor | None = None
        self.chosen: tuple[Tensor, gpuaug.Draws] | None = None  # the choice, and the draws made for it
        self.seen, self.targets = [place for place in seen if place < 2], list(targets)

    def roles(self) -> tuple[list[int], list[int]]:
        """The candidates that the trained network sees, and those that the target branch sees."""
        queries, keys = ({pair[place] for pair in self.pairs for place in places} for places in (self.seen, self.targets))
        return sorted(queries), sorted(keys)

    def choose(
        self, views: Sequence[Tensor], outputs: Step, loss: Callable[[Step], Tensor]
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Keep of each image the pair with the largest loss, the first one of equals.

        Args:
            views: all views of the step: the candidates, (B, C, H, W) each, then the small views.
            outputs: the outputs for the candidates, with q, k and z by the candidate's index. Its memory stays as it is.
            loss: a weighted criterion's loss.

        Returns:
            The views to train on, and two figures over all ranks as scalars on the device: `hard_share`, the share of images
            whose pair is not the first, and `hard_gain`, the mean loss of the chosen pairs less that of all pairs.
        """
        found = []
        for pair in self.pairs:
            q = {place: outputs.q[pair[place]] for place in self.seen}
            k, z = ({place: values[pair[place]] for place in self.targets} for values in (outputs.k, outputs.z))
            with unmoved(outputs.memory):
                found.append(image_losses(loss, replace(outputs, q=q, k=k, z=z)))
        losses = torch.stack(found, dim=1)
        self.index = losses.argmax(dim=1)
        share = (self.index > 0).float().mean()
        gain = losses.amax(dim=1).mean() - losses.mean()
        figures = {"hard_share": distributed.mean(share), "hard_gain": distributed.mean(gain)}
        return [*(self.pick(views, self.table[self.index, place]) for place in (0, 1)), *views[self.count :]], figures

    def pick(self, views: Sequence[Tensor], candidate: Tensor) -> Tensor:
        """One view of each image. candidate: (B,) int64, which."""
        found = views[0]
        for k in range(1, self.count):  # without a copy of all candidates, and in their memory format
            found = torch.where((candidate == k).view(-1, 1, 1, 1), views[k], found)
        return found

    def draws(self, drawn: gpuaug.Draws) -> gpuaug.Draws:
        """From the draws of all candidates to those of the chosen views; before the choice, what was given.

        Waits for the device, once for each choice: the draws are on the host.
        """
        if self.index is None:
            return drawn
        if self.chosen and self.chosen[0] is self.index:
            return self.chosen[1]
        pairs = self.table[self.index].cpu()
        parts = [drawn.take(self.pairs[0][place], pairs[:, place]) for place in (0, 1)]
        parts += [drawn.take(view, view) for view in range(self.count, len(drawn.policy))]
        found = gpuaug.concat(parts, axis="views")
        found = replace(found, policy=replace(found.policy, name=drawn.policy.name, source=drawn.policy.source))
        self.chosen = self.index, found
        return found
