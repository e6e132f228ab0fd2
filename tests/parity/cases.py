"""The cases that are compared with the truth, their pixels and tolerances, for the tests and for docs/parity.md.

To test another backend, add it to TOLERANCE and NUDGE.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import signature
from itertools import groupby
from typing import Any

import numpy as np
import torch
from skimage import data

import gpuaug
from gpuaug import Images, Policy, View, backends
from gpuaug.backends import Batch
from gpuaug.backends.stages import run, select, stages
from gpuaug.backends.torchvision import displacement
from gpuaug.ops import Op, OpDraws
from gpuaug.ops.automatic.kinds import warp_matrices
from gpuaug.ops.automatic.ops import Automatic
from gpuaug.yuv import from_rgb

TRUTH = "torchvision"

TOLERANCE = {"fused": 1e-3, "batched": 1e-4, "kornia": 1e-4, "dali": 5e-3}
"""Backend -> largest absolute error against the truth, for pixel values in [0, 1], or after Normalize.

DALI reads its cubic filter from a table, which costs up to 1e-3, and 4.4 times that after Normalize; without a bicubic crop it
stays below 2e-4.
"""
if "BENCHMARKS_OUTCOMES" in os.environ:  # gpu-check, on a machine that may lack a backend's package, and says which
    TOLERANCE = {name: limit for name, limit in TOLERANCE.items() if backends.installed(name)}

CHAIN_TOLERANCE = 1 / 255
"""Tolerance after a random chain of ops, each of which may multiply the error of those before it."""

EXEMPT = 0.02
"""Largest share of a case's pixels that may be at a jump of the truth, see `compare`."""

NUDGE = {"fused": 4e-4, "batched": 2e-6, "kornia": 2e-6, "dali": 1e-3}
"""How far the input of every op is moved to find jumps: a few times a backend's rounding of numbers in [0, 1].

This is the rounding of float32; in the fused backend on the CPU that of a chain of instructions in 16-bit fixed point; and in
DALI that of the bicubic filter, whose weights come from a table.
"""

HEIGHT, WIDTH = 45, 70


@cache
def photographs() -> tuple[np.ndarray[Any, Any], ...]:
    """Four photographs, reduced so that 45 x 70 pixels show some detail: uint8, of different sizes."""
    return tuple(
        np.ascontiguousarray(image[::step, ::step])
        for image, step in ((data.astronaut(), 4), (data.coffee(), 3), (data.chelsea(), 2), (data.rocket(), 3))
    )


