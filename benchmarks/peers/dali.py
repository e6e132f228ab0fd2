"""A DALI pipeline, fed with decoded images from the device's memory without a copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.dlpack import from_dlpack

from gpuaug import Policy, View
from gpuaug import ops as op
from gpuaug.ops import Op

from ..images import Photos
from ..sources import Large, Source
from .contender import BOTH, Contender, Decode, Epoch, MakeViews, Setting, anything, bytes_of, factor, has_only, negated

Views = Callable[[Any], Sequence[torch.Tensor]]
"""The outputs of a pipeline -> batches of views."""


def uniform(lib: Any, limits: tuple[float, float]) -> Any:
    low, high = limits
    return low if low == high else lib.fn.random.uniform(range=limits)


def interpolation(lib: Any, name: str) -> Any:
    kinds = lib.types.DALIInterpType
    return {"nearest": kinds.INTERP_NN, "bilinear": kinds.INTERP_LINEAR, "bicubic": kinds.INTERP_CUBIC}[name]


def resize(lib: Any, x: Any, o: op.Resize) -> Any:
    size = {"size": o.size} if isinstance(o.size, tuple) else {"resize_shorter": float(o.size or 0)}
    return lib.fn.resize(x, **size, interp_type=interpolation(lib, o.interpolation), antialias=True)


def crop(lib: Any, x: Any, o: op.RandomResizedCrop) -> Any:
    return lib.fn.random_resized_crop(
        x,
        size=o.size,
        random_area=list(o.scale),
        random_aspect_ratio=list(o.ratio),
        interp_type=interpolation(lib, o.interpolation),
        antialias=True,
    )


def jitter(lib: Any, x: Any, o: op.ColorJitter) -> Any:
    parts = {part: uniform(lib, factor(o.limits(part))) for part in ("brightness", "contrast", "saturation")}
    low, high = factor(o.limits("hue"), 0.0)
    return lib.fn.color_twist(x, **parts, hue=uniform(lib, (360 * low, 360 * high)))


def affine(lib: Any, x: Any, o: Any) -> Any:
    """Forward maps, multiplied. Angles count as in the truth, except those of shears."""
    fn = lib.fn.transforms
    shear, (across, down), scale = o.shear or (0.0, 0.0), o.translate or (0.0, 0.0), uniform(lib, o.scale or (1.0, 1.0))
    width, height = (2 * middle for middle in o.center)
    angles = pair(lib, negated(shear[:2]), negated(shear[2:] or (0.0, 0.0)))
    matrix = fn.shear(angles=angles, center=o.center)
    matrix = fn.scale(matrix, scale=scale, center=o.center, ndim=2)
    matrix = fn.rotation(matrix, angle=uniform(lib, o.degrees), center=o.center)
    matrix = fn.translation(matrix, offset=pair(lib, (-across * width, across * width), (-down * height, down * height)))
    return lib.fn.warp_affine(x, matrix=matrix, inverse_map=False, **warp(lib, o))


def pair(lib: Any, first: tuple[float, float], second: tuple[float, float]) -> Any:
    """Two numbers, drawn from the ranges."""
    drawn = [lib.types.Constant(low) if low == high else uniform(lib, (low, high)) for low, high in (first, second)]
    return lib.fn.stack(*drawn)


def warp(lib: Any, o: Any) -> dict[str, Any]:
    return {"interp_type": interpolation(lib, o.interpolation), "fill_value": bytes_of(o.fill)[0]}


def rotation(lib: Any, x: Any, o: Any) -> Any:
    return lib.fn.rotate(x, angle=uniform(lib, o.degrees), keep_size=True, **warp(lib, o))


def sharpness(lib: Any, x: Any, o: op.RandomAdjustSharpness) -> Any:
    kernel = np.full((3, 3), (1 - o.sharpness_factor) / 13, np.float32)
    kernel[1, 1] = 1 - 8 * kernel[0, 0]
    return lib.fn.filter(x, lib.types.Constant(kernel))


def jpeg(lib: Any, x: Any, o: Any) -> Any:
    low, high = o.quality
    quality = low if low == high else lib.fn.random.uniform(values=list(range(low, high + 1)), dtype=lib.types.INT32)
    return lib.fn.jpeg_compression_distortion(x, quality=quality)


def rand_augment(lib: Any, x: Any, o: op.RandAugment) -> Any:
    size = {"shape": x.shape(), "max_translate_rel": 150 / 331}
    return lib.auto_aug.rand_augment.rand_augment(x, o.num_ops, o.magnitude, o.num_magnitude_bins, **size, **warp(lib, o))


def trivial_augment(lib: Any, x: Any, o: op.TrivialAugmentWide) -> Any:
    return lib.auto_aug.trivial_augment.trivial_augment_wide(x, o.num_magnitude_bins, **warp(lib, o))


def auto_augment(lib: Any, x: Any, o: op.AutoAugment) -> Any:
    """Its policy "image_net" is another one than the truth's, which it calls reduced."""
    name = {"imagenet": "reduced_image_net", "cifar10": "reduced_cifar10", "svhn": "svhn"}[o.policy]
    return lib.auto_aug.auto_augment.auto_augment(x, name, **warp(lib, o))


