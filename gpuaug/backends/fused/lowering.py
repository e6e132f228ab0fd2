"""How each op becomes instructions: their codes and arguments, one row per image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ... import ops as op
from ...ops import Op, OpDraws, Size
from ...ops.automatic.kinds import CODE, KINDS, WARPING, warp_matrices
from ...ops.automatic.ops import Automatic, sub_policies
from ...ops.base import Array
from ...ops.color import ORDERS, PARTS
from .distortions import (
    distort_columns,
    fill_distort,
    fill_elastic,
    fill_jpeg,
    fill_key,
    fill_outside,
    fill_permutation,
)
from .instructions import (
    ADD,
    ADD_LAST,
    AFFINE,
    ARGUMENTS,
    AUTOCONTRAST,
    BLUR,
    BRIGHTNESS,
    CLIPPED_NOISE,
    CONTRAST,
    ELASTIC,
    EQUALIZE,
    ERASE,
    ERASE_WITH_NOISE,
    GRAY,
    HUE,
    HUE_OF_ANY,
    INVERT,
    IS_BARRIER,
    JPEG,
    KEEP,
    NOISE,
    NOTHING,
    PERMUTE,
    POSTERIZE,
    SATURATION,
    SHARPNESS,
    SOLARIZE,
    SOLARIZE_ADD,
    WARP,
)

Columns = tuple[tuple[int, ...], ...]
"""For each column of a program, the codes that it may hold, each as often as it is probable."""


class Lowering(NamedTuple):
    """How an op becomes instructions.

    Attributes:
        columns: columns(op) returns the columns.
        fill: fill(op, draws, codes, arguments, size of the view) writes the arguments (B, n, 8), named in `instructions.TABLE`.
            It finds in `codes` (B, n) the first code of each column, and writes others where draws decide.
    """

    columns: Callable[[Any], Columns]
    fill: Callable[[Any, OpDraws, Array, Array, Size], None]


def lowered(o: Op, d: OpDraws, count: int, size: Size) -> tuple[Array, Array]:
    """The n instructions of one op: their codes, (B, n) uint8, and their arguments, (B, n, 8) float32."""
    lowering = LOWERINGS[type(o)]
    codes = np.tile(np.array([column[0] for column in lowering.columns(o)], dtype=np.uint8), (count, 1))
    arguments: Array = np.zeros((*codes.shape, ARGUMENTS), dtype=np.float32)
    lowering.fill(o, d, codes, arguments, size)
    return codes, arguments


def columns_of(o: Op) -> Columns:
    """The columns that an op takes in a program; none for flips and crops."""
    return LOWERINGS[type(o)].columns(o) if type(o) in LOWERINGS else ()


def codes_of(o: Op) -> tuple[int, ...]:
    """Codes of the instructions that an op may become: NOTHING for an unused part of a jitter, none for flips and crops."""
    return tuple(code for column in columns_of(o) for code in column)


def passes_over_view(ops: Sequence[Op]) -> float:
    """Count the barriers of a stage, on average over its draws: how often the whole view must be ready before it goes on.

    An op inside a `OneOf` is counted as if it stood alone, since steps do not tell how often its branch is taken.
    """
    return sum((float(getattr(o, "p", 1.0)) * mean_barriers(o) for o in ops), 0.0)


@lru_cache(maxsize=256)  # a schedule may give every epoch an op of its own
def mean_barriers(o: Op) -> float:
    """Barriers that an op becomes on average where it is applied. An automatic op is drawn for 10,000 images."""
    if isinstance(o, Automatic):
        u = np.random.default_rng(0).random((10_000, o.uniforms))
        return float(IS_BARRIER[lowered(o, o.draw(u), len(u), (224, 224))[0]].sum(axis=1).mean())
    return sum((float(IS_BARRIER[list(column)].mean()) for column in columns_of(o)), 0.0)


def with_hue_of_any(codes: Array) -> Array:
    """Codes (B, 4) of a jitter of unbounded pixels: HUE becomes HUE_OF_ANY if it comes before the other parts, which clamp."""
    first_hue = (codes == HUE) & ~np.logical_or.accumulate((codes != HUE) & (codes != NOTHING), axis=1)
    return np.where(first_hue, np.uint8(HUE_OF_ANY), codes)


def affine(o: op.Normalize) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    std = np.array(o.std)
    return (1 / std).astype(np.float32), (-np.array(o.mean) / std).astype(np.float32)


PART_CODES = {"brightness": BRIGHTNESS, "contrast": CONTRAST, "saturation": SATURATION, "hue": HUE}


def jitter_columns(o: op.ColorJitter) -> Columns:
    """The parts of a jitter, in one of their orders."""
    return tuple((NOTHING if o.limits(part) is None else PART_CODES[part],) for part in PARTS)


def fill_jitter(o: op.ColorJitter, d: OpDraws, codes: Array, arguments: Array, size: Size) -> None:
    for k, part in enumerate(PARTS):
        if part in d:
            arguments[:, k, 0] = d[part]
    order = ORDERS[d["order"]]
    codes[:] = np.take_along_axis(codes, order, axis=1)
    arguments[:, :, 0] = np.take_along_axis(arguments[:, :, 0], order, axis=1)


def fill_blur(o: op.GaussianBlur, d: OpDraws, codes: Array, arguments: Array, size: Size) -> None:
    o.output_size(size)  # raises ValueError if the view is too small to be padded by reflection
    width, height = o.kernel
    arguments[:, 0, 0] = d["sigma"]
    arguments[:, 0, 1:3] = width // 2, height // 2


def fill_noise(o: op.GaussianNoise, d: OpDraws, codes: Array, arguments: Array, size: Size) -> None:
    arguments[:, 0, :2] = o.mean, o.sigma
    fill_key(d, arguments)


def fill_erasing(o: op.RandomErasing | op.Cutout, d: OpDraws, codes: Array, arguments: Array, size: Size) -> None:
    count = len(arguments)
    arguments[:, 0, :4] = o.boxes(d, np.full(count, size[0]), np.full(count, size[1]))
    if isinstance(o.value, str):
        fill_key(d, arguments)
    else:
        arguments[:, 0, 4:7] = o.value


def fill_affine(o: op.Normalize, d: OpDraws, codes: Array, arguments: Array, size: Size) -> None:
    arguments[:, 0, :3], arguments[:, 0, 3:6] = affine(o)


def from_corner(matrices: Array, size: Size) -> Array:
    """Maps (..., 6) in pixels from the image's centre as maps from the centre of its top left pixel, as WARP has them."""
    x, y = (size[1] - 1) / 2, (size[0] - 1) / 2
    a, b, c, d, e, f = np.moveaxis(matrices, -1, 0)
    return np.stack([a, b, c - a * x - b * y + x, d, e, f - d * x - e * y + y], axis=-1)


