"""Losses on embeddings: pure functions of tensors, computed in float32 or float64 even under autocast.

Some losses take `weights` (N,), which multiply the terms of the images before their mean is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it

Tensor = torch.Tensor
P = ParamSpec("P")


def widen(x: Any) -> Any:
    """Convert bfloat16 and float16 tensors to float32, in lists and tuples too; everything else stays as it is."""
    if isinstance(x, Tensor) and x.is_floating_point():
        return x.to(torch.promote_types(x.dtype, torch.float32))
    return [widen(v) for v in x] if isinstance(x, (list, tuple)) else x


def in_float32(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Make a loss compute outside autocast, in float32, or in float64 if its arguments are float64."""

    @wraps(loss)
    def wrapped(*given: P.args, **options: P.kwargs) -> Tensor:
        first: Any = given[0]
        device = (first[0] if isinstance(first, (list, tuple)) else first).device.type
        call: Callable[..., Tensor] = loss
        with torch.autocast(device, enabled=False):
            return call(*map(widen, given), **{name: widen(value) for name, value in options.items()})

    return wrapped


def mean(terms: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of weights * terms, both (N,); without weights the mean of the terms."""
    return (terms if weights is None else terms * weights).mean()


# Losses on pairs of embeddings: the two views of an image must be recognised as a pair, or point the same way.


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

    Each query must find its key among all keys, by cosine similarity:

        l(i) = -log( exp(sim(q_i, k_i) / T) / sum over j of exp(sim(q_i, k_j) / T) )

    MoCo v3 (Chen et al. 2021, arXiv 2104.02057, algorithm 1) sums this over both directions and multiplies by 2T. NNCLR
    (Dwibedi et al. 2021, arXiv 2104.14548, equation 2) takes the embeddings' `nearest` neighbours for q, predictions for k.

    Args:
        q: (N, D) queries, of any length.
        k: (N, D) keys, of any length; key i belongs to query i.
        temperature: T, above 0.
        own: (N, D) embeddings of the queries' own view. Those of the other images become negatives as well (SimCLR).
        negatives: negatives per query, 1..N-1: the images that follow in the batch. None takes all.
        weights: (N,) weights of the terms.

    Returns:
        The mean, a scalar; log(number of keys) if all embeddings are equal.
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

    Each of the 2N embeddings must find its partner among the other 2N - 1, by cosine similarity:

        l(i, j) = -log( exp(sim(i, j) / T) / sum over k != i of exp(sim(i, k) / T) )

    Args:
        z1: (N, D) embeddings of the first views of N images, of any length.
        z2: (N, D) embeddings of the second views.
        temperature: T, above 0.
        negatives: negatives per embedding, 1..N-1, all of the other view; None takes all 2N - 2.
        weights: (N,) weights of the images.

    Returns:
        The mean over the 2N embeddings, a scalar; log(2N - 1) if all embeddings are equal.
    """
    one = info_nce(z1, z2, temperature, own=z1, negatives=negatives, weights=weights)
    other = info_nce(z2, z1, temperature, own=z2, negatives=negatives, weights=weights)
    return (one + other) / 2


@in_float32
def moco_v2(q: Tensor, k: Tensor, queue: Tensor, temperature: float, weights: Tensor | None = None) -> Tensor:
    """InfoNCE with a queue of earlier keys as negatives (He et al. 2020, arXiv 1911.05722, equation 1).

    q, k: (N, D); queue: (K, D), of unit length.

        l(i) = -log( exp(q_i.k_i / T) / (exp(q_i.k_i / T) + sum over the queue of exp(q_i.n / T)) )

    Returns the mean, a scalar; log(K + 1) if all embeddings are equal. No gradient reaches the queue.
    """
    q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)
    logits = torch.cat([(q * k).sum(dim=1, keepdim=True), q @ queue.detach().T], dim=1) / temperature
    terms = F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device), reduction="none")
    return mean(terms, weights)


