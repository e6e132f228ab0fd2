"""Cases that compare the Triton kernels with the truth on small images, and a command that runs them on the CPU.

    TRITON_INTERPRET=1 python -m parity.triton_interpreter

Triton reads that variable when it is imported, so tests run this in a process of its own. It prints one line of JSON per case.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from inspect import signature
from itertools import groupby, permutations
from typing import Any, Literal

import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F  # noqa: N812 - torchvision's own convention

import gpuaug
from gpuaug import Images, Policy, View, backends
from gpuaug.backends.fused import cuda, plan
from gpuaug.backends.fused.cuda import launch
from gpuaug.backends.fused.instructions import ELASTIC, JPEG, KEY, NOTHING, PERMUTE
from gpuaug.ops import Op, OpDraws
from gpuaug.ops.automatic.kinds import CODE
from gpuaug.philox import philox4x32_torch

from .cases import MAPS, NUDGE, TRUTH, VARIANTS, as_tensor, jumps, photographs, tables

LARGEST, MEAN = 2e-4, 2e-5
"""Largest and mean error allowed, for pixel values in [0, 1]; half of the first is what a blur may cut off."""

NARROW = 1e-3
"""Largest error of bfloat16 and float16 beyond their own rounding: their scratch memory is rounded to 1/32767."""

Result = dict[str, float]
"""Largest and mean error of the pixels that are compared (see `cases.compare`), and the share of the others (exempt)."""


def check_result(case: str, result: Result) -> None:
    # The scratch memory of narrow views is rounded, and later instructions amplify that.
    largest, mean = (NARROW, 10 * MEAN) if "float16" in case else (LARGEST, MEAN)
    assert result["largest"] <= largest, result
    assert result["mean"] <= mean, result
    assert result["exempt"] <= (0.03 if "functions" in case and "float16" in case else 0.01), result


def noise(height: int, width: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@cache
def photos() -> Images:
    """Parts of two photographs, and between them stripes of one pixel and a flat image."""
    astronaut, coffee = photographs()[:2]
    stripes = np.broadcast_to((np.arange(25) % 2 * 255)[None, :, None], (31, 25, 3)).astype(np.uint8)
    flat = np.full((20, 28, 3), (30, 120, 120), np.uint8)
    return Images.from_list([astronaut[20:65, 30:81], stripes, flat, coffee[40:73, 50:80]])


@cache
def ragged() -> Images:
    """A single pixel, a line of pixels, strong shrinking, enlarging, and a single pixel at the end of the memory."""
    return Images.from_list([photographs()[0][:50, :70], noise(1, 1), noise(40, 1), noise(300, 20), noise(8, 8), noise(1, 1)])


@cache
def floats() -> torch.Tensor:
    """Four float32 images (4, 3, 34, 30), which need two tiles each."""
    parts = [photographs()[0][10:44, 40:70], photographs()[3][:34, :30], noise(34, 30), np.full((34, 30, 3), 128, np.uint8)]
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).float() / 255


def compare(
    batch: Images | torch.Tensor,
    ops: Sequence[Op],
    draws: Sequence[OpDraws],
    device: str,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
    rounding: float = NUDGE["batched"],
) -> Result:
    """rounding: by how much the kernels may move the input of an op, which may make its output jump."""
    form: backends.BatchForm = "images" if isinstance(batch, Images) else "floats"
    assert plan.count_supported(ops, form) == len(ops), "the ops must be one fused stage"
    table = plan.tables(batch, ops, draws)
    there = batch if batch.device.type == device else batch.to(device)
    made = cuda.make_view(there, table, dtype, memory_format).cpu()
    assert made.dtype == dtype
    assert made.is_contiguous(memory_format=memory_format)
    truth = as_tensor(backends.load(TRUTH).apply(batch.to("cpu"), ops, draws))
    error = (made.float() - truth).abs()
    if dtype != torch.float32:
        # Triton's interpreter truncates to bfloat16 instead of rounding.
        units = 1 if dtype == torch.bfloat16 and device == "cpu" else 0.5
        error = (error - units * torch.finfo(dtype).eps * truth.abs()).clamp(min=0)
    error = error / torch.from_numpy(table.scale)[:, None, None]
    limit = LARGEST if dtype == torch.float32 else NARROW
    out = ~(error <= limit)
    if out.any():
        out &= jumps(batch, ops, draws, truth, limit, rounding)
    kept = error[~out]
    return {"largest": float(kept.max()), "mean": float(kept.mean()), "exempt": float(out.float().mean())}


# Kinds of cases: each returns a result on a device.


def alone(op: Op, device: str) -> Result:
    """One op that keeps the size, on floats."""
    steps, draws = tables([gpuaug.Resize((34, 30)), op], len(floats()), (34, 30))
    return compare(floats(), steps[1:], draws[1:], device)


CROPS: dict[str, tuple[Op, ...]] = {
    "RandomResizedCrop bilinear": (gpuaug.RandomResizedCrop(),),
    "RandomResizedCrop bicubic": (gpuaug.RandomResizedCrop(interpolation="bicubic"), gpuaug.RandomHorizontalFlip()),
    "Resize bilinear": (gpuaug.Resize(), gpuaug.RandomVerticalFlip()),
    "Resize bicubic": (gpuaug.Resize(interpolation="bicubic"),),
    "Resize of the shorter edge, CenterCrop": (gpuaug.Resize(36), gpuaug.CenterCrop()),
    "CenterCrop": (gpuaug.CenterCrop(),),
    "RandomCrop, padded if needed": (gpuaug.RandomCrop(padding=5, pad_if_needed=True),),
}


def crop(ops: Sequence[Op], device: str) -> Result:
    """Images of different sizes to a view of two tiles: 8 x 8 is enlarged, 300 x 20 is shrunk ten times."""
    steps, draws = tables(ops, len(ragged()), (30, 40))
    return compare(ragged(), steps, draws, device)


def at_every_border(device: str) -> Result:
    """Crops at nine positions that reach beyond the image on the left, on the right, above and below."""
    images = Images.from_list([noise(20, 26)] * 9)
    steps, draws = tables([gpuaug.RandomCrop(padding=12, pad_if_needed=True), gpuaug.RandomHorizontalFlip()], 9, 24)
    share = np.array([0, 0.5, 0.999], dtype=np.float32)
    draws[0]["top"], draws[0]["left"] = np.repeat(share, 3), np.tile(share, 3)
    return compare(images, steps, draws, device)


def beyond_every_border(device: str) -> Result:
    """Crops that are entirely in the padding, touch a corner of the image, or show it."""
    images = Images.from_list([noise(20, 26)] * 25)
    steps, draws = tables([gpuaug.RandomCrop(padding=30), gpuaug.RandomHorizontalFlip()], 25, 24)
    share = np.linspace(0, 0.999, 5, dtype=np.float32)
    draws[0]["top"], draws[0]["left"] = np.repeat(share, 5), np.tile(share, 5)
    return compare(images, steps, draws, device)


def named(name: str, device: str) -> Result:
    """Every kind of view of a named policy."""
    small = {"local_size": 16} if "local_size" in signature(gpuaug.policies[name]).parameters else {}
    return kinds(gpuaug.policy(name, size=24, **small).views, device)


@cache
def kinds(views: tuple[View, ...], device: str) -> Result:
    """The worst result over the kinds of view; cached, since some policies share their views."""
    draws = gpuaug.sample(Policy(*views), range(len(photos())), seed=7)
    groups = groupby(zip(views, draws.tables, strict=True), key=lambda pair: pair[0])
    rows = [compare(photos(), view.steps, next(group)[1], device) for view, group in groups]
    return {name: max(row[name] for row in rows) for name in rows[0]}


def variant(name: str, device: str) -> Result:
    """Every kind of view of one of `cases.VARIANTS`."""
    return kinds(VARIANTS[name].views, device)


def strong(height: int, width: int, *more: Op) -> Policy:
    jitter, blur = gpuaug.ColorJitter(0.8, 0.8, 0.8, 0.2), gpuaug.GaussianBlur(9, p=1.0)
    crop = gpuaug.RandomResizedCrop(interpolation="bicubic")
    return Policy(View((height, width), crop, gpuaug.RandomHorizontalFlip(), jitter, blur, *more, gpuaug.Normalize()))


def several_tiles(dtype: torch.dtype, memory_format: torch.memory_format, size: tuple[int, int], device: str) -> Result:
    """Contrast and blur over two or six tiles, at a size that is not a multiple of a tile."""
    policy = strong(*size, gpuaug.RandomSolarize(p=0.5))
    images = Images.from_list([photos()[0], photos()[3]])
    draws = gpuaug.sample(policy, range(len(images)), seed=1)
    return compare(images, policy.views[0].steps, draws.tables[0], device, dtype, memory_format)


def several_strips(dtype: torch.dtype, memory_format: torch.memory_format, device: str) -> Result:
    """Photographs shrunk to views of three strips, whose weights take several chunks; with a large blur, and a flip."""
    crop, blur = gpuaug.RandomResizedCrop(scale=(0.7, 1.0), interpolation="bicubic"), gpuaug.GaussianBlur(23, (1.5, 2.5), p=0.7)
    ops = (crop, gpuaug.RandomHorizontalFlip(), gpuaug.ColorJitter(0.4, 0.4, 0.2, 0.1), blur, gpuaug.Normalize())
    images = Images.from_list([photographs()[0][:260, :300], photographs()[1][:128, :250], noise(70, 331)])
    steps, draws = tables(ops, len(images), (68, 140))
    return compare(images, steps, draws, device, dtype, memory_format)


MAGNITUDES = {
    **{"ShearX": 0.2917, "ShearY": -0.1873, "Rotate": 25.0},
    **{"TranslateX": 5.0, "TranslateY": -7.0, "TranslateXRel": 0.2, "TranslateYRel": -0.15},
    **{"Brightness": 1.4, "Color": 0.3, "Contrast": 1.5, "Sharpness": 1.9, "Posterize": 4.0, "Solarize": 0.6},
    **{"SolarizeAdd": 0.2, "AutoContrast": 0.0, "Equalize": 0.0, "Invert": 0.0},
}
"""Every function that automatic ops choose from, but for the one that changes nothing, with a magnitude."""


def functions(
    interpolation: str, dtype: torch.dtype, memory_format: torch.memory_format, size: int | tuple[int, int], device: str
) -> Result:
    """For each function an image that gets it after another one, and noise after both for float32."""
    count = len(MAGNITUDES)
    noise = [gpuaug.RandomErasing(1.0, value="random")] if dtype == torch.float32 else []
    automatic = gpuaug.RandAugment(interpolation=interpolation, fill=(0.1, 0.5, 0.9))
    crop = gpuaug.RandomResizedCrop(interpolation="bicubic")
    steps, draws = tables((crop, gpuaug.RandomHorizontalFlip(), automatic, *noise, gpuaug.Normalize()), count, size)
    kinds, magnitudes = [CODE[kind] for kind in MAGNITUDES], list(MAGNITUDES.values())
    # Scratch in float16 moves pixels from one level to the next, so that there nothing comes before an equalized histogram.
    second = [(k + 5) % count for k in range(count)]
    if dtype != torch.float32:
        second = [k if kinds[k] != CODE["Equalize"] else CODE["Identity"] for k in second]
    draws[2]["op"] = np.array([kinds, [kinds[k] for k in second]], np.uint8).T
    draws[2]["magnitude"] = np.array([magnitudes, [magnitudes[k] for k in second]], np.float32).T
    images = Images.from_list([photographs()[k % 4][10 + k : 70, k:60] for k in range(count)])
    rounding = NUDGE["batched"] if dtype == torch.float32 else 2.0**-12  # half a unit of scratch below 1
    return compare(images, steps, draws, device, dtype, memory_format, rounding)


def between_blurs(dtype: torch.dtype, device: str) -> Result:
    """Barriers that read neighbours and some that do not, in one stage, at sizes that are not multiples of a tile."""
    blur = gpuaug.GaussianBlur((5, 9), (0.3, 3.0), p=0.7)
    ops = (
        *(gpuaug.RandomResizedCrop(), gpuaug.ColorJitter(contrast=0.5, p=0.7), gpuaug.RandomAutocontrast(0.6), blur),
        *(gpuaug.RandomRotation(30, "bilinear", p=0.7), blur, gpuaug.RandomAdjustSharpness(1.6, p=0.7)),
        *(gpuaug.RandomPerspective(p=0.7), gpuaug.ColorJitter(contrast=0.5, p=0.7), gpuaug.RandomAutocontrast(0.6), blur),
    )
    steps, draws = tables(ops, 2 * len(photos()), (40, 70))
    return compare(Images.from_list([*photos(), *photos()]), steps, draws, device, dtype)


def mixes(op: Op, dtype: torch.dtype, device: str) -> Result:
    """A mix, and after it other ops, the first of which may be a barrier."""
    ops = (gpuaug.RandomResizedCrop(), op, gpuaug.RandomAdjustSharpness(1.5), gpuaug.ColorJitter(contrast=0.4))
    steps, draws = tables(ops, len(photos()), 36)
    if dtype != torch.float32:  # whose scratch moves pixels over the jumps of these
        jumping = np.isin(draws[1]["op"], [CODE[kind] for kind in ("Posterize", "Solarize", "Equalize")])
        draws[1]["op"] = np.where(jumping, np.uint8(CODE["AutoContrast"]), draws[1]["op"])
    return compare(photos(), steps, draws, device, dtype)


def permuted(device: str) -> Result:
    """Channels in every order."""
    orders = np.array(list(permutations(range(3))), np.float32)
    images = Images.from_list([noise(20, 26)] * len(orders))
    steps, draws = tables([gpuaug.Resize(), gpuaug.RandomInvert(p=1.0)], len(orders), 20)
    table = plan.tables(images, steps, draws)
    truth = cuda.make_view(images.to(device), replace(table, codes=table.codes * 0), torch.float32, torch.contiguous_format)
    truth = torch.stack([view[order] for view, order in zip(truth, orders.astype(np.int64), strict=True)])
    table.codes[:], table.arguments[:, 0, :3] = PERMUTE, orders
    table = replace(table, possible=frozenset({PERMUTE}))
    made = cuda.make_view(images.to(device), table, torch.float32, torch.contiguous_format)
    error = (made - truth).abs()
    return {"largest": float(error.max()), "mean": float(error.mean()), "exempt": 0.0}


def handmade(size: int | tuple[int, int], code: int, arguments: np.ndarray[Any, Any], device: str) -> torch.Tensor:
    """Views of parts of photographs, each with one instruction; arguments: (B, 2, 8), of its column and of the one behind."""
    count = len(arguments)
    images = Images.from_list([photographs()[k % 4][: 60 + k, :70] for k in range(count)])
    inverts = [gpuaug.RandomInvert(p=1.0)] * 2
    steps, draws = tables([gpuaug.Resize(), *inverts], count, size)
    table = plan.tables(images, steps, draws)
    codes = table.codes * 0
    codes[:, 0] = code
    table = replace(table, codes=codes, arguments=arguments, possible=frozenset({code}))
    return cuda.make_view(images.to(device), table, torch.float32, torch.contiguous_format).cpu()


def jpeg(size: int | tuple[int, int], device: str) -> Result:
    """torchvision's encoder and decoder, to the bit, at qualities from the worst to the best."""
    arguments = np.zeros((6, 2, 8), np.float32)
    arguments[:, 0, 0] = qualities = [1, 30, 50, 77, 95, 100]
    pixels = (handmade(size, NOTHING, arguments, device) * (256 - 1e-3)).to(torch.uint8)
    truth = torch.stack([F.jpeg(image, quality) for image, quality in zip(pixels, qualities, strict=True)])
    error = (handmade(size, JPEG, arguments, device) - truth.float() / 255).abs()
    return {"largest": float(error.max()), "mean": float(error.mean()), "exempt": 0.0}


