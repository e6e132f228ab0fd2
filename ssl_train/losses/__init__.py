"""Losses on embeddings: pure functions of tensors, computed in float32 at least, under any autocast."""

from .clusters import dino, sinkhorn, swav
from .contrastive import cosine, cross_entropy, info_nce, moco_v2, nearest, nt_xent
from .statistics import barlow_twins, lejepa, sigreg, vicreg, w_mse, whiten

__all__ = [
    "barlow_twins",
    "cosine",
    "cross_entropy",
    "dino",
    "info_nce",
    "lejepa",
    "moco_v2",
    "nearest",
    "nt_xent",
    "sigreg",
    "sinkhorn",
    "swav",
    "vicreg",
    "w_mse",
    "whiten",
]
