"""Losses on a batch's statistics: views agree while the coordinates stay spread out and uncorrelated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812

from .precision import in_float32, mean

Tensor = torch.Tensor


def off_diagonal(matrix: Tensor) -> Tensor:
    """The entries of a square matrix outside its diagonal, (D * (D - 1),)."""
    return matrix.flatten()[1:].view(len(matrix) - 1, len(matrix) + 1)[:, :-1].flatten()


@in_float32
def barlow_twins(z1: Tensor, z2: Tensor, weight: float = 0.0051) -> Tensor:
    """Barlow Twins (Zbontar et al. 2021, arXiv 2103.03230, equations 1 and 2).

    C is the correlation matrix (D, D) over the batch between the coordinates of z1 and z2, both (N, D):

        sum over i of (1 - C_ii)^2 + weight * sum over i != j of C_ij^2

    Standardised as its code does, by the biased variance plus 1e-5 (BatchNorm without scale and shift). Returns a scalar;
    0 where the views agree and the coordinates are uncorrelated, D where everything has collapsed.
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
    """VICReg (Bardes et al. 2022, arXiv 2105.04906, equations 1 to 6, scaled as in its code).

    z1, z2: (N, D). invariance * mean of (z1 - z2)^2 over images and coordinates
    + variance * mean over both views and coordinates of max(0, 1 - sqrt(Var + 1e-4))
    + covariance * sum over both views of (squares of the covariances outside the diagonal) / D.
    Variance and covariance are the unbiased ones. `weights` (N,) multiply the images' share of the first term, the only one
    that is a mean over images. Returns a scalar; variance * (1 - 0.01) where everything has collapsed.
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
    """z (N, D) made to have mean 0 and the identity as unbiased covariance, by Cholesky (W-MSE, section 3.1).

    With L L^T the covariance, which is shrunk to (1 - epsilon) * cov + epsilon * identity: (z - mean) L^-T. Raises
    torch.linalg.LinAlgError where that is singular, e.g. for N <= D without shrinking.
    """
    centred = z - z.mean(dim=0)
    cov = centred.T @ centred / (len(z) - 1)
    cov = (1 - epsilon) * cov + epsilon * torch.eye(len(cov), dtype=cov.dtype, device=cov.device)
    white: Tensor = torch.linalg.solve_triangular(torch.linalg.cholesky(cov), centred.T, upper=False).T
    return white


@in_float32
def w_mse(z1: Tensor, z2: Tensor, order: Tensor, size: int, epsilon: float = 0.0, weights: Tensor | None = None) -> Tensor:
    """W-MSE (Ermolov et al. 2021, arXiv 2007.06346, equation 5): distance of whitened views, each of unit length.

    z1, z2: (N, D). order: (N,) a random permutation, which is cut into pieces of `size` images, whitened one by one together
    in each view (a last, smaller piece is left out, unless it is the only one). Returns the mean of
    |v1 - v2|^2 = 2 - 2 cos(v1, v2), in [0, 4]. size should be at least 2 D.
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

    z: (N, D); directions: (D, M), made unit length here. For each direction a, the Epps-Pulley statistic of x = z a,

        N * integral over t in [-limit, limit] of |mean of exp(i t x) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt

    by the trapezoid rule over `knots` points of [0, limit] (it is even in t). Returns the mean over
    directions; for N samples of a standard normal it does not depend on N, for anything else it grows like N.
    """
    t = torch.linspace(0, limit, knots, dtype=z.dtype, device=z.device)
    normal = torch.exp(-t.square() / 2)
    x = (z @ F.normalize(directions, dim=0)).unsqueeze(-1) * t  # (N, M, knots)
    error = (x.cos().mean(dim=0) - normal).square() + x.sin().mean(dim=0).square()
    return 2 * len(z) * torch.trapezoid(error * normal, t, dim=-1).mean()


@in_float32
def lejepa(z: Sequence[Tensor], globals_: int, directions: Tensor, weight: float = 0.05) -> Tensor:
    """LeJEPA (arXiv 2511.08544, section 5): (1 - weight) * distance from the global views' mean + weight * SIGReg.

    z: (N, D) a view, the first `globals_` of them global. The first term is the mean of (z - mean of the global z)^2 over
    views, images and coordinates; SIGReg is the mean over views of `sigreg`.
    """
    stacked = torch.stack(list(z))
    spread = (stacked - stacked[:globals_].mean(dim=0)).square().mean()
    shape = torch.stack([sigreg(view, directions) for view in z]).mean()
    return (1 - weight) * spread + weight * shape
