"""Optimizers, and how learning rate, weight decay and momentum change over a run.

Every schedule is a closed formula of the step, so a checkpoint holds no scheduler and a resumed run has the same bits. torch's
schedulers cannot replace them: `LinearLR` refuses to start at 0, where SimCLR's warm-up starts (`model_util.py` of
google-research/simclr), and none of them changes a weight decay, the momentum of a target network or a temperature, as the
recipes of BYOL and DINO need.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017, arXiv 1708.03888), with SimCLR's momentum.

    For a weight w with gradient g, where `adapt` is set in its group (elsewhere the ratio is 1):

        g <- g + weight_decay * w;  ratio = trust * |w| / |g|;  v <- momentum * v + lr * ratio * g;  w <- w - v

    The ratio is 1 where either norm is 0. With `clip` it is min(ratio / lr, 1), so that no layer moves faster than lr * g
    (solo-learn's `clip_lr`, after LARC in NVIDIA's Apex). Groups without `adapt` should have no weight decay; see `groups`.

    torch has no LARS, and timm's (after Apex, like solo-learn's) divides by |g| + weight_decay * |w| and multiplies by the rate
    after the momentum. SimCLR's published recipe (`lars_optimizer.py` of google-research/simclr) needs what is above: the norm
    of the sum, as in Barlow Twins' code too, and the rate inside the momentum, so that a new rate does not rescale the old
    velocity. All LARS recipes here use this form.

    Args:
        params: parameters, or groups of them (see `groups`).
        lr: learning rate, at least 0.
        weight_decay: added to the gradient as weight_decay * w.
        momentum: of the velocity v, 0 to 1.
        trust: the trust coefficient, 0.001 in the paper.
        clip: limit the ratio as above.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        trust: float = 1e-3,
        clip: bool = False,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "trust": trust, "clip": clip, "adapt": True}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the weights once. A closure is not supported: no recipe needs one."""
        assert closure is None
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is None:
                    continue
                g = w.grad.add(w, alpha=group["weight_decay"])
                if group["adapt"]:
                    w_norm, g_norm = w.norm(), g.norm()
                    ratio = torch.where((w_norm > 0) & (g_norm > 0), group["trust"] * w_norm / g_norm, 1.0)
                    if group["clip"] and group["lr"]:
                        ratio = (ratio / group["lr"]).clamp(max=1.0)
                    g = g * ratio  # stays on the device: no synchronisation
                v = self.state[w].setdefault("momentum", torch.zeros_like(w))
                v.mul_(group["momentum"]).add_(g, alpha=group["lr"])
                w.sub_(v)


def groups(model: nn.Module, weight_decay: float, steady: nn.Module | None = None) -> list[dict[str, Any]]:
    """Two parameter groups: biases and normalisation (one dimension) get neither weight decay nor LARS's ratio, as published.

    steady: a part of the model whose learning rate stays at its peak; its parameters form two further groups.
    """
    apart = {id(p) for p in steady.parameters()} if steady else set()
    found = []
    for part in (False, True) if steady else (False,):
        params = [p for p in model.parameters() if p.requires_grad and (id(p) in apart) == part]
        found += [
            {"params": [p for p in params if p.ndim > 1], "weight_decay": weight_decay, "adapt": True, "steady": part},
            {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0, "adapt": False, "steady": part},
        ]
    return found


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "lars": LARS,
    "adamw": partial(torch.optim.AdamW, fused=True),
    # Not fused: then SGD fails where a weight gets its first gradient later than the others.
    "sgd": partial(torch.optim.SGD, momentum=0.9),
}

DEFAULTS = {"adamw": (1e-3, 1e-4), "sgd": (0.03, 5e-4)}
"""Learning rate per 256 images and weight decay for methods that are published with another optimizer; our own values."""

SCALING: dict[str, Callable[[int], float]] = {
    "linear": lambda batch: batch / 256,
    "sqrt": lambda batch: math.sqrt(batch / 256),
    "none": lambda batch: 1.0,
}
"""Factor from the learning rate for 256 images to that of another batch size."""


def half_cosine(start: float, end: float, step: int, total: int) -> float:
    """From `start` at step 0 to `end` at step `total` along half a cosine (BYOL's momentum, DINO's weight decay)."""
    return end - (end - start) * (1 + math.cos(math.pi * step / total)) / 2


def ramp(start: float, end: float, step: int, steps: float) -> float:
    """From `start` to `end` in a straight line over `steps` steps, then constant (the temperature of DINO's teacher)."""
    return end if step >= steps else start + (end - start) * step / steps


def learning_rate(step: int, total: int, warmup: int, peak: float) -> float:
    """The rate at step 0..total-1: linear from 0 to `peak` over `warmup` steps, then half a cosine down to 0 (SimCLR)."""
    if step < warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
