"""Supervised training of classifiers on photographs."""

from __future__ import annotations

from ..ops import (
    AugMix,
    AutoAugment,
    ColorJitter,
    GaussianBlur,
    Normalize,
    OneOf,
    Op,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomSolarize,
    TimmRandAugment,
    TrivialAugmentWide,
)
from ..ops.base import Size
from ..policy import Policy, View, as_pair

PRESETS = "torchvision references/classification/presets.py"
TIMM = "huggingface/pytorch-image-models timm/data/transforms_factory.py"


def preset(size: int | Size, *middle: Op, flip: float = 0.5, erase: float = 0.0) -> View:
    """A view of torchvision's training preset, with these ops in front of Normalize."""
    flips = [RandomHorizontalFlip(flip)] if flip > 0 else []
    erasing = [RandomErasing(erase)] if erase > 0 else []
    return View(size, RandomResizedCrop(), *flips, *middle, Normalize(), *erasing)


def supervised(size: int | Size = 224) -> Policy:
    """Supervised training (torchvision `references/classification/presets.py`)."""
    return Policy(preset(size), name="supervised", source=PRESETS)


def classification_train(
    size: int | Size = 224,
    auto_augment_policy: str | None = None,
    random_erase_prob: float = 0.0,
    ra_magnitude: int = 9,
    augmix_severity: int = 3,
    hflip_prob: float = 0.5,
) -> Policy:
    """The training preset of torchvision's script (torchvision `references/classification/presets.py`).

    Its options have the script's names: `auto_augment_policy` is None, "ra", "ta_wide", "augmix", "imagenet", "cifar10" or
    "svhn". Warps are bilinear, as the script's default is for everything.
    """
    chosen: dict[str | None, list[Op]] = {
        None: [],
        "ra": [RandAugment(magnitude=ra_magnitude, interpolation="bilinear")],
        "ta_wide": [TrivialAugmentWide(interpolation="bilinear")],
        "augmix": [AugMix(severity=augmix_severity)],
        **{name: [AutoAugment(name, interpolation="bilinear")] for name in ("imagenet", "cifar10", "svhn")},
    }
    if auto_augment_policy not in chosen:
        allowed = ", ".join(map(repr, chosen))
        raise ValueError(f"classification_train: auto_augment_policy must be one of {allowed}, got {auto_augment_policy!r}")
    view = preset(size, *chosen[auto_augment_policy], flip=hflip_prob, erase=random_erase_prob)
    return Policy(view, name="classification_train", source=PRESETS)


def randaugment(size: int | Size = 224, num_ops: int = 2, magnitude: int = 9) -> Policy:
    """RandAugment (Cubuk et al. 2019, arXiv 1909.13719; torchvision `references/classification/presets.py`).

    magnitude: bin of 31, from 0 to 30.
    """
    view = preset(size, RandAugment(num_ops, magnitude, interpolation="bilinear"))
    return Policy(view, name="randaugment", source=f"arXiv 1909.13719; {PRESETS}")


def trivial_augment_wide(size: int | Size = 224) -> Policy:
    """TrivialAugment, wide (Müller and Hutter 2021, arXiv 2103.10158; torchvision `references/classification/presets.py`)."""
    view = preset(size, TrivialAugmentWide(interpolation="bilinear"))
    return Policy(view, name="trivial_augment_wide", source=f"arXiv 2103.10158; {PRESETS}")


def augmix(size: int | Size = 224, severity: int = 3) -> Policy:
    """AugMix (Hendrycks et al. 2020, arXiv 1912.02781; torchvision `references/classification/presets.py`).

    The paper's loss, which compares a clean view with two mixed ones, is not part of it.
    """
    return Policy(preset(size, AugMix(severity)), name="augmix", source=f"arXiv 1912.02781; {PRESETS}")


def three_augment(size: int | Size = 224) -> Policy:
    """3-Augment (Touvron et al. 2022, arXiv 2204.07118; facebookresearch/deit `augment.py`)."""
    view = View(
        size,
        RandomResizedCrop(interpolation="bicubic"),
        RandomHorizontalFlip(),
        OneOf(RandomGrayscale(1.0), RandomSolarize(p=1.0), GaussianBlur(p=1.0)),
        ColorJitter(0.3, 0.3, 0.3),
        Normalize(),
    )
    return Policy(view, name="three_augment", source="arXiv 2204.07118; facebookresearch/deit augment.py")


def timm_randaug(size: int | Size = 224, config: str = "rand-m9-mstd0.5-inc1") -> Policy:
    """timm's RandAugment (arXiv 1909.13719; huggingface/pytorch-image-models `timm/data/transforms_factory.py`).

    config: see `TimmRandAugment`. Crop and warps are bilinear; timm draws bilinear or bicubic.
    """
    view = View(size, RandomResizedCrop(), RandomHorizontalFlip(), TimmRandAugment(config), Normalize())
    return Policy(view, name="timm_randaug", source=f"arXiv 1909.13719; {TIMM}")


def with_timm(size: int | Size) -> View:
    """The view that DeiT and ConvNeXt train on: timm's RandAugment, and a quarter of the images with a box of noise."""
    small = max(as_pair(size)) <= 32
    return View(
        size,
        RandomCrop(padding=4, pad_if_needed=True) if small else RandomResizedCrop(interpolation="bicubic"),
        RandomHorizontalFlip(),
        TimmRandAugment("rand-m9-mstd0.5-inc1"),
        Normalize(),
        RandomErasing(0.25, (0.02, 1 / 3), (0.3, 1 / 0.3), "random"),
    )


def deit(size: int | Size = 224) -> Policy:
    """DeiT (Touvron et al. 2021, arXiv 2012.12877; facebookresearch/deit `main.py`, `datasets.py`).

    Up to 32 pixels, a shift by up to 4 pixels replaces the resized crop, as there. Warps are bilinear instead of bicubic. MixUp
    and CutMix come after it, on the batch.
    """
    return Policy(with_timm(size), name="deit", source="arXiv 2012.12877; facebookresearch/deit main.py, datasets.py")


def convnext(size: int | Size = 224) -> Policy:
    """ConvNeXt (Liu et al. 2022, arXiv 2201.03545; facebookresearch/ConvNeXt `main.py`, `datasets.py`); the same as DeiT."""
    source = "arXiv 2201.03545; facebookresearch/ConvNeXt main.py, datasets.py"
    return Policy(with_timm(size), name="convnext", source=source)
