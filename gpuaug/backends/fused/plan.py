"""What a fused stage does, as tables with one row an image: where its pixels come from, and its program.

The CPU and the CUDA kernels read the same tables. A program holds only what happens to its image: an op that is not applied
leaves the code NOTHING, and the parts of a jitter stand in the order that was drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ... import ops as op
from ...images import Images
from ...ops import Op, OpDraws, Size
from ...ops.base import Array, is_integer
from ...ops.color import ORDERS, PARTS
from .. import Given
from .instructions import (
    AFFINE,
    ARGUMENTS,
    BLUR,
    CLIPPED_NOISE,
    ERASE,
    ERASE_WITH_NOISE,
    GRAY,
    HUE,
    HUE_OF_ANY,
    INVERT,
    NOISE,
    NOTHING,
    POSTERIZE,
    SOLARIZE,
)

FILTERS = ("bilinear", "bicubic")
GEOMETRY = (op.RandomResizedCrop, op.Resize, op.CenterCrop, op.RandomCrop)
FLIPS = (op.RandomHorizontalFlip, op.RandomVerticalFlip)
WIDENING = (op.Normalize, op.GaussianNoise, op.RandomErasing)
"""Ops behind which pixels may lie outside [0, 1]."""


@dataclass(frozen=True)
class Tables:
    """A fused stage for a batch of B images.

    size: (height, width) of the view. boxes (B, 8) int32: the part of the image that is read (top, left, height, width), the
    height and width that it is resized to, and where in that the view begins (y, x; negative where the view reaches beyond,
    and is black). flips (B, 2) bool: left-right, top-bottom. cubic: the filter. codes (B, N) uint8 and arguments
    (B, N, 8) float32: the programs. scale, bias (3,) float32: the affine map of each channel on the way out. radius: the
    largest of any blur. blurs: how many a program may have.
    """

    size: Size
    boxes: npt.NDArray[np.int32]
    flips: npt.NDArray[np.bool_]
    cubic: bool
    codes: npt.NDArray[np.uint8]
    arguments: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    radius: int
    blurs: int


def take(steps: Sequence[Op], given: Given) -> int:
    """How many of the steps, from the first on, one fused stage can do.

    A stage that starts from images begins with a resize, a crop, or both. A flip moves to the beginning of its stage, since
    it commutes with all but noise and erasing, so it cannot follow these.
    """
    n = geometry_length(steps) if given == "images" else 0
    if given == "ragged" or (given == "images" and n == 0):
        return 0
    placed = False  # whether something depends on where a pixel is
    for step in steps[n:]:
        flip = isinstance(step, FLIPS)
        if (not flip and type(step) not in INSTRUCTIONS) or (flip and placed):
            break
        placed = placed or isinstance(step, (op.GaussianNoise, op.RandomErasing))
        n += 1
    return n


def geometry_length(steps: Sequence[Op]) -> int:
    """How many leading steps say which pixels are read: a resized crop, or a resize, a crop, or one after the other."""
    if not steps:
        return 0
    if isinstance(steps[0], op.RandomResizedCrop):
        return int(steps[0].interpolation in FILTERS)
    n = int(isinstance(steps[0], op.Resize) and steps[0].interpolation in FILTERS)
    if len(steps) > n and plain_crop(steps[n]):
        return n + 1
    return n if n and not is_integer(cast(op.Resize, steps[0]).size) else 0


def plain_crop(step: Op) -> bool:
    """A crop whose padding, if any, is black."""
    if isinstance(step, op.RandomCrop):
        return step.padding_mode == "constant" and step.fill == (0.0, 0.0, 0.0)
    return isinstance(step, op.CenterCrop)


def tables(batch: Any, ops: Sequence[Op], draws: Sequence[OpDraws]) -> Tables:
    """The tables of a stage that `take` has allowed. batch: `Images`, or floats (B, 3, H, W)."""
    count = len(batch)
    if isinstance(batch, Images):
        n = geometry_length(ops)
        size, boxes, cubic = geometry(batch.shapes, ops[:n], draws[:n])
    else:
        n, cubic = 0, False
        size = (int(batch.shape[2]), int(batch.shape[3]))
        boxes = np.tile(np.array([0, 0, *size, *size, 0, 0], dtype=np.int32), (count, 1))
    flips = np.zeros((count, 2), dtype=np.bool_)
    codes: list[Array] = []
    arguments: list[Array] = []
    wide = not isinstance(batch, Images)  # whether values may lie outside [0, 1]: of 8-bit pixels, until one of WIDENING
    scale, bias = np.ones(3, dtype=np.float32), np.zeros(3, dtype=np.float32)
    radius = blurs = 0
    last = max((k for k, o in enumerate(ops) if not isinstance(o, op.ToDtype)), default=-1)
    for k, (o, d) in enumerate(zip(ops[n:], draws[n:], strict=True), start=n):
        apply = d.get("apply", np.ones(count, dtype=np.bool_))
        if isinstance(o, FLIPS):
            flips[:, int(isinstance(o, op.RandomVerticalFlip))] ^= apply
        elif isinstance(o, op.Normalize) and k == last and "apply" not in d:
            scale, bias = affine(o)
        else:
            if isinstance(o, op.GaussianBlur):
                blurs, radius = blurs + 1, max(radius, *(side // 2 for side in o.kernel))
            code, values = INSTRUCTIONS[type(o)](o, d, count, size)
            if wide and isinstance(o, op.ColorJitter):
                code = with_hue_of_any(code)
            wide = wide or isinstance(o, WIDENING)
            codes.append(np.where(apply[:, None], code, np.uint8(NOTHING)))
            arguments.append(values)
    return Tables(
        size,
        boxes,
        flips,
        cubic,
        np.concatenate(codes, axis=1) if codes else np.zeros((count, 0), dtype=np.uint8),
        np.concatenate(arguments, axis=1) if arguments else np.zeros((count, 0, ARGUMENTS), dtype=np.float32),
        scale,
        bias,
        radius,
        blurs,
    )


def geometry(shapes: Array, ops: Sequence[Op], draws: Sequence[OpDraws]) -> tuple[Size, npt.NDArray[np.int32], bool]:
    """Size of the view, boxes (B, 8), and whether the filter is cubic."""
    height, width = shapes[:, 0], shapes[:, 1]
    first, final = ops[0], ops[-1]
    size = cast(Size, cast(Any, final).size)
    boxes = np.zeros((len(shapes), 8), dtype=np.int32)
    boxes[:, 2], boxes[:, 3] = height, width
    boxes[:, 4], boxes[:, 5] = size
    cubic = getattr(first, "interpolation", "") == "bicubic"
    if isinstance(first, op.RandomResizedCrop):
        boxes[:, :4] = first.boxes(draws[0], height, width)
    elif isinstance(first, op.Resize):
        boxes[:, 4:6] = [first.target(int(h), int(w)) for h, w in shapes]
        if len(ops) == 2:
            boxes[:, 6:8] = cast(Any, final).boxes(draws[1], boxes[:, 4], boxes[:, 5])[:, :2]
    else:
        crop = cast(Any, final).boxes(draws[0], height, width)
        # At least one pixel is read: of a crop that lies wholly in the padding, one that its view, all black, does not show.
        start = np.clip(crop[:, :2], 0, shapes - 1)
        end = np.clip(crop[:, :2] + crop[:, 2:], start + 1, shapes)
        boxes[:, :2], boxes[:, 2:4], boxes[:, 4:6], boxes[:, 6:8] = start, end - start, end - start, crop[:, :2] - start
    return size, boxes, cubic


def affine(o: op.Normalize) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    std = np.array(o.std)
    return (1 / std).astype(np.float32), (-np.array(o.mean) / std).astype(np.float32)


Instructions = tuple[Any, Array]
"""Of one op, n of them: codes, (n,) or (B, n) uint8, and arguments (B, n, 8)."""


def one(code: int, count: int, *values: Any) -> Instructions:
    """One instruction, its arguments from numbers and columns (B,)."""
    arguments = np.zeros((count, 1, ARGUMENTS), dtype=np.float32)
    for k, value in enumerate(values):
        arguments[:, 0, k] = value
    return np.array([code], dtype=np.uint8), arguments


def jitter(o: op.ColorJitter, d: OpDraws, count: int, size: Size) -> Instructions:
    """Four instructions in the drawn order; argument: the factor, or the shift of the hue in turns."""
    code = np.array([k if part in d else NOTHING for k, part in enumerate(PARTS, start=1)], dtype=np.uint8)
    factor = np.zeros((count, 4), dtype=np.float32)
    for k, part in enumerate(PARTS):
        if part in d:
            factor[:, k] = d[part]
    order = ORDERS[d["order"]]
    arguments = np.zeros((count, 4, ARGUMENTS), dtype=np.float32)
    arguments[:, :, 0] = np.take_along_axis(factor, order, axis=1)
    return code[order], arguments


def with_hue_of_any(codes: Array) -> Array:
    """Codes (B, 4) of a jitter whose pixels may lie outside [0, 1]: a hue that comes before its other parts, which clamp."""
    first_hue = (codes == HUE) & ~np.logical_or.accumulate((codes != HUE) & (codes != NOTHING), axis=1)
    return np.where(first_hue, np.uint8(HUE_OF_ANY), codes)


def blur(o: op.GaussianBlur, d: OpDraws, count: int, size: Size) -> Instructions:
    """Arguments: sigma, radius across, radius down. Raises ValueError for a view too small to reflect."""
    o.output_size(size)
    width, height = o.kernel
    return one(BLUR, count, d["sigma"], width // 2, height // 2)


def noise(o: op.GaussianNoise, d: OpDraws, count: int, size: Size) -> Instructions:
    """Arguments: mean, sigma; the last two are the words of the key."""
    return with_key(one(CLIPPED_NOISE if o.clip else NOISE, count, o.mean, o.sigma), d)


def erasing(o: op.RandomErasing, d: OpDraws, count: int, size: Size) -> Instructions:
    """Arguments: top, left, height, width of the box, then three values; or, last, the words of the key."""
    box = o.boxes(d, np.full(count, size[0]), np.full(count, size[1]))
    if isinstance(o.value, str):
        return with_key(one(ERASE_WITH_NOISE, count, *box.T), d)
    return one(ERASE, count, *box.T, *cast(tuple[float, ...], o.value))


def with_key(made: Instructions, d: OpDraws) -> Instructions:
    made[1].view(np.uint32)[:, 0, 6:] = d["key"]
    return made


def normalize(o: op.Normalize, d: OpDraws, count: int, size: Size) -> Instructions:
    """Arguments: three factors, three summands."""
    scale, bias = affine(o)
    return one(AFFINE, count, *scale, *bias)


INSTRUCTIONS: dict[type[Op], Any] = {
    op.ColorJitter: jitter,
    op.RandomGrayscale: lambda o, d, count, size: one(GRAY, count),
    op.GaussianBlur: blur,
    op.GaussianNoise: noise,
    op.RandomSolarize: lambda o, d, count, size: one(SOLARIZE, count, o.threshold),
    op.RandomPosterize: lambda o, d, count, size: one(POSTERIZE if o.bits < 8 else NOTHING, count, 2**o.bits),
    op.RandomInvert: lambda o, d, count, size: one(INVERT, count),
    op.RandomErasing: erasing,
    op.Normalize: normalize,
    op.ToDtype: lambda o, d, count, size: (np.zeros(0, dtype=np.uint8), np.zeros((count, 0, ARGUMENTS), dtype=np.float32)),
}
"""Op -> its instructions: (op, draws, B, size of the view) -> codes and arguments."""
