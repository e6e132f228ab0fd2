"""The exponential function out of IEEE additions and multiplications alone, so that every device computes the same bits.

NumPy's own exp and the C library's differ in the last bit of one value in twenty, and a GPU has a third. Box sizes follow from
it by rounding, so a different last bit would change about one box in 10^13.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

DEGREE = 13
"""Of Taylor's polynomial on [-log(2) / 2, log(2) / 2]: the terms left out are below 4e-18."""

EXPONENTIAL = np.array(
    [
        1 / math.log(2),
        float.fromhex("0x1.62e42fee00000p-1"),  # log(2) to 32 bits, so that its product with a small integer is exact
        float.fromhex("0x1.a39ef35793c76p-33"),  # the rest of log(2)
        *(1 / math.factorial(k) for k in range(DEGREE, -1, -1)),
    ]
)
"""Constants of `exponential`, as an array for the compiled kernels that compute the same."""


def exponential(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """exp(x) to the last bit but one, for |x| < 700. Other numbers, which only a caller can draw, give no box that fits."""
    inverse, high, low, *terms = EXPONENTIAL
    with np.errstate(invalid="ignore", over="ignore"):
        n = np.rint(x * inverse)
        rest = (x - n * high) - n * low
        sum_: npt.NDArray[np.float64] = np.full_like(x, terms[0])
        for term in terms[1:]:
            sum_ = sum_ * rest + term
        return np.asarray(np.ldexp(sum_, n.astype(np.int32)))