def synthetic(height: int, width: int) -> list[np.ndarray[Any, Any]]:
    """Noise, a flat image, a checkerboard of pure colours and stripes of one pixel: uint8 (height, width, 3)."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    flat = np.full((height, width, 3), (30, 120, 120), np.uint8)
    y, x = np.mgrid[:height, :width]
    board = np.where(((y // 5 + x // 5) % 2)[..., None], np.uint8([255, 0, 0]), np.uint8([0, 0, 255]))
    stripes = np.broadcast_to((x % 2 * 255)[..., None], (height, width, 3)).astype(np.uint8)
    return [noise, flat, board.astype(np.uint8), stripes]


@cache
def ragged() -> Images:
    """Images of different sizes, including a single pixel, a line of pixels, a very tall one and one to be enlarged."""
    noise = np.random.default_rng(1).integers(0, 256, (3000, 20, 3), dtype=np.uint8)
    return Images.from_list([*photographs(), *synthetic(60, 90), noise, noise[:8, :8], noise[:1, :1], noise[:40, :1]])


@cache
def photos() -> Images:
    """The four photographs and the four synthetic images, of different sizes."""
    return Images.from_list([*photographs(), *synthetic(60, 90)])


def at_half_resolution(images: Images, gap: int = 0) -> Images:
    """The images as planes of brightness and two colours of half the resolution, with so many bytes before and behind each."""
    beside = torch.arange(gap, dtype=torch.uint8, device="cpu")
    planes = [from_rgb(image[None])[0] for image in images]
    parts = [beside, *(part for image in planes for part in (image, beside))]
    starts = gap + np.cumsum([0, *(image.numel() + gap for image in planes[:-1])], dtype=np.int64)
    return Images(torch.cat(parts), images.shapes, starts if gap else None, "yuv420")


@cache
def uniform() -> torch.Tensor:
    """These images as one float32 batch (16, 3, HEIGHT, WIDTH) in [0, 1], each of them twice."""
    images = [image[-HEIGHT:, -WIDTH:] for image in photographs()] + synthetic(HEIGHT, WIDTH)
    return torch.from_numpy(np.stack(images * 2)).permute(0, 3, 1, 2).float() / 255


CROPS: dict[str, tuple[Op, ...]] = {
    **{
        f"RandomResizedCrop {mode}": (gpuaug.RandomResizedCrop(interpolation=mode),)
        for mode in ("nearest", "bilinear", "bicubic")
    },
    "RandomResizedCrop, wide boxes": (gpuaug.RandomResizedCrop(scale=(0.5, 1.0), ratio=(3.0, 4.0)),),
    **{f"Resize {mode}": (gpuaug.Resize((64, 64), mode),) for mode in ("nearest", "bilinear", "bicubic")},
    "Resize of the shorter edge, CenterCrop": (gpuaug.Resize(72), gpuaug.CenterCrop()),
    "Resize bicubic of the shorter edge, CenterCrop": (gpuaug.Resize(64, "bicubic"), gpuaug.CenterCrop()),
    "CenterCrop": (gpuaug.CenterCrop(),),
    "flip, then RandomResizedCrop": (gpuaug.RandomHorizontalFlip(), gpuaug.RandomResizedCrop(interpolation="bicubic")),
    **{
        f"RandomCrop {mode}": (
            gpuaug.Resize((50, 60), "nearest"),
            gpuaug.RandomCrop(padding=(3, 15, 7, 9), fill=(0.1, 0.5, 0.9), padding_mode=mode),
        )
        for mode in ("constant", "edge", "reflect", "symmetric")
    },
    "RandomCrop, padded if needed": (gpuaug.RandomCrop(pad_if_needed=True, fill=0.5),),
    "RandomCrop, padded always and if needed": (
        gpuaug.RandomCrop(padding=(3, 15, 7, 9), pad_if_needed=True, fill=(0.1, 0.5, 0.9)),
    ),
    "RandomCrop, padding wider than the view": (gpuaug.RandomCrop(padding=100),),
    "RandomCrop, edge, padded if needed": (gpuaug.RandomCrop(pad_if_needed=True, padding_mode="edge"),),
}
"""Steps that bring ragged images to 64 x 64."""

MAPS: dict[str, Op] = {
    "RandomHorizontalFlip": gpuaug.RandomHorizontalFlip(),
    "RandomVerticalFlip": gpuaug.RandomVerticalFlip(),
    "RandomAffine nearest": gpuaug.RandomAffine(30, (0.1, 0.2), (0.5, 1.5), 20, fill=(0.1, 0.5, 0.9)),
    "RandomAffine bilinear": gpuaug.RandomAffine(180, (0.1, 0.2), (0.5, 2.0), (-10, 10, -20, 20), "bilinear", fill=0.5, p=0.8),
    "RandomAffine about a point": gpuaug.RandomAffine(30, interpolation="bilinear", center=(10, 20)),
    "RandomRotation nearest": gpuaug.RandomRotation(90, fill=1.0),
    "RandomRotation bilinear": gpuaug.RandomRotation(90, "bilinear", p=0.7),
    "RandomRotation about a point": gpuaug.RandomRotation(45, "bilinear", center=(0, 44), fill=(1, 0, 0)),
    "RandomRotation by half a turn": gpuaug.RandomRotation((180, 180)),
    "RandomPerspective bilinear": gpuaug.RandomPerspective(0.5, p=0.8, fill=(0.1, 0.5, 0.9)),
    "RandomPerspective nearest": gpuaug.RandomPerspective(0.7, p=1.0, interpolation="nearest"),
    "ElasticTransform": gpuaug.ElasticTransform(fill=(0.1, 0.5, 0.9), p=0.8),
    "ElasticTransform nearest": gpuaug.ElasticTransform((300, 80), (4, 3), "nearest", fill=0.5),
    "ElasticTransform of rough noise": gpuaug.ElasticTransform((4, 2), (0.3, 0.4)),
    "ElasticTransform of noise as it is": gpuaug.ElasticTransform(2, 0),
    "ColorJitter": gpuaug.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8),
    "ColorJitter brightness": gpuaug.ColorJitter(brightness=(0.0, 3.0)),
    "ColorJitter contrast": gpuaug.ColorJitter(contrast=(0.0, 3.0)),
    "ColorJitter saturation": gpuaug.ColorJitter(saturation=(0.0, 3.0)),
    "ColorJitter hue": gpuaug.ColorJitter(hue=0.5),
    "RandomPhotometricDistort": gpuaug.RandomPhotometricDistort(),
    "RandomPhotometricDistort of all parts": gpuaug.RandomPhotometricDistort((0, 2), (0.2, 2), (0, 3), (-0.5, 0.5), p=1.0),
    "RandomChannelPermutation": gpuaug.RandomChannelPermutation(0.8),
    "RandomGrayscale": gpuaug.RandomGrayscale(0.5),
    "RandomSolarize": gpuaug.RandomSolarize(),
    "RandomSolarize everything": gpuaug.RandomSolarize(0.0, p=1.0),
    "RandomPosterize 3 bits": gpuaug.RandomPosterize(3),
    "RandomPosterize 0 bits": gpuaug.RandomPosterize(0, p=1.0),
    "RandomPosterize 8 bits": gpuaug.RandomPosterize(8, p=1.0),
    "RandomEqualize": gpuaug.RandomEqualize(0.8),
    "RandomAutocontrast": gpuaug.RandomAutocontrast(0.8),
    "RandomInvert": gpuaug.RandomInvert(),
    "GaussianBlur": gpuaug.GaussianBlur(23),
    "GaussianBlur of a wide and low kernel": gpuaug.GaussianBlur((9, 5), (0.5, 4.0), p=1.0),
    "GaussianBlur of hardly any sigma": gpuaug.GaussianBlur(5, 0.001, p=1.0),
    "GaussianNoise": gpuaug.GaussianNoise(p=0.7),
    "GaussianNoise not clipped": gpuaug.GaussianNoise(0.1, 0.5, clip=False),
    "JPEG": gpuaug.JPEG((5, 95), p=0.8),
    "JPEG of the worst quality": gpuaug.JPEG(1),
    "JPEG of the best quality": gpuaug.JPEG(100),
    "RandomAdjustSharpness": gpuaug.RandomAdjustSharpness(3.0),
    "RandomAdjustSharpness smoothing": gpuaug.RandomAdjustSharpness(0.0, p=1.0),
    "RandomErasing": gpuaug.RandomErasing(),
    "RandomErasing with colour": gpuaug.RandomErasing(1.0, value=(1.0, -2.0, 3.0)),
    "RandomErasing with noise": gpuaug.RandomErasing(1.0, value="random"),
    "RandAugment": gpuaug.RandAugment(),
    "RandAugment bilinear": gpuaug.RandAugment(3, 20, interpolation="bilinear", fill=(0.1, 0.5, 0.9)),
    "TrivialAugmentWide": gpuaug.TrivialAugmentWide(),
    **{f"AutoAugment {name}": gpuaug.AutoAugment(name) for name in ("imagenet", "cifar10", "svhn")},
    "AugMix": gpuaug.AugMix(),
    "AugMix of few ops": gpuaug.AugMix(5, 2, 2, 0.5, False),
    "TimmRandAugment": gpuaug.TimmRandAugment(),
    "TimmRandAugment of every level": gpuaug.TimmRandAugment("rand-m10-n3-p1-mstd101", "nearest"),
    "TimmRandAugment weighted": gpuaug.TimmRandAugment("rand-m8-n3-mstd2-tweights", fill=0.0),
    "FixMatchRandAugment": gpuaug.FixMatchRandAugment(),
    "Cutout": gpuaug.Cutout(16, (1.0, -2.0, 3.0), p=0.8),
    "Normalize": gpuaug.Normalize(),
    "ToDtype": gpuaug.ToDtype(torch.bfloat16),
}
"""Ops that keep the size."""


REFUSES: dict[str, frozenset[str]] = {
    "dali": frozenset(
        {
            "RandomResizedCrop nearest",
            "Resize nearest",
            "RandomCrop constant",
            "RandomCrop edge",
            "RandomCrop reflect",
            "RandomCrop symmetric",
            "RandomCrop, edge, padded if needed",
            "RandomErasing with noise",
            "padded crop",
        }
    )
}
"""Backend -> cases that it refuses although it has their ops: it does not take these arguments."""


def steps_of(name: str) -> Sequence[Op]:
    """The ops of a case or of a named policy."""
    if name in MAPS:
        return [MAPS[name]]
    if name in CROPS:
        return CROPS[name]
    return [op for view in (VARIANTS.get(name) or gpuaug.policy(name)).views for op in view.steps]


def refuses(backend: str, name: str, ops: Sequence[Op] | None = None) -> bool:
    """Whether a backend does not take a case, for an op that it lacks or for arguments. ops: of the case, if not `steps_of`."""
    found = backends.load(backend)
    lacks = found.fallback is None and any(type(op) not in found.ops for op in ops or steps_of(name))
    return lacks or name in REFUSES.get(backend, ())


def pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    """Every backend with every case or named policy that it takes."""
    return [(backend, name) for name in names for backend in TOLERANCE if not refuses(backend, name)]


def examples() -> dict[type[Op], Op]:
    """One case of each op that keeps the size."""
    return {type(op): op for op in reversed(MAPS.values())}


def tables(ops: Sequence[Op], count: int, size: int | tuple[int, int], seed: int = 7) -> tuple[Sequence[Op], list[OpDraws]]:
    """The steps of a view of these ops, and draws for them."""
    policy = Policy(View(size, *ops))
    return policy.views[0].steps, list(gpuaug.sample(policy, range(count), seed=seed).tables[0])


def map_tables(op: Op, count: int) -> tuple[Sequence[Op], list[OpDraws]]:
    """One op that keeps the size, and draws for it."""
    steps, draws = tables([gpuaug.Resize((HEIGHT, WIDTH)), op], count, (HEIGHT, WIDTH))
    return steps[1:], draws[1:]


JITTER = gpuaug.ColorJitter(0.4, 0.4, 0.2, 0.1, p=0.8)
VARIANTS: dict[str, Policy] = {
    "dinov3, gram teacher": gpuaug.policy("dinov3", size=48, local_size=24, gram_size=64),
    "dinov3, shared jitter": gpuaug.policy("dinov3", size=48, local_size=24, share_color_jitter=True),
    "dinov3, nested": gpuaug.policy("dinov3", size=48, local_size=24, nested=True),
    "dinov3, all of it": gpuaug.policy(
        "dinov3_as_trained", size=48, local_size=24, gram_size=64, share_color_jitter=True, nested=True
    ),
    "crop_only, not resized": gpuaug.policy("crop_only", size=48, local_size=24, resize=False),
    "shared and nested": Policy(
        View(48, gpuaug.Shared(gpuaug.RandomResizedCrop(), "crop"), gpuaug.Shared(JITTER, "jitter"), gpuaug.Normalize()),
        View(
            24,
            gpuaug.Nested(gpuaug.RandomResizedCrop(scale=(0.1, 0.9), interpolation="bicubic"), 0),
            gpuaug.OneOf(gpuaug.Shared(JITTER, "jitter"), gpuaug.GaussianBlur(5)),
            gpuaug.Shared(gpuaug.OneOf(gpuaug.RandomGrayscale(1.0), gpuaug.RandomSolarize()), "choice"),
            gpuaug.Normalize(),
        ),
    ),
}
"""Policies whose views share draws or are nested, beside the named ones."""


def policy_cases(name: str) -> Iterator[tuple[Sequence[Op], list[OpDraws]]]:
    """Steps and draws of every kind of view of a named policy, at 48 and small ones at 24 pixels, or of a variant."""
    if name in VARIANTS:
        policy = VARIANTS[name]
    else:
        small = {"local_size": 24} if "local_size" in signature(gpuaug.policies[name]).parameters else {}
        policy = gpuaug.policy(name, size=48, **small)
    draws = gpuaug.sample(policy, range(len(photos())), seed=7)
    for view, group in groupby(zip(policy.views, draws.tables, strict=True), key=lambda pair: pair[0]):
        yield view.steps, list(next(group)[1])


@dataclass(frozen=True)
class Comparison:
    """Errors of a backend on the pixels that are compared, and the share of pixels that are not, see `compare`."""

    largest: float
    mean: float
    exempt: float

    def within(self, tolerance: float) -> bool:
        return self.largest <= tolerance and self.exempt <= EXEMPT  # False for NaN


def compare(
    backend: str,
    batch: Batch,
    ops: Sequence[Op],
    draws: Sequence[OpDraws],
    tolerance: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> Comparison:
    """Run the steps on a backend and on the truth, and compare.

    Where the truth jumps (at solarize's threshold, or at a level of posterize or equalize), rounding decides on which side a
    pixel falls. A pixel whose error is above the tolerance is therefore left out, and counted, if it is at a jump. It is at one
    if the truth changes by more than the tolerance when the input of every op moves by the backend's NUDGE (up, down, or eight
    times at random by up to as much), or if a nearest-neighbour warp reads it within a thousandth of a pixel of the edge
    between two pixels.

    The truth is float32. In 16 bits, the error is what exceeds the rounding of the truth to that dtype.
    """
    limit = TOLERANCE[backend] if tolerance is None else tolerance
    made, truth = made_by(backend, batch, ops, draws, dtype), made_by(TRUTH, batch, ops, draws)
    error = (made.float() - truth).abs()
    if dtype != torch.float32:
        error = (error - truth.abs() * (torch.finfo(dtype).eps / 2)).clamp(min=0)
    out = error > limit
    if out.any():
        out &= jumps(batch, ops, draws, truth, limit, NUDGE[backend])
    return Comparison(float(error[~out].max()), float(error[~out].mean()), float(out.float().mean()))


def made_by(
    backend: str, batch: Batch, ops: Sequence[Op], draws: Sequence[OpDraws], dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Run the steps on a backend, in the stages that an Augmenter would plan."""
    form: backends.BatchForm = (
        "images" if isinstance(batch, Images) else "floats" if isinstance(batch, torch.Tensor) else "ragged"
    )
    found = select(backend, "cpu")
    return run(batch, stages(ops, found, form), found, draws, dtype)