def fill_warp(o: op.RandomAffine | op.RandomRotation, d: OpDraws, codes: Array, arguments: Array, size: Size) -> None:
    arguments[:, 0, :6] = from_corner(o.matrices(d, *size), size)
    fill_outside(o, arguments[:, 1])
    leave_out_identities(codes[:, 0], arguments[:, 0])


def leave_out_identities(codes: Array, arguments: Array) -> None:
    """Turn warps with arguments (..., 8) that move nothing into NOTHING."""
    codes[(codes == WARP) & (arguments == np.eye(3, dtype=np.float32).reshape(-1)[:ARGUMENTS]).all(axis=-1)] = NOTHING


def fill_perspective(o: op.RandomPerspective, d: OpDraws, codes: Array, arguments: Array, size: Size) -> None:
    # An op's coordinates are from the corner of the image, half a pixel away from the centre of the top left pixel.
    a, b, c, d_, e, f, g, h = o.coefficients(d, *size).T
    w = 1 + (g + h) / 2
    c, f = c + (a + b) / 2 - w / 2, f + (d_ + e) / 2 - w / 2
    rows = [a - g / 2, b - h / 2, c, d_ - g / 2, e - h / 2, f, g, h]
    arguments[:, 0] = (np.stack(rows) / w).T
    fill_outside(o, arguments[:, 1])


SIMPLE = {
    "Brightness": BRIGHTNESS,
    "Color": SATURATION,
    "Contrast": CONTRAST,
    "Sharpness": SHARPNESS,
    "Posterize": POSTERIZE,
    "Solarize": SOLARIZE,
    "SolarizeAdd": SOLARIZE_ADD,
    "AutoContrast": AUTOCONTRAST,
    "Equalize": EQUALIZE,
    "Invert": INVERT,
}
"""Kind of an automatic op that is no warp -> its instruction. Its argument is the magnitude; of Posterize, 2 to that power."""