TABLE: dict[type[Op], Callable[[Any, Any, Any], Any]] = {
    op.Resize: resize,
    op.CenterCrop: lambda lib, x, o: lib.fn.crop(x, crop=o.size),
    op.RandomResizedCrop: crop,
    op.RandomHorizontalFlip: lambda lib, x, o: x,  # see `graph`
    op.RandomAffine: affine,
    op.RandomRotation: rotation,
    op.ColorJitter: jitter,
    op.RandomAutocontrast: lambda lib, x, o: lib.auto_aug.augmentations.auto_contrast(x),
    op.RandomEqualize: lambda lib, x, o: lib.fn.equalize(x),
    op.RandomInvert: lambda lib, x, o: np.uint8(255) - x,
    op.RandomPosterize: lambda lib, x, o: x & np.uint8(256 - 2 ** (8 - o.bits)),
    op.RandomAdjustSharpness: sharpness,
    op.RandomGrayscale: lambda lib, x, o: lib.fn.color_twist(x, saturation=0.0),
    op.GaussianBlur: lambda lib, x, o: lib.fn.gaussian_blur(x, sigma=uniform(lib, o.sigma)),
    op.GaussianNoise: lambda lib, x, o: lib.fn.noise.gaussian(x, mean=255 * o.mean, stddev=255 * o.sigma),
    op.JPEG: jpeg,
    op.RandAugment: rand_augment,
    op.TrivialAugmentWide: trivial_augment,
    op.AutoAugment: auto_augment,
    op.Normalize: lambda lib, x, o: x,  # see `graph`
}


def graph(lib: Any, x: Any, view: View) -> Any:
    """The view's graph. Flip, Normalize and the change of layout are one op at its end, which is fastest."""
    mirror: Any = 0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    for o in view.ops:
        if isinstance(o, op.RandomHorizontalFlip):
            mirror = lib.fn.random.coin_flip(probability=o.p)
        elif isinstance(o, op.Normalize):
            mean, std = o.mean, o.std
        else:
            if isinstance(o, op.RandomAffine):
                o = replace(o, center=(view.size[1] / 2, view.size[0] / 2))
            x = sometimes(lib, x, o, getattr(o, "p", 1.0))
    scaled = {"mean": [255 * m for m in mean], "std": [255 * s for s in std]}
    return lib.fn.crop_mirror_normalize(x, mirror=mirror, **scaled, output_layout="CHW", dtype=lib.types.FLOAT)


def sometimes(lib: Any, x: Any, o: Op, p: float) -> Any:
    """Apply an op to the images that draw it; DALI turns the `if` into a split of the batch and a merge."""
    apply = TABLE[type(o)]
    if p == 1:
        return apply(lib, x, o)
    if lib.fn.random.coin_flip(probability=p):
        x = apply(lib, x, o)
    return x


AT_ONCE = {"exec_async": False, "exec_pipelined": False, "prefetch_queue_depth": 1}
"""Options of a pipeline that does not run ahead: a batch made in the background would be work outside the timed region."""

AHEAD = 2
"""Batches that a loader's pipeline prepares ahead, DALI's default."""


def built(graph_of: Callable[[Any], Any], batch: int, setting: Setting, device: int | None, **options: Any) -> Any:
    """A pipeline of DALI. graph_of: makes its graph with the library. device: number of a GPU; None for the CPU."""
    lib = import_module("nvidia.dali")
    import_module("nvidia.dali.fn")  # becomes lib.fn
    for name in ("augmentations", "auto_augment", "rand_augment", "trivial_augment"):
        import_module(f"nvidia.dali.auto_aug.{name}")  # becomes lib.auto_aug.name

    def pipeline() -> Any:  # DALI reads the source of what it is given, which it cannot for a lambda
        return graph_of(lib)

    made = lib.pipeline_def(pipeline, enable_conditionals=True, exec_dynamic=False, **options)(
        batch_size=batch, num_threads=setting.threads, device_id=device, seed=setting.seed
    )
    made.build()
    return made


