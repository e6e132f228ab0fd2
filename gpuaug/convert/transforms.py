"""Table of torchvision's transforms: class name -> function that turns the transform's attributes into ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .. import ops as op
from ..ops import Op
from ..ops.base import is_number

Converter = Callable[[Any, float], list[Op]]
"""(transform, white) -> ops; `white` is the value of a white pixel before the transform: 255, or 1 after ToTensor."""

PILLOW = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers for interpolation modes, which v2 stores unchanged."""


def to_dtype(t: Any, white: float) -> list[Op]:
    dtype = t.dtype
    if isinstance(dtype, dict):
        raise ValueError("a dictionary of dtypes has no meaning for images alone; give one dtype")
    if not dtype.is_floating_point and dtype != torch.uint8:
        raise ValueError(f"{dtype} is not supported; use torch.uint8 or a floating dtype")
    if not getattr(t, "scale", True) and dtype.is_floating_point == (white == 255):
        raise ValueError("scale=False changes the dtype without rescaling pixels; use scale=True")
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
        left, right, top, bottom = padding  # v2 stores them in torch's order
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


def elastic(t: Any, white: float) -> list[Op]:
    return [op.ElasticTransform(tuple(t.alpha), tuple(t.sigma), interpolation(t), fill_of(t, white))]


def distort(t: Any, white: float) -> list[Op]:
    return [op.RandomPhotometricDistort(tuple(t.brightness), tuple(t.contrast), tuple(t.saturation), tuple(t.hue), t.p)]


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
        raise ValueError("it comes before ToTensor or ToDtype(float32, scale=True); put it after")
    return [op.Normalize(three(t.mean), three(t.std))]


def three(values: Any) -> tuple[Any, ...]:
    """One value per channel; a single one is repeated, as torch broadcasts it."""
    return tuple(values) * (3 if len(values) == 1 else 1)


def grayscale(t: Any, white: float) -> list[Op]:
    if t.num_output_channels != 3:
        raise ValueError("num_output_channels must be 3, since views have three channels")
    return [op.RandomGrayscale(1.0)]


def pair(size: Any) -> tuple[int, int]:
    """torchvision's sizes n, (n,) or (h, w) as (h, w)."""
    if isinstance(size, int):
        return size, size
    return (size[0], size[-1])


def fill_of(t: Any, white: float) -> Any:
    """A transform's fill on the scale where white is 1."""
    fill = t.fill
    if isinstance(fill, dict):
        raise ValueError("a dictionary of fills is not supported; give one fill")
    return 0.0 if fill is None else on_unit_scale(fill, white)


def on_unit_scale(value: Any, white: float) -> Any:
    """A pixel's value, or one per channel, on the scale where white is 1."""
    if isinstance(value, (list, tuple)):
        return value[0] / white if len(value) == 1 else tuple(v / white for v in value)
    return value / white if is_number(value) else value


def interpolation(t: Any) -> Any:
    """The mode's name or torchvision's enum member; the ops check it."""
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
    "ElasticTransform": elastic,
    "ColorJitter": jitter,
    "RandomPhotometricDistort": distort,
    "RandomChannelPermutation": lambda t, white: [op.RandomChannelPermutation()],
    "Grayscale": grayscale,
    "RandomGrayscale": lambda t, white: [op.RandomGrayscale(t.p)],
    "GaussianBlur": blur,
    "GaussianNoise": noise,
    "JPEG": lambda t, white: [op.JPEG(tuple(t.quality))],
    "RandomSolarize": lambda t, white: [op.RandomSolarize(t.threshold / white, t.p)],
    "RandomPosterize": lambda t, white: [op.RandomPosterize(t.bits, t.p)],
    "RandomEqualize": lambda t, white: [op.RandomEqualize(t.p)],
    "RandomAutocontrast": lambda t, white: [op.RandomAutocontrast(t.p)],
    "RandomAdjustSharpness": lambda t, white: [op.RandomAdjustSharpness(t.sharpness_factor, t.p)],
    "RandomInvert": lambda t, white: [op.RandomInvert(t.p)],
    "RandomErasing": erasing,
    "Normalize": normalize,
}
"""Transforms that do not contain others; `convert.torchvision` has those that do."""
