"""The functions that automatic ops choose from, and their magnitudes: torchvision's spaces (`_auto_augment.py`) as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..base import Array, OpDraws
from ..geometric import inverse_affine, offset

KINDS = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "TranslateXRel",
    "TranslateYRel",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "SolarizeAdd",
    "AutoContrast",
    "Equalize",
    "Invert",
)
"""The functions that automatic ops choose from. The parameter `op` is an index into this tuple; `magnitude` is

- ShearX, ShearY: pixels of shift a pixel of distance from the top left corner,
- TranslateX, TranslateY: pixels, rounded towards 0; TranslateXRel, TranslateYRel: a share of the width or height instead,
- Rotate: degrees, counter-clockwise,
- Brightness, Color (saturation), Contrast, Sharpness: the factor; 1 changes nothing,
- Posterize: the bits that are kept; Solarize: the threshold, in [0, 1],
- SolarizeAdd: what is added to values below 128/255, in [0, 1],
- of the others: 0, without a meaning.
"""

DARK = 128 / 255
"""Values below this are changed by SolarizeAdd."""

CODE = {kind: code for code, kind in enumerate(KINDS)}
WARPING = tuple(CODE[kind] for kind in KINDS[1:8])
"""Codes of the kinds that are affine warps."""

FACTORS = ("Brightness", "Color", "Contrast", "Sharpness")


class Entry(NamedTuple):
    """One kind in a space of choices.

    Attributes:
        kind: One of KINDS.
        bins: Its magnitudes; one that means nothing if the kind has none. Of a factor, how far it is from 1.
        signed: Whether the magnitude is made negative with probability one half.
    """

    kind: str
    bins: Array
    signed: bool = False


class Space(NamedTuple):
    """Entries as arrays, from which a choice is looked up.

    Attributes:
        kinds: (K,) uint8 codes.
        bins: (K, M) float32 magnitudes.
        signed: (K,) whether a magnitude may become negative.
        base: (K,) float32 what is added to the magnitude: 1 for factors.
    """

    kinds: npt.NDArray[np.uint8]
    bins: npt.NDArray[np.float32]
    signed: npt.NDArray[np.bool_]
    base: npt.NDArray[np.float32]

    def look_up(self, entry: Array, bin_: Array, negative: Array) -> OpDraws:
        """Parameters `op` and `magnitude` of chosen entries and bins, in their shape; negative: whether to turn signs."""
        sign = np.where(self.signed[entry] & negative, np.float32(-1), np.float32(1))
        return {"op": self.kinds[entry], "magnitude": self.base[entry] + sign * self.bins[entry, bin_]}


def as_space(entries: Sequence[Entry]) -> Space:
    most = max(len(entry.bins) for entry in entries)
    return Space(
        np.array([CODE[entry.kind] for entry in entries], dtype=np.uint8),
        np.array([np.resize(entry.bins, most) for entry in entries], dtype=np.float32),
        np.array([entry.signed for entry in entries]),
        np.array([entry.kind in FACTORS for entry in entries], dtype=np.float32),
    )


def torchvision_space(
    count: int, *, shear: float, translate: Entry, angle: float, enhance: float, bits: tuple[int, int], leave_out: Sequence[str]
) -> list[Entry]:
    """torchvision's kinds with `count` bins each; magnitudes grow linearly from the first bin to the last.

    translate: largest shift, as an entry for the width. bits: those that posterizing keeps in the first and in the last bin.
    """
    grow = np.linspace(0.0, 1.0, count)
    entries = [
        Entry("Identity", np.zeros(1)),
        Entry("ShearX", grow * shear, True),
        Entry("ShearY", grow * shear, True),
        Entry(translate.kind, grow * translate.bins, True),
        Entry(translate.kind.replace("X", "Y"), grow * translate.bins, True),
        Entry("Rotate", grow * angle, True),
        *(Entry(kind, grow * enhance, True) for kind in FACTORS),
        Entry("Posterize", np.rint(bits[0] + grow * (bits[1] - bits[0]))),
        Entry("Solarize", 1 - grow),
        *(Entry(kind, np.zeros(1)) for kind in ("AutoContrast", "Equalize", "Invert")),
    ]
    return [entry for entry in entries if entry.kind not in leave_out]


RELATIVE = Entry("TranslateXRel", np.array([150 / 331]))
"""The largest shift of AutoAugment and RandAugment: 150 pixels of an image of 331."""


@cache
def rand_space(count: int) -> Space:
    space = torchvision_space(
        count, shear=0.3, translate=RELATIVE, angle=30.0, enhance=0.9, bits=(8, 4), leave_out=("Invert",)
    )  # fmt: skip
    return as_space(space)


@lru_cache(maxsize=64)  # a schedule may give every epoch a shift of its own
def wide_space(count: int, translate: float) -> Space:
    shift = Entry("TranslateX", np.array([translate]))
    space = torchvision_space(
        count, shear=0.99, translate=shift, angle=135.0, enhance=0.99, bits=(8, 2), leave_out=("Invert",)
    )  # fmt: skip
    return as_space(space)


@cache
def auto_space() -> Space:
    return as_space(torchvision_space(10, shear=0.3, translate=RELATIVE, angle=30.0, enhance=0.9, bits=(8, 4), leave_out=()))


@cache
def mix_space(all_ops: bool) -> Space:
    shift = Entry("TranslateXRel", np.array([1 / 3]))
    out = ("Identity", "Invert", *(() if all_ops else FACTORS))
    return as_space(torchvision_space(10, shear=0.3, translate=shift, angle=30.0, enhance=0.9, bits=(4, 0), leave_out=out))


def warp_matrices(op: Array, magnitude: Array, height: int, width: int) -> Array:
    """Inverse maps (B, 6) float64 of kinds that are warps, as `RandomAffine.matrices` has them; of others the identity.

    op: (B,) codes of KINDS. magnitude: (B,).
    """

    def only(kind: str, values: Array) -> Array:
        return np.where(op == CODE[kind], values, 0.0)

    m = magnitude.astype(np.float64)
    shear = np.rad2deg(np.arctan(m))
    shift_x = only("TranslateX", np.trunc(m)) + only("TranslateXRel", np.trunc((m * width).astype(np.float32)))
    shift_y = only("TranslateY", np.trunc(m)) + only("TranslateYRel", np.trunc((m * height).astype(np.float32)))
    zero = np.zeros(len(m))
    shear_x, shear_y = only("ShearX", shear), only("ShearY", shear)
    about_corner = inverse_affine(zero, zero, zero, zero + 1, shear_x, shear_y, offset((0.0, 0.0), height, width))
    about_centre = inverse_affine(-only("Rotate", m), shift_x, shift_y, zero + 1, zero, zero, (0.0, 0.0))
    sheared = (op == CODE["ShearX"]) | (op == CODE["ShearY"])
    return np.where(sheared[:, None], about_corner, about_centre)
