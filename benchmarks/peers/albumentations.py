"""AlbumentationsX on OpenCV: NumPy arrays, image by image."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

from gpuaug import Policy
from gpuaug import ops as op
from gpuaug.ops import Op
from gpuaug.ops.color import PARTS

from ..images import Photos
from .composed import COMPOSED, choices, sides
from .contender import SIDE, Contender, MakeViews, Setting, bytes_of, collate, factor, has_only, negated, spline

INTERPOLATION = {"nearest": 0, "bilinear": 1, "bicubic": 2}
"""OpenCV's numbers."""


def jitter(lib: Any, o: op.ColorJitter) -> Any:
    ranges = {f"{part}_range": factor(o.limits(part)) for part in ("brightness", "contrast", "saturation")}
    return lib.ColorJitter(**ranges, hue_range=factor(o.limits("hue"), 0.0), p=o.p)


def crop(lib: Any, o: op.RandomResizedCrop) -> Any:
    return lib.RandomResizedCrop(o.size, scale=o.scale, ratio=o.ratio, interpolation=INTERPOLATION[o.interpolation])


def warp(o: Any) -> dict[str, Any]:
    return {"interpolation": INTERPOLATION[o.interpolation], "fill": bytes_of(o.fill), "p": getattr(o, "p", 1.0)}


def affine(lib: Any, o: Any) -> Any:
    """It turns the other way than the truth, and before it shears."""
    shear, (x, y) = o.shear or (0.0, 0.0), o.translate or (0.0, 0.0)
    return lib.Affine(
        rotate=negated(o.degrees),
        scale=o.scale or (1.0, 1.0),
        shear={"x": shear[:2], "y": shear[2:] or (0.0, 0.0)},
        translate_percent={"x": (-x, x), "y": (-y, y)},
        **warp(o),
    )


def perspective(lib: Any, o: op.RandomPerspective) -> Any:
    """It moves corners by a normal distribution, whose mean is made the truth's, a quarter of the distortion."""
    spread = o.distortion_scale / 4 / (2 / math.pi) ** 0.5
    return lib.Perspective(scale=(spread, spread), fit_output=True, **warp(o))


def elastic(lib: Any, o: Any) -> Any:
    """Cubic splines through uniform numbers, as smooth and as strong on average as the truth, unless it refuses that."""
    spacing, strength = spline(o)
    cells = round(SIDE / spacing)
    share = min(3**0.5 * strength / SIDE, 0.37 / (cells * 2**0.5))
    return lib.ElasticTransform((share, share), (cells + 3, cells + 3), **warp(o))


def distort(lib: Any, o: op.RandomPhotometricDistort) -> Any:
    ranges = {f"{part}_range": getattr(o, part) for part in PARTS}
    return lib.PhotoMetricDistort(**ranges, distort_p=o.p, p=1.0)


def sharpness(lib: Any, o: op.RandomAdjustSharpness) -> Any:
    """Its kernel with this share is the truth's for a factor of 1 or more; it does not smooth."""
    share = (o.sharpness_factor - 1) / 13
    return lib.Sharpen(alpha_range=(share, share), lightness_range=(1.0, 1.0), p=o.p)


def blur(lib: Any, o: op.GaussianBlur) -> Any:
    width = max(o.kernel)  # a size drawn from the blur's sigma is no faster
    return lib.GaussianBlur(blur_range=(width, width), sigma_range=o.sigma, p=o.p)


def resize(lib: Any, o: op.Resize) -> Any:
    if isinstance(o.size, tuple):
        return lib.Resize(*o.size, interpolation=INTERPOLATION[o.interpolation])
    return lib.SmallestMaxSize(o.size, interpolation=INTERPOLATION[o.interpolation])


def moved(name: str, axis: str, convert: Callable[[float], float] = float) -> Callable[[Any, Any, float, float], Any]:
    """An affine map along one axis. convert: the op's magnitude -> the library's."""

    def make(lib: Any, o: Any, low: float, high: float) -> Any:
        nothing: dict[str, tuple[float, float]] = {"x": (0, 0), "y": (0, 0)}
        return lib.Affine(**{name: nothing | {axis: (convert(low), convert(high))}}, **warp(o))

    return make


def colored(part: str) -> Callable[[Any, Any, float, float], Any]:
    def make(lib: Any, o: Any, low: float, high: float) -> Any:
        limits: dict[str, Any] = {part: (low, high)}
        return jitter(lib, op.ColorJitter(**limits))

    return make


def angle(shift: float) -> float:
    """A shear's pixels of shift a pixel of distance, in degrees."""
    return math.degrees(math.atan(shift))


def sharpened(lib: Any, o: Any, low: float, high: float) -> Any:
    return lib.Blur((3, 3)) if low < 1 else lib.Sharpen(((low - 1) / 13, (high - 1) / 13), (1.0, 1.0))


