"""The loss of JPEG files, in torch: what libjpeg's encoder and decoder make of 8-bit pixels, to the bit.

Baseline JPEG (ITU-T T.81) with colours at half resolution (4:2:0), the standard's tables of quantisation scaled by the quality,
and libjpeg's accurate integer transform. Entropy coding loses nothing, so it is left out. Numbers here are integers, those of
the transform in float64, where sums and products of this size are exact.
"""

from __future__ import annotations

import numpy as np
import torch

from ...ops.base import Array
from ...ops.jpeg import CHROMA, LUMA, TRANSFORM, quantisation
from ...yuv import enlarged, extended, halved, joined, split
from .rows import send


def jpeg(x: torch.Tensor, quality: Array) -> torch.Tensor:
    """Images (B, 3, H, W) after a JPEG file of each one's quality (B,)."""
    if x.device.type == "mps":  # which has no float64
        return jpeg(x.cpu(), quality).to(x.device)
    height, width = x.shape[-2:]
    r, g, b = (x.clamp(0, 1) * (256 - 1e-3)).to(torch.int32).unbind(1)
    matrix, luma, chroma = send(
        x.device, TRANSFORM.astype(np.float64), quantisation(LUMA, quality), quantisation(CHROMA, quality)
    )
    y, blue, red = split(r, g, b)
    y = coded(y, matrix, luma)[:, :height, :width]
    blue, red = (enlarged(coded(halved(extended(c, 2, 16)), matrix, chroma), height, width) for c in (blue, red))
    return torch.stack(joined(y, blue, red), dim=1).to(torch.float32) * (1 / 255)


def coded(x: torch.Tensor, matrix: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Planes (B, H, W) in whole blocks of 8 x 8, transformed, quantised by tables (B, 8, 8), and transformed back."""
    x = extended(x, 8, 8)
    count, height, width = x.shape
    step = table.transpose(1, 2).to(torch.float64).view(count, 1, 8, 1, 8)
    x = (x - 128).to(torch.float64).view(count, height // 8, 8, width // 8, 8)
    x = scaled(x @ matrix.T, 11).transpose(2, 4)
    x = scaled(x @ matrix.T, 15)
    x = x.sign() * ((x.abs() + 4 * step) / (8 * step)).floor() * step
    x = scaled(x @ matrix, 11).transpose(2, 4)
    x = scaled(x @ matrix, 18) + 128
    return x.clamp(0, 255).to(torch.int32).reshape(count, height, width)


def scaled(x: torch.Tensor, bits: int) -> torch.Tensor:
    """x / 2^bits, rounded to the nearest integer, and up if there are two."""
    return ((x + 2.0 ** (bits - 1)) * 2.0**-bits).floor()
