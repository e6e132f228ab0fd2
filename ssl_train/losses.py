"""Losses on embeddings: pure functions, computed in float32 under any autocast."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it


def nt_xent(z1: torch.Tensor, z2: torch.Tensor, temperature: float) -> torch.Tensor:
    """NT-Xent, the loss of SimCLR (Chen et al. 2020, arXiv 2002.05709, equation 1).

    z1, z2: (N, D) embeddings of the two views of N images, of any length (cosine similarity is taken). temperature: > 0.
    Each of the 2N embeddings must find its partner among the other 2N - 1:

        l(i, j) = -log( exp(sim(i, j) / T) / sum over k != i of exp(sim(i, k) / T) )

    Returns the mean over the 2N, a scalar; log(2N - 1) where all embeddings are equal.
    """
    with torch.autocast(z1.device.type, enabled=False):
        count = len(z1)
        z = F.normalize(torch.cat([z1, z2]).to(torch.promote_types(z1.dtype, torch.float32)), dim=1)
        similarity = (z @ z.T / temperature).fill_diagonal_(float("-inf"))
        partner = torch.arange(2 * count, device=z.device).roll(count)
        return F.cross_entropy(similarity, partner)
