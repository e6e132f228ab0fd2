"""The tables of the general path: op -> function, for images of any sizes or for a batch of one size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch

from ... import ops as op
from ...ops.base import Array
from ...ops.color import PARTS
from ...ops.geometric import Pair
from ...philox import uniform_field
from .. import Function
from . import automatic, color, resample, warp
from .jpeg import jpeg
from .resample import Pixels
from .rows import column, on_groups, send, unchanged


def resized_crop(source: Pixels, o: op.RandomResizedCrop, d: op.OpDraws) -> torch.Tensor:
    return resample.resample(source, o.boxes(d, source.heights, source.widths), cast(op.Size, o.size), o.interpolation)


def resize(source: Pixels, o: op.Resize, d: op.OpDraws) -> torch.Tensor:
    whole = np.concatenate([np.zeros_like(source.shapes), source.shapes], axis=1)
    return resample.resample(source, whole, o.target(*source.shapes[0].tolist()), o.interpolation)


def center_crop(source: Pixels, o: op.CenterCrop, d: op.OpDraws) -> torch.Tensor:
    boxes = o.boxes(d, source.heights, source.widths)
    return resample.crop(source, boxes, cast(op.Size, o.size), "constant", (0.0, 0.0, 0.0))


def random_crop(source: Pixels, o: op.RandomCrop, d: op.OpDraws) -> torch.Tensor:
    boxes = o.boxes(d, source.heights, source.widths)
    fill = cast(tuple[float, ...], o.fill)
    return resample.crop(source, boxes, cast(op.Size, o.size), o.padding_mode, fill)


CUTS: dict[type[op.Op], Callable[[Pixels, Any, op.OpDraws], torch.Tensor]] = {
    op.RandomResizedCrop: resized_crop,
    op.Resize: resize,
    op.CenterCrop: center_crop,
    op.RandomCrop: random_crop,
}
"""Op -> function that reads boxes from images of any sizes."""


def blur(x: torch.Tensor, o: op.GaussianBlur, d: op.OpDraws) -> torch.Tensor:
    o.output_size((x.shape[2], x.shape[3]))  # raises if the image is too small to reflect
    return resample.blur(x, *(resample.gaussian(d["sigma"], size) for size in o.kernel))


def warp_affine(x: torch.Tensor, o: op.RandomAffine | op.RandomRotation, d: op.OpDraws) -> torch.Tensor:
    return warp.affine(x, o.matrices(d, x.shape[2], x.shape[3]), o.interpolation, cast(tuple[float, ...], o.fill))


def warp_perspective(x: torch.Tensor, o: op.RandomPerspective, d: op.OpDraws) -> torch.Tensor:
    return warp.perspective(x, o.coefficients(d, x.shape[2], x.shape[3]), o.interpolation, cast(tuple[float, ...], o.fill))


def elastic(x: torch.Tensor, o: op.ElasticTransform, d: op.OpDraws) -> torch.Tensor:
    o.output_size((x.shape[2], x.shape[3]))
    (keys,) = send(x.device, d["key"].astype(np.int64))
    fields = uniform_field(keys, *x.shape[2:])[:, :, None].unbind(1)
    moves = []
    for field, size, alpha, n in zip(fields, o.kernels, cast(Pair, o.alpha), (x.shape[3], x.shape[2]), strict=True):
        kernels = [resample.gaussian(np.full(len(x), s), size) for s in cast(Pair, o.sigma)] if size > 1 else []
        moves.append((resample.blur(field, *kernels) if kernels else field) * alpha / n)
    return warp.moved(x, torch.cat(moves, dim=1), o.interpolation, cast(tuple[float, ...], o.fill))


def permute_channels(x: torch.Tensor, channels: Array) -> torch.Tensor:
    (channel,) = send(x.device, channels.astype(np.int64))
    return x.gather(1, channel[:, :, None, None].expand_as(x))


def photometric_distort(x: torch.Tensor, o: op.RandomPhotometricDistort, d: op.OpDraws) -> torch.Tensor:
    brightness, contrast, saturation, hue = d["parts"].T
    first = d["contrast_first"]
    for part, applied in zip(
        (*PARTS, "contrast"), (brightness, contrast & first, saturation, hue, contrast & ~first), strict=True
    ):
        change = color.jitter_part(part, d[part])
        x = on_groups(x, [(np.flatnonzero(applied), change), (np.flatnonzero(~applied), unchanged)])
    return permute_channels(x, d["channels"])


def solarize(x: torch.Tensor, o: op.RandomSolarize, d: op.OpDraws) -> torch.Tensor:
    return torch.where(x >= column(x, np.full(len(x), o.threshold)), 1 - x, x)


def normalize(x: torch.Tensor, o: op.Normalize, d: op.OpDraws) -> torch.Tensor:
    mean, std = send(x.device, np.array(o.mean, np.float32), np.array(o.std, np.float32))
    return (x - mean.view(3, 1, 1)) / std.view(3, 1, 1)


def add_noise(x: torch.Tensor, o: op.GaussianNoise, d: op.OpDraws) -> torch.Tensor:
    x = x + (color.normal(x, d["key"]) * o.sigma + o.mean)
    return x.clamp(0, 1) if o.clip else x


def erase(x: torch.Tensor, o: op.RandomErasing, d: op.OpDraws) -> torch.Tensor:
    sizes = (np.full(len(x), n, np.int64) for n in x.shape[2:])
    random = isinstance(o.value, str)
    value = color.normal(x, d["key"]) if random else send(x.device, np.array(o.value, np.float32))[0].view(3, 1, 1)
    return color.erase(x, o.boxes(d, *sizes), value)


MAPS: dict[type[op.Op], Function] = {
    op.RandomHorizontalFlip: lambda x, o, d: x.flip(-1),
    op.RandomVerticalFlip: lambda x, o, d: x.flip(-2),
    op.RandomAffine: warp_affine,
    op.RandomRotation: warp_affine,
    op.RandomPerspective: warp_perspective,
    op.ElasticTransform: elastic,
    op.ColorJitter: lambda x, o, d: color.color_jitter(x, d),
    op.RandomPhotometricDistort: photometric_distort,
    op.RandomChannelPermutation: lambda x, o, d: permute_channels(x, d["channels"]),
    op.RandomGrayscale: lambda x, o, d: color.gray(x).expand_as(x),
    op.RandomSolarize: solarize,
    op.RandomPosterize: lambda x, o, d: color.posterize(x, o.bits) if o.bits < 8 else x,
    op.RandomEqualize: lambda x, o, d: color.equalize(x),
    op.RandomAutocontrast: lambda x, o, d: color.autocontrast(x),
    op.RandomInvert: lambda x, o, d: 1 - x,
    op.GaussianBlur: blur,
    op.GaussianNoise: add_noise,
    op.JPEG: lambda x, o, d: jpeg(x, d["quality"]),
    op.RandomAdjustSharpness: lambda x, o, d: color.sharpness(x, o.sharpness_factor),
    op.RandomErasing: erase,
    op.RandAugment: automatic.apply,
    op.TrivialAugmentWide: automatic.apply,
    op.AutoAugment: automatic.apply,
    op.AugMix: automatic.mix,
    op.Normalize: normalize,
    op.ToDtype: lambda x, o, d: x,
}
"""Op -> function that changes every image of a batch of one size."""

OPS: dict[type[op.Op], Callable[..., torch.Tensor]] = {**CUTS, **MAPS}
