"""Optimizers and the learning rate's schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017, arXiv 1708.03888), with SimCLR's momentum (`lars_optimizer.py`).

    For a weight w with gradient g, and per layer where `adapt` is set in its group (else the ratio is 1):

        g <- g + weight_decay * w;  ratio = trust * |w| / |g|;  v <- momentum * v + lr * ratio * g;  w <- w - v

    The ratio is 1 where either norm is 0. With `clip` it is min(ratio / lr, 1), so that no layer moves faster than lr * g
    (solo-learn's `clip_lr`, after LARC in NVIDIA's Apex). Groups without `adapt` should have no weight decay; see `groups`.
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
        """One update. A closure is not supported, since nothing here needs one."""
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
    """Parameters in two groups: biases and normalisation (one dimension) take neither decay nor LARS's ratio, as published.

    steady: a part of the model whose learning rate stays at its peak; its parameters make two groups more.
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
    "sgd": partial(torch.optim.SGD, momentum=0.9),  # fused, it fails where a weight gets its first gradient later than others
}

DEFAULTS = {"adamw": (1e-3, 1e-4), "sgd": (0.03, 5e-4)}
"""Our own learning rate per 256 images and weight decay, for methods that are published with another optimizer."""

SCALING: dict[str, Callable[[int], float]] = {
    "linear": lambda batch: batch / 256,
    "sqrt": lambda batch: math.sqrt(batch / 256),
    "none": lambda batch: 1.0,
}
"""By how much the learning rate for 256 images is multiplied at another batch size."""


def half_cosine(start: float, end: float, step: int, total: int) -> float:
    """From `start` at step 0 to `end` at step `total` along half a cosine (BYOL's momentum, DINO's weight decay)."""
    return end - (end - start) * (1 + math.cos(math.pi * step / total)) / 2


def ramp(start: float, end: float, step: int, steps: float) -> float:
    """From `start` to `end` in a straight line over `steps` steps, then `end` (the temperature of DINO's teacher)."""
    return end if step >= steps else start + (end - start) * step / steps


def learning_rate(step: int, total: int, warmup: int, peak: float) -> float:
    """The rate of step 0..total-1: linear from 0 to `peak` over `warmup` steps, then half a cosine down to 0 (SimCLR)."""
    if step < warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
