"""Kornia's own functions, with our draws as their parameters, for the ops where they equal torchvision's.

The table of docs/parity.md has every op: Kornia's function, how far it is from the truth, and whether it runs here. The other
steps of a view are done by the backend `batched`; `print(augmenter)` shows which are whose.
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
from ..ops.color import PARTS
from . import Backend, BatchForm, Function
from .batched.rows import column, on_marked, send

GRAY = np.array([0.2989, 0.587, 0.114], np.float32)
"""torchvision's weights of red, green and blue; Kornia's own first is 0.299."""


def warp(x: torch.Tensor, o: Any, inverse: Array) -> torch.Tensor:
    """Warp by maps (B, 3, 3) from the pixels of the result to those of x, whose centres are whole numbers.

    A fourth channel of ones tells how much of a pixel comes from inside. By it torchvision blends with the fill what the
    bilinear filter has already faded at the border, where Kornia's own `fill_value` fades only once.
    """
    height, width = x.shape[-2:]
    # Kornia maps -1 and 1 to the outermost pixels' centres, which a single pixel cannot have: a second, outside, is none.
    x = pad(torch.cat([x, torch.ones_like(x[:, :1])], dim=1), (0, int(width == 1), 0, int(height == 1)))
    size = (x.shape[2], x.shape[3])
    half = np.diag([(size[1] - 1) / 2, (size[0] - 1) / 2, 1.0])
    half[:2, 2] = half[0, 0], half[1, 1]
    matrix, fill = send(x.device, (np.linalg.inv(half) @ inverse @ half).astype(np.float32), np.array(o.fill, np.float32))
    out = homography_warp(x, matrix, size, mode=o.interpolation, padding_mode="zeros", align_corners=True)
    color, mask, fill = out[:, :3, :height, :width], out[:, 3:, :height, :width], fill.view(3, 1, 1)
    return torch.where(mask < 0.5, fill, color) if o.interpolation == "nearest" else (color - fill) * mask + fill


def moved(matrix: Array, x: float, y: float) -> Array:
    """Maps (B, 3, 3) about the point (x, y) as maps about the centre of the first pixel."""
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
    return warp(x, o, moved(whole, -0.5, -0.5))  # torchvision's are between corners of pixels


def brightness(x: torch.Tensor, o: op.ColorJitter, d: op.OpDraws) -> torch.Tensor:
    return enhance.adjust_brightness_accumulative(x, send(x.device, d["brightness"])[0])


def grayscale(x: torch.Tensor, o: op.RandomGrayscale, d: op.OpDraws) -> torch.Tensor:
    return kornia.color.rgb_to_grayscale(x, rgb_weights=send(x.device, GRAY)[0]).expand_as(x)


def solarize(x: torch.Tensor, o: op.RandomSolarize, d: op.OpDraws) -> torch.Tensor:
    return enhance.solarize(x, column(x, np.full(len(x), o.threshold)).flatten())


def blur(x: torch.Tensor, o: op.GaussianBlur, d: op.OpDraws) -> torch.Tensor:
    o.output_size((x.shape[2], x.shape[3]))  # raises where the image is too small to reflect
    (sigma,) = send(x.device, d["sigma"])
    x = x.contiguous()  # Kornia 0.8 takes no other
    return kornia.filters.gaussian_blur2d(x, o.kernel[::-1], torch.stack([sigma, sigma], dim=1), border_type="reflect")


def erase(x: torch.Tensor, o: op.RandomErasing, d: op.OpDraws) -> torch.Tensor:
    """Kornia's module, given the boxes instead of drawing them."""
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
"""Op -> Kornia's function, for images of one size; `agrees` says with which arguments."""


def agrees(o: op.Op) -> bool:
    """Whether Kornia's function equals torchvision's, for these arguments of the op."""
    if isinstance(o, op.ColorJitter):
        return [part for part in PARTS if o.limits(part) is not None] == ["brightness"]
    if isinstance(o, op.RandomErasing):  # Kornia's fills all three channels with one value
        return not isinstance(o.value, str) and len(set(cast(tuple[float, ...], o.value))) == 1
    return type(o) in OPS


def count_supported(steps: Sequence[op.Op], form: BatchForm) -> int:
    if form != "floats":  # Kornia's functions want one batch of one size
        return 0
    return next((n for n, o in enumerate(steps) if not agrees(o)), len(steps))


def apply(batch: torch.Tensor, ops: Sequence[op.Op], draws: Sequence[op.OpDraws]) -> torch.Tensor:
    """Apply a run of steps that `count_supported` has counted to float32 (B, 3, H, W)."""
    for o, step in zip(ops, draws, strict=True):
        batch = changed(batch, o, step)
    return batch


def changed(x: torch.Tensor, o: op.Op, draws: op.OpDraws) -> torch.Tensor:
    """Apply one op to the images that are marked in its draws."""
    function = OPS[type(o)]
    return on_marked(x, draws, lambda x, d: function(x, o, d))


BACKEND = Backend(OPS, count_supported, apply)
