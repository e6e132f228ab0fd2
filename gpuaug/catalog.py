"""Named policies, each as its source published it; public as the mapping `gpuaug.policies`.

A policy is a function from sizes to a `Policy`, in the order of operations of the source. Where a source blurs with PIL
(a stack of box filters) the policy has a Gaussian of 23 taps and the same range of sigma. Colour jitter draws the order of
its parts per image throughout, as torchvision does. Sizes are in pixels, one number or (height, width); small views are by
default as large to the others as their source's are at 224.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType

from .ops import (
    CenterCrop,
    ColorJitter,
    GaussianBlur,
    GaussianNoise,
    Normalize,
    OneOf,
    Op,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomSolarize,
    Resize,
)
from .ops.base import Size
from .policy import Policy, View, as_pair


def local(given: int | Size | None, size: int | Size, published: int) -> Size:
    """The size of small views: as given, else in the proportion to large ones that was published, for 224."""
    if given is not None:
        return as_pair(given)
    height, width = (round(edge * published / 224) for edge in as_pair(size))
    return height, width


def simclr(size: int | Size = 224, strength: float = 1.0) -> Policy:
    """SimCLR (Chen et al. 2020, arXiv 2002.05709; google-research/simclr `data_util.py`); blur a tenth of the height wide."""
    s = strength
    view = View(
        size,
        RandomResizedCrop(scale=(0.08, 1.0), interpolation="bicubic"),
        RandomHorizontalFlip(),
        ColorJitter(0.8 * s, 0.8 * s, 0.8 * s, 0.2 * s, p=0.8),
        RandomGrayscale(0.2),
        GaussianBlur(2 * (as_pair(size)[0] // 10 // 2) + 1, p=0.5),
        Normalize(),
        repeat=2,
    )
    return Policy(view, name="simclr", source="arXiv 2002.05709; google-research/simclr data_util.py")


def simclr_cifar(size: int | Size = 32) -> Policy:
    """SimCLR for small images: strength 0.5, no blur (Chen et al. 2020, arXiv 2002.05709, appendix B.9)."""
    view = View(
        size,
        RandomResizedCrop(scale=(0.08, 1.0), interpolation="bicubic"),
        RandomHorizontalFlip(),
        ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        RandomGrayscale(0.2),
        Normalize(),
        repeat=2,
    )
    return Policy(view, name="simclr_cifar", source="arXiv 2002.05709, appendix B.9; google-research/simclr data_util.py")


def moco_v1(size: int | Size = 224) -> Policy:
    """MoCo v1 (He et al. 2020, arXiv 1911.05722; facebookresearch/moco `main_moco.py`)."""
    view = View(
        size,
        RandomResizedCrop(scale=(0.2, 1.0)),
        RandomGrayscale(0.2),
        ColorJitter(0.4, 0.4, 0.4, 0.4),
        RandomHorizontalFlip(),
        Normalize(),
        repeat=2,
    )
    return Policy(view, name="moco_v1", source="arXiv 1911.05722; facebookresearch/moco main_moco.py")


def moco_v2(size: int | Size = 224) -> Policy:
    """MoCo v2 (Chen et al. 2020, arXiv 2003.04297; facebookresearch/moco `main_moco.py`)."""
    view = View(
        size,
        RandomResizedCrop(scale=(0.2, 1.0)),
        ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        RandomGrayscale(0.2),
        GaussianBlur(p=0.5),
        RandomHorizontalFlip(),
        Normalize(),
        repeat=2,
    )
    return Policy(view, name="moco_v2", source="arXiv 2003.04297; facebookresearch/moco main_moco.py")


def simsiam(size: int | Size = 224) -> Policy:
    """SimSiam (Chen and He 2021, arXiv 2011.10566; facebookresearch/simsiam `main_simsiam.py`): MoCo v2's."""
    source = "arXiv 2011.10566; facebookresearch/simsiam main_simsiam.py"
    return Policy(*moco_v2(size).views, name="simsiam", source=source)


