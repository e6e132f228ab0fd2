"""MixUp, CutMix and a choice of them: data with torchvision v2's names, whose parameters are drawn per sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from ..isolation import eager, isolated
from ..ops.base import Array, is_integer, is_number
from ..ops.exact.variates import symmetric_beta
from ..sampling import sample_indices, uniforms
from .apply import mix_view, soft_labels
from .draws import MixDraws, pairs

STREAM = 2**16 - 1
"""The view number under which mixes draw in the counter of Philox; no policy has as many views."""

INTEGERS = frozenset({torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64})


class Mix:
    """What `MixUp`, `CutMix` and `RandomChoice` have in common: each mixes every sample of a batch with a partner.

    lambda, the choice and the box of a sample depend on (seed, epoch, sample index) alone: they are the same for any batch
    size, order, number of workers and ranks, and after a restart. The partner is another sample of the same batch, so it costs
    no second decode: rows 2k and 2k + 1 of a batch are each other's partners. The last row of an odd batch takes the row
    before it; a batch of one is mixed with itself. So with an even batch size the partner follows from the order in which this
    process reads the epoch, whatever the batch size, the number of workers, and the batch after which a run was resumed; the
    exception is an odd row at the end of the epoch, if it is alone in its batch. Another order, another number of ranks, an odd
    batch size, or samples left out by `on_error="skip"` give other partners. The data should be shuffled, or the partners are
    neighbours of the source and often of one class.

    All views of a sample have the same partner, lambda and box centre, so one target belongs to all of them. The target's
    weights are those of the first view: where views differ in size, CutMix's boxes are rounded to the pixels of each.
    """

    num_classes: int | None
    cuts: ClassVar[bool] = False

    @property
    def members(self) -> tuple[MixUp | CutMix, ...]:
        """The mixes among which each sample's is chosen."""
        raise NotImplementedError

    @property
    def ends(self) -> Array:
        """Member k is chosen where a uniform number is below the k-th of these, and not below the one before."""
        return np.ones(1)

    @eager
    def sample(self, index: int | Sequence[int] | range | Array | torch.Tensor, seed: int = 0, epoch: int = 0) -> MixDraws:
        """Draw how the samples of one batch are mixed.

        Args:
            index: The sample indices of the batch in their order, each in 0..2^48-1; a tensor may be on any device. Where
                samples have no index, any numbers that differ between the samples of an epoch will do.
            seed: In 0..2^64-1.
            epoch: In 0..2^32-1.

        Returns:
            Draws with one row per sample.

        Raises:
            ValueError: An argument is outside its range.
        """
        rows = sample_indices(type(self).__name__, index, seed, epoch)
        u = uniforms(int(seed), int(epoch), rows, STREAM, 6)
        chosen = np.searchsorted(self.ends, u[:, 0], side="right")
        alpha, p = (np.array([getattr(one, name) for one in self.members])[chosen] for name in ("alpha", "p"))
        lam = np.where(u[:, 1] < p, symmetric_beta(alpha, u[:, 2], u[:, 3]), 1.0)
        return MixDraws(self, int(seed), int(epoch), rows, pairs(len(rows)), lam, chosen, u[:, 4:])

    @eager
    def __call__(self, views: Any, targets: torch.Tensor, draws: MixDraws) -> tuple[Any, torch.Tensor]:
        """Mix a batch. Views without gradient are mixed in one pass; on CUDA nothing waits for the device.

        Args:
            views: A tensor (B, C, H, W) of floating-point numbers, or a sequence of them, on one device. They stay unchanged.
                In float16 and bfloat16 on CUDA lambda is rounded to that dtype for the views, but not for the targets.
            targets: Integers (B,) in 0..num_classes-1, on the device of the views. The range is checked on the CPU; on CUDA a
                class outside of it ends the program by an assertion on the device, as it does in torch.
            draws: What `sample` made for this batch.

        Returns:
            The mixed views in the form in which they were given (a list for a sequence), and the soft labels, float32
            (B, num_classes): `lam` of the sample's own class and the rest of its partner's.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: Shapes, devices or classes do not fit.
        """
        who = type(self).__name__
        if not isinstance(draws, MixDraws):
            raise TypeError(
                f"{who}: draws must be gpuaug.MixDraws, got {type(draws).__name__}; make them with mix.sample(index)"
            )
        given = [views] if isinstance(views, torch.Tensor) else list(views)
        check_views(who, given, len(draws))
        check_targets(who, targets, len(draws), self.num_classes)
        if targets.device != given[0].device:
            raise ValueError(f"{who}: targets are on {targets.device}, views on {given[0].device}; move them to one device")
        size = (int(given[0].shape[2]), int(given[0].shape[3]))
        with isolated(targets.device):
            mixed = [mix_view(view, draws) for view in given]
            assert self.num_classes is not None  # the constructors see to it
            labels = soft_labels(targets, self.num_classes, draws.partner, draws.weights(size))
        return (mixed[0] if isinstance(views, torch.Tensor) else mixed), labels


