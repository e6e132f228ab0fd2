"""Workloads of the suite `augment`: a policy with one view, and the photographs that it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

import gpuaug
from gpuaug import (
    JPEG,
    AugMix,
    AutoAugment,
    CenterCrop,
    ElasticTransform,
    GaussianNoise,
    Normalize,
    Op,
    Policy,
    RandAugment,
    RandomAdjustSharpness,
    RandomAffine,
    RandomAutocontrast,
    RandomEqualize,
    RandomHorizontalFlip,
    RandomPerspective,
    RandomPhotometricDistort,
    RandomPosterize,
    RandomResizedCrop,
    RandomRotation,
    TrivialAugmentWide,
    View,
)
from gpuaug.yuv import halves

from .images import RAGGED, Photos, part


def cheap() -> Policy:
    """Crop, flip and normalize: the cheap augmentation that every loader keeps up with."""
    return Policy(View(224, RandomResizedCrop(scale=(0.2, 1.0)), RandomHorizontalFlip(), Normalize()), name="cheap")


def simclr_bilinear() -> Policy:
    """SimCLR with a bilinear crop, for libraries whose bicubic filter does not antialias."""
    view = gpuaug.policy("simclr").views[0]
    ops = [replace(o, interpolation="bilinear") if isinstance(o, RandomResizedCrop) else o for o in view.ops]
    return Policy(View(view.size, *ops), name="simclr_bilinear")


def classified(o: Op) -> Callable[[], Policy]:
    """An automatic op in the place that classifiers train with it, between flip and normalize."""
    return lambda: Policy(View(224, RandomResizedCrop(), RandomHorizontalFlip(), o, Normalize()))


AUTOMATIC: dict[str, Callable[[], Policy]] = {
    "randaugment": classified(RandAugment(2, 9, interpolation="bilinear")),
    "trivial_augment_wide": classified(TrivialAugmentWide(interpolation="bilinear")),
    "auto_augment": classified(AutoAugment("imagenet", interpolation="bilinear")),
    "augmix": classified(AugMix()),
}
"""Name -> policy that draws its functions for each image, as torchvision's reference recipes train with it; a named policy of
gpuaug's takes its place.
"""


def alone(o: Op) -> Callable[[], Policy]:
    """One op after a crop that only copies, so that a view's time is the op's; `cheap` is what a view costs without it."""
    return lambda: Policy(View(224, CenterCrop(), o, Normalize()))


SINGLE: dict[str, Callable[[], Policy]] = {
    "affine": alone(RandomAffine(15, (0.1, 0.1), (0.9, 1.1), 10, "bilinear")),
    "affine_nearest": alone(RandomAffine(15, (0.1, 0.1), (0.9, 1.1), 10)),
    "rotation": alone(RandomRotation(30, "bilinear")),
    "perspective": alone(RandomPerspective(p=1.0)),
    "sharpness": alone(RandomAdjustSharpness(2.0, p=1.0)),
    "equalize": alone(RandomEqualize(p=1.0)),
    "autocontrast": alone(RandomAutocontrast(p=1.0)),
    "posterize": alone(RandomPosterize(4, p=1.0)),
    "jpeg": alone(JPEG((30, 95))),
    "elastic": alone(ElasticTransform()),
    "photometric": alone(RandomPhotometricDistort()),
    "noise": alone(GaussianNoise()),
}
"""Name -> policy of one op, which is applied to every image."""

OWN: dict[str, Callable[[], Policy]] = {
    "cheap": cheap,
    "simclr_bilinear": simclr_bilinear,
    **{name: make for name, make in AUTOMATIC.items() if name not in gpuaug.policies},
    **SINGLE,
}


def one_view(name: str) -> Policy:
    """One view of a policy: "byol" is BYOL's first, "byol:2" its second. Raises ValueError for an unknown name or view."""
    base, _, number = name.partition(":")
    policy = OWN[base]() if base in OWN else gpuaug.policy(base)
    if number and not (number.isdecimal() and 1 <= int(number) <= len(policy.views)):
        raise ValueError(f"unknown view {name!r}; {base} has {base}:1 to {base}:{len(policy.views)}")
    return Policy(policy.views[int(number or 1) - 1], name=name, source=policy.source)


@dataclass(frozen=True)
class Workload:
    """What every contender is given.

    Attributes:
        name: Its name in tables.
        policy: Name of a policy, for `one_view`.
        image: (height, width) of the images, in pixels.
        batch: Images in a call.
        ragged: The images have the sizes RAGGED in turn, of which the first is `image`.
    """

    name: str
    policy: str
    image: tuple[int, int]
    batch: int = 64
    ragged: bool = False

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        return RAGGED if self.ragged else (self.image,)


CORE = (
    Workload("strong-256", "simclr", (256, 256)),
    Workload("cheap-256", "cheap", (256, 256)),
    Workload("strong-500", "simclr", RAGGED[0], ragged=True),
    Workload("cheap-500", "cheap", RAGGED[0], ragged=True),
    Workload("cifar", "simclr_cifar", (32, 32), batch=512),
)
"""What a quick run measures, and what the README shows."""

MORE = (
    "mae",
    "supervised",
    "spatial",
    "appearance",
    "moco_v2",
    "byol:1",
    "byol:2",
    "dino:1",
    "dino:2",
    "dino:3",
)
"""Policies of a full run, from 256x256: every view that differs, so that a policy's price is the sum over its views."""

SHORT, FEW = {"trivial_augment_wide": "trivialaugment"}, {"elastic": 16}
"""Policy -> name of its workload, where a table's column is too narrow for it; and images in a call, where 64 take seconds."""

DEFAULT = (*CORE, *(Workload(SHORT.get(n, n), n, (256, 256), FEW.get(n, 64)) for n in (*MORE, *AUTOMATIC, *SINGLE)))

GROUPS = {"automatic": ("cheap", *AUTOMATIC), "single": ("cheap", *SINGLE)}
"""Names for several policies at once; a crop is among them, since prices are in units of its time."""


def choose(policies: Sequence[str] = (), quick: bool = False) -> list[Workload]:
    """The default workloads (quick: CORE), or those of policies or GROUPS; a policy that has none gets one, from 256x256."""
    if not policies:
        return list(CORE if quick else DEFAULT)
    policies = [name for given in policies for name in GROUPS.get(given, (given,))]
    for name in policies:
        one_view(name)  # raises for an unknown name
    new = [Workload(name, name, (256, 256)) for name in dict.fromkeys(policies) if name not in {w.policy for w in DEFAULT}]
    return [w for w in DEFAULT if w.policy in policies] + new


def perfect_bytes(workload: Workload, itemsize: int = 4, yuv: bool = False) -> int:
    """Bytes that a view moves if each moves once: the whole 8-bit image in, the view's numbers of `itemsize` bytes out.

    yuv: whether the image has colours at half resolution, 1.5 bytes a pixel instead of 3.
    """
    sizes = [h * w + 2 * prod(halves(h, w)) if yuv else 3 * h * w for h, w in workload.sizes]
    out_height, out_width = one_view(workload.policy).views[0].size
    return sum(sizes) // len(sizes) + itemsize * 3 * out_height * out_width


def photographs(workload: Workload) -> Photos:
    """Parts of real photographs as uint8 arrays (H, W, 3), always the same ones. Raises ImportError without scikit-image."""
    sizes = workload.sizes
    return [part(k, *sizes[k % len(sizes)]) for k in range(workload.batch)]
