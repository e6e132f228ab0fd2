"""Turns ops and draws into tables with one row per image: the part of it that is read, and its program.

The CPU and CUDA kernels read the same tables. Each image has its own program: an op that is not applied to the image becomes
the instruction NOTHING, and the parts of a colour jitter come in the order drawn for the image.
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
from .. import BatchForm, leading
from .instructions import ARGUMENTS, IS_BOUNDED, IS_MIRRORED, NOTHING
from .lowering import LOWERINGS, affine, codes_of, lowered, with_hue_of_any

FILTERS = ("bilinear", "bicubic")
GEOMETRY = (op.RandomResizedCrop, op.Resize, op.CenterCrop, op.RandomCrop)
FLIPS = (op.RandomHorizontalFlip, op.RandomVerticalFlip)


@dataclass(frozen=True)
class Tables:
    """A fused stage for a batch of B images.

    Attributes:
        size: (height, width) of the view.
        boxes: (B, 8) the part of the image that is read (top, left, height, width), the height and width to which it is
            resized, and the position (y, x) in the resized image where the view begins. A view is black where it reaches
            beyond the resized image, so the position may be negative.
        flips: (B, 2) whether the view is flipped left-right, and top-bottom.
        cubic: Whether the resize filter is bicubic; else it is bilinear.
        codes: (B, N) instruction codes of the programs.
        arguments: (B, N, 8) arguments of the instructions.
        scale: (3,) factor by which each channel is multiplied at the end.
        bias: (3,) term that is then added to each channel.
        radius: Largest radius of any blur, in pixels.
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


def count_supported(steps: Sequence[Op], form: BatchForm) -> int:
    """Count how many steps, from the first on, one fused stage can run.

    A stage that starts from images begins with a resize, a crop, or a resize followed by a crop. Flips are done at the
    beginning of a stage. A flip after an op that it does not commute with, such as noise or a warp, starts a new stage.

    Args:
        steps: The steps of a view that remain.
        form: What the stage would start from.

    Returns:
        The number of steps; 0 if the first step cannot be fused.
    """
    steps = steps[: leading(steps, OPS)]
    n = geometry_length(steps) if form == "images" else 0
    if form == "ragged" or (form == "images" and n == 0):
        return 0
    mirrored = True  # whether a flip commutes with all steps so far
    for step in steps[n:]:
        flip = isinstance(step, FLIPS)
        if (not flip and type(step) not in LOWERINGS) or (flip and not mirrored):
            break
        mirrored = mirrored and all(IS_MIRRORED[code] for code in codes_of(step))
        n += 1
    return n


def geometry_length(steps: Sequence[Op]) -> int:
    """Count the leading steps that choose the pixels to read: a resized crop, a resize, a crop, or a resize and then a crop."""
    if not steps:
        return 0
    if isinstance(steps[0], op.RandomResizedCrop):
        return int(steps[0].interpolation in FILTERS)
    n = int(isinstance(steps[0], op.Resize) and steps[0].interpolation in FILTERS)
    if len(steps) > n and plain_crop(steps[n]):
        return n + 1
    return n if n and not is_integer(cast(op.Resize, steps[0]).size) else 0


def plain_crop(step: Op) -> bool:
    """Whether a step is a crop whose padding, if it has any, is black."""
    if isinstance(step, op.RandomCrop):
        return step.padding_mode == "constant" and step.fill == (0.0, 0.0, 0.0)
    return isinstance(step, op.CenterCrop)


def tables(batch: Any, ops: Sequence[Op], draws: Sequence[OpDraws]) -> Tables:
    """Tables of a stage that `count_supported` has counted, for `Images` or a float32 batch (B, 3, H, W)."""
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
    # Whether values may lie outside [0, 1]. 8-bit pixels start within; an instruction that is not bounded may change that.
    wide = not isinstance(batch, Images)
    scale, bias = np.ones(3, dtype=np.float32), np.zeros(3, dtype=np.float32)
    radius = 0
    last = max((k for k, o in enumerate(ops) if not isinstance(o, op.ToDtype)), default=-1)
    for k, (o, d) in enumerate(zip(ops[n:], draws[n:], strict=True), start=n):
        apply = d.get("apply", np.ones(count, dtype=np.bool_))
        if isinstance(o, FLIPS):
            flips[:, int(isinstance(o, op.RandomVerticalFlip))] ^= apply
        elif isinstance(o, op.Normalize) and k == last and "apply" not in d:
            scale, bias = affine(o)
        else:
            if isinstance(o, op.GaussianBlur):
                radius = max(radius, *(side // 2 for side in o.kernel))
            code, values = lowered(o, d, count, size)
            if wide and isinstance(o, (op.ColorJitter, op.RandomPhotometricDistort)):
                code = with_hue_of_any(code)
            wide = wide or not all(IS_BOUNDED[c] for c in codes_of(o))
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
    )


def geometry(shapes: Array, ops: Sequence[Op], draws: Sequence[OpDraws]) -> tuple[Size, npt.NDArray[np.int32], bool]:
    """Size of the view, boxes (B, 8) of `Tables`, and whether the filter is bicubic."""
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
        # A crop that lies wholly in the padding still reads one pixel, which its black view does not show.
        start = np.clip(crop[:, :2], 0, shapes - 1)
        end = np.clip(crop[:, :2] + crop[:, 2:], start + 1, shapes)
        boxes[:, :2], boxes[:, 2:4], boxes[:, 4:6], boxes[:, 6:8] = start, end - start, end - start, crop[:, :2] - start
    return size, boxes, cubic


OPS: frozenset[type[Op]] = frozenset({*GEOMETRY, *FLIPS, *LOWERINGS})
"""Ops that can be fused; `count_supported` decides whether an op is fused at its place in a view. A class derived from one of
them is an op of its own, which may draw or do something else."""
