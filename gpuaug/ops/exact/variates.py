"""Normal, gamma and beta variates out of IEEE arithmetic alone, so that draws have the same bits on every machine.

NumPy's log and sin differ in the last bit between processors and versions. The number of uniform numbers is fixed, as
counter-based draws need it; the usual generators of gamma and beta numbers reject some of theirs.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .exponential import EXPONENTIAL, exponential

Numbers = npt.NDArray[np.float64]

SINE = [(-1) ** k / math.factorial(2 * k + 1) for k in range(11, -1, -1)]
"""Taylor's polynomial on [-pi / 2, pi / 2]: the terms left out are below 6e-21."""

LOGARITHM = [1 / (2 * k + 1) for k in range(12, -1, -1)]
"""Of artanh on [-0.172, 0.172]: the terms left out are below 1e-20 of the result."""


TRIES = 8
"""Tries of the rejection method of `gamma`. It accepts 95 % or more, so all fail less than once in 10^10 variates."""


def uniforms_of(alpha: float) -> int:
    """How many uniform numbers a variate of `gamma` takes."""
    return 1 if alpha == 1 else 3 * TRIES + 1


def gamma(u: Numbers, alpha: float) -> Numbers:
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
        return -logarithm(u[..., 0])
    d = (alpha if alpha >= 1 else alpha + 1) - 1 / 3
    first, second, accept = (u[..., k * TRIES : (k + 1) * TRIES] for k in range(3))
    x = normal(first, second)
    root = 1 + x / math.sqrt(9 * d)
    v = root * root * root
    positive = np.where(v > 0, v, 1.0)
    good = (v > 0) & (logarithm(accept) < 0.5 * x * x + d - d * v + d * logarithm(positive))
    chosen = np.argmax(good, axis=-1)[..., None]
    out = d * np.where(good.any(axis=-1), np.take_along_axis(v, chosen, axis=-1)[..., 0], 1.0)
    if alpha < 1:
        out = out * exponential(np.maximum(logarithm(u[..., -1]) / alpha, -690.0))
    return np.asarray(out)


def normal(u: Numbers, v: Numbers) -> Numbers:
    """Standard normal variates, one for each pair of independent uniform numbers (Box and Muller). u in (0, 1), v in [0, 1)."""
    return np.sqrt(-2 * logarithm(u)) * sine_of_half_turns(0.5 - v)


def symmetric_beta(alpha: Numbers | float, u: Numbers, v: Numbers) -> Numbers:
    """Numbers with the distribution Beta(alpha, alpha), one for each pair of independent uniform numbers.

    If T has Student's distribution with 2 alpha degrees of freedom, 1/2 + T / (2 sqrt(2 alpha + T^2)) is Beta(alpha, alpha);
    and T = sqrt(2 alpha (U^(-1 / alpha) - 1)) cos(pi V) has (Bailey 1994, "Polar generation of random variates with the
    t-distribution", Math. Comp. 62). This holds for every alpha > 0, and T itself cancels out.

    Args:
        alpha: Above 0; one number, or one for each pair.
        u: In [0, 1).
        v: In [0, 1).

    Returns:
        float64 in [0, 1], in the shape of `u`.
    """
    with np.errstate(over="ignore"):  # of a tiny alpha
        power = exponential(np.maximum(logarithm(1 - u) / alpha, -700.0))  # U^(1 / alpha), which shall not underflow
    cosine = sine_of_half_turns(v - 0.5)  # of an angle that is uniform too
    square = cosine * cosine * (1 - power)
    total = power + square
    smaller = power / total / (2 * (1 + np.sqrt(square / total)))  # of lambda and 1 - lambda, without cancellation
    return np.asarray(np.where(cosine < 0, smaller, 1 - smaller))


def logarithm(x: Numbers) -> Numbers:
    """Natural logarithm to the last bits, for positive normal numbers."""
    _, high, low, *_ = EXPONENTIAL
    mantissa, exponent = np.frexp(x)
    under = mantissa < math.sqrt(0.5)
    mantissa, exponent = np.where(under, 2 * mantissa, mantissa), exponent - under
    f = (mantissa - 1) / (mantissa + 1)
    return np.asarray(exponent * high + (exponent * low + 2 * f * polynomial(LOGARITHM, f * f)))


def sine_of_half_turns(x: Numbers) -> Numbers:
    """sin(pi x), to the last bits, for |x| <= 1/2."""
    angle = math.pi * x
    return angle * polynomial(SINE, angle * angle)


def polynomial(terms: list[float], x: Numbers) -> Numbers:
    """Horner's rule; the highest power's coefficient first."""
    sum_: Numbers = np.full_like(x, terms[0])
    for term in terms[1:]:
        sum_ = sum_ * x + term
    return sum_