def elastic(
    size: tuple[int, int], alpha: tuple[float, float], sigma: tuple[float, float], mode: InterpolationMode, device: str
) -> Result:
    """torchvision's elastic transform, with displacements from the same noise."""
    widths, fill = [int(8 * s + 1) // 2 * 2 + 1 for s in sigma], [0.1, 0.5, 0.9]
    keys = np.array([[123, 2**31 + 5], [2**32 - 1, 7]], np.uint32)
    arguments = np.zeros((len(keys), 2, 8), np.float32)
    arguments[:, 0, :6] = *alpha, *sigma, *(width // 2 for width in widths)
    arguments.view(np.uint32)[:, 0, KEY:] = keys
    arguments[:, 1, :4] = mode == InterpolationMode.BILINEAR, *fill
    truth = []
    pixels = torch.arange(size[0] * size[1], dtype=torch.int64)
    for image, key in zip(handmade(size, NOTHING, arguments, device), torch.from_numpy(keys.astype(np.int64)), strict=True):
        words = philox4x32_torch(pixels, (key[0], key[1]))[:2]
        fields = [((word >> 8).float() * 2.0**-23 - 1).view(1, 1, *size) for word in words]
        if sigma[0]:
            fields = [F.gaussian_blur(field, [width, width], list(sigma)) for field, width in zip(fields, widths, strict=True)]
        moves = [field * a / side for field, a, side in zip(fields, alpha, size[::-1], strict=True)]
        truth.append(F.elastic(image, torch.cat(moves, dim=1).permute(0, 2, 3, 1), interpolation=mode, fill=fill))
    error = (handmade(size, ELASTIC, arguments, device) - torch.stack(truth)).abs()
    return {"largest": float(error.max()), "mean": float(error.mean()), "exempt": 0.0}


def by_taps(case: Callable[[str], Result], device: str) -> Result:
    """A case on the kernels for devices whose tensor cores Triton cannot use."""
    chosen = launch.strips_for
    launch.strips_for = lambda capability, noisy: None
    try:
        return case(device)
    finally:
        launch.strips_for = chosen


def two_of_each(normalized: bool, dtype: torch.dtype, device: str) -> Result:
    """Three jitters and two blurs: more barriers than any named policy has. normalized: with a Normalize in between."""
    jitter, blur = gpuaug.ColorJitter(contrast=0.5, p=0.6), gpuaug.GaussianBlur((5, 9), (0.3, 3.0), p=0.6)
    middle = [gpuaug.Normalize()] if normalized else []
    ops = (gpuaug.Resize(), jitter, jitter, blur, gpuaug.RandomInvert(), *middle, blur, jitter)
    steps, draws = tables(ops, len(photos()), 20)
    return compare(photos(), steps, draws, device, dtype)


def batch_does_not_matter(among_others: bool, device: str) -> Result:
    """A view with two contrasts has the same bits alone and in a batch, whose scratch noise in another image makes float32.

    among_others: whether there are general instructions too.
    """
    noise, contrast = gpuaug.GaussianNoise(sigma=3.0, clip=False, p=0.5), gpuaug.ColorJitter(contrast=0.8)
    general = (gpuaug.RandAugment(), gpuaug.RandomEqualize(), gpuaug.AugMix()) if among_others else ()
    policy = strong(20, 40, contrast, noise, gpuaug.GaussianBlur(3, p=0.5), *general)
    draws = gpuaug.sample(policy, range(len(photos())), seed=5)

    def view(images: Images, rows: list[int]) -> torch.Tensor:
        table = plan.tables(images, policy.views[0].steps, draws.take(rows).tables[0])
        return cuda.make_view(images.to(device), table, torch.bfloat16, torch.contiguous_format).cpu()

    together = view(photos(), list(range(len(photos()))))
    apart = [view(Images.from_list([image]), [k])[0] for k, image in enumerate(photos())]
    difference = max(float((a - b).abs().max()) for a, b in zip(together, apart, strict=True))
    return {"largest": difference, "mean": difference, "exempt": 0.0}


def anywhere_in_memory(device: str) -> Result:
    """Images whose bytes do not start at a multiple of four: part of a larger buffer."""
    whole = photos().to(device)
    part = Images(whole.buffer[int(whole.offsets[1]) :], whole.shapes[1:])
    assert part.buffer.data_ptr() % 4
    steps, draws = tables([gpuaug.RandomResizedCrop()], len(part), 24)
    return compare(part, steps, draws, device)


def apart_in_memory(planar: bool, device: str) -> Result:
    """Images in a larger buffer, in another order, as rows or planes: bit for bit the views of packed images."""
    gap, parts, starts, at = 50, [], [], 0
    for image in reversed(list(photos())):
        parts += [torch.arange(gap, dtype=torch.uint8), (image.permute(2, 0, 1) if planar else image).reshape(-1)]
        starts.append(at + gap)
        at = starts[-1] + image.numel()
    images = Images(
        torch.cat(parts).to(device), photos().shapes, np.array(starts[::-1], np.int64), "planar" if planar else "interleaved"
    )
    assert all(torch.equal(a.cpu(), b) for a, b in zip(images, photos(), strict=True))
    policy = strong(20, 40)
    steps, draws = policy.views[0].steps, gpuaug.sample(policy, range(len(images)), seed=2).tables[0]

    def view(batch: Images) -> torch.Tensor:
        return cuda.make_view(batch, plan.tables(batch, steps, draws), torch.bfloat16, torch.channels_last)

    assert torch.equal(view(images), view(photos().to(device)))
    return compare(images, steps, draws, device)


def planes(shapes: Sequence[tuple[int, int]], device: str) -> Images:
    """Noise as planes of brightness and colours, in reverse order with gaps of odd lengths between the images."""
    generator = np.random.default_rng(len(shapes))
    parts, starts, at = [], [], 0
    for height, width in reversed(shapes):
        size = height * width + 2 * (-(-height // 2) * -(-width // 2))
        parts += [generator.integers(0, 256, 7 + size, dtype=np.uint8)]
        starts.append(at + 7)
        at += 7 + size
    buffer = torch.from_numpy(np.concatenate(parts)).to(device)
    return Images(buffer, np.array(shapes, np.int32), np.array(starts[::-1], np.int64), "yuv420")


def same_as_rgb(
    images: Images, steps: Sequence[Op], draws: Sequence[OpDraws], dtype: torch.dtype, memory_format: torch.memory_format
) -> Result:
    """Views of planes of brightness and colours have the bits of the views of the RGB images that libjpeg makes of them."""
    table = plan.tables(images, steps, draws)
    made = cuda.make_view(images, table, dtype, memory_format)
    assert torch.equal(made, cuda.make_view(images.packed(), table, dtype, memory_format))
    truth = as_tensor(backends.load(TRUTH).apply(images.to("cpu"), steps, draws))
    if dtype != torch.float32:  # the interleaved images have a case of their own
        return {"largest": 0.0, "mean": 0.0, "exempt": 0.0}
    error = (made.cpu() - truth).abs() / torch.from_numpy(table.scale)[:, None, None]
    return {"largest": float(error.max()), "mean": float(error.mean()), "exempt": 0.0}


TINY = ((1, 1), (1, 2), (2, 1), (3, 4), (5, 5), (4, 6), (1, 30), (31, 1), (9, 7))
"""Images in which libjpeg repeats colours, up to 4 columns, and in which it enlarges them by a filter."""


def crops_of_planes(interpolation: Literal["bilinear", "bicubic"], dtype: torch.dtype, device: str) -> Result:
    """Of tiny images and some larger ones, of even and odd sizes; the largest takes several chunks of rows and columns."""
    images = planes((*TINY, (21, 26), (20, 27), (45, 71)), device)
    ops = (gpuaug.RandomResizedCrop(scale=(0.3, 1.0), interpolation=interpolation), gpuaug.RandomHorizontalFlip())
    steps, draws = tables((*ops, gpuaug.RandomVerticalFlip()), len(images), (13, 20))
    return same_as_rgb(images, steps, draws, dtype, torch.contiguous_format)


def borders_of_planes(sides: tuple[int, int], device: str) -> Result:
    """Crops that touch each border and each corner of the picture, or none, begin at an even or odd row and column."""
    images = planes([sides] * 9, device)
    steps, draws = tables([gpuaug.RandomCrop(), gpuaug.RandomHorizontalFlip()], 9, 12)
    share = np.array([0, 0.5, 0.999], dtype=np.float32)
    draws[0]["top"], draws[0]["left"] = np.repeat(share, 3), np.tile(share, 3)
    return same_as_rgb(images, steps, draws, torch.float32, torch.contiguous_format)


def policy_of_planes(device: str) -> Result:
    """Contrast, blur and a general barrier after the crop, in bfloat16 and channels last."""
    policy = strong(20, 40, gpuaug.RandomAdjustSharpness(1.5))
    images = planes(((30, 41), (23, 18)), device)
    draws = gpuaug.sample(policy, range(len(images)), seed=4)
    return same_as_rgb(images, policy.views[0].steps, draws.tables[0], torch.bfloat16, torch.channels_last)


def in_one_stage(name: str) -> bool:
    """Whether every view of a named policy is one fused stage."""
    return all(plan.count_supported(view.steps, "images") == len(view.steps) for view in gpuaug.policy(name).views)


FUSED = {name: op for name, op in MAPS.items() if plan.count_supported([op], "floats")}

CASES: dict[str, Callable[[str], Result]] = {
    **{f"{name} alone": partial(alone, op) for name, op in FUSED.items()},
    **{name: partial(crop, ops) for name, ops in CROPS.items()},
    "RandomCrop at every border": at_every_border,
    "RandomCrop beyond every border": beyond_every_border,
    **{f"policy {name}": partial(named, name) for name in gpuaug.policies if in_one_stage(name)},
    **{f"policy {name}": partial(variant, name) for name in ("dinov3, all of it", "shared and nested")},
    "several tiles, channels last": partial(several_tiles, torch.float32, torch.channels_last, (40, 70)),
    "several tiles, bfloat16": partial(several_tiles, torch.bfloat16, torch.contiguous_format, (20, 40)),
    "several tiles, float16, channels last": partial(several_tiles, torch.float16, torch.channels_last, (20, 40)),
    "several strips, bfloat16": partial(several_strips, torch.bfloat16, torch.contiguous_format),
    "several strips, float16, channels last": partial(several_strips, torch.float16, torch.channels_last),
    "several strips, float32": partial(several_strips, torch.float32, torch.contiguous_format),
    "two of each": partial(two_of_each, True, torch.float32),
    "two of each, float16": partial(two_of_each, False, torch.float16),
    "batch does not matter": partial(batch_does_not_matter, False),
    "batch does not matter, general": partial(batch_does_not_matter, True),
    "functions": partial(functions, "bilinear", torch.float32, torch.contiguous_format, (36, 70)),
    "functions, nearest": partial(functions, "nearest", torch.float32, torch.channels_last, (36, 40)),
    "functions, bfloat16, channels last": partial(functions, "bilinear", torch.bfloat16, torch.channels_last, (36, 70)),
    "functions, float16": partial(functions, "nearest", torch.float16, torch.contiguous_format, (36, 40)),
    **{
        f"functions, {height}x{width}": partial(functions, "bilinear", torch.float32, torch.contiguous_format, (height, width))
        for height, width in ((1, 1), (2, 9), (9, 2), (3, 3), (1, 40))
    },
    "between blurs": partial(between_blurs, torch.float32),
    "between blurs, bfloat16": partial(between_blurs, torch.bfloat16),
    "mixes": partial(mixes, gpuaug.AugMix(), torch.float32),
    "mixes of two chains": partial(mixes, gpuaug.AugMix(10, 2, 2, interpolation="nearest"), torch.float32),
    "mixes, float16": partial(mixes, gpuaug.AugMix(all_ops=False), torch.float16),
    "channels in every order": permuted,
    **{f"JPEG, {height}x{width}": partial(jpeg, (height, width)) for height, width in ((40, 50), (33, 17), (5, 4), (1, 1))},
    "elastic": partial(elastic, (40, 50), (50.0, 30.0), (5.0, 3.0), InterpolationMode.BILINEAR),
    "elastic, nearest": partial(elastic, (30, 44), (80.0, -40.0), (1.0, 2.0), InterpolationMode.NEAREST),
    "elastic without a blur": partial(elastic, (5, 4), (4.0, 3.0), (0.0, 0.0), InterpolationMode.BILINEAR),
    "anywhere in memory": anywhere_in_memory,
    "apart in memory": partial(apart_in_memory, False),
    "apart in memory, planar": partial(apart_in_memory, True),
    "planes of colours, bilinear": partial(crops_of_planes, "bilinear", torch.float32),
    "planes of colours, bicubic": partial(crops_of_planes, "bicubic", torch.float32),
    "planes of colours, bicubic, float16": partial(crops_of_planes, "bicubic", torch.float16),
    "planes of colours at every border": partial(borders_of_planes, (21, 23)),
    "planes of colours at every border, even sides": partial(borders_of_planes, (20, 22)),
    "planes of colours, several barriers, bfloat16": policy_of_planes,
}
TAPS = (
    *CROPS,
    "RandomCrop at every border",
    "RandomCrop beyond every border",
    "several tiles, bfloat16",
    "several strips, bfloat16",
    "several strips, float32",
    "two of each, float16",
    "batch does not matter",
    "batch does not matter, general",
    "functions",
    "functions, bfloat16, channels last",
    "between blurs",
    "between blurs, bfloat16",
    "mixes, float16",
    "anywhere in memory",
    "planes of colours at every border",
)
CASES |= {f"{name}, tap by tap": partial(by_taps, CASES[name]) for name in TAPS}


def main() -> None:
    for name, case in CASES.items():
        print(json.dumps({"case": name, **case("cpu")}), flush=True)


if __name__ == "__main__":
    main()
