"""Training on small images, such as CIFAR's: AutoAugment, Cutout and FixMatch.

Their sources pad images by 4 pixels of 32 and cut out 16 of 32; here it is the same share of any size. Images that are smaller
than the view are padded as far as needed.
"""

from __future__ import annotations

from ..ops import (
    AutoAugment,
    Cutout,
    FixMatchRandAugment,
    Normalize,
    Op,
    RandomCrop,
    RandomHorizontalFlip,
    Resize,
)
from ..ops.base import Size
from ..policy import Policy, View, as_pair
from .supervised import PRESETS, preset

CIFAR = Normalize((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))
SVHN = Normalize((109.9 / 255, 109.7 / 255, 113.8 / 255), (50.1 / 255, 50.6 / 255, 50.8 / 255))


def shifted(size: int | Size, padding_mode: str = "constant") -> Op:
    """A shift by up to an eighth of the size in each direction."""
    height, width = as_pair(size)
    return RandomCrop(padding=(width // 8, height // 8), pad_if_needed=True, padding_mode=padding_mode)


def square(size: int | Size, share: float) -> int:
    """The side of a square to cut out, as a share of the shorter edge."""
    return max(2, round(min(as_pair(size)) * share))


def auto_augment(size: int | Size | None = None, policy: str = "imagenet") -> Policy:
    """AutoAugment (Cubuk et al. 2019, arXiv 1805.09501, section 4; torchvision `references/classification/presets.py`).

    policy: "imagenet" (size 224; as torchvision's preset), "cifar10" (size 32; shift, flip, then the sub-policy, then Cutout of
    half the size) or "svhn" (size 32; the sub-policy, then Cutout of 20 pixels of 32).
    """
    if size is None:
        size = 224 if policy == "imagenet" else 32
    chosen = AutoAugment(policy, interpolation="bilinear")
    if policy == "cifar10":
        view = View(size, shifted(size), RandomHorizontalFlip(), chosen, CIFAR, Cutout(square(size, 0.5)))
    elif policy == "svhn":
        view = View(size, Resize(as_pair(size)), chosen, SVHN, Cutout(square(size, 20 / 32)))
    else:
        view = preset(size, chosen)
    return Policy(view, name="auto_augment", source=f"arXiv 1805.09501, section 4; {PRESETS}")


def cutout(size: int | Size = 32, length: int | None = None) -> Policy:
    """Cutout (DeVries and Taylor 2017, arXiv 1708.04552; uoguelph-mlrg/Cutout `train.py`).

    length: side of the square in pixels; by default half the size, as for CIFAR-10; for CIFAR-100 it is 8 at 32.
    """
    mean, std = (tuple(v / 255 for v in values) for values in ((125.3, 123.0, 113.9), (63.0, 62.1, 66.7)))
    last = Cutout(square(size, 0.5) if length is None else length)
    view = View(size, shifted(size), RandomHorizontalFlip(), Normalize(mean, std), last)
    return Policy(view, name="cutout", source="arXiv 1708.04552; uoguelph-mlrg/Cutout train.py, util/cutout.py")


def fixmatch(size: int | Size = 32) -> Policy:
    """FixMatch (Sohn et al. 2020, arXiv 2001.07685; google-research/fixmatch `libml/augment.py`): a weak and a strong view.

    The strong view is RandAugment's, with a gray square of half the size. kekmodel/FixMatch-pytorch `dataset/cifar.py` agrees.
    """
    head = RandomHorizontalFlip(), shifted(size, "reflect")
    strong = FixMatchRandAugment(), Cutout(square(size, 0.5), 0.5)
    source = "arXiv 2001.07685; google-research/fixmatch libml/augment.py; kekmodel/FixMatch-pytorch dataset/randaugment.py"
    return Policy(View(size, *head, CIFAR), View(size, *head, *strong, CIFAR), name="fixmatch", source=source)
