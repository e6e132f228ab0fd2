"""From the transform that the user already has to a Policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import torch

from . import ops as op
from .ops import Op
from .ops.base import is_number
from .policy import Policy, View

Converter = Callable[[Any, float], list[Op]]
"""(transform, white) -> ops; white is the value of a white pixel where the transform stands: 255, or 1 after ToTensor."""

KINDS = ("ToTensor", "ToImage", "PILToTensor", "ToDtype", "ConvertImageDtype", "ToPILImage")
"""Transforms that make a tensor of a PIL image, or the reverse, or change a tensor's dtype."""

PILLOW = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of interpolation modes, which v2 keeps as they are given."""


def from_torchvision(transform: Any, repeat: int = 1, size: op.Size | None = None) -> Policy:
    """The policy that a torchvision transform describes.

    transform: a v2 or v1 `Compose`, one transform, or a sequence of them; `RandomApply`, `RandomChoice` and `Compose` may be
    nested. repeat: how many views to make. size: (height, width) of the images, where all have one already; it matters if
    no step brings them to one, and a `CenterCrop(size)` then comes first, which changes nothing. Parameters keep their
    distributions, but are drawn per image, and pixels are computed in float32 rather than rounded to 8 bits between steps.
    Raises ValueError naming a transform that cannot be converted, or whose arguments cannot, and for one that ends in 8-bit
    tensors, since views are floats in 0..1.
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
            "from_torchvision: no step brings the images to one size; end with RandomResizedCrop, a crop, or Resize((h, w)), "
            "or, if all have one already, with CenterCrop((h, w)) of that"
        )
    return Policy(View(reached, *ops, repeat=repeat), name="from_torchvision")


def size_after(ops: Iterable[Op]) -> op.Size | None:
    """The size that ops bring images to, None where they leave them at sizes of their own."""
    size: op.Size | None = None
    for o in ops:
        size = o.output_size(size)
    return size


def flatten(transform: Any) -> list[Any]:
    """The transforms of nested Compose, Sequential and sequences, in order."""
    if isinstance(transform, (list, tuple)) or name_of(transform) in ("Compose", "Sequential", "ModuleList"):
        return [t for child in getattr(transform, "transforms", transform) for t in flatten(child)]
    return [transform]


def name_of(transform: Any) -> str:
    """A transform's class name if torchvision or torch made it, else its full name, which no table knows."""
    kind = type(transform)
    return kind.__name__ if kind.__module__.startswith(("torchvision.", "torch.")) else f"{kind.__module__}.{kind.__name__}"


def convert(steps: Iterable[Any], white: float = 255.0) -> list[Op]:
    out: list[Op] = []
    for position, transform in enumerate(steps):
        name = name_of(transform)
        if name not in TABLE:
            raise ValueError(
                f"from_torchvision: cannot convert {name} (step {position + 1}); do it in the Dataset before the image is "
                "returned, or write the policy with gpuaug's ops"
            )
        try:
            out += TABLE[name](transform, white)
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
    """Raise for a transform that makes 8-bit tensors: its user divides by 255 himself.

    Where it makes no tensor at all, the user's loop has never seen one, and expects no scale.
    """
    kinds = [name for name in map(name_of, steps) if name in KINDS]
    if kinds and kinds[-1] != "ToPILImage" and reduce(white_after, steps, 255.0) == 255:
        raise ValueError(
            f"from_torchvision: the transform ends in 8-bit pixels, after {kinds[-1]}, and gpuaug gives floats in 0..1; append "
            "ToDtype(torch.float32, scale=True), or ConvertImageDtype(torch.float32), and drop your own division by 255"
        )


def to_dtype(t: Any, white: float) -> list[Op]:
    dtype = t.dtype
    if isinstance(dtype, dict):
        raise ValueError("a dictionary of dtypes has no meaning for images alone; give one dtype")
    if not dtype.is_floating_point and dtype != torch.uint8:
        raise ValueError(f"{dtype} is not supported; use torch.uint8 or a floating dtype")
    if not getattr(t, "scale", True) and dtype.is_floating_point == (white == 255):
        raise ValueError("scale=False changes the dtype and not the scale of the pixels; use scale=True")
    if not dtype.is_floating_point:
        return []
    return [] if dtype.itemsize == 4 else [op.ToDtype(dtype)]


def resized_crop(t: Any, white: float) -> list[Op]:
    antialiased(t)
    return [op.RandomResizedCrop(pair(t.size), tuple(t.scale), tuple(t.ratio), interpolation(t))]


def resize(t: Any, white: float) -> list[Op]:
    antialiased(t)
    if getattr(t, "max_size", None) is not None:
        raise ValueError("max_size is not supported; follow Resize by a crop")
    size = t.size[0] if isinstance(t.size, (list, tuple)) and len(t.size) == 1 else t.size
    return [op.Resize(tuple(size) if isinstance(size, (list, tuple)) else size, interpolation(t))]


def antialiased(t: Any) -> None:
    if getattr(t, "antialias", True) is False:
        raise ValueError("antialias=False is not supported; gpuaug always antialiases")


def random_crop(t: Any, white: float) -> list[Op]:
    padding = t.padding
    if isinstance(padding, (list, tuple)) and len(padding) == 4 and type(t).__module__.startswith("torchvision.transforms.v2"):
        left, right, top, bottom = padding  # v2 keeps them in torch's order
        padding = (left, top, right, bottom)
    mode = getattr(t.padding_mode, "value", t.padding_mode)
    return [op.RandomCrop(pair(t.size), padding, t.pad_if_needed, fill_of(t, white), mode)]


