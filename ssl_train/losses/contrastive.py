"""Losses on pairs of embeddings: every image must find its other view, or point where it points.

`weights` (N,), where a loss takes them, multiply the images' terms before the mean.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

from .precision import in_float32, mean

Tensor = torch.Tensor


@in_float32
def info_nce(
    q: Tensor,
    k: Tensor,
    temperature: float,
    own: Tensor | None = None,
    negatives: int | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """InfoNCE with the batch's other images as negatives (van den Oord et al. 2018, arXiv 1807.03748, equation 4).

    q, k: (N, D) queries and keys, of any length (cosine similarity is taken). temperature: > 0. Each query must find its key:

        l(i) = -log( exp(sim(q_i, k_i) / T) / sum over j of exp(sim(q_i, k_j) / T) )

    MoCo v3 (Chen et al. 2021, arXiv 2104.02057, algorithm 1) adds this for both directions, times 2T. NNCLR (Dwibedi et al.
    2021, arXiv 2104.14548, equation 2) has as q the `nearest` of the embeddings, as k the predictions.
    own: (N, D) embeddings of the queries' own view, the other images of which become negatives too (SimCLR). negatives:
    how many are kept, 1..N-1, those of the images that follow in the batch; None keeps all. Returns a scalar; log(number
    of keys) where all embeddings are equal.
    """
    q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)
    count = len(q)
    logits = q @ k.T / temperature
    if negatives is not None:
        place = torch.arange(count, device=q.device)
        logits = logits.masked_fill((place - place[:, None]) % count > negatives, float("-inf"))
    elif own is not None:
        within = q @ F.normalize(own, dim=1).T / temperature
        self_mask = torch.eye(count, dtype=torch.bool, device=q.device)
        logits = torch.cat([logits, within.masked_fill(self_mask, float("-inf"))], dim=1)
    terms = F.cross_entropy(logits, torch.arange(count, device=q.device), reduction="none")
    return mean(terms, weights)


def nt_xent(z1: Tensor, z2: Tensor, temperature: float, negatives: int | None = None, weights: Tensor | None = None) -> Tensor:
    """NT-Xent, the loss of SimCLR (Chen et al. 2020, arXiv 2002.05709, equation 1).

    z1, z2: (N, D) embeddings of the two views of N images, of any length (cosine similarity is taken). temperature: > 0.
    Each of the 2N embeddings must find its partner among the other 2N - 1:

        l(i, j) = -log( exp(sim(i, j) / T) / sum over k != i of exp(sim(i, k) / T) )

    Returns the mean over the 2N, a scalar; log(2N - 1) where all embeddings are equal. negatives: as `info_nce`.
    """
    one = info_nce(z1, z2, temperature, own=z1, negatives=negatives, weights=weights)
    other = info_nce(z2, z1, temperature, own=z2, negatives=negatives, weights=weights)
    return (one + other) / 2


@in_float32
def moco_v2(q: Tensor, k: Tensor, queue: Tensor, temperature: float, weights: Tensor | None = None) -> Tensor:
    """InfoNCE with a queue of earlier keys as negatives (He et al. 2020, arXiv 1911.05722, equation 1).

    q, k: (N, D); queue: (K, D), of unit length.

        l(i) = -log( exp(q_i.k_i / T) / (exp(q_i.k_i / T) + sum over the queue of exp(q_i.n / T)) )

    Returns the mean, a scalar; log(K + 1) where all embeddings are equal. No gradient reaches the queue.
    """
    q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)
    logits = torch.cat([(q * k).sum(dim=1, keepdim=True), q @ queue.detach().T], dim=1) / temperature
    terms = F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device), reduction="none")
    return mean(terms, weights)


@in_float32
def nearest(z: Tensor, queue: Tensor) -> Tensor:
    """For each of z (N, D) its nearest neighbour by cosine in a queue (K, D) of unit vectors (NNCLR, equation 3).

    Returns (N, D), without gradient.
    """
    return queue[(z.detach() @ queue.T).argmax(dim=1)].detach()


@in_float32
def cosine(p: Tensor, z: Tensor, weights: Tensor | None = None) -> Tensor:
    """Negative cosine similarity (SimSiam: Chen and He 2021, arXiv 2011.10566, equation 1).

    p: (N, D) predictions, z: (N, D) targets. Returns the mean of -cos(p, z), in [-1, 1]; -1 where they point the same way.
    BYOL's squared distance of unit vectors (Grill et al. 2020, arXiv 2006.07733, equation 2) is 2 + 2 x this.
    """
    return mean(-F.cosine_similarity(p, z, dim=1), weights)


@in_float32
def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Supervised cross entropy of logits (N, C) and classes (N,) int64; log C where all logits are equal."""
    return F.cross_entropy(logits, target)
