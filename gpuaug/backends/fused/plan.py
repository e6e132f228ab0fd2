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
from .. import BatchForm, leading, leading_where
from .instructions import ARGUMENTS, IS_BOUNDED, IS_MIRRORED, NOTHING, WARP
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
        possible: The codes that programs of the stage may hold for any draws. The CUDA kernels that run depend on these and not
            on the draws, so that an image's view does not depend on the batch.
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
    possible: frozenset[int] = frozenset()


def count_supported(steps: Sequence[Op], form: BatchForm) -> int:
    """Count how many steps, from the first on, one fused stage can run.

    A stage that starts from images begins with a resize, a crop, or a resize followed by a crop. Flips are done at the
    beginning of a stage. A flip after an op that it does not commute with, such as noise or a warp, starts a new stage.
    On the CPU, a stage that starts from floats may begin with the same crops; of "planes" it has crops and flips alone. From
    "bytes" it has what it has from images, except noise, which has another field for every three channels.

    Args:
        steps: The steps of a view that remain.
        form: What the stage would start from.

    Returns:
        The number of steps; 0 if the first step cannot be fused.
    """
    steps = steps[: leading(steps, OPS)]
    if form == "bytes":
        steps = steps[: leading_where(steps, lambda o: not has_noise(o))]
    n = geometry_length(steps) if form in ("images", "host", "planes", "bytes") else 0
    if form == "ragged" or (form in ("images", "planes", "bytes") and n == 0):
        return 0
    if form == "planes":
        return n + leading(steps[n:], FLIPS)
    mirrored = True  # whether a flip commutes with all steps so far
    for step in steps[n:]:
        flip = isinstance(step, FLIPS)
        if (not flip and type(step) not in LOWERINGS) or (flip and not mirrored):
            break
        mirrored = mirrored and all(IS_MIRRORED[code] for code in codes_of(step))
        n += 1
    return n


def has_noise(step: Op) -> bool:
    return isinstance(step, op.GaussianNoise) or getattr(step, "value", None) == "random"


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
        return step.padding_mode == "constant" and not any(cast(tuple[float, ...], step.fill))
    return isinstance(step, op.CenterCrop)


def tables(batch: Any, ops: Sequence[Op], draws: Sequence[OpDraws]) -> Tables:
    """Tables of a stage that `count_supported` has counted, for `Images` or a float32 batch (B, C, H, W)."""
    count = len(batch)
    n = geometry_length(ops)
    if n:
        shapes = batch.shapes if isinstance(batch, Images) else np.tile(np.array(batch.shape[2:], dtype=np.int32), (count, 1))
        size, boxes, cubic = geometry(shapes, ops[:n], draws[:n])
    else:
        cubic = False
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
        possible_codes(ops),
    )


def possible_codes(ops: Sequence[Op]) -> frozenset[int]:
    """The codes that ops may become."""
    return frozenset(code for o in ops for code in codes_of(o))


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


def compose_warps(tables: Tables) -> None:
    """Make one warp of two, in place, where no instruction is between them and both interpolate and fill alike.

    The first reads at A p, the second at B p, so the two read at A (B p). A matrix has the arguments of WARP row by row, and 1.
    """
    codes, arguments = tables.codes, tables.arguments
    images = np.arange(len(codes))
    latest = np.full(len(codes), -1)  # the column of an image's last warp, if no other instruction came after it
    for n in range(codes.shape[1]):
        warps = codes[:, n] == WARP
        rows = images[warps & (latest >= 0)]
        rows = rows[(arguments[rows, latest[rows] + 1] == arguments[rows, (n + 1) % codes.shape[1]]).all(axis=1)]
        product = as_matrices(arguments[rows, latest[rows]]) @ as_matrices(arguments[rows, n])
        arguments[rows, n] = (product / product[:, 2:, 2:]).reshape(-1, 9)[:, :ARGUMENTS]
        codes[rows, latest[rows]] = NOTHING
        latest[warps] = n
        latest[~warps & (codes[:, n] != NOTHING)] = -1


def as_matrices(arguments: Array) -> Array:
    """Matrices (B, 3, 3) float64 of the arguments (B, 8) of warps."""
    return np.concatenate([arguments.astype(np.float64), np.ones((len(arguments), 1))], axis=1).reshape(-1, 3, 3)
