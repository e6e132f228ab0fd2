"""Losses on scores against prototypes: one view's assignment is the other views' target."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812

from .precision import in_float32, mean

Tensor = torch.Tensor


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Balanced assignment by Sinkhorn-Knopp (SwAV: Caron et al. 2020, arXiv 2006.09882, equations 3 to 5).

    scores: (N, K) similarities to K prototypes. Starting from exp(scores / epsilon), columns are made to sum to N / K and
    rows to sum to 1, `iterations` times, in logarithms so that no epsilon overflows. Returns (N, K), float32 at least; rows
    sum to 1 exactly, columns to N / K in the limit.
    """
    log_q = scores.to(torch.promote_types(scores.dtype, torch.float32)) / epsilon
    for _ in range(iterations):
        log_q = log_q - log_q.logsumexp(dim=0, keepdim=True)
        log_q = log_q - log_q.logsumexp(dim=1, keepdim=True)
    return log_q.exp()


@in_float32
def swav(scores: Tensor, codes: Tensor, temperature: float = 0.1, weights: Tensor | None = None) -> Tensor:
    """Swapped prediction (SwAV, equation 2): cross entropy of one view's softmax(scores / T) with another view's codes.

    scores: (N, K) cosines of embeddings and prototypes; codes: (N, K) from `sinkhorn`. Returns the mean, a scalar; log K
    where all scores are equal.
    """
    return mean(-(codes.detach() * F.log_softmax(scores / temperature, dim=1)).sum(dim=1), weights)


@in_float32
def dino(
    student: Tensor,
    teacher: Tensor,
    centre: Tensor,
    temperature: float = 0.1,
    teacher_temperature: float = 0.04,
    weights: Tensor | None = None,
) -> Tensor:
    """Self-distillation (DINO: Caron et al. 2021, arXiv 2104.14294, equation 1 and algorithm 1).

        -sum over k of softmax((teacher - centre) / Tt)_k * log softmax(student / Ts)_k

    student, teacher: (N, K) scores of two different views; centre: (K,), the running mean of teacher scores. Returns the mean,
    a scalar; log K where all scores are equal. No gradient reaches the teacher.
    """
    target = F.softmax((teacher.detach() - centre) / teacher_temperature, dim=1)
    return mean(-(target * F.log_softmax(student / temperature, dim=1)).sum(dim=1), weights)