def as_tensor(batch: Batch) -> torch.Tensor:
    assert isinstance(batch, torch.Tensor), "the steps must bring the images to one size"
    return batch


def jumps(
    batch: Batch, ops: Sequence[Op], draws: Sequence[OpDraws], truth: torch.Tensor, tolerance: float, by: float
) -> torch.Tensor:
    """Pixels where a small change of any op's input moves the truth by more than the tolerance: bool, shaped like the truth."""
    found = torch.zeros_like(truth, dtype=torch.bool)
    for path, steps in paths(ops, draws):
        found |= jumps_along(batch, *one_by_one(path, steps), truth if path == list(ops) else None, tolerance, by)
    return found


def jumps_along(
    batch: Batch, ops: Sequence[Op], draws: Sequence[OpDraws], truth: torch.Tensor | None, tolerance: float, by: float
) -> torch.Tensor:
    """The same for ops of which each may jump, but only at its own pixel; truth: what they make, None if it is not known."""
    truth = nudged(batch, ops, draws, lambda x: x) if truth is None else truth
    found = torch.zeros_like(truth, dtype=torch.bool)
    if len(ops) > 1:  # a single op has the same input on both sides
        generator = torch.Generator().manual_seed(0)

        def up_to(x: torch.Tensor) -> torch.Tensor:
            return x + by * (2 * torch.rand(x.shape, generator=generator) - 1)

        for nudge in (lambda x: x + by, lambda x: x - by, *[up_to] * 8):
            found |= ((nudged(batch, ops, draws, nudge) - truth).abs() > tolerance).any(dim=1, keepdim=True)
    for op, step in zip(ops, draws, strict=True):
        if getattr(op, "interpolation", None) == "nearest" and not (hasattr(op, "size") or "weights" in step):
            found |= ties(op, step, truth)
    return found