@dataclass(frozen=True)
class MixUp(Mix):
    """Blend each sample with its partner: lambda x + (1 - lambda) x_partner, and the targets alike (torchvision `MixUp`).

    lambda is drawn per sample from Beta(alpha, alpha); torchvision draws one a batch. Zhang et al. 2018, "mixup: Beyond
    Empirical Risk Minimization", arXiv 1710.09412. See `Mix` for the partner and for what the result depends on.

    Args:
        alpha: Parameter of the Beta distribution, above 0. Below 1, most of a blend is one of the two samples.
        num_classes: Number of classes, and so the width of the soft labels; it must be given.
        p: Probability per sample that it is mixed at all.
    """

    alpha: float = 1.0
    num_classes: int | None = None
    p: float = 1.0

    def __post_init__(self) -> None:
        check_arguments(self)

    @property
    def members(self) -> tuple[MixUp | CutMix, ...]:
        return (self,)


@dataclass(frozen=True)
class CutMix(Mix):
    """Put a box of the partner into each sample, and blend the targets by area (torchvision `CutMix`).

    A box of the share 1 - lambda of the area, with lambda from Beta(alpha, alpha) and a uniform centre, per sample; torchvision
    draws one a batch. What lies beyond the border is cut off, and the target counts the area that is left. Yun et al. 2019,
    "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", arXiv 1905.04899. See `Mix` for the
    partner and for what the result depends on.

    Args:
        alpha: Parameter of the Beta distribution, above 0.
        num_classes: Number of classes, and so the width of the soft labels; it must be given.
        p: Probability per sample that it is mixed at all.
    """

    alpha: float = 1.0
    num_classes: int | None = None
    p: float = 1.0

    cuts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_arguments(self)

    @property
    def members(self) -> tuple[MixUp | CutMix, ...]:
        return (self,)


@dataclass(frozen=True, init=False)
class RandomChoice(Mix):
    """One of several mixes, chosen per sample (torchvision `RandomChoice`, which chooses once a batch).

    DeiT (Touvron et al. 2021, arXiv 2012.12877) trains with
    `RandomChoice([MixUp(0.8, 1000), CutMix(1.0, 1000)], p=[0.5, 0.5])`.

    Args:
        transforms: The mixes: `MixUp` and `CutMix` with the same `num_classes`.
        p: Relative probabilities of the mixes, non-negative with a positive sum; None makes them equal.
    """

    transforms: tuple[MixUp | CutMix, ...]
    p: tuple[float, ...]

    def __init__(self, transforms: Sequence[MixUp | CutMix], p: Sequence[float] | None = None) -> None:
        if not isinstance(transforms, (list, tuple)) or not transforms:
            raise TypeError(f"RandomChoice: transforms must be a list of MixUp and CutMix, got {transforms!r}")
        for one in transforms:
            if not isinstance(one, (MixUp, CutMix)):
                raise TypeError(
                    f"RandomChoice: transforms must be gpuaug.MixUp or gpuaug.CutMix, got {one!r}; among the ops of a policy, "
                    "gpuaug.OneOf chooses"
                )
        if len(classes := {one.num_classes for one in transforms}) > 1:
            raise ValueError(f"RandomChoice: all transforms must have the same num_classes, got {sorted(map(str, classes))}")
        shares = [1.0] * len(transforms) if p is None else p
        if not (
            isinstance(shares, (list, tuple))
            and len(shares) == len(transforms)
            and all(is_number(share) and 0 <= share < np.inf for share in shares)
            and sum(shares) > 0
        ):
            raise ValueError(f"RandomChoice: p must be {len(transforms)} non-negative numbers with a positive sum, got {p!r}")
        # Shares that already sum to 1 keep their exact bits, so that eval(repr(choice)) equals the choice.
        total = 1.0 if abs(sum(shares) - 1) < 1e-12 else sum(shares)
        object.__setattr__(self, "transforms", tuple(transforms))
        object.__setattr__(self, "p", tuple(float(share / total) for share in shares))

    @property
    def members(self) -> tuple[MixUp | CutMix, ...]:
        return self.transforms

    @property
    def num_classes(self) -> int | None:  # type: ignore[override]
        return self.transforms[0].num_classes

    @property
    def ends(self) -> Array:
        ends = np.cumsum(self.p)
        ends[np.flatnonzero(self.p)[-1] :] = 1.0  # the sum may be rounded below 1
        return ends


