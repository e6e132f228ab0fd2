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
from torchvision.tv_tensors import Mask, TVTensor, wrap

from .. import ops as op
from ..images import Images
from ..ops.automatic.kinds import DARK, KINDS, WARPING
from ..ops.automatic.ops import Automatic
from ..ops.color import FLAT, ORDERS, PARTS
from ..ops.geometric import Pair
from ..philox import normal_field, uniform_field
from . import Backend, Batch, BatchForm, leading

Row = dict[str, Any]
"""One image's draws for one step: name -> scalar or small array."""


# What moves pixels takes tv_tensors too, Mask, BoundingBoxes and KeyPoints, which torchvision moves by their own functions.


def resized_crop(x: torch.Tensor, o: op.RandomResizedCrop, d: Row) -> torch.Tensor:
    top, left, height, width = box(x, o, d)
    mode = InterpolationMode(o.interpolation)
    size = list(cast(op.Size, o.size))
    return clipped(F.resized_crop(x, top, left, height, width, size, interpolation=mode, antialias=True), x, o)


def resize(x: torch.Tensor, o: op.Resize, d: Row) -> torch.Tensor:
    size = list(o.target(*F.get_size(x)))
    return clipped(F.resize(x, size, interpolation=InterpolationMode(o.interpolation), antialias=True), x, o)


def clipped(made: torch.Tensor, x: torch.Tensor, o: op.RandomResizedCrop | op.Resize) -> torch.Tensor:
    """Clip a bicubic filter's overshoot, as 8 bits do: to [0, 1], or to the range of x where that is wider."""
    if o.interpolation != "bicubic" or isinstance(x, TVTensor):
        return made
    return made.clamp(x.min().clamp(max=0.0), x.max().clamp(min=1.0))


def center_crop(x: torch.Tensor, o: op.CenterCrop, d: Row) -> torch.Tensor:
    return F.center_crop(x, list(cast(op.Size, o.size)))


def random_crop(x: torch.Tensor, o: op.RandomCrop, d: Row) -> torch.Tensor:
    height, width = (np.array([n]) for n in F.get_size(x))
    left, top, right, bottom = (int(n) for n in o.pads(height, width)[0])
    box_top, box_left, box_height, box_width = box(x, o, d)
    if isinstance(x, TVTensor) and not isinstance(x, Mask) and o.padding_mode != "constant":
        raise ValueError(f"RandomCrop: boxes and keypoints need padding_mode='constant', got {o.padding_mode!r}")
    if o.padding_mode in ("reflect", "symmetric"):  # torchvision fails if the padding is as wide as the image
        pads = (*[(0, 0)] * (x.ndim - 2), (top, bottom), (left, right))
        padded = torch.from_numpy(np.pad(x.cpu().numpy(), pads, mode=cast(Any, o.padding_mode))).to(x.device)
        x = wrap(padded, like=x) if isinstance(x, TVTensor) else padded
    else:
        fill = fill_of(x, o) if o.padding_mode == "constant" else None
        x = F.pad(x, [left, top, right, bottom], fill=fill, padding_mode=o.padding_mode)
    return F.crop(x, box_top + top, box_left + left, box_height, box_width)


def box(x: torch.Tensor, o: Any, d: Row) -> list[int]:
    draws = {name: np.asarray(value)[None] for name, value in d.items()}
    height, width = F.get_size(x)
    return [int(n) for n in o.boxes(draws, np.array([height]), np.array([width]))[0]]


def fill_of(x: torch.Tensor, o: Any) -> Any:
    """The op's fill, one number per channel; 0 for a mask."""
    return 0 if isinstance(x, TVTensor) else list(o.fill)


def affine(x: torch.Tensor, o: op.RandomAffine, d: Row) -> torch.Tensor:
    height, width = F.get_size(x)
    shift = [int(np.rint(float(d.get("translate_x", 0)) * width)), int(np.rint(float(d.get("translate_y", 0)) * height))]
    shear = [float(d.get("shear_x", 0)), float(d.get("shear_y", 0))]
    return F.affine(
        x,
        float(d["angle"]),
        shift,
        float(d.get("scale", 1)),
        shear,
        interpolation=InterpolationMode(o.interpolation),
        fill=fill_of(x, o),
        center=None if o.center is None else list(o.center),
    )


def rotate(x: torch.Tensor, o: op.RandomRotation, d: Row) -> torch.Tensor:
    mode = InterpolationMode(o.interpolation)
    center = None if o.center is None else list(o.center)
    return F.rotate(x, float(d["angle"]), interpolation=mode, center=center, fill=fill_of(x, o))


