"""The instructions of a program, in one table: what each needs and keeps.

A program is what happens to one image, as a row of codes with eight numbers each. The kernels on the CPU (Numba) and on CUDA
(Triton) read the same codes. All sets of instructions are derived from the table; nothing may rely on the order of the codes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

ARGUMENTS = 8
"""Numbers of an instruction, float32."""

KEY = 6
"""The argument with the first of the two words of a noise key, as bits; the other is the next, and last."""

BLUR_CUT = 1e-4
"""Share of the Gaussian's mass that may be cut off with its tails; the error in the view is at most this."""

GRAY_WEIGHTS = (0.2989, 0.587, 0.114)
"""Of red, green and blue in a gray value, as torchvision has them."""

NOTHING, BRIGHTNESS, CONTRAST, SATURATION, HUE, GRAY, BLUR, SOLARIZE, POSTERIZE, INVERT, AFFINE = range(11)
NOISE, CLIPPED_NOISE, ERASE, ERASE_WITH_NOISE, HUE_OF_ANY = range(11, 16)


class Instruction(NamedTuple):
    """One kind of instruction.

    Attributes:
        code: Its number in a program.
        arguments: Names of its arguments, in order.
        barrier: It needs more than its own pixels, so it ends a pass: contrast the mean of the whole view, blur the
            neighbouring rows.
        positional: Its effect depends on where a pixel is.
        bounded: Kernels may count on values that were in [0, 1] to be there still.
        fixed16: The CPU can do it in 16-bit fixed point.
    """

    code: int
    arguments: tuple[str, ...] = ()
    barrier: bool = False
    positional: bool = False
    bounded: bool = True
    fixed16: bool = False


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
    Instruction(POSTERIZE, ("levels",)),
    Instruction(INVERT),
    Instruction(AFFINE, ("red factor", "green factor", "blue factor", "red term", "green term", "blue term"), bounded=False),
    # Clipping keeps the range, but no kernel counts on it: noise is rare, and the others need not tell the two apart.
    Instruction(NOISE, ("mean", "sigma"), positional=True, bounded=False),
    Instruction(CLIPPED_NOISE, ("mean", "sigma"), positional=True, bounded=False),
    Instruction(ERASE, (*BOX, "red", "green", "blue"), positional=True, bounded=False),
    Instruction(ERASE_WITH_NOISE, BOX, positional=True, bounded=False),
    # A hue whose pixels may lie outside [0, 1] already.
    Instruction(HUE_OF_ANY, ("turns",)),
)
"""Every instruction, at the place of its code."""


def flags(values: list[bool]) -> npt.NDArray[np.bool_]:
    return np.array(values, dtype=np.bool_)


# Sets of codes, as arrays to be looked up by a code, on the host and in Numba's kernels.
IS_BARRIER = flags([i.barrier for i in TABLE])
IS_POSITIONAL = flags([i.positional for i in TABLE])
IS_BOUNDED = flags([i.bounded for i in TABLE])
IN_FIXED16 = flags([i.fixed16 for i in TABLE])
HAS_FACTOR = flags([i.arguments[:1] == ("factor",) for i in TABLE])

BARRIERS = tuple(i.code for i in TABLE if i.barrier)