def byol_view(size: int | Size, blur: float, solarize: float) -> View:
    """One of BYOL's two distributions; an op of probability 0 is left out."""
    return View(
        size,
        RandomResizedCrop(scale=(0.08, 1.0), interpolation="bicubic"),
        RandomHorizontalFlip(),
        ColorJitter(0.4, 0.4, 0.2, 0.1, p=0.8),
        RandomGrayscale(0.2),
        GaussianBlur(p=blur),
        *([RandomSolarize(p=solarize)] if solarize else []),
        Normalize(),
    )


def byol(size: int | Size = 224) -> Policy:
    """BYOL (Grill et al. 2020, arXiv 2006.07733; deepmind-research `byol/utils/augmentations.py`)."""
    source = "arXiv 2006.07733; deepmind-research byol/utils/augmentations.py"
    return Policy(byol_view(size, 1.0, 0.0), byol_view(size, 0.1, 0.2), name="byol", source=source)


def barlow_twins(size: int | Size = 224) -> Policy:
    """Barlow Twins (Zbontar et al. 2021, arXiv 2103.03230; facebookresearch/barlowtwins `main.py`): BYOL's."""
    source = "arXiv 2103.03230; facebookresearch/barlowtwins main.py"
    return Policy(*byol(size).views, name="barlow_twins", source=source)


def vicreg(size: int | Size = 224) -> Policy:
    """VICReg (Bardes et al. 2022, arXiv 2105.04906; facebookresearch/vicreg `augmentations.py`): BYOL's."""
    source = "arXiv 2105.04906; facebookresearch/vicreg augmentations.py"
    return Policy(*byol(size).views, name="vicreg", source=source)


