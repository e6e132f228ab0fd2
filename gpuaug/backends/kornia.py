"""The general path: every op, batched with parameters of its own for each image, on any torch device, differentiable.

Kornia's functions serve where they equal torchvision's: flips, solarize, invert and normalize. Its crop samples without
antialiasing, its contrast, saturation and gray use other weights, its posterize and equalize round otherwise, and its blur is
a convolution whose bits change with the batch; those are written here by hand, in `_resample`, `_color` and `_warp`.

An image's view has the same bits whatever else is in the batch, and the host never waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from kornia.enhance import invert, normalize, solarize
from kornia.geometry import hflip, vflip

from .. import ops as op
from ..images import Images
from ..ops.base import Array
from ..ops.crop import Sized
from . import Batch, Given, _color, _resample, _warp, leading
from ._resample import Pixels, send

PIXELS = {"cpu": 2**16, "other": 2**24}
"""Pixels that go through a run of ops together: on the CPU what stays in its cache, elsewhere some gigabytes."""


def resized_crop(source: Pixels, o: op.RandomResizedCrop, d: op.OpDraws) -> torch.Tensor:
    return _resample.resample(source, o.boxes(d, source.heights, source.widths), cast(op.Size, o.size), o.interpolation)


def resize(source: Pixels, o: op.Resize, d: op.OpDraws) -> torch.Tensor:
    whole = np.concatenate([np.zeros_like(source.shapes), source.shapes], axis=1)
    return _resample.resample(source, whole, o.target(*source.shapes[0].tolist()), o.interpolation)


def center_crop(source: Pixels, o: op.CenterCrop, d: op.OpDraws) -> torch.Tensor:
    boxes = o.boxes(d, source.heights, source.widths)
    return _resample.crop(source, boxes, cast(op.Size, o.size), "constant", (0.0, 0.0, 0.0))


def random_crop(source: Pixels, o: op.RandomCrop, d: op.OpDraws) -> torch.Tensor:
    boxes = o.boxes(d, source.heights, source.widths)
    fill = cast(tuple[float, ...], o.fill)
    return _resample.crop(source, boxes, cast(op.Size, o.size), o.padding_mode, fill)


CUTS: dict[type[op.Op], Callable[[Pixels, Any, op.OpDraws], torch.Tensor]] = {
    op.RandomResizedCrop: resized_crop,
    op.Resize: resize,
    op.CenterCrop: center_crop,
    op.RandomCrop: random_crop,
}
"""Ops that read boxes out of images of any sizes."""


def blur(x: torch.Tensor, o: op.GaussianBlur, d: op.OpDraws) -> torch.Tensor:
    o.output_size((x.shape[2], x.shape[3]))  # raises where the image is too small to reflect
    return _resample.gaussian_blur(x, d["sigma"], o.kernel)


def warp_affine(x: torch.Tensor, o: op.RandomAffine | op.RandomRotation, d: op.OpDraws) -> torch.Tensor:
    return _warp.affine(x, o.matrices(d, x.shape[2], x.shape[3]), o.interpolation, cast(tuple[float, ...], o.fill))


def warp_perspective(x: torch.Tensor, o: op.RandomPerspective, d: op.OpDraws) -> torch.Tensor:
    return _warp.perspective(x, o.coefficients(d, x.shape[2], x.shape[3]), o.interpolation, cast(tuple[float, ...], o.fill))


def threshold(x: torch.Tensor, o: op.RandomSolarize, d: op.OpDraws) -> torch.Tensor:
    return solarize(x, send(x.device, np.full(len(x), o.threshold, np.float32))[0])


def inverted(x: torch.Tensor, o: op.RandomInvert, d: op.OpDraws) -> torch.Tensor:
    return invert(x, torch.ones(1, device=x.device))


def normalized(x: torch.Tensor, o: op.Normalize, d: op.OpDraws) -> torch.Tensor:
    mean, std = send(x.device, np.array(o.mean, np.float32), np.array(o.std, np.float32))
    return normalize(x, mean, std)


def add_noise(x: torch.Tensor, o: op.GaussianNoise, d: op.OpDraws) -> torch.Tensor:
    x = x + (_color.normal(x, d["key"]) * o.sigma + o.mean)
    return x.clamp(0, 1) if o.clip else x


def erase(x: torch.Tensor, o: op.RandomErasing, d: op.OpDraws) -> torch.Tensor:
    sizes = (np.full(len(x), n, np.int64) for n in x.shape[2:])
    random = isinstance(o.value, str)
    value = _color.normal(x, d["key"]) if random else send(x.device, np.array(o.value, np.float32))[0].view(3, 1, 1)
    return _color.erase(x, o.boxes(d, *sizes), value)


MAPS: dict[type[op.Op], Callable[[torch.Tensor, Any, op.OpDraws], torch.Tensor]] = {
    op.RandomHorizontalFlip: lambda x, o, d: hflip(x),
    op.RandomVerticalFlip: lambda x, o, d: vflip(x),
    op.RandomAffine: warp_affine,
    op.RandomRotation: warp_affine,
    op.RandomPerspective: warp_perspective,
    op.ColorJitter: lambda x, o, d: _color.color_jitter(x, d),
    op.RandomGrayscale: lambda x, o, d: _color.gray(x).expand_as(x),
    op.RandomSolarize: threshold,
    op.RandomPosterize: lambda x, o, d: _color.posterize(x, o.bits) if o.bits < 8 else x,
    op.RandomEqualize: lambda x, o, d: _color.equalize(x),
    op.RandomAutocontrast: lambda x, o, d: _color.autocontrast(x),
    op.RandomInvert: inverted,
    op.GaussianBlur: blur,
    op.GaussianNoise: add_noise,
    op.RandomAdjustSharpness: lambda x, o, d: _color.sharpness(x, o.sharpness_factor),
    op.RandomErasing: erase,
    op.Normalize: normalized,
    op.ToDtype: lambda x, o, d: x,
}
"""Ops on a batch of one size, all of whose images they change."""

OPS: dict[type[op.Op], Callable[..., torch.Tensor]] = {**CUTS, **MAPS}


def take(steps: Sequence[op.Op], given: Given) -> int:
    return leading(steps, OPS)


def apply(batch: Batch, ops: Sequence[op.Op], draws: Sequence[op.OpDraws]) -> Batch:
    """Apply a run of steps; see `gpuaug.backends` for the shapes.

    Ragged images go straight into a crop or a resize to a fixed size. Other ops on images of different sizes run image by
    image until the sizes agree.
    """
    sizes = shapes(batch)
    alone = apart(batch, sizes, ops)
    if alone:
        images = [run(part(batch, k, k + 1), ops[:alone], rows_of(draws[:alone], slice(k, k + 1))) for k in range(len(batch))]
        if len({image.shape for image in images}) > 1:
            return [image[0] for image in images]
        batch, ops, draws = torch.cat(images), ops[alone:], draws[alone:]
        sizes = shapes(batch)
    device = batch[0].device if isinstance(batch, list) else batch.device
    most = PIXELS["cpu" if device.type == "cpu" else "other"]
    rows = max(1, most // area(sizes, ops))
    parts = [run(part(batch, k, k + rows), ops, rows_of(draws, slice(k, k + rows))) for k in range(0, len(batch), rows)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def run(batch: Images | torch.Tensor, ops: Sequence[op.Op], draws: Sequence[op.OpDraws]) -> torch.Tensor:
    """Apply steps to a batch that fits into memory, (B, 3, H, W) after the first."""
    for o, step in zip(ops, draws, strict=True):
        cut = CUTS.get(type(o))
        batch = masked(pixels(batch), o, step) if cut is None else cut(Pixels.of(batch), o, step)
    return pixels(batch)


def masked(x: torch.Tensor, o: op.Op, draws: op.OpDraws) -> torch.Tensor:
    """Apply one op to the images that are marked in its draws."""
    marked = draws.get("apply", np.ones(len(x), dtype=bool))

    def change(x: torch.Tensor, rows: Array) -> torch.Tensor:
        return MAPS[type(o)](x, o, {name: a[rows] for name, a in draws.items()})

    return _color.on_groups(x, [(np.flatnonzero(marked), change), (np.flatnonzero(~marked), _color.unchanged)])


def pixels(batch: Images | torch.Tensor) -> torch.Tensor:
    """A batch of one size as float32 (B, 3, H, W)."""
    if isinstance(batch, torch.Tensor):
        return batch
    height, width = batch.shapes[0].tolist()
    return _resample.unit(batch.buffer.view(-1, height, width, 3).permute(0, 3, 1, 2).contiguous())


def part(batch: Batch, first: int, end: int) -> Images | torch.Tensor:
    """Some images of a batch, sharing memory; of a list, which then have one size, stacked."""
    if isinstance(batch, Images):
        at = np.append(batch.offsets, batch.buffer.numel())
        end = min(end, len(batch))
        return Images(batch.buffer[int(at[first]) : int(at[end])], batch.shapes[first:end])
    return torch.stack(batch[first:end]) if isinstance(batch, list) else batch[first:end]


def rows_of(draws: Sequence[op.OpDraws], rows: slice) -> list[op.OpDraws]:
    return [{name: a[rows] for name, a in step.items()} for step in draws]


def shapes(batch: Batch) -> set[op.Size]:
    """The different sizes of a batch's images."""
    if isinstance(batch, Images):
        return {(int(h), int(w)) for h, w in np.unique(batch.shapes, axis=0)}
    return {(x.shape[-2], x.shape[-1]) for x in ([batch] if isinstance(batch, torch.Tensor) else batch)}


def after(o: op.Op, size: op.Size) -> op.Size:
    """Size after an op, without the checks of `Op.output_size`: an op need not be applied to every image."""
    if isinstance(o, op.Resize):
        return o.target(*size)
    return cast(op.Size, o.size) if isinstance(o, Sized) else size


def apart(batch: Batch, sizes: set[op.Size], ops: Sequence[op.Op]) -> int:
    """How many leading ops must run image by image, because sizes differ before them."""
    for k, o in enumerate(ops):
        fixed = isinstance(o, Sized) and isinstance(o.size, tuple)
        if len(sizes) == 1 or (k == 0 and fixed and isinstance(batch, Images)):
            return k
        sizes = {after(o, size) for size in sizes}
    return len(ops)


def area(sizes: set[op.Size], ops: Sequence[op.Op]) -> int:
    """Most pixels of an image on its way through the ops; what a leading crop or resize reads does not count."""
    largest = [1] if ops and isinstance(ops[0], Sized) else [h * w for h, w in sizes]
    for o in ops:
        sizes = {after(o, size) for size in sizes}
        largest += [h * w for h, w in sizes]
    return max(largest)
