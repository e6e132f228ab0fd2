"""Self-supervised learning from views of one size, and the policies of studies of what its features ignore."""

from __future__ import annotations

from ..ops import (
    CenterCrop,
    ColorJitter,
    GaussianBlur,
    GaussianNoise,
    Normalize,
    Op,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomSolarize,
    Resize,
)
from ..ops.base import Size
from ..policy import Policy, View, as_pair


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


def mae(size: int | Size = 224) -> Policy:
    """MAE (He et al. 2022, arXiv 2111.06377; facebookresearch/mae `main_pretrain.py`); a policy that is cheap to compute."""
    view = View(size, RandomResizedCrop(scale=(0.2, 1.0), interpolation="bicubic"), RandomHorizontalFlip(), Normalize())
    return Policy(view, name="mae", source="arXiv 2111.06377; facebookresearch/mae main_pretrain.py")


def ijepa(size: int | Size = 224) -> Policy:
    """I-JEPA (Assran et al. 2023, arXiv 2301.08243; facebookresearch/ijepa `configs/in1k_vith14_ep300.yaml`)."""
    view = View(size, RandomResizedCrop(scale=(0.3, 1.0)), Normalize())
    return Policy(view, name="ijepa", source="arXiv 2301.08243; facebookresearch/ijepa configs/in1k_vith14_ep300.yaml")


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
