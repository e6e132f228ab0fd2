"""Batched resizing, cropping and blurring: every filter is a weighted sum of rows, then of columns.

`embedding_bag` sums the rows of a bag, each times a weight, one after the other. With an image's rows as the table and the taps
of an output row as the bag, it is a separable filter with weights per image. It takes one kernel per direction and has a fixed
order of summation, so that an image's result does not depend on what else is in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from ...images import Images
from ...ops.base import Array, Size
from ...ops.crop import FILTER_RADIUS
from .rows import most_pixels, send


@dataclass(frozen=True)
class Pixels:
    """Images of any sizes as one table of pixels: `table` (P, 3), uint8 or float32; `start` (B,): first row of each image."""

    table: torch.Tensor
    start: Array
    shapes: Array

    @classmethod
    def of(cls, batch: Images | torch.Tensor) -> Pixels:
        if isinstance(batch, Images):
            return cls(batch.buffer.view(-1, 3), batch.offsets // 3, batch.shapes.astype(np.int64))
        count, _, height, width = batch.shape
        table = batch.permute(0, 2, 3, 1).contiguous().view(-1, 3)
        return cls(table, np.arange(count) * height * width, np.tile(np.array([[height, width]]), (count, 1)))

    @property
    def heights(self) -> Array:
        return self.shapes[:, 0]

    @property
    def widths(self) -> Array:
        return self.shapes[:, 1]

    def range(self) -> tuple[Any, Any]:
        """The range to clip to, per image as (B, 1, 1, 1): [0, 1], or that of its floats where that is wider."""
        if self.table.dtype == torch.uint8:
            return 0.0, 1.0
        images = self.table.view(len(self.shapes), -1)  # images of floats have one size
        return images.amin(1).clamp(max=0.0).view(-1, 1, 1, 1), images.amax(1).clamp(min=1.0).view(-1, 1, 1, 1)

    def pixels_at(self, index: torch.Tensor) -> torch.Tensor:
        """The rows of the table at `index`, float32 of shape (*index.shape, 3); 8-bit values are divided by 255."""
        return unit(self.table.index_select(0, index.reshape(-1)).view(*index.shape, 3))


def unit(pixels: torch.Tensor) -> torch.Tensor:
    """Convert uint8 to float32 in [0, 1]; floats stay as they are."""
    return pixels.to(torch.float32) / 255 if pixels.dtype == torch.uint8 else pixels


def weighted_rows(x: torch.Tensor, index: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Sum of weight[b, o, t] * x[b, index[b, o, t]] over t: x (B, N, D), index and weight (B, O, T) -> (B, O, D)."""
    count, length, depth = x.shape
    out, taps = index.shape[1:]
    first = torch.arange(count, device=x.device)[:, None, None] * length
    bags = (index + first).view(count * out, taps)
    rows = x.reshape(count * length, depth)
    return F.embedding_bag(bags, rows, per_sample_weights=weight.reshape(count * out, taps), mode="sum").view(count, out, depth)


def resample(source: Pixels, boxes: Array, size: Size, interpolation: str) -> torch.Tensor:
    """Resize boxes (B, 4) as (top, left, height, width) to `size` with antialiasing: float32 (B, 3, *size).

    A bicubic filter overshoots; its result is clipped to [0, 1], or to the image's range where that is wider.
    """
    groups = list(alike(boxes[:, 2], boxes[:, 3], most_pixels(source.table.device)))
    parts = [resample_group(source, boxes, rows, size, interpolation) for rows in groups]
    made = parts[0]
    if len(parts) > 1:
        (place,) = send(source.table.device, np.argsort(np.concatenate(groups)))
        made = torch.cat(parts).index_select(0, place)
    return made.clamp(*source.range()) if interpolation == "bicubic" else made


def alike(height: Array, width: Array, limit: int) -> Iterator[Array]:
    """Group boxes of similar size; a group, padded to its largest box, has at most `limit` pixels (or is one box)."""
    if len(height) * int(height.max()) * int(width.max()) <= limit:
        yield np.arange(len(height))
        return
    order = np.argsort(height * width, kind="stable")
    first = 0
    for end in range(1, len(order) + 1):
        rows = order[first : end + 1]
        if end == len(order) or len(rows) * int(height[rows].max()) * int(width[rows].max()) > limit:
            yield order[first:end]
            first = end


def resample_group(source: Pixels, boxes: Array, rows: Array, size: Size, interpolation: str) -> torch.Tensor:
    boxes = boxes[rows].astype(np.int64)
    (box,) = send(source.table.device, boxes)
    high, wide = (int(n) for n in boxes[:, 2:].max(axis=0))
    x = cut(source, rows, boxes, high, wide)
    out_h, out_w = size
    count = len(rows)
    x = weighted_rows(x.view(count, high, wide * 3), *taps(box[:, 2], high, out_h, interpolation))
    x = x.view(count, out_h, wide, 3).transpose(1, 2).reshape(count, wide, out_h * 3)
    x = weighted_rows(x, *taps(box[:, 3], wide, out_w, interpolation))
    return x.view(count, out_w, out_h, 3).permute(0, 3, 2, 1).contiguous()


