"""Named policies, each as its source published it; public as the mapping `gpuaug.policies`.

Each policy is a function from sizes to a `Policy` whose ops are in the order of the source. Where a source blurs with PIL (a
stack of box filters), the policy uses a Gaussian of 23 taps with the same range of sigma. Colour jitter always draws the order
of its parts per image, as torchvision does. Sizes are in pixels, one number or (height, width). By default small views keep
the proportion to the large ones that their source has at 224.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ..policy import Policy, ScheduledPolicy
from ..schedules import schedules_in
from .multi_crop import dino, dinov2, dinov2_as_trained, lejepa, swav
from .self_supervised import (
    appearance,
    barlow_twins,
    byol,
    ffcv_ssl,
    gaussian_noise,
    ijepa,
    mae,
    moco_v1,
    moco_v2,
    simclr,
    simclr_cifar,
    simsiam,
    spatial,
    vicreg,
)
from .sharing import crop_only, dinov3, dinov3_as_trained, original, shared
from .small_images import auto_augment, cutout, fixmatch
from .supervised import (
    augmix,
    classification_train,
    convnext,
    deit,
    randaugment,
    supervised,
    three_augment,
    timm_randaug,
    trivial_augment_wide,
)

PUBLISHED = (
    simclr,
    simclr_cifar,
    moco_v1,
    moco_v2,
    simsiam,
    byol,
    vicreg,
    barlow_twins,
    swav,
    dino,
    dinov2,
    dinov2_as_trained,
    dinov3,
    dinov3_as_trained,
    original,
    shared,
    crop_only,
    mae,
    ijepa,
    lejepa,
    supervised,
    spatial,
    appearance,
    gaussian_noise,
    ffcv_ssl,
    three_augment,
    classification_train,
    randaugment,
    trivial_augment_wide,
    auto_augment,
    augmix,
    timm_randaug,
    deit,
    convnext,
    cutout,
    fixmatch,
)

policies: Mapping[str, Callable[..., Policy]] = MappingProxyType({function.__name__: function for function in PUBLISHED})
"""Name -> function that makes the policy. Every function accepts `size`, in pixels."""


def policy(name: str, **arguments: Any) -> Policy:
    """A named policy, such as `policy("simclr", size=96)`.

    Args:
        name: A key of `gpuaug.policies`.
        **arguments: Passed on to the policy's function; all have `size`, those with small views `local_size`; see its signature
            for others. Any may be a schedule over epochs, as in `policy("simclr", strength=gpuaug.linear(0.2, 1, 100))`, which
            gives a `ScheduledPolicy`.

    Raises:
        ValueError: The name is unknown; the message suggests similar ones.
    """
    if name not in policies:
        near = difflib.get_close_matches(str(name).lower(), policies, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"one of {', '.join(policies)}"
        raise ValueError(f"unknown policy {name!r}; {hint}")
    if any(schedules_in(tuple(arguments.values()))):
        return ScheduledPolicy(policy, name=name, **arguments)
    return policies[name](**arguments)