KINDS: dict[str, Callable[[Any, Any, float, float], Any]] = {
    "Identity": lambda lib, o, low, high: lib.NoOp(),
    "ShearX": moved("shear", "x", angle),
    "ShearY": moved("shear", "y", angle),
    "TranslateX": moved("translate_px", "x", int),
    "TranslateY": moved("translate_px", "y", int),
    "TranslateXRel": moved("translate_percent", "x"),
    "TranslateYRel": moved("translate_percent", "y"),
    "Rotate": lambda lib, o, low, high: lib.Rotate((low, high), **warp(o)),
    "Brightness": colored("brightness"),
    "Color": colored("saturation"),
    "Contrast": colored("contrast"),
    "Sharpness": sharpened,
    "Posterize": lambda lib, o, low, high: lib.Posterize(
        (int(low), min(int(high), 7))
    ),  # 8 bits, which change nothing, it refuses
    "Solarize": lambda lib, o, low, high: lib.Solarize((low, high)),
    "AutoContrast": lambda lib, o, low, high: lib.AutoContrast(method="pil"),
    "Equalize": lambda lib, o, low, high: lib.Equalize(mode="pil"),
}
"""Kind of an automatic op -> its class, with magnitudes from `low` to `high`."""


def one_of(lib: Any, o: Any) -> Any:
    """A slot of an automatic op: its kinds are equally probable, and so are both sides of a kind."""
    made = []
    for kind, magnitudes in choices(o).items():
        ranges = sides(kind, magnitudes)
        for low, high in ranges:
            made.append(KINDS[kind](lib, o, low, high))
            made[-1].p = 1 / len(ranges)  # the weight
    return lib.OneOf(made, p=1.0)


def rand_augment(lib: Any, o: op.RandAugment) -> Any:
    return lib.Sequential([one_of(lib, o) for _ in range(o.num_ops)], p=1.0)


TABLE: dict[type[Op], Callable[[Any, Any], Any]] = {
    op.Resize: resize,
    op.CenterCrop: lambda lib, o: lib.CenterCrop(*o.size),
    op.RandomResizedCrop: crop,
    op.RandomHorizontalFlip: lambda lib, o: lib.HorizontalFlip(p=o.p),
    op.RandomVerticalFlip: lambda lib, o: lib.VerticalFlip(p=o.p),
    op.RandomAffine: affine,
    op.RandomRotation: lambda lib, o: lib.Rotate(o.degrees, **warp(o)),
    op.RandomPerspective: perspective,
    op.ElasticTransform: elastic,
    op.ColorJitter: jitter,
    op.RandomAutocontrast: lambda lib, o: lib.AutoContrast(method="pil", p=o.p),
    op.RandomEqualize: lambda lib, o: lib.Equalize(mode="pil", p=o.p),
    op.RandomInvert: lambda lib, o: lib.InvertImg(p=o.p),
    op.RandomPosterize: lambda lib, o: lib.Posterize((o.bits, o.bits), p=o.p),
    op.RandomAdjustSharpness: sharpness,
    op.RandomGrayscale: lambda lib, o: lib.ToGray(p=o.p),
    op.GaussianBlur: blur,
    op.RandomSolarize: lambda lib, o: lib.Solarize(threshold_range=(o.threshold, o.threshold), p=o.p),
    op.GaussianNoise: lambda lib, o: lib.GaussNoise((o.sigma,) * 2, (o.mean,) * 2, per_channel=True, p=o.p),
    op.JPEG: lambda lib, o: lib.ImageCompression(quality_range=o.quality, p=o.p),
    op.RandomPhotometricDistort: distort,
    op.RandAugment: rand_augment,
    op.TrivialAugmentWide: lambda lib, o: one_of(lib, o),
    op.Normalize: lambda lib, o: lib.Normalize(mean=o.mean, std=o.std),
}


def prepare(policy: Policy, photos: Photos, setting: Setting) -> MakeViews:
    import_module("cv2").setNumThreads(setting.threads)
    lib = import_module("albumentations")
    to_tensor = import_module("albumentations.pytorch").ToTensorV2()
    steps = [TABLE[type(o)](lib, o) for o in policy.views[0].ops]
    transform = lib.Compose([*steps, to_tensor], seed=setting.seed, telemetry=False)
    return lambda: collate([transform(image=photo)["image"] for photo in photos])


CONTENDER = Contender(
    name="albumentationsx",
    modules=("albumentations", "cv2"),
    remedy='pip install "albumentationsx[headless]"',
    distributions=("albumentationsx", "opencv-python-headless", "opencv-python"),
    regime="uint8 arrays (H, W, 3), one by one",
    note="no antialiasing; rounds to 8 bits between steps",
    differs=dict.fromkeys((op.RandAugment, op.TrivialAugmentWide), f"{COMPOSED}; smooths by a box"),
    supports=has_only(TABLE),
    prepare=prepare,
)