def check_arguments(mix: MixUp | CutMix) -> None:
    """Store the arguments in one form. Raises ValueError for one outside its range."""
    who = type(mix).__name__
    if not (is_number(mix.alpha) and 0 < mix.alpha < np.inf):
        raise ValueError(f"{who}: alpha must be a number above 0, got {mix.alpha!r}; to mix fewer samples, give p=")
    if not is_integer(mix.num_classes) or mix.num_classes < 1:  # type: ignore[operator]
        raise ValueError(f"{who}: num_classes must be a positive integer, the number of classes, got {mix.num_classes!r}")
    if not (is_number(mix.p) and 0 <= mix.p <= 1):
        raise ValueError(f"{who}: p must be a number in [0, 1], got {mix.p!r}")
    for name, value in (("alpha", float(mix.alpha)), ("num_classes", int(mix.num_classes or 0)), ("p", float(mix.p))):
        object.__setattr__(mix, name, value)


def check_views(who: str, views: Sequence[Any], count: int) -> None:
    """Raise if the views are not tensors (count, C, H, W) of floating-point numbers on one device."""
    if not views:
        raise ValueError(f"{who}: views must be a tensor or a list of tensors, got an empty list")
    for view in views:
        if not isinstance(view, torch.Tensor) or not view.is_floating_point() or view.ndim != 4:
            found = describe(view)
            raise TypeError(
                f"{who}: views must be floating-point tensors (B, C, H, W), got {found}; mix after the views are made"
            )
        if len(view) != count:
            raise ValueError(f"{who}: views of {len(view)} samples, but draws for {count}")
        if view.device != views[0].device:
            raise ValueError(f"{who}: views must be on one device, got {views[0].device} and {view.device}")


def check_targets(
    who: str, targets: Any, count: int, num_classes: int | None, name: Callable[[int], str] = "row {}".format
) -> None:
    """Raise if the targets are not integers (count,), or, on the CPU, not in 0..num_classes-1. name: row -> its name."""
    if not isinstance(targets, torch.Tensor) or targets.dtype not in INTEGERS or targets.ndim != 1:
        raise TypeError(f"{who}: targets must be integer classes (B,), which it makes soft labels of, got {describe(targets)}")
    if len(targets) != count:
        raise ValueError(f"{who}: {len(targets)} targets, but {count} samples")
    if targets.device.type != "cpu" or not count:
        return
    low, high = (int(end) for end in targets.aminmax())
    assert num_classes is not None  # the constructors see to it
    if low < 0 or high >= num_classes:
        wrong = high if low >= 0 else low
        row = targets.tolist().index(wrong)
        more = f"; give num_classes={high + 1} or more" if low >= 0 else ""
        raise ValueError(
            f"{who}: {name(row)} has the target {wrong}, outside 0..{num_classes - 1} for num_classes={num_classes}{more}"
        )


def describe(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    return f"a {type(value).__name__}"
