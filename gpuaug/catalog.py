"""Named policies, each as its source published it; public as the mapping `gpuaug.policies`.

Each policy is a function from sizes to a `Policy` whose ops are in the order of the source. Where a source blurs with PIL (a
stack of box filters), the policy uses a Gaussian of 23 taps with the same range of sigma. Colour jitter always draws the order
of its parts per image, as torchvision does. Sizes are in pixels, one number or (height, width). By default small views keep
the proportion to the large ones that their source has at 224.
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
    """Size of small views: `given`, or else scaled from `size` as the published size is from 224."""
    if given is not None:
        return as_pair(given)
    height, width = (round(edge * published / 224) for edge in as_pair(size))
    return height, width


def simclr(size: int | Size = 224, strength: float = 1.0) -> Policy:
    """SimCLR (Chen et al. 2020, arXiv 2002.05709; google-research/simclr `data_util.py`); blur kernel a tenth of the height."""
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
    """SimSiam (Chen and He 2021, arXiv 2011.10566; facebookresearch/simsiam `main_simsiam.py`); the same as MoCo v2."""
    source = "arXiv 2011.10566; facebookresearch/simsiam main_simsiam.py"
    return Policy(*moco_v2(size).views, name="simsiam", source=source)


def byol_view(size: int | Size, blur: float, solarize: float) -> View:
    """One of BYOL's two kinds of view; an op of probability 0 is left out."""
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
    """Barlow Twins (Zbontar et al. 2021, arXiv 2103.03230; facebookresearch/barlowtwins `main.py`); the same as BYOL."""
    source = "arXiv 2103.03230; facebookresearch/barlowtwins main.py"
    return Policy(*byol(size).views, name="barlow_twins", source=source)


def vicreg(size: int | Size = 224) -> Policy:
    """VICReg (Bardes et al. 2022, arXiv 2105.04906; facebookresearch/vicreg `augmentations.py`); the same as BYOL."""
    source = "arXiv 2105.04906; facebookresearch/vicreg augmentations.py"
    return Policy(*byol(size).views, name="vicreg", source=source)


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


def mae(size: int | Size = 224) -> Policy:
    """MAE (He et al. 2022, arXiv 2111.06377; facebookresearch/mae `main_pretrain.py`); a policy that is cheap to compute."""
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

    views = view(size, 0.3, 1.0, 2), view(local(local_size, size, 98), 0.05, 0.3, 6)
    return Policy(*views, name="lejepa", source="arXiv 2511.08544; its README")


def supervised(size: int | Size = 224) -> Policy:
    """Supervised training (torchvision `references/classification/presets.py`)."""
    view = View(size, RandomResizedCrop(), RandomHorizontalFlip(), Normalize())
    return Policy(view, name="supervised", source="torchvision references/classification/presets.py")


def spatial(size: int | Size = 224) -> Policy:
    """Spatial, or "ventral" (Ericsson et al. 2021, arXiv 2111.11398; linusericsson/ssl-invariances `main_moco.py`)."""
    view = View(size, RandomResizedCrop(scale=(0.2, 1.0)), RandomHorizontalFlip(), Normalize(), repeat=2)
    return Policy(view, name="spatial", source="arXiv 2111.11398; linusericsson/ssl-invariances main_moco.py")


def appearance(size: int | Size = 224) -> Policy:
    """Appearance, or "dorsal" (Ericsson et al. 2021, arXiv 2111.11398); resized to 256/224 of the size."""
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
    """Additive normal noise alone (Bordes et al. 2023, arXiv 2303.01986); no sigma is published, so it is an argument.

    The view shows the whole image, except for the centre crop that makes it square.
    """
    view = View(size, Resize(max(as_pair(size))), CenterCrop(), GaussianNoise(sigma=sigma), Normalize(), repeat=2)
    return Policy(view, name="gaussian_noise", source="arXiv 2303.01986, abstract")


def ffcv_ssl(size: int | Size = 224) -> Policy:
    """FFCV-SSL's distributions, without its faults (Bordes et al. 2023, arXiv 2303.01986; `examples/train_ssl.py`).

    The kernel (5, 9) is (width, height), as in torchvision. Here the crop's aspect ratio and the sign of the hue vary as
    documented, the order of the jitter is drawn, and blur comes before Normalize, with a sigma drawn per image.
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


PUBLISHED = (
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

policies: Mapping[str, Callable[..., Policy]] = MappingProxyType({function.__name__: function for function in PUBLISHED})
"""Name -> function that makes the policy. Every function accepts `size`, in pixels."""


def policy(name: str, **arguments: float | Size) -> Policy:
    """A named policy, such as `policy("simclr", size=96)`.

    Args:
        name: A key of `gpuaug.policies`.
        **arguments: Passed on to the policy's function; all have `size`, those with small views `local_size`.

    Raises:
        ValueError: The name is unknown; the message suggests similar ones.
    """
    if name not in policies:
        near = difflib.get_close_matches(str(name).lower(), policies, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"one of {', '.join(policies)}"
        raise ValueError(f"unknown policy {name!r}; {hint}")
    return policies[name](**arguments)
