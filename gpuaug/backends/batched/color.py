"""Colour, tone and noise on float32 (B, C, H, W), with parameters per image; what mixes colours takes three channels or one.

Every operation rounds once. A fused multiply-add (`add(alpha=)`, `addcmul`) is avoided, because torch's vectorised loops and
their scalar tails round it differently, and a pixel's bits would depend on where it is in the batch.
"""

from __future__ import annotations

import numpy as np
import torch

from ...ops.base import Array, OpDraws
from ...ops.color import FLAT, GRAY, ORDERS, PARTS
from ...philox import normal_field
from .rows import Rows, column, on_groups, send, unchanged


def color_jitter(x: torch.Tensor, draws: OpDraws) -> torch.Tensor:
    """A jitter in each image's own order: for each of the four positions, images are grouped by the part that comes there."""
    order = ORDERS[draws["order"]]
    for k in range(order.shape[1]):
        groups: list[tuple[Array, Rows]] = []
        for part, name in enumerate(PARTS):
            rows = np.flatnonzero(order[:, k] == part)
            groups.append((rows, jitter_part(name, draws[name]) if name in draws else unchanged))
        x = on_groups(x, groups)
    return x


def jitter_part(name: str, values: Array) -> Rows:
    return lambda x, rows: JITTER[name](x, column(x, values[rows]))


def brightness(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return (x * factor).clamp(0, 1)


def contrast(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return blend(x, mean(gray(x)), factor)


def saturation(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return x if x.shape[1] == 1 else blend(x, gray(x), factor)


def blend(x: torch.Tensor, other: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return (x * factor + other * (1 - factor)).clamp(0, 1)


def gray(x: torch.Tensor) -> torch.Tensor:
    """(B, 1, H, W): 0.2989 R + 0.587 G + 0.114 B; an image of one channel is gray already."""
    if x.shape[1] == 1:
        return x
    r, g, b = (x[:, k : k + 1] for k in range(3))
    return r * GRAY[0] + g * GRAY[1] + b * GRAY[2]


def mean(x: torch.Tensor) -> torch.Tensor:
    """Mean of each image, float32 (B, 1, 1, 1), with the same bits for any order of summation.

    Adding and subtracting 1.5 * 2^24 rounds a float64 to a multiple of 2^-28. Sums of up to 2^24 such numbers below 2 are
    exact. MPS has no float64, so it sums in float32.
    """
    if x.device.type == "mps":
        return x.mean(dim=(1, 2, 3), keepdim=True)
    grid = 1.5 * 2**24
    return (((x.double() + grid) - grid).sum(dim=(1, 2, 3), keepdim=True) / x[0].numel()).float()


def hue(x: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Shift the hue of HSV by `shift` turns. With V = max, C = max - min and H in sixths of a turn, a channel becomes

        V - C * clamp(min(k, 4 - k), 0, 1),   k = (n + H) mod 6,   n = 5, 3, 1 for red, green, blue.

    Values outside [0, 1] (from noise or Normalize) are clamped, except where a channel is V itself, as in torchvision. One
    channel stays as it is.
    """
    if x.shape[1] == 1:
        return x
    r, g, b = x.unbind(1)
    value = torch.maximum(torch.maximum(r, g), b)
    chroma = value - torch.minimum(torch.minimum(r, g), b)
    divisor = torch.where(chroma == 0, 1.0, chroma)
    sector = torch.where(
        value == r,
        (g - b) / divisor,
        torch.where(value == g, 2 + (b - r) / divisor, 4 + (r - g) / divisor),
    )
    turn = sector / 6 + shift.view(-1, 1, 1)
    sixths = (turn - turn.floor()) * 6
    return torch.stack([hue_channel(value, chroma, sixths + n) for n in (5, 3, 1)], dim=1)


def hue_channel(value: torch.Tensor, chroma: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    k = torch.where(k >= 6, k - 6, k)
    share = torch.minimum(k, 4 - k).clamp(0, 1)
    return torch.where(share > 0, (value - chroma * share).clamp(0, 1), value)


JITTER = dict(zip(PARTS, (brightness, contrast, saturation, hue), strict=True))


def posterize(x: torch.Tensor, bits: int) -> torch.Tensor:
    levels = 1 << bits
    return (x * levels).floor().clamp(0, levels - 1) * (1 / levels)


def autocontrast(x: torch.Tensor) -> torch.Tensor:
    low, high = x.amin(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
    flat = high - low < FLAT
    return ((x - torch.where(flat, 0.0, low)) / torch.where(flat, 1.0, high - low)).clamp(0, 1)


def equalize(x: torch.Tensor) -> torch.Tensor:
    """Equalize each channel's histogram of 256 levels with PIL's integer arithmetic."""
    count, channels, height, width = x.shape
    level = (x.clamp(0, 1) * (256 - 1e-3)).long().clamp(0, 255).reshape(count * channels, height * width)  # NaN is no index
    histogram = torch.zeros(count * channels, 256, dtype=torch.int64, device=x.device)
    histogram.scatter_add_(1, level, torch.ones_like(level))
    below = histogram.cumsum(1) - histogram
    # `step`: pixels below the brightest level, divided among 255 levels. A channel where this is 0 stays as it is.
    brightest = level.amax(dim=1, keepdim=True)
    step = below.gather(1, brightest) // 255
    table = ((below + step // 2) // step.clamp(min=1)).clamp(0, 255)
    table = torch.where(step == 0, torch.arange(256, device=x.device), table)
    return (table.gather(1, level).float() * (1 / 255)).view(x.shape)


def sharpness(x: torch.Tensor, factor: float | torch.Tensor) -> torch.Tensor:
    """Blend inner pixels with a 3x3 smoothing (weights 1, centre 5, over 13); narrower or lower images stay as they are."""
    height, width = x.shape[-2:]
    if height <= 2 or width <= 2:
        return x
    rows = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    box = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    inner = x[:, :, 1:-1, 1:-1]
    change = ((box + inner * 4) / 13 - inner) * (1 - factor)
    return (x + torch.nn.functional.pad(change, (1, 1, 1, 1))).clamp(0, 1)


def normal(x: torch.Tensor, key: Array) -> torch.Tensor:
    """Normal noise shaped like x, from keys (B, 2).

    On the CPU it is made image by image, so that no bit depends on where the loop of a vectorised logarithm or cosine ends.
    """
    (keys,) = send(x.device, key.astype(np.int64))
    rows = 1 if x.device.type == "cpu" else 64
    height, width = x.shape[-2:]
    return torch.cat([normal_field(keys[k : k + rows], height, width, x.shape[1]) for k in range(0, len(key), rows)])


def erase(x: torch.Tensor, boxes: Array, value: torch.Tensor) -> torch.Tensor:
    """Write `value` (broadcast to x) into the boxes (B, 4) as (top, left, height, width)."""
    top, left, height, width = send(x.device, boxes.T.astype(np.int64).copy())[0].unbind(0)
    y = torch.arange(x.shape[2], device=x.device)
    x_ = torch.arange(x.shape[3], device=x.device)
    rows = (y >= top[:, None]) & (y < (top + height)[:, None])
    columns = (x_ >= left[:, None]) & (x_ < (left + width)[:, None])
    return torch.where((rows[:, :, None] & columns[:, None])[:, None], value, x)
