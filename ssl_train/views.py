"""The augmentation policy of a run: a named policy at the run's size, with the number of small views asked for."""

from __future__ import annotations

import inspect

import gpuaug

from .errors import UserError

LOCAL_SCALE = (0.05, 0.25)
"""Area of small views for a policy that has none, as a share of the image; our choice, below SimCLR's median of about half."""


def local_side(size: int, published: int = 96) -> int:
    """Side of a small view: `published` at size 224, in proportion at other sizes, rounded up to a multiple of 8."""
    return published if size == 224 else -(-size * published // (224 * 8)) * 8


def run_policy(name: str, size: int, crops: int | None, local_size: int | None) -> gpuaug.Policy:
    """The named policy with its large views first, at least two of them, and then the small ones.

    A policy with one large view gets it twice.

    Args:
        name: name of the policy.
        size: side of the large views in pixels.
        crops: number of small views; None keeps the policy's own. If the policy has none, a small view is its last large view
            with crops of 5 to 25 % of the area.
        local_size: side of the small views in pixels; None: see `local_side`.

    Raises:
        UserError: small views are not smaller than the large ones, or cannot be made because the policy does not crop.
        ValueError: there is no policy of that name.
    """
    options = {"size": size}
    parameters = inspect.signature(gpuaug.policies[name]).parameters if name in gpuaug.policies else {}
    own = "local_size" in parameters
    side = local_size or local_side(size, gpuaug.policy(name, size=224).views[-1].size[0] if own else 96)
    if own:
        options["local_size"] = side
    policy = gpuaug.policy(name, **options)
    large = [view for view in policy.views if view.size == (size, size)]
    small = [view for view in policy.views if view.size != (size, size)]
    if len(large) == 1:
        large = large * 2
    if crops and side >= size:
        raise UserError(f"--local-size {side}: small views must be smaller than --size {size}")
    if crops == 0:
        small = []
    elif crops:
        small = [small[0] if small else local_view(name, large[-1], side)] * crops
    return gpuaug.Policy(*large, *small, name=policy.name, source=policy.source)


def growth(start: int, end: int, epochs: int) -> dict[int, int]:
    """Sizes from `start` to `end` in steps of 32, each for an equal share of the epochs: first epoch -> size."""
    sizes = range(start, end + 1, 32)
    share = epochs / len(sizes)
    found: dict[int, int] = {}
    for epoch in range(epochs):
        size = sizes[min(int(epoch / share), len(sizes) - 1)]
        if size not in found.values():
            found[epoch] = size
    return found


def local_view(name: str, view: gpuaug.View, side: int) -> gpuaug.View:
    """The view at another size, with crops of LOCAL_SCALE."""
    if not any(isinstance(op, gpuaug.RandomResizedCrop) for op in view.ops):
        raise UserError(f"--multi-crop: the policy {name} has no RandomResizedCrop to make small views with")
    return gpuaug.View(
        side,
        *(
            gpuaug.RandomResizedCrop(scale=LOCAL_SCALE, ratio=op.ratio, interpolation=op.interpolation)
            if isinstance(op, gpuaug.RandomResizedCrop)
            else op
            for op in view.ops
        ),
    )
