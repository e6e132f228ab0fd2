"""RandAugment, TrivialAugmentWide, AutoAugment and AugMix."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..base import Array, Op, OpDraws, Size, factor, is_integer, is_number
from ..checks import check_fill, check_interpolation, check_number, fail, set_field
from ..exact.variates import gamma, symmetric_beta, uniforms_of
from ..geometric import WARPS
from .kinds import CODE, KINDS, auto_space, mix_space, rand_space, wide_space
from .sub_policies import SUB_POLICIES


def check_warps(op: Op) -> None:
    check_interpolation(op, allowed=WARPS)
    check_fill(op)


def without_unused(draws: OpDraws, used: Array) -> OpDraws:
    """Draws `op` and `magnitude` (B, slots) in which slots that are not used are Identity."""
    return {name: np.where(used, column, column.dtype.type(0)) for name, column in draws.items()}


def check_integer(op: Op, name: str, low: int, high: float = math.inf) -> None:
    value = getattr(op, name)
    if not (is_integer(value) and low <= value <= high):
        raise fail(op, name, f"an integer >= {low}" if high == math.inf else f"an integer in {low}..{high}", value)
    set_field(op, name, int(value))


class Automatic(Op):
    """An op that applies functions of KINDS one after the other. Its draws have `op` and `magnitude`, both (B, slots).

    Attributes:
        interpolation: Of warps: "nearest" or "bilinear".
        fill: Value outside the image in [0, 1], per channel.
    """

    interpolation: str
    fill: float | tuple[float, float, float]

    @property
    def slots(self) -> int:
        """How many functions an image gets; some may be "Identity"."""
        raise NotImplementedError

    @property
    def kinds(self) -> Array:
        """The codes that a slot may hold, once for each equally probable choice."""
        raise NotImplementedError

    def resized_draws(self, draws: OpDraws, before: Size, after: Size) -> OpDraws:
        magnitude = draws["magnitude"]
        in_pixels = (draws["op"] == CODE["TranslateX"]) | (draws["op"] == CODE["TranslateY"])
        return {**draws, "magnitude": np.where(in_pixels, magnitude * factor(before, after), magnitude).astype(magnitude.dtype)}


@dataclass(frozen=True)
class RandAugment(Automatic):
    """Apply `num_ops` functions drawn per image, all of one magnitude (torchvision `RandAugment`; arXiv 1909.13719).

    The draws `op` (B, num_ops) uint8 and `magnitude` (B, num_ops) float32 say what happens to each image; see `KINDS`.

    Args:
        num_ops: Functions per image, at least 0.
        magnitude: Bin of their magnitude, in 0..num_magnitude_bins-1. Signs are drawn.
        num_magnitude_bins: Bins of the magnitude, at least 2.
        interpolation: Of warps: "nearest" or "bilinear".
        fill: Value outside the image in [0, 1], or one per channel.
    """

    num_ops: int = 2
    magnitude: int = 9
    num_magnitude_bins: int = 31
    interpolation: str = "nearest"
    fill: float | tuple[float, float, float] = 0.0

    def __post_init__(self) -> None:
        check_integer(self, "num_ops", 0)
        check_integer(self, "num_magnitude_bins", 2)
        check_integer(self, "magnitude", 0, self.num_magnitude_bins - 1)
        check_warps(self)

    @property
    def uniforms(self) -> int:  # type: ignore[override]
        return 2 * self.num_ops

    @property
    def slots(self) -> int:
        return self.num_ops

    @property
    def kinds(self) -> Array:
        return rand_space(self.num_magnitude_bins).kinds

    def draw(self, u: Array) -> OpDraws:
        space = rand_space(self.num_magnitude_bins)
        entry = (u[:, ::2] * len(space.kinds)).astype(np.intp)
        return space.look_up(entry, np.full(entry.shape, self.magnitude), u[:, 1::2] < 0.5)


@dataclass(frozen=True)
class TrivialAugmentWide(Automatic):
    """Apply one function of a magnitude drawn per image (torchvision `TrivialAugmentWide`; arXiv 2103.10158).

    The draws `op` (B, 1) uint8 and `magnitude` (B, 1) float32 say what happens to each image; see `KINDS`.

    Args:
        num_magnitude_bins: Bins of the magnitude, at least 2.
        interpolation: Of warps: "nearest" or "bilinear".
        fill: Value outside the image in [0, 1], or one per channel.
        translate: Largest shift in pixels, at least 0; torchvision has 32.
    """

    num_magnitude_bins: int = 31
    interpolation: str = "nearest"
    fill: float | tuple[float, float, float] = 0.0
    translate: float = 32.0

    def __post_init__(self) -> None:
        check_integer(self, "num_magnitude_bins", 2)
        check_warps(self)
        check_number(self, "translate", 0.0)

    @property
    def uniforms(self) -> int:  # type: ignore[override]
        return 3

    @property
    def slots(self) -> int:
        return 1

    @property
    def kinds(self) -> Array:
        return wide_space(self.num_magnitude_bins, self.translate).kinds

    def resized(self, before: Size, after: Size) -> Op:
        return replace(self, translate=self.translate * factor(before, after))

    def draw(self, u: Array) -> OpDraws:
        space = wide_space(self.num_magnitude_bins, self.translate)
        entry = (u[:, :1] * len(space.kinds)).astype(np.intp)
        return space.look_up(entry, (u[:, 1:2] * self.num_magnitude_bins).astype(np.intp), u[:, 2:] < 0.5)


class SubPolicies(NamedTuple):
    """Sub-policies as arrays (P, 2): the entry in `auto_space`, the probability and the bin of either op."""

    entries: Array
    probabilities: Array
    bins: Array


@cache
def sub_policies(name: str) -> SubPolicies:
    order = {KINDS[code]: k for k, code in enumerate(auto_space().kinds.tolist())}
    alias = {"TranslateX": "TranslateXRel", "TranslateY": "TranslateYRel"}
    rows = [[step.split() for step in line.split(", ")] for line in SUB_POLICIES[name]]
    return SubPolicies(
        np.array([[order[alias.get(kind, kind)] for kind, _, _ in row] for row in rows]),
        np.array([[float(p) for _, p, _ in row] for row in rows]),
        np.array([[0 if bin_ == "-" else int(bin_) for _, _, bin_ in row] for row in rows]),
    )


@dataclass(frozen=True)
class AutoAugment(Automatic):
    """Apply one of 25 learnt sub-policies, drawn per image (torchvision `AutoAugment`; arXiv 1805.09501).

    A sub-policy is two functions, each with its own probability and magnitude. The draws `op` (B, 2) uint8 and `magnitude`
    (B, 2) float32 say what happens to each image; see `KINDS`.

    Args:
        policy: The data set that the sub-policies were learnt on: "imagenet", "cifar10" or "svhn".
        interpolation: Of warps: "nearest" or "bilinear".
        fill: Value outside the image in [0, 1], or one per channel.
    """

    policy: str = "imagenet"
    interpolation: str = "nearest"
    fill: float | tuple[float, float, float] = 0.0

    def __post_init__(self) -> None:
        value: Any = self.policy
        value = getattr(value, "value", value)  # torchvision's AutoAugmentPolicy is accepted
        if value not in SUB_POLICIES:
            raise fail(self, "policy", "one of " + ", ".join(map(repr, SUB_POLICIES)), self.policy)
        set_field(self, "policy", value)
        check_warps(self)

    @property
    def uniforms(self) -> int:  # type: ignore[override]
        return 5

    @property
    def slots(self) -> int:
        return 2

    @property
    def kinds(self) -> Array:
        return auto_space().kinds[sub_policies(self.policy).entries].reshape(-1)

    def draw(self, u: Array) -> OpDraws:
        table = sub_policies(self.policy)
        row = (u[:, 0] * len(table.entries)).astype(np.intp)
        draws = auto_space().look_up(table.entries[row], table.bins[row], u[:, 3:5] < 0.5)
        taken = u[:, 1:3] < table.probabilities[row]
        return without_unused(draws, taken)


DEEPEST = 3
"""Most functions in a chain of AugMix whose depth is drawn."""


@dataclass(frozen=True)
class AugMix(Automatic):
    """Mix an image with several chains of functions (torchvision `AugMix`; Hendrycks et al. 2020, arXiv 1912.02781).

    The draws say what happens to each image: `op` (B, mixture_width * depth) uint8 and `magnitude` float32, chain by chain, see
    `KINDS`, and `weights` (B, 1 + mixture_width) float32 of the image itself and of the end of each chain, whose sum is 1.

    Args:
        severity: Bins of the magnitude that may be drawn, in 1..10.
        mixture_width: Number of chains, at least 1.
        chain_depth: Functions in a chain; -1 draws 1, 2 or 3 for each chain.
        alpha: Parameter of the Dirichlet and Beta distributions of the weights, above 0.
        all_ops: Whether brightness, colour, contrast and sharpness are among the functions.
        interpolation: Of warps: "nearest" or "bilinear".
        fill: Value outside the image in [0, 1], or one per channel.
    """

    severity: int = 3
    mixture_width: int = 3
    chain_depth: int = -1
    alpha: float = 1.0
    all_ops: bool = True
    interpolation: str = "bilinear"
    fill: float | tuple[float, float, float] = 0.0

    def __post_init__(self) -> None:
        check_integer(self, "severity", 1, 10)
        check_integer(self, "mixture_width", 1)
        if self.chain_depth != -1:
            if not is_integer(self.chain_depth) or self.chain_depth < 1:
                raise fail(self, "chain_depth", "an integer >= 1, or -1 for a depth drawn from 1, 2 and 3", self.chain_depth)
            set_field(self, "chain_depth", int(self.chain_depth))
        if not (is_number(self.alpha) and self.alpha > 0):
            raise fail(self, "alpha", "a number above 0", self.alpha)
        set_field(self, "alpha", float(self.alpha))
        set_field(self, "all_ops", bool(self.all_ops))
        check_warps(self)

    @property
    def depth(self) -> int:
        """Functions in the longest chain."""
        return DEEPEST if self.chain_depth == -1 else self.chain_depth

    @property
    def slots(self) -> int:
        return self.mixture_width * self.depth

    @property
    def kinds(self) -> Array:
        return mix_space(self.all_ops).kinds

    @property
    def uniforms(self) -> int:  # type: ignore[override]
        return self.mixture_width + 3 * self.slots + 2 + self.mixture_width * uniforms_of(self.alpha)

    def draw(self, u: Array) -> OpDraws:
        count, width, space = len(u), self.mixture_width, mix_space(self.all_ops)
        chosen = u[:, width : width + 3 * self.slots].reshape(count, self.slots, 3)
        entry = (chosen[:, :, 0] * len(space.kinds)).astype(np.intp)
        draws = space.look_up(entry, (chosen[:, :, 1] * self.severity).astype(np.intp), chosen[:, :, 2] < 0.5)
        if self.chain_depth == -1:
            depths = (u[:, :width] * DEEPEST).astype(np.intp) + 1
            taken = (np.arange(DEEPEST) < depths[:, :, None]).reshape(count, self.slots)
            draws = without_unused(draws, taken)
        rest = u[:, width + 3 * self.slots :]
        own = symmetric_beta(self.alpha, rest[:, 0], rest[:, 1])[:, None]
        chains = gamma(rest[:, 2:].reshape(count, width, uniforms_of(self.alpha)), self.alpha)
        chains = chains / chains.sum(axis=1, keepdims=True)
        draws["weights"] = np.concatenate([own, chains * (1 - own)], axis=1).astype(np.float32)
        return draws