def prepare(policy: Policy, photos: Photos, setting: Setting) -> MakeViews:
    cuda = setting.device == "cuda"
    images = [torch.from_numpy(photo).cuda() for photo in photos] if cuda else list(photos)
    given = {"source": lambda: images, "batch": True, "no_copy": True, "layout": "HWC", "device": "gpu" if cuda else "cpu"}

    def graph_of(lib: Any) -> Any:
        return graph(lib, lib.fn.external_source(**given), policy.views[0])

    pipe = built(graph_of, len(photos), setting, torch.cuda.current_device() if cuda else None, **AT_ONCE)

    def make() -> torch.Tensor:
        (views,) = pipe.run()
        return from_dlpack(views.as_tensor())

    return make


CONTENDER = Contender(
    name="dali",
    modules=("nvidia.dali",),
    distributions=("nvidia-dali-cuda130", "nvidia-dali-cuda120"),
    regime="a list of uint8 arrays (H, W, 3), by reference",
    note="jitter in one fixed order, contrast about mid-gray, hue by a linear rotation; blur of 3 sigma; rounds to 8 bits",
    differs={op.AutoAugment: "the same sub-policies, with magnitudes of its own"},
    supports=has_only(TABLE),
    prepare=prepare,
    devices=BOTH,
)


def reader(graph_of: Callable[[Any, Any], Any], batch: int, setting: Setting, **files: Any) -> Any:
    """A pipeline that reads files, decodes them and applies `graph_of`; it runs ahead, as DALI does by default."""

    def pipeline(lib: Any) -> Any:
        encoded, _ = lib.fn.readers.file(random_shuffle=True, seed=setting.seed, name="files", **files)
        return graph_of(lib, lib.fn.decoders.image(encoded, device="cpu", output_type=lib.types.RGB))

    made = built(pipeline, batch, setting, None, prefetch_queue_depth=AHEAD)
    made.schedule_run()  # the first call schedules AHEAD runs, each later one a single run; none may be left over
    for _ in range(AHEAD):
        made.share_outputs()
        made.release_outputs()
    return made


def outputs(pipe: Any, count: int) -> Iterator[Any]:
    """The outputs of `count` runs, with AHEAD of them scheduled; all of their work is done between the first and the last.

    If the caller stops early, the scheduled runs are waited for and released; a later run would wait for them forever.
    """
    begun = taken = 0
    try:
        while taken < count:
            while begun < min(taken + AHEAD, count):
                pipe.schedule_run()
                begun += 1
            found = pipe.share_outputs()
            taken += 1
            try:
                yield found
            finally:
                pipe.release_outputs()
    finally:
        for _ in range(taken, begun):
            pipe.share_outputs()
            pipe.release_outputs()


READER = "DALI's file reader and CPU decoder"


def decode_all(files: Sequence[Path], setting: Setting) -> Decode:
    batch = min(16, len(files))
    pipe = reader(lambda lib, x: x, batch, setting, files=[str(path) for path in files])
    return lambda: outputs(pipe, len(files) // batch)


def load(source: Source, policy: Policy, batch: int, setting: Setting) -> Epoch:
    def graph_of(lib: Any, x: Any) -> Any:
        return tuple(graph(lib, x, view) for view in policy.views for _ in range(view.repeat))

    return epochs_of(graph_of, lambda found: [from_dlpack(views.as_tensor()) for views in found], source, batch, setting)


def load_pixels(source: Source, policy: Policy, batch: int, setting: Setting) -> Epoch:
    """Decode images of different sizes, and keep only their number."""
    return epochs_of(lambda lib, x: x, lambda found: [torch.empty(batch, 0)], source, batch, setting)


def epochs_of(graph_of: Callable[[Any, Any], Any], views_of: Views, source: Source, batch: int, setting: Setting) -> Epoch:
    pipe = reader(graph_of, batch, setting, file_root=str(source.folder if isinstance(source, Large) else source))
    batches = pipe.epoch_size("files") // batch
    for _ in outputs(pipe, -AHEAD % batches):  # the rest of the pass that `reader` has begun, so that each epoch is a whole one
        pass
    return lambda: (views_of(found) for found in outputs(pipe, batches))


FILES = (
    replace(CONTENDER, regime=READER, decode=decode_all, pixels=False, load=load, devices=("cpu",), takes=(Path, Large)),
    replace(
        CONTENDER,
        name="dali-decode",
        regime=READER,
        note="pixels, no views",
        supports=anything,
        load=load_pixels,
        devices=("cpu",),
        takes=(Path, Large),
    ),
)
