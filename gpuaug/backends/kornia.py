"""Kornia's own functions, with our draws as their parameters, for the ops where they equal torchvision's.

docs/parity.md lists, for every op, Kornia's function, its error, and whether it runs here. The backend `batched` does the other
steps of a view; `print(augmenter)` shows which backend does which step.
"""

# mypy: disable-error-code="no-any-return"
# Kornia has no type hints that mypy can see.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import kornia
import numpy as np
import torch
from kornia import enhance
from kornia.geometry import hflip, vflip
from kornia.geometry.transform import homography_warp
from torch.nn.functional import pad

from .. import ops as op
from ..ops.base import Array
from ..ops.color import GRAY, PARTS
from . import Backend, BatchForm, Function, leading_where
from .batched.rows import apply_marked, column, send


def warp(x: torch.Tensor, o: Any, inverse: Array) -> torch.Tensor:
    """Warp by maps (B, 3, 3) from pixels of the result to pixels of x; the centres of pixels are at whole numbers.

    A fourth channel of ones is warped too, and then says which share of a pixel comes from inside the image. At the border the
    bilinear filter already fades to black; torchvision then blends with the fill by this share, so that it fades twice.
    Kornia's own `fill_value` fades once.
    """
    height, width = x.shape[-2:]
    # Kornia maps -1 and 1 to the centres of the outermost pixels, which needs at least two: a single one gets a neighbour.
    x = pad(torch.cat([x, torch.ones_like(x[:, :1])], dim=1), (0, int(width == 1), 0, int(height == 1)))
    size = (x.shape[2], x.shape[3])
    half = np.diag([(size[1] - 1) / 2, (size[0] - 1) / 2, 1.0])
    half[:2, 2] = half[0, 0], half[1, 1]
    matrix, fill = send(x.device, (np.linalg.inv(half) @ inverse @ half).astype(np.float32), np.array(o.fill, np.float32))
    out = homography_warp(x, matrix, size, mode=o.interpolation, padding_mode="zeros", align_corners=True)
    color, mask, fill = out[:, :3, :height, :width], out[:, 3:, :height, :width], fill.view(3, 1, 1)
    return torch.where(mask < 0.5, fill, color) if o.interpolation == "nearest" else (color - fill) * mask + fill


def moved(matrix: Array, x: float, y: float) -> Array:
    """Turn maps (B, 3, 3) about the point (x, y) into maps about the centre of the first pixel."""
    there, back = np.eye(3), np.eye(3)
    there[:2, 2], back[:2, 2] = (-x, -y), (x, y)
    return np.asarray(back @ matrix @ there)


def affine(x: torch.Tensor, o: op.RandomAffine | op.RandomRotation, d: op.OpDraws) -> torch.Tensor:
    height, width = x.shape[-2:]
    rows = o.matrices(d, height, width).reshape(-1, 2, 3)
    bottom = np.broadcast_to([[[0.0, 0.0, 1.0]]], (len(rows), 1, 3))
    return warp(x, o, moved(np.concatenate([rows, bottom], axis=1), (width - 1) / 2, (height - 1) / 2))


def perspective(x: torch.Tensor, o: op.RandomPerspective, d: op.OpDraws) -> torch.Tensor:
    rows = o.coefficients(d, x.shape[2], x.shape[3])
    whole = np.concatenate([rows, np.ones_like(rows[:, :1])], axis=1).reshape(-1, 3, 3)
    return warp(x, o, moved(whole, -0.5, -0.5))  # torchvision's coordinates are those of the pixels' corners


def brightness(x: torch.Tensor, o: op.ColorJitter, d: op.OpDraws) -> torch.Tensor:
    return enhance.adjust_brightness_accumulative(x, send(x.device, d["brightness"])[0])


def grayscale(x: torch.Tensor, o: op.RandomGrayscale, d: op.OpDraws) -> torch.Tensor:
    weights = send(x.device, np.array(GRAY, np.float32))[0]  # Kornia's own weight of red is 0.299
    return kornia.color.rgb_to_grayscale(x, rgb_weights=weights).expand_as(x)


def solarize(x: torch.Tensor, o: op.RandomSolarize, d: op.OpDraws) -> torch.Tensor:
    return enhance.solarize(x, column(x, np.full(len(x), o.threshold)).flatten())


def blur(x: torch.Tensor, o: op.GaussianBlur, d: op.OpDraws) -> torch.Tensor:
    o.output_size((x.shape[2], x.shape[3]))  # raises if the image is too small to reflect
    (sigma,) = send(x.device, d["sigma"])
    x = x.contiguous()  # required by Kornia 0.8
    return kornia.filters.gaussian_blur2d(x, o.kernel[::-1], torch.stack([sigma, sigma], dim=1), border_type="reflect")


def erase(x: torch.Tensor, o: op.RandomErasing, d: op.OpDraws) -> torch.Tensor:
    """Kornia's module, with our boxes instead of its own draws."""
    boxes = o.boxes(d, np.full(len(x), x.shape[2]), np.full(len(x), x.shape[3])).astype(np.int64)
    value = np.full(len(x), cast(tuple[float, ...], o.value)[0], np.float32)
    names = ("ys", "xs", "heights", "widths", "values")
    module = kornia.augmentation.RandomErasing(p=1.0)
    parameters = dict(zip(names, send(x.device, *boxes.T.copy(), value), strict=True))
    return module.apply_transform(x, parameters, module.flags)


def normalize(x: torch.Tensor, o: op.Normalize, d: op.OpDraws) -> torch.Tensor:
    mean, std = send(x.device, np.array(o.mean, np.float32), np.array(o.std, np.float32))
    return enhance.normalize(x, mean, std)


OPS: dict[type[op.Op], Function] = {
    op.RandomHorizontalFlip: lambda x, o, d: hflip(x),
    op.RandomVerticalFlip: lambda x, o, d: vflip(x),
    op.RandomAffine: affine,
    op.RandomRotation: affine,
    op.RandomPerspective: perspective,
    op.ColorJitter: brightness,
    op.RandomGrayscale: grayscale,
    op.RandomSolarize: solarize,
    op.RandomInvert: lambda x, o, d: enhance.invert(x, torch.ones(1, device=x.device)),
    op.GaussianBlur: blur,
    op.RandomErasing: erase,
    op.Normalize: normalize,
}
"""Op -> Kornia's function for images of one size; `agrees` says for which arguments of the op."""


def agrees(o: op.Op) -> bool:
    """Whether Kornia's function equals torchvision's for this op's arguments."""
    if isinstance(o, op.ColorJitter):
        return [part for part in PARTS if o.limits(part) is not None] == ["brightness"]
    if isinstance(o, op.RandomErasing):  # Kornia fills all three channels with one value
        return not isinstance(o.value, str) and len(set(cast(tuple[float, ...], o.value))) == 1
    return type(o) in OPS


def count_supported(steps: Sequence[op.Op], form: BatchForm) -> int:
    if form not in ("floats", "host"):  # Kornia's functions need one batch of one size
        return 0
    return leading_where(steps, agrees)


def apply(batch: torch.Tensor, ops: Sequence[op.Op], draws: Sequence[op.OpDraws]) -> torch.Tensor:
    """Apply a run of supported steps to float32 (B, 3, H, W)."""
    for o, step in zip(ops, draws, strict=True):
        batch = apply_marked(OPS[type(o)], batch, o, step)
    return batch


BACKEND = Backend(OPS, count_supported, apply, differentiable=True, fallback="batched")
