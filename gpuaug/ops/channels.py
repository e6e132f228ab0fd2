"""Fits ops to images of one channel or of many: their arguments per channel, and which ops need red, green and blue.

An op that does the same to every channel does to each of N what torchvision does to a gray image. For one channel the rules are
torchvision's: saturation and hue of a gray image change nothing, and its contrast is about its own mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from . import automatic, color, crop, filter, geometric
from .base import Op
from .color import PARTS

PER_CHANNEL = ("fill", "value", "mean", "std")
"""Arguments of gpuaug's own ops that are one number per channel where they are tuples."""


def any_number(op: Op, channels: int) -> str | None:
    return None


def three_only(op: Op, channels: int) -> str | None:
    return "it takes three channels only; leave it out"


def jitter(op: color.ColorJitter, channels: int) -> str | None:
    mixing = [part for part in PARTS[1:] if op.limits(part) is not None]
    if channels == 1 or not mixing:
        return None
    several = len(mixing) > 1
    return f"{' and '.join(mixing)} mix{'es' * (not several)} red, green and blue; set {'them' if several else 'it'} to 0"


def gray_or_rgb(op: Op, channels: int) -> str | None:
    return None if channels == 1 else "it mixes red, green and blue; leave it out"


REFUSALS: dict[type[Op], Callable[[Any, int], str | None]] = {
    **dict.fromkeys((crop.RandomResizedCrop, crop.Resize, crop.CenterCrop, crop.RandomCrop), any_number),
    **dict.fromkeys((geometric.RandomHorizontalFlip, geometric.RandomVerticalFlip), any_number),
    **dict.fromkeys((geometric.RandomAffine, geometric.RandomRotation, geometric.RandomPerspective), any_number),
    geometric.ElasticTransform: any_number,
    color.ColorJitter: jitter,
    **dict.fromkeys((color.RandomPhotometricDistort, color.RandomChannelPermutation, filter.JPEG), three_only),
    color.RandomGrayscale: gray_or_rgb,
    **dict.fromkeys((color.RandomSolarize, color.RandomPosterize, color.RandomInvert), any_number),
    **dict.fromkeys((color.RandomEqualize, color.RandomAutocontrast), any_number),
    **dict.fromkeys((filter.GaussianBlur, filter.GaussianNoise, filter.RandomAdjustSharpness), any_number),
    **dict.fromkeys((filter.RandomErasing, filter.Cutout, filter.Normalize, filter.ToDtype), any_number),
    **dict.fromkeys((automatic.RandAugment, automatic.TrivialAugmentWide), gray_or_rgb),
    **dict.fromkeys((automatic.AutoAugment, automatic.AugMix), gray_or_rgb),
    **dict.fromkeys((automatic.TimmRandAugment, automatic.FixMatchRandAugment), gray_or_rgb),
}
"""Op -> why it cannot take images of this number of channels, other than three; None if it can. One row an op: gpuaug's own ops
without a row take three channels only, and a user's op takes any number."""


def fitted(op: Op, channels: int) -> Op:
    """The op for images of this number of channels, with as many numbers in each argument that is per channel.

    Raises ValueError, with the name of the op, if it needs another number of channels.
    """
    if type(op) not in REFUSALS and not is_own(op):
        return op
    if channels != 3:
        why = REFUSALS.get(type(op), three_only)(op, channels)
        if why is not None:
            raise ValueError(f"{type(op).__name__}: images have {channels} channel{'s' * (channels > 1)}, but {why}")
    given = {name: values for name, values in per_channel_values(op) if len(values) != channels}
    for name, values in given.items():
        if len(set(values)) > 1:
            raise ValueError(
                f"{type(op).__name__}: {name} has {len(values)} numbers, but images have {channels} "
                f"channel{'s' * (channels > 1)}; give one number, or one per channel"
            )
    return with_values(op, {name: values[:1] * channels for name, values in given.items()})


def three_of(op: Op, first: int) -> Op:
    """An op that is `fitted` to many channels, for three of them from `first` on; the last one fills up what is missing."""
    values = {name: (*values[first : first + 3], values[-1], values[-1])[:3] for name, values in per_channel_values(op)}
    return with_values(op, values)


def with_values(op: Op, values: dict[str, tuple[float, ...]]) -> Op:
    """The op with these arguments, not by __init__, which would store equal numbers as three."""
    if not values:
        return op
    made = replace(op)
    for name, numbers in values.items():
        object.__setattr__(made, name, numbers)
    return made


def channels_of(ops: Iterable[Op]) -> int:
    """How many channels the arguments of a policy's ops are for; three if they fit any number."""
    counts = (len(values) for op in ops for _, values in per_channel_values(op) if len(set(values)) > 1)
    return next((count for count in counts if count != 3), 3)


def per_channel_values(op: Op) -> list[tuple[str, tuple[float, ...]]]:
    if not is_own(op):
        return []
    found = ((name, getattr(op, name, None)) for name in PER_CHANNEL)
    return [(name, values) for name, values in found if isinstance(values, tuple)]


def is_own(op: Op) -> bool:
    """Whether an op is gpuaug's own, not a user's."""
    return type(op).__module__.startswith(f"{__package__}.")
