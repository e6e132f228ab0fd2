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
    y = (19595 * r + 38470 * g + 7471 * b + 32768) >> 16
    offset = (128 << 16) + 32767
    blue = (-11059 * r - 21709 * g + 32768 * b + offset) >> 16
    red = (32768 * r - 27439 * g - 5329 * b + offset) >> 16
    y = coded(y, matrix, luma)[:, :height, :width]
    blue, red = (enlarged(coded(halved(c), matrix, chroma), height, width) - 128 for c in (blue, red))
    r = y + ((91881 * red + 32768) >> 16)
    g = y + ((-22554 * blue - 46802 * red + 32768) >> 16)
    b = y + ((116130 * blue + 32768) >> 16)
    return torch.stack([r, g, b], dim=1).clamp(0, 255).to(torch.float32) * (1 / 255)


def extended(x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Planes (B, H, W) extended to a multiple of so many rows and columns by repeating the last ones."""
    height, width = x.shape[-2:]
    down, across = (torch.arange(-(-n // m) * m, device=x.device) for n, m in ((height, rows), (width, columns)))
    return x.index_select(1, down.clamp(max=height - 1)).index_select(2, across.clamp(max=width - 1))


def halved(x: torch.Tensor) -> torch.Tensor:
    """Means of 2 x 2 pixels, rounded down and up from column to column; columns are extended to whole blocks of the result."""
    x = extended(x, 2, 16)
    total = x[:, ::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, ::2] + x[:, 1::2, 1::2]
    return (total + 1 + torch.arange(total.shape[2], device=x.device) % 2) >> 2


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


def enlarged(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Planes of half the resolution, enlarged by a triangle filter; by repeating pixels if at most two columns are meant."""
    x = x[:, : -(-height // 2), : -(-width // 2)]
    if x.shape[2] <= 2:
        return x.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)[:, :height, :width]
    above, below = torch.cat([x[:, :1], x[:, :-1]], dim=1), torch.cat([x[:, 1:], x[:, -1:]], dim=1)
    x = torch.stack([3 * x + above, 3 * x + below], dim=2).flatten(1, 2)
    left, right = torch.cat([x[:, :, :1], x[:, :, :-1]], dim=2), torch.cat([x[:, :, 1:], x[:, :, -1:]], dim=2)
    x = torch.stack([(3 * x + left + 8) >> 4, (3 * x + right + 7) >> 4], dim=3).flatten(2, 3)
    return x[:, :height, :width]
