"""Self-supervised learning from large and small views of each image: SwAV, DINO, DINOv2 and LeJEPA."""

from __future__ import annotations

from ..ops import (
    ColorJitter,
    GaussianBlur,
    Normalize,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomSolarize,
)
from ..ops.base import Size
from ..policy import Policy, View, as_pair


def local(given: int | Size | None, size: int | Size, published: int) -> Size:
    """Size of small views: `given`, or else scaled from `size` as the published size is from 224."""
    if given is not None:
        return as_pair(given)
    height, width = (round(edge * published / 224) for edge in as_pair(size))
    return height, width


def swav(size: int | Size = 224, local_size: int | Size | None = None) -> Policy:
    """SwAV (Caron et al. 2020, arXiv 2006.09882; `multicropdataset.py`, `swav_800ep_pretrain.sh`).

    The source divides red by .228, a typing error for .229, which is used here.
    """

    def view(size: int | Size, low: float, high: float, repeat: int) -> View:
        return View(
            size,
            RandomResizedCrop(scale=(low, high)),
            RandomHorizontalFlip(),
            ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8),
            RandomGrayscale(0.2),
            GaussianBlur(p=0.5),
            Normalize(),
            repeat=repeat,
        )

    source = "arXiv 2006.09882; facebookresearch/swav multicropdataset.py"
    return Policy(view(size, 0.14, 1.0, 2), view(local(local_size, size, 96), 0.05, 0.14, 6), name="swav", source=source)


def dino_views(
    size: int | Size,
    local_size: int | Size,
    split: float,
    kernel: int,
    blur: tuple[float, float, float],
    smallest: float = 0.05,
) -> list[View]:
    """Two global views and eight local ones; `blur` is the probability for the first, the second and the local views."""

    def view(size: int | Size, scale: tuple[float, float], blur: float, solarize: float = 0.0, repeat: int = 1) -> View:
        return View(
            size,
            RandomResizedCrop(scale=scale, interpolation="bicubic"),
            RandomHorizontalFlip(),
            ColorJitter(0.4, 0.4, 0.2, 0.1, p=0.8),
            RandomGrayscale(0.2),
            *([GaussianBlur(kernel, p=blur)] if blur else []),
            *([RandomSolarize(p=solarize)] if solarize else []),
            Normalize(),
            repeat=repeat,
        )

    whole = (split, 1.0)
    return [
        view(size, whole, blur[0]),
        view(size, whole, blur[1], solarize=0.2),
        view(local_size, (smallest, split), blur[2], repeat=8),
    ]


def dino(size: int | Size = 224, local_size: int | Size | None = None) -> Policy:
    """DINO (Caron et al. 2021, arXiv 2104.14294; facebookresearch/dino `main_dino.py`)."""
    views = dino_views(size, local(local_size, size, 96), 0.4, 23, (1.0, 0.1, 0.5))
    return Policy(*views, name="dino", source="arXiv 2104.14294; facebookresearch/dino main_dino.py")


def dinov2(size: int | Size = 224, local_size: int | Size | None = None) -> Policy:
    """DINOv2 as intended (Oquab et al. 2024, arXiv 2304.07193; facebookresearch/dinov2 `ssl_default_config.yaml`)."""
    views = dino_views(size, local(local_size, size, 98), 0.32, 9, (1.0, 0.1, 0.5))
    return Policy(*views, name="dinov2", source="arXiv 2304.07193; facebookresearch/dinov2 ssl_default_config.yaml")


def dinov2_as_trained(size: int | Size = 224, local_size: int | Size | None = None) -> Policy:
    """DINOv2 as its code runs, with the probability of blur inverted (arXiv 2304.07193; facebookresearch/dinov3 #286)."""
    views = dino_views(size, local(local_size, size, 98), 0.32, 9, (0.0, 0.9, 0.5))
    source = "arXiv 2304.07193; facebookresearch/dinov2 augmentations.py; facebookresearch/dinov3 #286"
    return Policy(*views, name="dinov2_as_trained", source=source)


def lejepa(size: int | Size = 224, local_size: int | Size | None = None) -> Policy:
    """LeJEPA (Balestriero and LeCun 2025, arXiv 2511.08544; its README), solarized with the stated probability 0.2."""

    def view(size: int | Size, low: float, high: float, repeat: int) -> View:
        return View(
            size,
            RandomResizedCrop(scale=(low, high)),
            ColorJitter(0.4, 0.4, 0.2, 0.1, p=0.8),
            RandomGrayscale(0.2),
            GaussianBlur(7, p=0.5),
            RandomSolarize(p=0.2),
            RandomHorizontalFlip(),
            Normalize(),
            repeat=repeat,
        )

    views = view(size, 0.3, 1.0, 2), view(local(local_size, size, 98), 0.05, 0.3, 6)
    return Policy(*views, name="lejepa", source="arXiv 2511.08544; its README")
