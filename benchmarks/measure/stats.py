"""Statistics of repeated timings: medians, quartiles, and ratios with 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np


@dataclass(frozen=True)
class Spread:
    """A median and an interval around it."""

    median: float
    low: float
    high: float

    def scaled(self, factor: float) -> Spread:
        return Spread(self.median * factor, self.low * factor, self.high * factor)


def quartiles(values: Sequence[float]) -> Spread:
    """Median and interquartile range. Raises ValueError for no values."""
    if not len(values):
        raise ValueError("quartiles: no values")
    low, median, high = np.percentile(values, [25, 50, 75]).tolist()
    return Spread(median, low, high)


def interval(values: Sequence[float], confidence: float = 0.95) -> Spread:
    """The median, and an interval that covers the true median with at least this confidence, whatever the distribution.

    Its ends are the order statistics k and n + 1 - k, with the largest k for which 1 - 2 P(Binomial(n, 1/2) < k) is at least
    the confidence (Conover, Practical Nonparametric Statistics, 3.2): the second and the ninth of 10 values. Fewer than 6
    values give their whole range.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    n = len(ordered)
    k, tail = 1, 2 * 0.5**n
    while 2 * k < n and (tail := tail + 2 * comb(n, k) * 0.5**n) <= 1 - confidence:
        k += 1
    return Spread(float(np.median(ordered)), float(ordered[k - 1]), float(ordered[n - k]))


def ratio(of: Sequence[float], to: Sequence[float]) -> Spread:
    """The median of `of / to` over the rounds, with its 95 % interval. What slows a whole round down cancels."""
    return interval([a / b for a, b in zip(of, to, strict=True)])


def shown(r: Spread) -> str:
    """A ratio as text; "=" if its interval holds 1, that is, if there is no significant difference."""
    return "=" if r.low <= 1 <= r.high else f"{brief(r.median)}x"


def brief(value: float) -> str:
    """Two or three significant digits, never an exponent: 0.042, 1.8, 12.3, 151, 11,100."""
    if value >= 1000:
        digits = 3 - len(str(round(value)))
        return f"{round(value, digits):,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"