def cut(source: Pixels, rows: Array, boxes: Array, high: int, wide: int) -> torch.Tensor:
    """Crop the boxes of some images, float32 (len(rows), high, wide, 3); smaller boxes are padded with their last pixels."""
    device = source.table.device
    corner = source.start[rows] + boxes[:, 0] * source.widths[rows] + boxes[:, 1]
    if len(rows) == 1:  # a strided view is twice as fast on the CPU
        line, begin = int(source.widths[rows[0]]), int(corner[0])
        area = source.table[begin : begin + (high - 1) * line + wide]
        return unit(area.as_strided((1, high, wide, 3), (0, line * 3, 3, 1))).contiguous()
    start, width, last = send(device, corner, source.widths[rows], boxes[:, 2:] - 1)
    y = torch.minimum(torch.arange(high, device=device), last[:, :1])
    x = torch.minimum(torch.arange(wide, device=device), last[:, 1:])
    return source.pixels_at((start[:, None] + y * width[:, None])[:, :, None] + x[:, None])


def taps(length: torch.Tensor, longest: int, out: int, interpolation: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The input pixels of each output pixel, and their weights: index int64 and weight float32, both (B, out, taps).

    length: (B,) int64 pixels, at most `longest`. Centres are at half pixels. The filter is the nearest pixel, a triangle, or
    the cubic with a = -0.5, widened by the scale when shrinking (as in `torch.nn.functional.interpolate` with antialias). The
    arithmetic repeats torch's in float32, operation by operation, so that it selects the same taps.
    """
    device = length.device
    last = (length - 1)[:, None, None]
    scale = (length.to(torch.float32) / out)[:, None]
    place = torch.arange(out, device=device, dtype=torch.float32)
    if interpolation == "nearest":
        index = torch.minimum((place * scale).floor().long()[..., None], last)
        return index, torch.ones_like(index, dtype=torch.float32)
    stretch = scale.clamp(min=1)
    reach = stretch * FILTER_RADIUS[interpolation]
    centre = (place + 0.5) * scale
    first = ((centre - reach) + 0.5).long().clamp(min=0)
    end = torch.minimum(((centre + reach) + 0.5).long(), length[:, None])
    most = 2 * math.ceil(FILTER_RADIUS[interpolation] * max(longest / out, 1)) + 1
    index = first[..., None] + torch.arange(most, device=device)
    distance = ((index - centre[..., None]) + 0.5) / stretch[..., None]
    weight = torch.where(index < end[..., None], kernel(distance.abs(), interpolation), 0.0)
    total = torch.zeros_like(centre)
    for tap in weight.unbind(-1):  # the order of a reduction would depend on the number of taps
        total = total + tap
    return torch.minimum(index, last), weight / total[..., None]


def kernel(x: torch.Tensor, interpolation: str) -> torch.Tensor:
    """The filter at distance x >= 0: the triangle, or Keys' cubic (1981, "Cubic convolution interpolation") with a = -0.5."""
    if interpolation == "bilinear":
        return (1 - x).clamp(min=0)
    near = ((x * 1.5) - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def crop(source: Pixels, boxes: Array, size: Size, mode: str, fill: Sequence[float]) -> torch.Tensor:
    """Crop boxes (B, 4) of one size, float32 (B, 3, *size); pixels outside an image follow the padding mode."""
    device = source.table.device
    y, inside_y = source_positions(boxes[:, 0], size[0], source.heights, mode)
    x, inside_x = source_positions(boxes[:, 1], size[1], source.widths, mode)
    rows, columns = source.start[:, None] + y * source.widths[:, None], x
    row, column, in_y, in_x, value = send(device, rows, columns, inside_y, inside_x, np.array(fill, np.float32))
    out = source.pixels_at(row[:, :, None] + column[:, None])
    if not (inside_y.all() and inside_x.all()):
        out = torch.where((in_y[:, :, None] & in_x[:, None])[..., None], out, value)
    return out.permute(0, 3, 1, 2).contiguous()


def source_positions(start: Array, count: int, length: Array, mode: str) -> tuple[Array, Array]:
    """Source of each of `count` pixels from `start` (B,) on an axis of `length` (B,), and whether it has one."""
    place = start[:, None].astype(np.int64) + np.arange(count)
    n = length[:, None]
    inside = (place >= 0) & (place < n)
    if mode == "reflect":
        period = np.maximum(2 * (n - 1), 1)
        place = np.abs((place + n - 1) % period - (n - 1))
    elif mode == "symmetric":
        place = np.where(place % (2 * n) < n, place % (2 * n), 2 * n - 1 - place % (2 * n))
    return np.clip(place, 0, n - 1), inside | (mode != "constant")


def blur(x: torch.Tensor, *kernels: Array) -> torch.Tensor:
    """Filter (B, C, H, W) with reflect padding; kernels: those across and down, (B, K), which may differ in K."""
    count, channels, height, width = x.shape
    across, down = send(x.device, *kernels)
    x = x.transpose(1, 2).reshape(count, height, channels * width)
    x = weighted_rows(x, *reflected(down, height))
    x = x.view(count, height, channels, width).transpose(1, 3).reshape(count, width, channels * height)
    x = weighted_rows(x, *reflected(across, width))
    return x.view(count, width, channels, height).permute(0, 2, 3, 1).contiguous()


def gaussian(sigma: Array, size: int) -> Array:
    """Gaussians of sigma (B,) cut to kernels (B, size), float32, each summing to 1."""
    x = np.arange(size) - size // 2
    weight = np.exp(-0.5 * (x / sigma.astype(np.float64)[:, None]) ** 2)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True), dtype=np.float32)


def reflected(kernels: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Taps of a kernel (B, K) at every pixel of an axis, mirrored at its ends without repeating the end pixels."""
    count, size = kernels.shape
    place = torch.arange(length, device=kernels.device)[:, None] + torch.arange(size, device=kernels.device) - size // 2
    place = place.abs()
    place = torch.where(place >= length, 2 * (length - 1) - place, place)
    return place.expand(count, length, size), kernels[:, None].expand(count, length, size)