def paths(ops: Sequence[Op], draws: Sequence[OpDraws]) -> Iterator[tuple[list[Op], list[OpDraws]]]:
    """The steps, and the steps with one of the chains of an AugMix in its place, for each of them."""
    yield list(ops), list(draws)
    for at, mix in enumerate(ops):
        for k in range(mix.mixture_width if isinstance(mix, gpuaug.AugMix) else 0):
            chain = gpuaug.RandAugment(mix.depth, interpolation=mix.interpolation, fill=mix.fill)
            step = {name: draws[at][name][:, k * mix.depth : (k + 1) * mix.depth] for name in ("op", "magnitude")}
            step |= {"apply": draws[at]["apply"]} if "apply" in draws[at] else {}
            yield [*ops[:at], chain, *ops[at + 1 :]], [*draws[:at], step, *draws[at + 1 :]]


def one_by_one(ops: Sequence[Op], draws: Sequence[OpDraws]) -> tuple[list[Op], list[OpDraws]]:
    """The same steps, with an automatic op once for each of the functions that it applies one after the other."""
    out: list[tuple[Op, OpDraws]] = []
    for op, step in zip(ops, draws, strict=True):
        slots = step["op"].shape[1] if isinstance(op, Automatic) and "weights" not in step else 0
        out += [(op, {name: a if name == "apply" else a[:, k : k + 1] for name, a in step.items()}) for k in range(slots)]
        if not slots:
            out.append((op, step))
    return [op for op, _ in out], [step for _, step in out]


