"""Gamma variates out of uniform numbers, for weights with a Beta or Dirichlet distribution."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

TRIES = 8
"""Tries of the rejection method. It accepts 95 % or more of them, so all fail less than once in 10^10 variates."""


def uniforms_of(alpha: float) -> int:
    """How many uniform numbers a variate takes."""
    return 1 if alpha == 1 else 3 * TRIES + 1


def gamma(u: npt.NDArray[np.float64], alpha: float) -> npt.NDArray[np.float64]:
    """Variates of the gamma distribution of shape `alpha` and scale 1.

    The method is Marsaglia and Tsang's (2000, "A simple method for generating gamma variables", ACM TOMS 26). As they say, the
    result for a shape below 1 is that for the shape plus 1, times a power of a uniform number.

    Args:
        u: (..., uniforms_of(alpha)) in [0, 1).
        alpha: Above 0.

    Returns:
        float64 (...), above 0.
    """
    u = u + 2.0**-33  # in (0, 1)
    if alpha == 1:
        return np.asarray(-np.log(u[..., 0]))
    d = (alpha if alpha >= 1 else alpha + 1) - 1 / 3
    first, second, accept = (u[..., k * TRIES : (k + 1) * TRIES] for k in range(3))
    x = np.sqrt(-2 * np.log(first)) * np.cos(2 * math.pi * second)
    v = (1 + x / math.sqrt(9 * d)) ** 3
    with np.errstate(invalid="ignore", divide="ignore"):
        good = (v > 0) & (np.log(accept) < 0.5 * x * x + d - d * v + d * np.log(v))
    chosen = np.argmax(good, axis=-1)[..., None]
    out = d * np.where(good.any(axis=-1), np.take_along_axis(v, chosen, axis=-1)[..., 0], 1.0)
    if alpha < 1:
        out = np.maximum(out * u[..., -1] ** (1 / alpha), 1e-300)
    return np.asarray(out)