OF_KIND = np.array([WARP if code in WARPING else SIMPLE.get(kind, NOTHING) for code, kind in enumerate(KINDS)], dtype=np.uint8)
"""Code of a kind -> code of its instruction."""


def automatic_columns(o: Automatic) -> Columns:
    """Two columns for each slot, since a warp takes two."""
    kinds = tuple(OF_KIND[o.kinds].tolist())
    return (kinds, (NOTHING,)) * o.slots


def fill_automatic(o: Automatic, d: OpDraws, codes: Array, arguments: Array, size: Size) -> None:
    fill_slots(o, d["op"], d["magnitude"], codes[:, ::2], arguments[:, ::2], arguments[:, 1::2], size)


def fill_slots(
    o: Automatic, kinds: Array, magnitudes: Array, codes: Array, arguments: Array, behind: Array, size: Size
) -> None:
    """Write codes (B, n) and arguments (B, n, 8) of kinds and magnitudes (B, n), and the arguments in the columns behind."""
    posterize = kinds == CODE["Posterize"]
    codes[:] = np.where(posterize & (magnitudes == 8), np.uint8(NOTHING), OF_KIND[kinds])
    arguments[..., 0] = np.where(posterize, np.exp2(np.where(posterize, magnitudes, 0)), magnitudes)
    warps = np.isin(kinds, WARPING)
    arguments[warps, :6] = from_corner(warp_matrices(kinds[warps], magnitudes[warps], *size), size)
    outside = np.zeros(ARGUMENTS, dtype=np.float32)
    fill_outside(o, outside)
    behind[warps] = outside
    leave_out_identities(codes, arguments)


class Choices(NamedTuple):
    """What one slot of an automatic op may become, for those who draw it in another way; a slot has two columns.

    Attributes:
        digits: (column, count): the numbers floor(count * u) of these columns of the op's uniform numbers u form the index of
            a choice, the first of them most significant.
        taken: Column of the number that must be below the share of a choice for it to be taken; -1 if it always is.
        shares: (M,) probability with which each choice is taken.
        codes: (M, 2) its instructions.
        arguments: (M, 2, 8) their arguments.
    """

    digits: tuple[tuple[int, int], ...]
    taken: int
    shares: Array
    codes: Array
    arguments: Array


