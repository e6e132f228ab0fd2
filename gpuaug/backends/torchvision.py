"""The truth that other backends are tested against: torchvision's functionals on one float32 image at a time."""

# mypy: disable-error-code="no-any-return"
# torchvision has no type hints that mypy can see.

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F  # noqa: N812 - torchvision's own convention

from .. import ops as op
from ..images import Images
from ..ops.automatic.kinds import DARK, KINDS
from ..ops.automatic.ops import Automatic
from ..ops.color import FLAT, ORDERS, PARTS
from ..ops.geometric import Pair
from ..philox import normal_field, uniform_field
from . import Backend, Batch, BatchForm, leading

Row = dict[str, Any]
"""One image's draws for one step: name -> scalar or small array."""


def resized_crop(x: torch.Tensor, o: op.RandomResizedCrop, d: Row) -> torch.Tensor:
    top, left, height, width = box(x, o, d)
    mode = InterpolationMode(o.interpolation)
    size = list(cast(op.Size, o.size))
    return clipped(F.resized_crop(x, top, left, height, width, size, interpolation=mode, antialias=True), x, o)


def resize(x: torch.Tensor, o: op.Resize, d: Row) -> torch.Tensor:
    size = list(o.target(*x.shape[-2:]))
    return clipped(F.resize(x, size, interpolation=InterpolationMode(o.interpolation), antialias=True), x, o)


def clipped(made: torch.Tensor, x: torch.Tensor, o: op.RandomResizedCrop | op.Resize) -> torch.Tensor:
    """Clip a bicubic filter's overshoot, as 8 bits do: to [0, 1], or to the range of x where that is wider."""
    return made.clamp(min(0.0, float(x.min())), max(1.0, float(x.max()))) if o.interpolation == "bicubic" else made


def center_crop(x: torch.Tensor, o: op.CenterCrop, d: Row) -> torch.Tensor:
    return F.center_crop(x, list(cast(op.Size, o.size)))


def random_crop(x: torch.Tensor, o: op.RandomCrop, d: Row) -> torch.Tensor:
    height, width = (np.array([n]) for n in x.shape[-2:])
    left, top, right, bottom = (int(n) for n in o.pads(height, width)[0])
    box_top, box_left, box_height, box_width = box(x, o, d)
    fill = list(cast(tuple[float, ...], o.fill)) if o.padding_mode == "constant" else None
    if o.padding_mode in ("reflect", "symmetric"):  # torchvision fails if the padding is as wide as the image
        pads = ((0, 0), (top, bottom), (left, right))
        x = torch.from_numpy(np.pad(x.numpy(), pads, mode=cast(Any, o.padding_mode)))
    else:
        x = F.pad(x, [left, top, right, bottom], fill=fill, padding_mode=o.padding_mode)
    return F.crop(x, box_top + top, box_left + left, box_height, box_width)


def box(x: torch.Tensor, o: Any, d: Row) -> list[int]:
    draws = {name: np.asarray(value)[None] for name, value in d.items()}
    return [int(n) for n in o.boxes(draws, np.array([x.shape[-2]]), np.array([x.shape[-1]]))[0]]


def affine(x: torch.Tensor, o: op.RandomAffine, d: Row) -> torch.Tensor:
    height, width = x.shape[-2:]
    shift = [int(np.rint(float(d.get("translate_x", 0)) * width)), int(np.rint(float(d.get("translate_y", 0)) * height))]
    shear = [float(d.get("shear_x", 0)), float(d.get("shear_y", 0))]
    return F.affine(
        x,
        float(d["angle"]),
        shift,
        float(d.get("scale", 1)),
        shear,
        interpolation=InterpolationMode(o.interpolation),
        fill=list(cast(tuple[float, ...], o.fill)),
        center=None if o.center is None else list(o.center),
    )


def rotate(x: torch.Tensor, o: op.RandomRotation, d: Row) -> torch.Tensor:
    mode = InterpolationMode(o.interpolation)
    center = None if o.center is None else list(o.center)
    return F.rotate(x, float(d["angle"]), interpolation=mode, center=center, fill=list(cast(tuple[float, ...], o.fill)))


def perspective(x: torch.Tensor, o: op.RandomPerspective, d: Row) -> torch.Tensor:
    coefficients = o.coefficients({"corners": d["corners"][None]}, *x.shape[-2:])[0].tolist()
    mode = InterpolationMode(o.interpolation)
    fill = list(cast(tuple[float, ...], o.fill))
    return F.perspective(x, None, None, interpolation=mode, fill=fill, coefficients=coefficients)


def elastic(x: torch.Tensor, o: op.ElasticTransform, d: Row) -> torch.Tensor:
    mode = InterpolationMode(o.interpolation)
    return F.elastic(x, displacement(o, d, *x.shape[-2:]), interpolation=mode, fill=list(cast(tuple[float, ...], o.fill)))