def perspective(x: torch.Tensor, o: op.RandomPerspective, d: Row) -> torch.Tensor:
    coefficients = o.coefficients({"corners": d["corners"][None]}, *F.get_size(x))[0].tolist()
    mode = InterpolationMode(o.interpolation)
    return F.perspective(x, None, None, interpolation=mode, fill=fill_of(x, o), coefficients=coefficients)


def elastic(x: torch.Tensor, o: op.ElasticTransform, d: Row) -> torch.Tensor:
    mode = InterpolationMode(o.interpolation)
    return F.elastic(x, displacement(o, d, *F.get_size(x)), interpolation=mode, fill=fill_of(x, o))


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


def by_channel(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A function that does the same to every channel, but that torchvision has for one channel and three only."""

    def apply(x: torch.Tensor, *arguments: Any) -> torch.Tensor:
        if len(x) in (1, 3):
            return function(x, *arguments)
        return torch.cat([function(channel[None], *arguments) for channel in x])

    return apply


ADJUST = dict(zip(PARTS, (by_channel(F.adjust_brightness), F.adjust_contrast, F.adjust_saturation, adjust_hue), strict=True))


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
    return torch.where(flat, x.clamp(0, 1), by_channel(F.autocontrast)(x))


def noise(x: torch.Tensor, d: Row) -> torch.Tensor:
    key = torch.from_numpy(d["key"].astype(np.int64))[None]
    return normal_field(key, x.shape[-2], x.shape[-1], len(x))[0]


def gaussian_noise(x: torch.Tensor, o: op.GaussianNoise, d: Row) -> torch.Tensor:
    x = x + (o.mean + o.sigma * noise(x, d))
    return x.clamp(0, 1) if o.clip else x


def erase(x: torch.Tensor, o: op.RandomErasing | op.Cutout, d: Row) -> torch.Tensor:
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
    mode, fill = InterpolationMode(o.interpolation), fill_of(x, o)
    degrees = [math.degrees(math.atan(s)) for s in shear]
    pixels = [int(np.float32(s)) for s in shift]
    center = [0, 0] if any(shear) else None
    return F.affine(x, 0.0, pixels, 1.0, degrees, interpolation=mode, fill=fill, center=center)


def turned(x: torch.Tensor, o: Automatic, degrees: float) -> torch.Tensor:
    return F.rotate(x, degrees, interpolation=InterpolationMode(o.interpolation), fill=fill_of(x, o))


AUTOMATIC: dict[str, Callable[[torch.Tensor, Any, float], torch.Tensor]] = {
    "Identity": lambda x, o, m: x,
    "ShearX": lambda x, o, m: moved(x, o, shear=(m, 0)),
    "ShearY": lambda x, o, m: moved(x, o, shear=(0, m)),
    "TranslateX": lambda x, o, m: moved(x, o, (m, 0)),
    "TranslateY": lambda x, o, m: moved(x, o, (0, m)),
    "TranslateXRel": lambda x, o, m: moved(x, o, (m * F.get_size(x)[1], 0)),
    "TranslateYRel": lambda x, o, m: moved(x, o, (0, m * F.get_size(x)[0])),
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
        if isinstance(x, TVTensor) and code not in WARPING:
            continue
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
    op.RandomGrayscale: lambda x, o, d: F.rgb_to_grayscale(x, num_output_channels=len(x)),
    op.RandomSolarize: lambda x, o, d: F.solarize(x, o.threshold),
    op.RandomPosterize: lambda x, o, d: posterize(x, o.bits),
    op.RandomEqualize: lambda x, o, d: equalize(x),
    op.RandomAutocontrast: lambda x, o, d: autocontrast(x),
    op.RandomInvert: lambda x, o, d: F.invert(x),
    op.GaussianBlur: lambda x, o, d: F.gaussian_blur(x, list(o.kernel), [float(d["sigma"])] * 2),
    op.GaussianNoise: gaussian_noise,
    op.JPEG: lambda x, o, d: jpeg(x, int(d["quality"])),
    op.RandomAdjustSharpness: lambda x, o, d: by_channel(F.adjust_sharpness)(x, o.sharpness_factor),
    op.RandomErasing: erase,
    op.Cutout: erase,
    op.RandAugment: automatic,
    op.TrivialAugmentWide: automatic,
    op.AutoAugment: automatic,
    op.FixMatchRandAugment: automatic,
    op.TimmRandAugment: automatic,
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


BACKEND = Backend(OPS, count_supported, apply, any_channels=("any",), differentiable=True)
