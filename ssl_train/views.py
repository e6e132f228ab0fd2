"""The policy of a run: a named one at the run's size, with as many small views as were asked for."""

from __future__ import annotations

import inspect

import gpuaug

from .errors import UserError

LOCAL_SCALE = (0.05, 0.25)
"""Area of small views where the policy has none: our own choice, below SimCLR's median area of about a half."""


def local_side(size: int, published: int = 96) -> int:
    """Side of a small view at another size than 224: in gpuaug's proportion, up to a multiple of 8."""
    return published if size == 224 else -(-size * published // (224 * 8)) * 8


def run_policy(name: str, size: int, crops: int | None, local_size: int | None) -> gpuaug.Policy:
    """The named policy: its views of `size` come first, two at least (one view is repeated), then `crops` small ones.

    crops: None keeps the policy's own. Where it has none, small views are its last large view with crops of 5 to 25 % of the
    area. Raises UserError where such a view cannot be made, ValueError for an unknown name.
    """
    options = {"size": size}
    parameters = inspect.signature(gpuaug.policies[name]).parameters if name in gpuaug.policies else {}
    own = "local_size" in parameters
    side = local_size or local_side(size, gpuaug.policy(name).views[-1].size[0] if own else 96)
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


def local_view(name: str, view: gpuaug.View, side: int) -> gpuaug.View:
    """The view at another size, its crop narrowed to LOCAL_SCALE."""
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