def swav(size: int | Size = 224, local_size: int | Size | None = None) -> Policy:
    """SwAV (Caron et al. 2020, arXiv 2006.09882; `multicropdataset.py`, `swav_800ep_pretrain.sh`).

    The source normalizes red by .228, a slip for .229, which is used here.
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
    """Two global views and eight local ones; `blur` is its probability on the first, the second and the local views."""

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
    """DINOv2 as meant (Oquab et al. 2024, arXiv 2304.07193; facebookresearch/dinov2 `ssl_default_config.yaml`)."""
    views = dino_views(size, local(local_size, size, 98), 0.32, 9, (1.0, 0.1, 0.5))
    return Policy(*views, name="dinov2", source="arXiv 2304.07193; facebookresearch/dinov2 ssl_default_config.yaml")


def dinov2_as_trained(size: int | Size = 224, local_size: int | Size | None = None) -> Policy:
    """DINOv2 as its code runs, with the probability of blur inverted (arXiv 2304.07193; facebookresearch/dinov3 #286)."""
    views = dino_views(size, local(local_size, size, 98), 0.32, 9, (0.0, 0.9, 0.5))
    source = "arXiv 2304.07193; facebookresearch/dinov2 augmentations.py; facebookresearch/dinov3 #286"
    return Policy(*views, name="dinov2_as_trained", source=source)


def mae(size: int | Size = 224) -> Policy:
    """MAE (He et al. 2022, arXiv 2111.06377; facebookresearch/mae `main_pretrain.py`): the cheap policy."""
    view = View(size, RandomResizedCrop(scale=(0.2, 1.0), interpolation="bicubic"), RandomHorizontalFlip(), Normalize())
    return Policy(view, name="mae", source="arXiv 2111.06377; facebookresearch/mae main_pretrain.py")


def ijepa(size: int | Size = 224) -> Policy:
    """I-JEPA (Assran et al. 2023, arXiv 2301.08243; facebookresearch/ijepa `configs/in1k_vith14_ep300.yaml`)."""
    view = View(size, RandomResizedCrop(scale=(0.3, 1.0)), Normalize())
    return Policy(view, name="ijepa", source="arXiv 2301.08243; facebookresearch/ijepa configs/in1k_vith14_ep300.yaml")


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

    return Policy(
        view(size, 0.3, 1.0, 2),
        view(local(local_size, size, 98), 0.05, 0.3, 6),
        name="lejepa",
        source="arXiv 2511.08544; its README",
    )


def supervised(size: int | Size = 224) -> Policy:
    """Supervised training (torchvision `references/classification/presets.py`)."""
    view = View(size, RandomResizedCrop(), RandomHorizontalFlip(), Normalize())
    return Policy(view, name="supervised", source="torchvision references/classification/presets.py")


def spatial(size: int | Size = 224) -> Policy:
    """Spatial, or "ventral" (Ericsson et al. 2021, arXiv 2111.11398; linusericsson/ssl-invariances `main_moco.py`)."""
    view = View(size, RandomResizedCrop(scale=(0.2, 1.0)), RandomHorizontalFlip(), Normalize(), repeat=2)
    return Policy(view, name="spatial", source="arXiv 2111.11398; linusericsson/ssl-invariances main_moco.py")


def appearance(size: int | Size = 224) -> Policy:
    """Appearance, or "dorsal" (Ericsson et al. 2021, arXiv 2111.11398); the resize is 256/224 of the size."""
    view = View(
        size,
        Resize(round(max(as_pair(size)) * 256 / 224)),
        CenterCrop(),
        ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        RandomGrayscale(0.2),
        GaussianBlur(p=0.5),
        Normalize(),
        repeat=2,
    )
    return Policy(view, name="appearance", source="arXiv 2111.11398; linusericsson/ssl-invariances main_moco.py")


def gaussian_noise(size: int | Size = 224, sigma: float = 0.1) -> Policy:
    """Additive normal noise alone (Bordes et al. 2023, arXiv 2303.01986); no sigma is published, so it is a parameter.

    The whole image is kept, up to the centre crop that makes it square.
    """
    view = View(size, Resize(max(as_pair(size))), CenterCrop(), GaussianNoise(sigma=sigma), Normalize(), repeat=2)
    return Policy(view, name="gaussian_noise", source="arXiv 2303.01986, abstract")


def ffcv_ssl(size: int | Size = 224) -> Policy:
    """FFCV-SSL's distributions, without its faults (Bordes et al. 2023, arXiv 2303.01986; `examples/train_ssl.py`).

    Its kernel (5, 9) is torchvision's (width, height). The crop's aspect and the sign of the hue vary here as documented,
    the order of the jitter is drawn, and blur comes before Normalize, with a sigma an image.
    """

    def view(*last: Op) -> View:
        jitter = ColorJitter(0.4, 0.4, 0.2, 0.1, p=0.8)
        return View(size, RandomResizedCrop(), RandomHorizontalFlip(), jitter, RandomGrayscale(0.2), *last, Normalize())

    source = "arXiv 2303.01986; facebookresearch/FFCV-SSL examples/train_ssl.py"
    return Policy(view(GaussianBlur((5, 9), p=1.0)), view(RandomSolarize(p=0.2)), name="ffcv_ssl", source=source)


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


policies: Mapping[str, Callable[..., Policy]] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            simclr,
            simclr_cifar,
            moco_v1,
            moco_v2,
            simsiam,
            byol,
            vicreg,
            barlow_twins,
            swav,
            dino,
            dinov2,
            dinov2_as_trained,
            mae,
            ijepa,
            lejepa,
            supervised,
            spatial,
            appearance,
            gaussian_noise,
            ffcv_ssl,
            three_augment,
        )
    }
)
"""Name -> function that makes the policy; every one takes `size`, in pixels."""


def policy(name: str, **arguments: float | Size) -> Policy:
    """A named policy, e.g. `policy("simclr", size=96)`. Raises ValueError for an unknown name, with the nearest ones."""
    if name not in policies:
        near = difflib.get_close_matches(str(name).lower(), policies, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"one of {', '.join(policies)}"
        raise ValueError(f"unknown policy {name!r}; {hint}")
    return policies[name](**arguments)