@in_float32
def nearest(z: Tensor, queue: Tensor) -> Tensor:
    """The nearest neighbour by cosine of each row of z (N, D) in a queue (K, D) of unit vectors (NNCLR, equation 3).

    Returns (N, D), without gradient.
    """
    return queue[(z.detach() @ queue.T).argmax(dim=1)].detach()


@in_float32
def cosine(p: Tensor, z: Tensor, weights: Tensor | None = None) -> Tensor:
    """Negative cosine similarity (SimSiam: Chen and He 2021, arXiv 2011.10566, equation 1).

    p: (N, D) predictions, z: (N, D) targets. Returns the mean of -cos(p, z), in [-1, 1]; -1 if they point the same way.
    BYOL's squared distance of unit vectors (Grill et al. 2020, arXiv 2006.07733, equation 2) is 2 + 2 x this.
    """
    return mean(-F.cosine_similarity(p, z, dim=1), weights)


@in_float32
def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Supervised cross entropy of logits (N, C) and classes (N,) int64; log C if all logits are equal."""
    return F.cross_entropy(logits, target)


# Losses on scores against prototypes: the assignment of one view is the target of the others.


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Balanced assignment by Sinkhorn-Knopp (SwAV: Caron et al. 2020, arXiv 2006.09882, equations 3 to 5).

    scores: (N, K) similarities to K prototypes. Starting from exp(scores / epsilon), the columns are scaled to sum to N / K and
    the rows to sum to 1, `iterations` times. This is done in logarithms, so that no epsilon overflows. Returns (N, K), float32
    or float64; the rows sum to 1 exactly, the columns to N / K in the limit.
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
    if all scores are equal.
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
    a scalar; log K if all scores are equal. No gradient reaches the teacher.
    """
    target = F.softmax((teacher.detach() - centre) / teacher_temperature, dim=1)
    return mean(-(target * F.log_softmax(student / temperature, dim=1)).sum(dim=1), weights)


# Losses on the statistics of a batch: views agree while the coordinates stay spread out and uncorrelated.


def off_diagonal(matrix: Tensor) -> Tensor:
    """The entries of a square matrix outside its diagonal, (D * (D - 1),)."""
    return matrix.flatten()[1:].view(len(matrix) - 1, len(matrix) + 1)[:, :-1].flatten()


@in_float32
def barlow_twins(z1: Tensor, z2: Tensor, weight: float = 0.0051) -> Tensor:
    """Barlow Twins (Zbontar et al. 2021, arXiv 2103.03230, equations 1 and 2).

    C is the correlation matrix (D, D) over the batch between the coordinates of z1 and z2, both (N, D):

        sum over i of (1 - C_ii)^2 + weight * sum over i != j of C_ij^2

    The embeddings are standardised as in the authors' code, by the biased variance plus 1e-5 (BatchNorm without scale and
    shift). Returns a scalar: 0 if the views agree and the coordinates are uncorrelated, D if everything has collapsed.
    """
    z1, z2 = (F.batch_norm(z, None, None, training=True) for z in (z1, z2))
    c = z1.T @ z2 / len(z1)
    return (1 - c.diagonal()).square().sum() + weight * off_diagonal(c).square().sum()


