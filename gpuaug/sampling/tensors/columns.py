"""What a column of a view is, and how its values in two views compare."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from ...ops.base import Array

Rule = Literal["difference", "log-ratio", "exclusive or", "offset", "log-size"]
"""How two values of a column compare; `RULES` says how each is computed."""

FLOOR = 1 / 256
"""A factor below this counts as this in a logarithm: it turns white into less than one of 8 bits' levels."""


class Written(NamedTuple):
    """A rule in words: of the value r from a in view i to b in view j."""

    relative: str
    inverse: str
    opposite: str


RULES: dict[Rule, Written] = {
    "difference": Written("b - a", "a + r", "-r"),
    "log-ratio": Written("log(max(b, 1/256) / max(a, 1/256))", "max(a, 1/256) exp(r)", "-r"),
    "exclusive or": Written("1 if a and b differ, else 0", "abs(a - r)", "r"),
    "offset": Written("(b - a) / size of i's crop", "a + r x size of i's crop", "-r / exp(r of that size)"),
    "log-size": Written("log(b / a)", "a exp(r)", "-r"),
}
"""Rule -> the relative value, how it gives b back, and what it is from view j to view i."""


class Column(NamedTuple):
    """One column of a view.

    Attributes:
        name: Without the label of its op.
        unit: Its unit and the range of its values.
        rule: How two values compare.
        neutral: The value that changes nothing.
        reach: The largest distance from `neutral` that the op's arguments allow, by which values are normalised.
        counts: Whether its distance from `neutral` says how strong the op is.
    """

    name: str
    unit: str
    rule: Rule = "difference"
    neutral: float = 0.0
    reach: float = 1.0
    counts: bool = False


APPLY = Column("apply", "0 or 1")
FLIP = Column("apply", "0 or 1", "exclusive or")

CROP = (
    Column("top", "share of the image's height or width", "offset"),
    Column("left", "share of the image's height or width", "offset"),
    Column("height", "share of the image's height or width, > 0", "log-size"),
    Column("width", "share of the image's height or width, > 0", "log-size"),
    Column("log_aspect", "log of width / height in pixels"),
)
"""The columns of the crop, which stand first and are never scaled."""


def reach(neutral: float, low: float, high: float) -> float:
    return max(abs(low - neutral), abs(high - neutral))


def compare(rules: Array, a: Array, b: Array) -> Array:
    """What takes each value of `a` to that of `b`, both (D, B) with the columns of the crop first. rules: (D,) of strings."""
    r = b - a
    r[:2] /= a[2:4]
    r[2:4] = np.log(b[2:4] / a[2:4])
    ratio, either = rules == "log-ratio", rules == "exclusive or"
    r[ratio] = np.log(np.maximum(b[ratio], FLOOR) / np.maximum(a[ratio], FLOOR))
    r[either] = np.abs(r[either])
    return r


def undo(rules: Array, a: Array, r: Array) -> Array:
    """The inverse of `compare`: b from a and r."""
    b = a + r
    b[:2] = a[:2] + r[:2] * a[2:4]
    b[2:4] = a[2:4] * np.exp(r[2:4])
    ratio, either = rules == "log-ratio", rules == "exclusive or"
    b[ratio] = np.maximum(a[ratio], FLOOR) * np.exp(r[ratio])
    b[either] = np.abs(a[either] - r[either])
    return b
