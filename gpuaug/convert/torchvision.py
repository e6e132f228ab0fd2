"""Converts a torchvision transform to a Policy: walks over its steps, and unpacks transforms that contain others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

from .. import ops as op
from ..ops import Op
from ..policy import Policy, View
from .transforms import TABLE, Converter

KINDS = ("ToTensor", "ToImage", "PILToTensor", "ToDtype", "ConvertImageDtype", "ToPILImage")
"""Transforms that convert between PIL images and tensors, or change a tensor's dtype."""


def from_torchvision(transform: Any, repeat: int = 1, size: op.Size | None = None) -> Policy:
    """Convert a torchvision transform to a policy.

    Parameters keep their distributions but are drawn per image. Pixels are computed in float32 and are not rounded to 8 bits
    between steps.

    Args:
        transform: A v1 or v2 `Compose`, a single transform, or a sequence of transforms. `Compose`, `RandomApply` and
            `RandomChoice` may be nested.
        repeat: How many views to make from each image.
        size: (height, width) of the images, if all of them already have this size. It matters only if no step brings them to
            one size; then a `CenterCrop(size)`, which changes nothing, is put first.

    Returns:
        A policy of one view, or of `repeat` equal ones.

    Raises:
        ValueError: A transform or its arguments cannot be converted (the message names it), no step brings the images to one
            size, or the transform ends in 8-bit tensors, since views are floats in [0, 1].
    """
    steps = flatten(transform)
    ops = convert(steps)
    check_floats(steps)
    reached = size_after(ops)
    if reached is None and size is not None:
        ops = [op.CenterCrop(size), *ops]
        reached = size_after(ops)
    if reached is None:
        raise ValueError(
            "from_torchvision: no step brings the images to one size; end with RandomResizedCrop, a crop or Resize((h, w)), "
            "or with CenterCrop((h, w)) if all images already have that size"
        )
    return Policy(View(reached, *ops, repeat=repeat), name="from_torchvision")


def size_after(ops: Iterable[Op]) -> op.Size | None:
    """The size that ops bring images to; None if images still differ in size after them."""
    size: op.Size | None = None
    for o in ops:
        size = o.output_size(size)
    return size


def flatten(transform: Any) -> list[Any]:
    """The transforms inside nested Compose, Sequential and sequences, in order."""
    if isinstance(transform, (list, tuple)) or name_of(transform) in ("Compose", "Sequential", "ModuleList"):
        return [t for child in getattr(transform, "transforms", transform) for t in flatten(child)]
    return [transform]


def name_of(transform: Any) -> str:
    """A transform's class name if it is torchvision's or torch's, else its full name, which is in no table."""
    kind = type(transform)
    return kind.__name__ if kind.__module__.startswith(("torchvision.", "torch.")) else f"{kind.__module__}.{kind.__name__}"


def convert(steps: Iterable[Any], white: float = 255.0) -> list[Op]:
    out: list[Op] = []
    for position, transform in enumerate(steps):
        name = name_of(transform)
        converter = TABLE.get(name) or CONTAINERS.get(name)
        if converter is None:
            raise ValueError(
                f"from_torchvision: cannot convert {name} (step {position + 1}); do it in the Dataset before the image is "
                "returned, or write the policy with gpuaug's ops"
            )
        try:
            out += converter(transform, white)
        except ValueError as error:
            inner = str(error).removeprefix("from_torchvision: ")
            raise ValueError(f"from_torchvision: {name} (step {position + 1}): {inner}") from error
        white = white_after(white, transform)
    return out


def white_after(white: float, t: Any) -> float:
    """The value of a white pixel after a transform."""
    name = name_of(t)
    if name in ("ToDtype", "ConvertImageDtype"):
        return 1.0 if t.dtype.is_floating_point else 255.0
    return {"ToTensor": 1.0, "ToPILImage": 255.0}.get(name, white)


def check_floats(steps: Sequence[Any]) -> None:
    """Raise for a transform that ends in 8-bit tensors, since the user's loop then divides by 255 itself.

    If the transform makes no tensor at all, the loop does not expect any scale.
    """
    kinds = [name for name in map(name_of, steps) if name in KINDS]
    if kinds and kinds[-1] != "ToPILImage" and reduce(white_after, steps, 255.0) == 255:
        raise ValueError(
            f"from_torchvision: the transform ends in 8-bit pixels, after {kinds[-1]}, and gpuaug gives floats in 0..1; append "
            "ToDtype(torch.float32, scale=True), or ConvertImageDtype(torch.float32), and drop your own division by 255"
        )


def random_apply(t: Any, white: float) -> list[Op]:
    inner = convert(flatten(t.transforms), white)
    only: Any = inner[0] if len(inner) == 1 else None
    if hasattr(only, "p") and not isinstance(only, op.OneOf) and not only.p_of_parts:
        return [replace(only, p=only.p * t.p)]
    return [op.OneOf(inner, p=t.p)]


def random_choice(t: Any, white: float) -> list[Op]:
    return [op.OneOf(*(convert(flatten(child), white) for child in t.transforms), weights=t.p)]


CONTAINERS: dict[str, Converter] = {"RandomApply": random_apply, "RandomChoice": random_choice}