@in_float32
def vicreg(
    z1: Tensor,
    z2: Tensor,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """VICReg (Bardes et al. 2022, arXiv 2105.04906, equations 1 to 6, scaled as in the authors' code).

        invariance * mean over images and coordinates of (z1 - z2)^2
        + variance * mean over both views and coordinates of max(0, 1 - sqrt(Var + 1e-4))
        + covariance * sum over both views of (squares of the covariances outside the diagonal) / D

    z1, z2: (N, D). Variance and covariance are the unbiased ones. `weights` (N,) apply to the first term, the only one that is
    a mean over images. Returns a scalar; variance * (1 - 0.01) if everything has collapsed.
    """
    spread = z1.new_zeros(())
    redundancy = z1.new_zeros(())
    for z in (z1, z2):
        spread = spread + F.relu(1 - (z.var(dim=0) + 1e-4).sqrt()).mean() / 2
        centred = z - z.mean(dim=0)
        redundancy = redundancy + off_diagonal(centred.T @ centred / (len(z) - 1)).square().sum() / z.shape[1]
    return invariance * mean((z1 - z2).square().mean(dim=1), weights) + variance * spread + covariance * redundancy


@in_float32
def whiten(z: Tensor, epsilon: float = 0.0) -> Tensor:
    """Transform z (N, D) to mean 0 and the identity as unbiased covariance, by Cholesky (W-MSE, section 3.1).

    Returns (z - mean) L^-T, where L L^T is the covariance, shrunk to (1 - epsilon) * cov + epsilon * identity. Raises
    torch.linalg.LinAlgError if that is singular, as it is for N <= D without shrinking.
    """
    centred = z - z.mean(dim=0)
    cov = centred.T @ centred / (len(z) - 1)
    cov = (1 - epsilon) * cov + epsilon * torch.eye(len(cov), dtype=cov.dtype, device=cov.device)
    white: Tensor = torch.linalg.solve_triangular(torch.linalg.cholesky(cov), centred.T, upper=False).T
    return white


@in_float32
def w_mse(z1: Tensor, z2: Tensor, order: Tensor, size: int, epsilon: float = 0.0, weights: Tensor | None = None) -> Tensor:
    """W-MSE (Ermolov et al. 2021, arXiv 2007.06346, equation 5): squared distance of whitened views of unit length.

    z1, z2: (N, D). order: (N,) a random permutation of the images; it is cut into pieces of `size` images, and each piece is
    whitened by itself in each view. A last, smaller piece is left out, unless it is the only one. size: at least 2 D, or the
    covariance is badly estimated. Returns the mean of |v1 - v2|^2 = 2 - 2 cos(v1, v2), in [0, 4].
    """
    size = min(size, len(order))
    terms = []
    for k in range(len(order) // size):
        piece = order[k * size : (k + 1) * size]
        v1, v2 = (whiten(z[piece], epsilon) for z in (z1, z2))
        distance = 2 - 2 * F.cosine_similarity(v1, v2, dim=1)
        terms.append(distance if weights is None else distance * weights[piece])
    return torch.cat(terms).mean()


@in_float32
def sigreg(z: Tensor, directions: Tensor, knots: int = 17, limit: float = 3.0) -> Tensor:
    """SIGReg (LeJEPA: Balestriero and LeCun 2025, arXiv 2511.08544, section 4): how far z is from a standard normal.

    z: (N, D); directions: (D, M), normalised to unit length here. For each direction a, the Epps-Pulley statistic of x = z a is

        N * integral over t in [-limit, limit] of |mean of exp(i t x) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt

    It is computed by the trapezoid rule over `knots` points of [0, limit], since the integrand is even in t. Returns the mean
    over directions. For N samples of a standard normal its expectation does not depend on N; otherwise it grows like N.
    """
    t = torch.linspace(0, limit, knots, dtype=z.dtype, device=z.device)
    normal = torch.exp(-t.square() / 2)
    x = (z @ F.normalize(directions, dim=0)).unsqueeze(-1) * t  # (N, M, knots)
    error = (x.cos().mean(dim=0) - normal).square() + x.sin().mean(dim=0).square()
    return 2 * len(z) * torch.trapezoid(error * normal, t, dim=-1).mean()


@in_float32
def lejepa(z: Sequence[Tensor], globals_: int, directions: Tensor, weight: float = 0.05) -> Tensor:
    """LeJEPA (arXiv 2511.08544, section 5): (1 - weight) * distance from the global views' mean + weight * SIGReg.

    z: one (N, D) for each view, the first `globals_` of them global. The first term is the mean of (z - mean of the global z)^2
    over views, images and coordinates; the second is the mean of `sigreg` over views.
    """
    stacked = torch.stack(list(z))
    spread = (stacked - stacked[:globals_].mean(dim=0)).square().mean()
    shape = torch.stack([sigreg(view, directions) for view in z]).mean()
    return (1 - weight) * spread + weight * shape