def displacement(o: op.ElasticTransform, d: Row, height: int, width: int) -> torch.Tensor:
    """How far pixels are moved, float32 (1, height, width, 2), as torchvision's `ElasticTransform.make_params` computes it."""
    o.output_size((height, width))
    key = torch.from_numpy(d["key"].astype(np.int64))[None]
    fields = uniform_field(key, height, width)[0, :, None, None]
    moves, sigma = [], list(cast(Pair, o.sigma))
    for field, size, alpha, length in zip(fields, o.kernels, cast(Pair, o.alpha), (width, height), strict=True):
        blurred = F.gaussian_blur(field, [size, size], sigma) if sigma[0] else field
        moves.append(blurred * alpha / length)
    return torch.cat(moves, dim=1).permute(0, 2, 3, 1)


def adjust_hue(x: torch.Tensor, shift: float) -> torch.Tensor:
    """torchvision's adjust_hue, with 0 in place of NaN.

    Noise, erasing and Normalize produce values outside [0, 1]. Where the largest channel is exactly 0 and another is negative,
    torchvision computes 0/0, although the limit of every channel is 0. One such pixel would spread through contrast's mean.
    """
    return torch.nan_to_num(F.adjust_hue(x, shift), nan=0.0)


ADJUST = dict(zip(PARTS, (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, adjust_hue), strict=True))


def color_jitter(x: torch.Tensor, o: op.ColorJitter, d: Row) -> torch.Tensor:
    for part in (PARTS[k] for k in ORDERS[d["order"]]):
        if part in d:
            x = ADJUST[part](x, float(d[part]))
    return x


def photometric_distort(x: torch.Tensor, o: op.RandomPhotometricDistort, d: Row) -> torch.Tensor:
    applied = dict(zip(PARTS, d["parts"].tolist(), strict=True))
    before = ("brightness", "contrast", "saturation", "hue")
    after = ("brightness", "saturation", "hue", "contrast")
    for part in before if d["contrast_first"] else after:
        if applied[part]:
            x = ADJUST[part](x, float(d[part]))
    return F.permute_channels(x, d["channels"].tolist())


def autocontrast(x: torch.Tensor) -> torch.Tensor:
    """torchvision's autocontrast, except that a channel stays as it is if only a filter's rounding keeps it from being flat."""
    flat = x.amax((-2, -1), keepdim=True) - x.amin((-2, -1), keepdim=True) < FLAT
    return torch.where(flat, x.clamp(0, 1), F.autocontrast(x))


def noise(x: torch.Tensor, d: Row) -> torch.Tensor:
    key = torch.from_numpy(d["key"].astype(np.int64))[None]
    return normal_field(key, *x.shape[-2:])[0]


def gaussian_noise(x: torch.Tensor, o: op.GaussianNoise, d: Row) -> torch.Tensor:
    x = x + (o.mean + o.sigma * noise(x, d))
    return x.clamp(0, 1) if o.clip else x


def erase(x: torch.Tensor, o: op.RandomErasing, d: Row) -> torch.Tensor:
    top, left, height, width = box(x, o, d)
    if isinstance(o.value, str):
        value = noise(x, d)[:, top : top + height, left : left + width]
    else:
        value = torch.tensor(o.value, device="cpu")[:, None, None]
    return F.erase(x, top, left, height, width, value)


def equalize(x: torch.Tensor) -> torch.Tensor:
    return F.equalize(x.clamp(0, 1))  # it converts to uint8, where 1.01 would wrap


def jpeg(x: torch.Tensor, quality: int) -> torch.Tensor:
    """torchvision's jpeg of a Pillow image, which is libjpeg-turbo as for tensors; the function for tensors is deprecated."""
    levels = F.to_dtype(x.clamp(0, 1), torch.uint8, scale=True)  # 1.01 would wrap
    return F.to_dtype(F.pil_to_tensor(F.jpeg(F.to_pil_image(levels), quality)), torch.float32, scale=True)


def posterize(x: torch.Tensor, bits: int) -> torch.Tensor:
    return F.posterize(x, bits) if bits < 8 else x  # as for 8-bit pixels, which 8 bits do not change


def moved(
    x: torch.Tensor, o: Automatic, shift: tuple[float, float] = (0, 0), shear: tuple[float, float] = (0, 0)
) -> torch.Tensor:
    """A translation by whole pixels, or a shear about the top left corner by pixels of shift a pixel of distance."""
    mode, fill = InterpolationMode(o.interpolation), list(cast(tuple[float, ...], o.fill))
    degrees = [math.degrees(math.atan(s)) for s in shear]
    pixels = [int(np.float32(s)) for s in shift]
    center = [0, 0] if any(shear) else None
    return F.affine(x, 0.0, pixels, 1.0, degrees, interpolation=mode, fill=fill, center=center)


def turned(x: torch.Tensor, o: Automatic, degrees: float) -> torch.Tensor:
    return F.rotate(x, degrees, interpolation=InterpolationMode(o.interpolation), fill=list(cast(tuple[float, ...], o.fill)))


