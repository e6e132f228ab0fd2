"""Batched warps: a sampling grid per image, computed from its matrix, then torch's `grid_sample`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from ...ops.base import Array
from .rows import send


def affine(x: torch.Tensor, matrices: Array, interpolation: str, fill: Sequence[float]) -> torch.Tensor:
    """Warp (B, 3, H, W) by inverse maps (B, 6) in pixels from the image's centre."""
    height, width = x.shape[-2:]
    half = np.array([[width], [height]], np.float32) / 2
    rows, value = send(x.device, matrices.astype(np.float32).reshape(-1, 2, 3) / half, np.array(fill, np.float32))
    across, down = centred(x, 0.0)
    grid = torch.stack([plane(rows[:, k], across, down) for k in (0, 1)], dim=-1)
    return sample(x, grid, interpolation, value)


def perspective(x: torch.Tensor, coefficients: Array, interpolation: str, fill: Sequence[float]) -> torch.Tensor:
    """Warp (B, 3, H, W) by coefficients (B, 8); see `gpuaug.RandomPerspective.coefficients`."""
    height, width = x.shape[-2:]
    table = coefficients.astype(np.float32)
    half = np.array([[width], [height]], np.float32) / 2
    bottom = np.concatenate([table[:, 6:], np.ones_like(table[:, :1])], axis=1)
    rows, divisor, value = send(x.device, table[:, :6].reshape(-1, 2, 3) / half, bottom, np.array(fill, np.float32))
    across, down = centred(x, 0.5)
    scale = plane(divisor, across, down)
    grid = torch.stack([plane(rows[:, k], across, down) / scale - 1 for k in (0, 1)], dim=-1)
    return sample(x, grid, interpolation, value)


def moved(x: torch.Tensor, displacement: torch.Tensor, interpolation: str, fill: Sequence[float]) -> torch.Tensor:
    """Warp (B, 3, H, W) by displacements (B, 2, H, W), across and down, in halves of the image's width and height."""
    height, width = x.shape[-2:]
    (value,) = send(x.device, np.array(fill, np.float32))
    across, down = (torch.linspace((1 - n) / n, (n - 1) / n, n, device=x.device, dtype=torch.float32) for n in (width, height))
    grid = torch.stack([displacement[:, 0] + across, displacement[:, 1] + down[:, None]], dim=-1)
    return sample(x, grid, interpolation, value)


def centred(x: torch.Tensor, offset: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Coordinates of the pixels, (1, W) and (H, 1), from the image's centre, or with an offset of 0.5 from its corner."""
    height, width = x.shape[-2:]
    down, across = (torch.arange(n, device=x.device, dtype=torch.float32) for n in (height, width))
    if offset:
        return (across + offset)[None], (down + offset)[:, None]
    return (across - (width - 1) / 2)[None], (down - (height - 1) / 2)[:, None]


def plane(row: torch.Tensor, across: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """a x + b y + c at every pixel, (B, H, W), from rows (a, b, c) of shape (B, 3)."""
    a, b, c = row.view(-1, 3, 1, 1).unbind(1)
    return (across * a + down * b) + c


def sample(x: torch.Tensor, grid: torch.Tensor, interpolation: str, fill: torch.Tensor) -> torch.Tensor:
    """Read x at a grid (B, H, W, 2) in [-1, 1]; a fourth channel of ones says which share of a pixel is inside the image."""
    with_mask = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
    out = F.grid_sample(with_mask, grid, mode=interpolation, padding_mode="zeros", align_corners=False)
    color, mask, value = out[:, :3], out[:, 3:], fill.view(3, 1, 1)
    if interpolation == "nearest":
        return torch.where(mask < 0.5, value, color)
    return (color - value) * mask + value
