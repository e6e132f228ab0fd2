"""The table of instructions: the arguments of each, whether it ends a pass, and which kernels can run it.

A program describes what happens to one image: a sequence of instruction codes with eight numbers each. The CPU kernels (Numba)
and the CUDA kernels (Triton) read the same programs. Every set of instructions is derived from this table, so no other code
may rely on the order of the codes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

ARGUMENTS = 8
"""How many float32 arguments every instruction has room for."""

KEY = 6
"""Index of the argument whose bits are the first word of a noise key; the second word is in the next argument, the last one."""

BLUR_CUT = 1e-4
"""Share of a Gaussian kernel's mass that may be cut off with its tails. The error in a view, in [0, 1], is at most this."""

GRAY_WEIGHTS = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in a gray value, as in torchvision."""

DARK = 128 / 255
"""Values below this are changed by SOLARIZE_ADD, as in `ops.automatic.kinds`."""

NOTHING, BRIGHTNESS, CONTRAST, SATURATION, HUE, GRAY, BLUR, SOLARIZE, POSTERIZE, INVERT, AFFINE = range(11)
NOISE, CLIPPED_NOISE, ERASE, ERASE_WITH_NOISE, HUE_OF_ANY = range(11, 16)
WARP, SHARPNESS, EQUALIZE, AUTOCONTRAST, SOLARIZE_ADD, PERMUTE, JPEG, ELASTIC = range(16, 24)
KEEP, ADD, ADD_LAST = range(24, 27)


class Instruction(NamedTuple):
    """One kind of instruction.

    Attributes:
        code: Number that stands for it in a program.
        arguments: Names of its arguments, in order.
        barrier: Whether a pixel's result depends on other pixels, so that a pass must end before it: contrast needs the mean
            of the whole view, blur needs neighbouring rows.
        positional: Whether its effect depends on the position of a pixel.
        bounded: Whether kernels may assume that it keeps values within [0, 1].
        fixed16: Whether the CPU kernels can run it in 16-bit fixed point.
        mirrored: Whether a flip before it and a flip after it give the same view.
    """

    code: int
    arguments: tuple[str, ...] = ()
    barrier: bool = False
    positional: bool = False
    bounded: bool = True
    fixed16: bool = False
    mirrored: bool = True


BOX = ("top", "left", "height", "width")

TABLE = (
    Instruction(NOTHING),
    Instruction(BRIGHTNESS, ("factor",), fixed16=True),
    Instruction(CONTRAST, ("factor",), barrier=True, fixed16=True),
    Instruction(SATURATION, ("factor",), fixed16=True),
    Instruction(HUE, ("turns",), fixed16=True),
    Instruction(GRAY, fixed16=True),
    Instruction(BLUR, ("sigma", "radius across", "radius down"), barrier=True, fixed16=True),
    Instruction(SOLARIZE, ("threshold",), fixed16=True),
    Instruction(POSTERIZE, ("levels",), fixed16=True),
    Instruction(INVERT, fixed16=True),
    Instruction(AFFINE, ("red factor", "green factor", "blue factor", "red term", "green term", "blue term"), bounded=False),
    # Clipped noise does stay in [0, 1], but treating both kinds of noise alike keeps the kernels simpler, and noise is rare.
    Instruction(NOISE, ("mean", "sigma"), positional=True, bounded=False, mirrored=False),
    Instruction(CLIPPED_NOISE, ("mean", "sigma"), positional=True, bounded=False, mirrored=False),
    Instruction(ERASE, (*BOX, "red", "green", "blue"), positional=True, bounded=False, mirrored=False),
    Instruction(ERASE_WITH_NOISE, BOX, positional=True, bounded=False, mirrored=False),
    # A hue shift of pixels that may already lie outside [0, 1].
    Instruction(HUE_OF_ANY, ("turns",)),
    # Pixel (x, y) is read at ((a x + b y + c) / w, (d x + e y + f) / w) with w = g x + h y + 1, in pixels from the centre of
    # the top left pixel. The column behind holds NOTHING and more arguments: whether bilinear, then red, green, blue outside.
    Instruction(WARP, tuple("abcdefgh"), barrier=True, fixed16=True, mirrored=False),
    Instruction(SHARPNESS, ("factor",), barrier=True, fixed16=True),
    Instruction(EQUALIZE, barrier=True, fixed16=True),
    Instruction(AUTOCONTRAST, barrier=True, fixed16=True),
    Instruction(SOLARIZE_ADD, ("term",), fixed16=True),
    # Red, green and blue become these channels.
    Instruction(PERMUTE, ("red", "green", "blue"), fixed16=True),
    Instruction(JPEG, ("quality",), barrier=True, mirrored=False),
    # As that of WARP, the column behind has whether bilinear, red, green and blue. The last two arguments are the key.
    Instruction(ELASTIC, ("alpha x", "alpha y", "sigma x", "sigma y", "radius x", "radius y"), barrier=True, mirrored=False),
    # A weighted sum of several views of an image. KEEP keeps the view as it is and begins the sum with it; ADD adds the view to
    # the sum and goes on with the view that was kept; ADD_LAST adds the view and goes on with the sum.
    Instruction(KEEP, ("weight",), barrier=True, fixed16=True),
    Instruction(ADD, ("weight",), barrier=True, fixed16=True),
    Instruction(ADD_LAST, ("weight",), barrier=True, fixed16=True),
)
"""Every instruction; its index is its code."""


def flags(values: list[bool]) -> npt.NDArray[np.bool_]:
    return np.array(values, dtype=np.bool_)


# Properties of the instructions as arrays indexed by code, for the host and for the Numba kernels.
IS_BARRIER = flags([i.barrier for i in TABLE])
IS_POSITIONAL = flags([i.positional for i in TABLE])
IS_BOUNDED = flags([i.bounded for i in TABLE])
IS_MIRRORED = flags([i.mirrored for i in TABLE])
IN_FIXED16 = flags([i.fixed16 for i in TABLE])
HAS_FACTOR = flags([i.arguments[:1] == ("factor",) for i in TABLE])

BARRIERS = tuple(i.code for i in TABLE if i.barrier)
