"""Turns ops and draws into tables with one row per image: the part of it that is read, and its program.

The CPU and CUDA kernels read the same tables. Each image has its own program: an op that is not applied to the image becomes
the instruction NOTHING, and the parts of a colour jitter come in the order drawn for the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from ... import ops as op
from ...images import Images
from ...ops import Op, OpDraws, Size
from ...ops.base import Array, is_integer
from ...ops.color import ORDERS, PARTS
from .. import BatchForm, leading, leading_where
from .instructions import (
    AFFINE,
    ARGUMENTS,
    BLUR,
    BRIGHTNESS,
    CLIPPED_NOISE,
    CONTRAST,
    ERASE,
    ERASE_WITH_NOISE,
    GRAY,
    HUE,
    HUE_OF_ANY,
    INVERT,
    IS_BARRIER,
    IS_BOUNDED,
    IS_POSITIONAL,
    KEY,
    NOISE,
    NOTHING,
    POSTERIZE,
    SATURATION,
    SOLARIZE,
)

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
    beginning of a stage. A flip commutes with every op except noise and erasing; a flip after one of these starts a new stage.
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
        steps = steps[
            : leading_where(steps, lambda o: not isinstance(o, op.GaussianNoise) and getattr(o, "value", 0) != "random")
        ]
    n = geometry_length(steps) if form in ("images", "host", "planes", "bytes") else 0
    if form == "ragged" or (form in ("images", "planes", "bytes") and n == 0):
        return 0
    if form == "planes":
        return n + leading(steps[n:], FLIPS)
    positional = False  # whether some step so far depends on the position of a pixel
    for step in steps[n:]:
        flip = isinstance(step, FLIPS)
        if (not flip and type(step) not in LOWERINGS) or (flip and positional):
            break
        positional = positional or any(IS_POSITIONAL[code] for code in codes_of(step))
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
            if wide and isinstance(o, op.ColorJitter):
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


def affine(o: op.Normalize) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    std = np.array(o.std)
    return (1 / std).astype(np.float32), (-np.array(o.mean) / std).astype(np.float32)


def lowered(o: Op, d: OpDraws, count: int, size: Size) -> tuple[Array, Array]:
    """The n instructions of one op: their codes, (n,) or (B, n) uint8, and their arguments, (B, n, 8) float32."""
    codes = np.array(codes_of(o), dtype=np.uint8)
    arguments: Array = np.zeros((count, len(codes), ARGUMENTS), dtype=np.float32)
    LOWERINGS[type(o)].fill(o, d, arguments, size)
    if not isinstance(o, op.ColorJitter):
        return codes, arguments
    order = ORDERS[d["order"]]
    factors = arguments[:, :, 0]  # the one argument of each part
    arguments[:, :, 0] = np.take_along_axis(factors, order, axis=1)
    return codes[order], arguments


def codes_of(o: Op) -> tuple[int, ...]:
    """Codes of the instructions that an op may become: NOTHING for an unused part of a jitter, none for flips and crops."""
    return LOWERINGS[type(o)].codes(o) if type(o) in LOWERINGS else ()


def passes_over_view(ops: Sequence[Op]) -> float:
    """Count the barriers of a stage, on average over its draws: how often the whole view must be ready before it goes on.

    An op inside a `OneOf` is counted as if it stood alone, since steps do not tell how often its branch is taken.
    """
    return float(sum(cast(Any, o).p for o in ops for code in codes_of(o) if IS_BARRIER[code]))


def with_hue_of_any(codes: Array) -> Array:
    """Codes (B, 4) of a jitter of unbounded pixels: HUE becomes HUE_OF_ANY if it comes before the other parts, which clamp."""
    first_hue = (codes == HUE) & ~np.logical_or.accumulate((codes != HUE) & (codes != NOTHING), axis=1)
    return np.where(first_hue, np.uint8(HUE_OF_ANY), codes)


# Functions (op, draws, arguments, size of the view) that fill in arguments (B, n, 8), named in `instructions.TABLE`.


def fill_nothing(o: Op, d: OpDraws, arguments: Array, size: Size) -> None:
    pass


def fill_jitter(o: op.ColorJitter, d: OpDraws, arguments: Array, size: Size) -> None:
    for k, part in enumerate(PARTS):
        if part in d:
            arguments[:, k, 0] = d[part]


def fill_blur(o: op.GaussianBlur, d: OpDraws, arguments: Array, size: Size) -> None:
    o.output_size(size)  # raises ValueError if the view is too small to be padded by reflection
    width, height = o.kernel
    arguments[:, 0, 0] = d["sigma"]
    arguments[:, 0, 1:3] = width // 2, height // 2


def fill_noise(o: op.GaussianNoise, d: OpDraws, arguments: Array, size: Size) -> None:
    arguments[:, 0, :2] = o.mean, o.sigma
    fill_key(d, arguments)


def fill_erasing(o: op.RandomErasing, d: OpDraws, arguments: Array, size: Size) -> None:
    count = len(arguments)
    arguments[:, 0, :4] = o.boxes(d, np.full(count, size[0]), np.full(count, size[1]))
    if isinstance(o.value, str):
        fill_key(d, arguments)
    else:
        arguments[:, 0, 4:7] = o.value


def fill_key(d: OpDraws, arguments: Array) -> None:
    arguments.view(np.uint32)[:, 0, KEY:] = d["key"]


def fill_affine(o: op.Normalize, d: OpDraws, arguments: Array, size: Size) -> None:
    arguments[:, 0, :3], arguments[:, 0, 3:6] = affine(o)


def fill_threshold(o: op.RandomSolarize, d: OpDraws, arguments: Array, size: Size) -> None:
    arguments[:, 0, 0] = o.threshold


def fill_levels(o: op.RandomPosterize, d: OpDraws, arguments: Array, size: Size) -> None:
    arguments[:, 0, 0] = 2**o.bits


class Lowering(NamedTuple):
    """How an op becomes instructions: one function returns their codes, the other fills in their arguments."""

    codes: Callable[[Any], tuple[int, ...]]
    fill: Callable[[Any, OpDraws, Array, Size], None] = fill_nothing


PART_CODES = {"brightness": BRIGHTNESS, "contrast": CONTRAST, "saturation": SATURATION, "hue": HUE}

LOWERINGS: dict[type[Op], Lowering] = {
    op.ColorJitter: Lowering(
        lambda o: tuple(NOTHING if o.limits(part) is None else PART_CODES[part] for part in PARTS), fill_jitter
    ),
    op.RandomGrayscale: Lowering(lambda o: (GRAY,)),
    op.GaussianBlur: Lowering(lambda o: (BLUR,), fill_blur),
    op.GaussianNoise: Lowering(lambda o: (CLIPPED_NOISE if o.clip else NOISE,), fill_noise),
    op.RandomSolarize: Lowering(lambda o: (SOLARIZE,), fill_threshold),
    op.RandomPosterize: Lowering(lambda o: (POSTERIZE if o.bits < 8 else NOTHING,), fill_levels),
    op.RandomInvert: Lowering(lambda o: (INVERT,)),
    op.RandomErasing: Lowering(lambda o: (ERASE_WITH_NOISE if isinstance(o.value, str) else ERASE,), fill_erasing),
    op.Normalize: Lowering(lambda o: (AFFINE,), fill_affine),
    op.ToDtype: Lowering(lambda o: ()),
}
"""Op -> how it becomes instructions, for every op except resizes, crops and flips."""

OPS: frozenset[type[Op]] = frozenset({*GEOMETRY, *FLIPS, *LOWERINGS})
"""Ops that can be fused; `count_supported` decides whether an op is fused at its place in a view. A class derived from one of
them is an op of its own, which may draw or do something else."""