def digits_of(o: Automatic) -> list[tuple[tuple[tuple[int, int], ...], int]] | None:
    """The digits of each slot, and the column that decides whether it is taken; None for an op with other draws."""
    kinds = len(o.kinds)
    if type(o) is op.RandAugment:
        return [(((2 * k, kinds), (2 * k + 1, 2)), -1) for k in range(o.slots)]
    if type(o) is op.TrivialAugmentWide:
        return [(((0, kinds), (1, o.num_magnitude_bins), (2, 2)), -1)]
    if type(o) is op.AutoAugment:
        return [(((0, kinds // 2), (3 + k, 2)), 1 + k) for k in range(o.slots)]
    return None


def choices(o: Automatic, size: Size) -> list[Choices] | None:
    """The choices of each slot of an automatic op, found by drawing each of them once; None for an op with other draws."""
    found = digits_of(o)
    if found is None:
        return None
    out = []
    for k, (digits, taken) in enumerate(found):
        counts = [count for _, count in digits]
        u = np.zeros((int(np.prod(counts)), o.uniforms))
        for (column, count), digit in zip(digits, np.indices(counts).reshape(len(counts), -1), strict=True):
            u[:, column] = (digit + 0.5) / count
        codes, arguments = lowered(o, o.draw(u), len(u), size)
        shares = np.ones(len(u))
        if isinstance(o, op.AutoAugment):
            shares = np.repeat(sub_policies(o.policy).probabilities[:, k], 2)
        slot = slice(2 * k, 2 * k + 2)
        out.append(Choices(digits, taken, shares, codes[:, slot], arguments[:, slot]))
    return out


def mix_columns(o: op.AugMix) -> Columns:
    """KEEP, then each chain, in two columns a slot, followed by ADD; behind the last one by ADD_LAST."""
    kinds = tuple(OF_KIND[o.kinds].tolist())
    chain = (kinds, (NOTHING,)) * o.depth
    return ((KEEP,), *((*chain, (ADD,)) * (o.mixture_width - 1)), *chain, (ADD_LAST,))


def fill_mix(o: op.AugMix, d: OpDraws, codes: Array, arguments: Array, size: Size) -> None:
    arguments[:, 0, 0] = d["weights"][:, 0]
    for k in range(o.mixture_width):
        first, last = 1 + k * (2 * o.depth + 1), (k + 1) * (2 * o.depth + 1)
        slots, chain = slice(first, last, 2), slice(k * o.depth, (k + 1) * o.depth)
        kinds, magnitudes = d["op"][:, chain], d["magnitude"][:, chain]
        fill_slots(o, kinds, magnitudes, codes[:, slots], arguments[:, slots], arguments[:, first + 1 : last : 2], size)
        arguments[:, last, 0] = d["weights"][:, k + 1]


def fixed(*codes: int) -> Callable[[Any], Columns]:
    """Columns that hold the same codes for every image."""
    return lambda o: tuple((code,) for code in codes)


def fill_from(*values: Callable[[Any], float]) -> Callable[[Any, OpDraws, Array, Array, Size], None]:
    """Arguments that are the same for every image: functions of the op."""

    def fill(o: Any, d: OpDraws, codes: Array, arguments: Array, size: Size) -> None:
        for k, value in enumerate(values):
            arguments[:, 0, k] = value(o)

    return fill


LOWERINGS: dict[type[Op], Lowering] = {
    op.ColorJitter: Lowering(jitter_columns, fill_jitter),
    op.RandomGrayscale: Lowering(fixed(GRAY), fill_from()),
    op.GaussianBlur: Lowering(fixed(BLUR), fill_blur),
    op.GaussianNoise: Lowering(lambda o: ((CLIPPED_NOISE if o.clip else NOISE,),), fill_noise),
    op.RandomSolarize: Lowering(fixed(SOLARIZE), fill_from(lambda o: o.threshold)),
    op.RandomPosterize: Lowering(lambda o: ((POSTERIZE if o.bits < 8 else NOTHING,),), fill_from(lambda o: 2**o.bits)),
    op.RandomInvert: Lowering(fixed(INVERT), fill_from()),
    op.RandomErasing: Lowering(lambda o: ((ERASE_WITH_NOISE if isinstance(o.value, str) else ERASE,),), fill_erasing),
    op.Cutout: Lowering(fixed(ERASE), fill_erasing),
    op.Normalize: Lowering(fixed(AFFINE), fill_affine),
    op.ToDtype: Lowering(fixed(), fill_from()),
    op.RandomAffine: Lowering(fixed(WARP, NOTHING), fill_warp),
    op.RandomRotation: Lowering(fixed(WARP, NOTHING), fill_warp),
    op.RandomPerspective: Lowering(fixed(WARP, NOTHING), fill_perspective),
    op.ElasticTransform: Lowering(fixed(ELASTIC, NOTHING), fill_elastic),
    op.RandomChannelPermutation: Lowering(fixed(PERMUTE), fill_permutation),
    op.RandomPhotometricDistort: Lowering(distort_columns, fill_distort),
    op.JPEG: Lowering(fixed(JPEG), fill_jpeg),
    op.RandomAdjustSharpness: Lowering(fixed(SHARPNESS), fill_from(lambda o: o.sharpness_factor)),
    op.RandomEqualize: Lowering(fixed(EQUALIZE), fill_from()),
    op.RandomAutocontrast: Lowering(fixed(AUTOCONTRAST), fill_from()),
    op.RandAugment: Lowering(automatic_columns, fill_automatic),
    op.TrivialAugmentWide: Lowering(automatic_columns, fill_automatic),
    op.AutoAugment: Lowering(automatic_columns, fill_automatic),
    op.FixMatchRandAugment: Lowering(automatic_columns, fill_automatic),
    op.TimmRandAugment: Lowering(automatic_columns, fill_automatic),
    op.AugMix: Lowering(mix_columns, fill_mix),
}
"""Op -> how it becomes instructions, for every op except resizes, crops and flips."""