def affine(t: Any, white: float) -> list[Op]:
    shear = None if t.shear is None else tuple(t.shear)
    translate = None if t.translate is None else tuple(t.translate)
    scale = None if t.scale is None else tuple(t.scale)
    center = None if t.center is None else tuple(t.center)
    return [op.RandomAffine(tuple(t.degrees), translate, scale, shear, interpolation(t), fill_of(t, white), center)]


def rotation(t: Any, white: float) -> list[Op]:
    if t.expand:
        raise ValueError("expand=True changes the size from image to image; use expand=False, or resize afterwards")
    center = None if t.center is None else tuple(t.center)
    return [op.RandomRotation(tuple(t.degrees), interpolation(t), center, fill_of(t, white))]


def perspective(t: Any, white: float) -> list[Op]:
    return [op.RandomPerspective(t.distortion_scale, t.p, interpolation(t), fill_of(t, white))]


def jitter(t: Any, white: float) -> list[Op]:
    parts: dict[str, Any] = {
        p: 0.0 if getattr(t, p) is None else tuple(getattr(t, p)) for p in ("brightness", "contrast", "saturation", "hue")
    }
    return [op.ColorJitter(**parts)]


def blur(t: Any, white: float) -> list[Op]:
    kernel = t.kernel_size
    return [op.GaussianBlur(kernel if isinstance(kernel, int) else tuple(kernel), tuple(t.sigma), p=1.0)]


def noise(t: Any, white: float) -> list[Op]:
    return [op.GaussianNoise(t.mean, t.sigma, t.clip)]


def erasing(t: Any, white: float) -> list[Op]:
    value = t.value
    if value is None or value == "random":
        if white == 255:
            raise ValueError("normal noise needs pixels in 0..1; put it after ToTensor or ToDtype(float32, scale=True)")
        value = "random"
    else:
        value = on_unit_scale(value, white)
    return [op.RandomErasing(t.p, tuple(t.scale), tuple(t.ratio), value)]


def normalize(t: Any, white: float) -> list[Op]:
    if white == 255:
        raise ValueError("it stands before ToTensor or ToDtype(float32, scale=True); put it after")
    return [op.Normalize(three(t.mean), three(t.std))]


def three(values: Any) -> tuple[Any, ...]:
    """One value a channel; torch broadcasts a single one."""
    return tuple(values) * (3 if len(values) == 1 else 1)


def grayscale(t: Any, white: float) -> list[Op]:
    if t.num_output_channels != 3:
        raise ValueError("num_output_channels must be 3, since views have three channels")
    return [op.RandomGrayscale(1.0)]


def random_apply(t: Any, white: float) -> list[Op]:
    inner = convert(flatten(t.transforms), white)
    only: Any = inner[0] if len(inner) == 1 else None
    if hasattr(only, "p") and not isinstance(only, op.OneOf):
        return [replace(only, p=only.p * t.p)]
    return [op.OneOf(inner, p=t.p)]


def random_choice(t: Any, white: float) -> list[Op]:
    return [op.OneOf(*(convert(flatten(child), white) for child in t.transforms), weights=t.p)]


def pair(size: Any) -> tuple[int, int]:
    """torchvision's sizes: n, (n,) or (h, w)."""
    if isinstance(size, int):
        return size, size
    return (size[0], size[-1])


def fill_of(t: Any, white: float) -> Any:
    """A fill on the scale 0..1."""
    fill = t.fill
    if isinstance(fill, dict):
        raise ValueError("a dictionary of fills is not supported; give one fill")
    return 0.0 if fill is None else on_unit_scale(fill, white)


def on_unit_scale(value: Any, white: float) -> Any:
    """A pixel's value, or one a channel, on the scale where white is 1."""
    if isinstance(value, (list, tuple)):
        return value[0] / white if len(value) == 1 else tuple(v / white for v in value)
    return value / white if is_number(value) else value


def interpolation(t: Any) -> Any:
    """The mode's name, or torchvision's enumeration of it, which the ops check."""
    return PILLOW.get(t.interpolation, t.interpolation)


def nothing(t: Any, white: float) -> list[Op]:
    return []


TABLE: dict[str, Converter] = {
    **dict.fromkeys(("ToTensor", "ToImage", "PILToTensor", "ToPILImage", "ToPureTensor", "Identity", "RGB"), nothing),
    "ToDtype": to_dtype,
    "ConvertImageDtype": to_dtype,
    "RandomResizedCrop": resized_crop,
    "Resize": resize,
    "CenterCrop": lambda t, white: [op.CenterCrop(pair(t.size))],
    "RandomCrop": random_crop,
    "RandomHorizontalFlip": lambda t, white: [op.RandomHorizontalFlip(t.p)],
    "RandomVerticalFlip": lambda t, white: [op.RandomVerticalFlip(t.p)],
    "RandomAffine": affine,
    "RandomRotation": rotation,
    "RandomPerspective": perspective,
    "ColorJitter": jitter,
    "Grayscale": grayscale,
    "RandomGrayscale": lambda t, white: [op.RandomGrayscale(t.p)],
    "GaussianBlur": blur,
    "GaussianNoise": noise,
    "RandomSolarize": lambda t, white: [op.RandomSolarize(t.threshold / white, t.p)],
    "RandomPosterize": lambda t, white: [op.RandomPosterize(t.bits, t.p)],
    "RandomEqualize": lambda t, white: [op.RandomEqualize(t.p)],
    "RandomAutocontrast": lambda t, white: [op.RandomAutocontrast(t.p)],
    "RandomAdjustSharpness": lambda t, white: [op.RandomAdjustSharpness(t.sharpness_factor, t.p)],
    "RandomInvert": lambda t, white: [op.RandomInvert(t.p)],
    "RandomErasing": erasing,
    "Normalize": normalize,
    "RandomApply": random_apply,
    "RandomChoice": random_choice,
}
