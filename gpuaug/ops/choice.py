"""OneOf: choose one of several branches of ops for each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .base import Op, Size, is_number, positional_or_named
from .checks import check_probability, fail, set_field

__all__ = ["OneOf"]

KEEPS_SIZE = "ops that keep the size; put crops and resizes beside the choice"


@dataclass(frozen=True, init=False)
class OneOf(Op):
    """Apply exactly one of several branches, drawn per image (torchvision `RandomChoice`; `p` adds `RandomApply`).

    Args:
        *given: The branches: each is an op, or a sequence of ops that run in order. The ops must keep the size of images, so
            crops and resizes are refused.
        branches: The branches as one sequence, instead of positional arguments.
        weights: Relative probabilities of the branches, non-negative with a positive sum; None makes them equal.
        p: Probability per image that any branch is applied.
    """

    branches: tuple[tuple[Op, ...], ...]
    weights: tuple[float, ...]
    p: float

    uniforms: ClassVar[int] = 1

    def __init__(
        self,
        *given: Op | Sequence[Op],
        branches: Sequence[Op | Sequence[Op]] = (),
        weights: Sequence[float] | None = None,
        p: float = 1.0,
    ) -> None:
        branches = positional_or_named("OneOf", "branches", given, branches)
        normal = tuple(tuple(b) if isinstance(b, (tuple, list)) else (b,) for b in branches)
        set_field(self, "branches", normal)
        set_field(self, "p", p)
        if not normal or not all(isinstance(op, Op) for branch in normal for op in branch):
            raise fail(self, "branches", "one or more ops or sequences of ops", branches)
        if any(hasattr(op, "size") for branch in normal for op in branch):
            raise fail(self, "branches", KEEPS_SIZE, branches)
        shares = (1.0,) * len(normal) if weights is None else weights
        if (
            not isinstance(shares, (tuple, list))
            or len(shares) != len(normal)
            or not all(is_number(w) and w >= 0 for w in shares)
            or sum(shares) <= 0
        ):
            raise fail(self, "weights", f"{len(normal)} non-negative numbers with a positive sum", weights)
        # Weights that already sum to 1 keep their exact bits, so that eval(repr(op)) equals the op.
        total = 1.0 if abs(sum(shares) - 1) < 1e-12 else sum(shares)
        set_field(self, "weights", tuple(float(w / total) for w in shares))
        check_probability(self)

    def output_size(self, size: Size | None) -> Size | None:
        for branch in self.branches:
            for op in branch:
                if op.output_size(size) != size:  # a user's op, which need not have a field `size`
                    raise fail(self, "branches", KEEPS_SIZE, self.branches)
        return size

    def __str__(self) -> str:
        parts = (
            f"{weight:.3g}: " + (" then ".join(map(str, branch)) or "nothing")
            for weight, branch in zip(self.weights, self.branches, strict=True)
        )
        return f"OneOf(p={self.p:.4g}, {'; '.join(parts)})"