AUTOMATIC: dict[str, Callable[[torch.Tensor, Any, float], torch.Tensor]] = {
    "Identity": lambda x, o, m: x,
    "ShearX": lambda x, o, m: moved(x, o, shear=(m, 0)),
    "ShearY": lambda x, o, m: moved(x, o, shear=(0, m)),
    "TranslateX": lambda x, o, m: moved(x, o, (m, 0)),
    "TranslateY": lambda x, o, m: moved(x, o, (0, m)),
    "TranslateXRel": lambda x, o, m: moved(x, o, (m * x.shape[-1], 0)),
    "TranslateYRel": lambda x, o, m: moved(x, o, (0, m * x.shape[-2])),
    "Rotate": turned,
    "Brightness": lambda x, o, m: F.adjust_brightness(x, m),
    "Color": lambda x, o, m: F.adjust_saturation(x, m),
    "Contrast": lambda x, o, m: F.adjust_contrast(x, m),
    "Sharpness": lambda x, o, m: F.adjust_sharpness(x, m),
    "Posterize": lambda x, o, m: posterize(x, int(m)),
    "Solarize": lambda x, o, m: F.solarize(x, m),
    "SolarizeAdd": lambda x, o, m: torch.where(x < DARK, (x + m).clamp(0, 1), x),
    "AutoContrast": lambda x, o, m: autocontrast(x),
    "Equalize": lambda x, o, m: equalize(x),
    "Invert": lambda x, o, m: F.invert(x),
}
"""Kind of `ops.automatic.KINDS` -> (x, op, magnitude) -> x."""


def automatic(x: torch.Tensor, o: Automatic, d: Row) -> torch.Tensor:
    for code, magnitude in zip(d["op"].tolist(), d["magnitude"].tolist(), strict=True):
        x = AUTOMATIC[KINDS[code]](x, o, magnitude)
    return x


def aug_mix(x: torch.Tensor, o: op.AugMix, d: Row) -> torch.Tensor:
    weights = d["weights"].tolist()
    mixed = weights[0] * x
    for k, weight in enumerate(weights[1:]):
        chain = slice(k * o.depth, (k + 1) * o.depth)
        mixed = mixed + weight * automatic(x, o, {name: d[name][chain] for name in ("op", "magnitude")})
    return mixed


OPS: dict[type[op.Op], Callable[..., torch.Tensor]] = {
    op.RandomResizedCrop: resized_crop,
    op.Resize: resize,
    op.CenterCrop: center_crop,
    op.RandomCrop: random_crop,
    op.RandomHorizontalFlip: lambda x, o, d: F.horizontal_flip(x),
    op.RandomVerticalFlip: lambda x, o, d: F.vertical_flip(x),
    op.RandomAffine: affine,
    op.RandomRotation: rotate,
    op.RandomPerspective: perspective,
    op.ElasticTransform: elastic,
    op.ColorJitter: color_jitter,
    op.RandomPhotometricDistort: photometric_distort,
    op.RandomChannelPermutation: lambda x, o, d: F.permute_channels(x, d["channels"].tolist()),
    op.RandomGrayscale: lambda x, o, d: F.rgb_to_grayscale(x, num_output_channels=3),
    op.RandomSolarize: lambda x, o, d: F.solarize(x, o.threshold),
    op.RandomPosterize: lambda x, o, d: posterize(x, o.bits),
    op.RandomEqualize: lambda x, o, d: equalize(x),
    op.RandomAutocontrast: lambda x, o, d: autocontrast(x),
    op.RandomInvert: lambda x, o, d: F.invert(x),
    op.GaussianBlur: lambda x, o, d: F.gaussian_blur(x, list(o.kernel), [float(d["sigma"])] * 2),
    op.GaussianNoise: gaussian_noise,
    op.JPEG: lambda x, o, d: jpeg(x, int(d["quality"])),
    op.RandomAdjustSharpness: lambda x, o, d: F.adjust_sharpness(x, o.sharpness_factor),
    op.RandomErasing: erase,
    op.RandAugment: automatic,
    op.TrivialAugmentWide: automatic,
    op.AutoAugment: automatic,
    op.AugMix: aug_mix,
    op.Normalize: lambda x, o, d: F.normalize(x, list(o.mean), list(o.std)),
    op.ToDtype: lambda x, o, d: x,
}


def count_supported(steps: Sequence[op.Op], form: BatchForm) -> int:
    return leading(steps, OPS)


def apply(batch: Batch, ops: Sequence[op.Op], draws: Sequence[op.OpDraws]) -> Batch:
    """Apply a run of steps, image by image; `gpuaug.backends.Batch` describes the shapes."""
    if isinstance(batch, Images):
        batch = [image.permute(2, 0, 1).float() / 255 for image in batch]
    out = []
    for row, image in enumerate(batch):
        for o, step in zip(ops, draws, strict=True):
            d = {name: column[row] for name, column in step.items()}
            if d.pop("apply", True):
                image = OPS[type(o)](image, o, d)
        out.append(image)
    same = len({image.shape for image in out}) == 1
    return torch.stack(out) if same else out


BACKEND = Backend(OPS, count_supported, apply)