def nudged(
    batch: Batch, ops: Sequence[Op], draws: Sequence[OpDraws], nudge: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    if isinstance(batch, Images):
        batch = [image.permute(2, 0, 1).float() / 255 for image in batch]
    for op, step in zip(ops, draws, strict=True):
        moved = [nudge(image) for image in batch]
        batch = backends.load(TRUTH).apply(moved, [op], [step])
    return as_tensor(batch)


def ties(op: Any, draws: OpDraws, x: torch.Tensor) -> torch.Tensor:
    """Pixels that a warp reads within 0.001 pixels of the edge between two input pixels: bool (B, 1, H, W)."""
    height, width = x.shape[-2:]
    down, across = np.mgrid[:height, :width].astype(np.float64)
    if isinstance(op, gpuaug.ElasticTransform):
        moves = torch.cat([displacement(op, {"key": key}, height, width) for key in draws["key"]]).double().numpy()
        source_x, source_y = across + moves[..., 0] * width / 2, down + moves[..., 1] * height / 2
    elif isinstance(op, gpuaug.RandomPerspective):
        a, b, c, d, e, f, g, h = op.coefficients(draws, height, width).T[..., None, None]
        across, down = across + 0.5, down + 0.5
        scale = g * across + h * down + 1
        source_x, source_y = (a * across + b * down + c) / scale - 0.5, (d * across + e * down + f) / scale - 0.5
    else:
        matrices = (
            warp_matrices(draws["op"][:, 0], draws["magnitude"][:, 0], height, width)
            if isinstance(op, Automatic)
            else op.matrices(draws, height, width)
        )
        a, b, c, d, e, f = matrices.T[..., None, None]
        across, down = across - (width - 1) / 2, down - (height - 1) / 2
        source_x = a * across + b * down + c + (width - 1) / 2
        source_y = d * across + e * down + f + (height - 1) / 2
    near = [np.abs(source - np.floor(source) - 0.5) < 1e-3 for source in (source_x, source_y)]
    return torch.from_numpy(near[0] | near[1])[:, None]
