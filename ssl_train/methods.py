"""Every method, a row of one table (the template of Morningstar et al. 2024, arXiv 2403.05726):

    views -> backbone -> projector (-> predictor) (-> prototypes) -> loss against the target branch,

which is the same branch, the same without gradient, or its moving average. Each column is a switch on the command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Norm = Literal["batch", "layer", "none"]


@dataclass(frozen=True)
class Head:
    """An MLP. layers: 0 is the identity. hidden: 0 is as wide as what comes in. out: its output's width.

    norm: after each hidden layer, before the ReLU. last: what follows the last layer: "none", "scale" (normalisation with a
    trained scale and no shift), "plain" (without either) or "full". gelu: instead of ReLU.
    """

    layers: int
    hidden: int
    out: int
    norm: Norm = "batch"
    last: Literal["none", "scale", "plain", "full"] = "none"
    gelu: bool = False


@dataclass(frozen=True)
class Recipe:
    """A method's settings at one image size.

    learning_rate: for 256 images, scaled as `scaling` says. momentum: of the moving average, at the start; half a cosine takes
    it to momentum_end (None: constant), and the weight decay to weight_decay_end. target_temperature: of the target branch, at
    the start and after `target_warmup` epochs, or after 0.3 of a shorter run. warmup: epochs in which the learning rate rises.
    steady_predictor: the predictor's learning rate stays at its peak. outputs: prototypes, which stand still for the first
    `frozen_epochs`. queue_epoch: when SwAV's queue begins, or at 0.3 of a shorter run. loss_weight: of the second term of
    Barlow Twins or LeJEPA. loss_scale: of the whole loss, which LARS feels in biases and normalisation only. trust, clip:
    LARS's.
    """

    policy: str
    projector: Head
    optimizer: str
    learning_rate: float
    weight_decay: float
    source: str
    temperature: float = 0.1
    scaling: Literal["linear", "sqrt", "none"] = "linear"
    momentum: float = 0.99
    momentum_end: float | None = 1.0
    weight_decay_end: float | None = None
    target_temperature: tuple[float, float] = (0.04, 0.07)
    target_warmup: float = 30.0
    warmup: float = 10.0
    steady_predictor: bool = False
    outputs: int = 0
    frozen_epochs: int = 0
    queue_epoch: float = 15.0
    loss_weight: float = 0.0
    loss_scale: float = 1.0
    trust: float = 1e-3
    clip: bool = False


@dataclass(frozen=True)
class Method:
    """A method. loss: a name in `ssl_train.criteria.CRITERIA`.

    target: "shared" (with gradient), "stop" (the same without) or "momentum" (the moving average of the network).
    symmetric: each of the two global views is predicted in turn; else only the second, which the network itself then never
    sees. queue: its length as published, and the largest share of the training images it may hold (a twelfth keeps the
    published 4,096 and 3,840 for CIFAR-10's 50,000).
    small, large: the recipes up to 64 pixels and above.
    """

    loss: str
    small: Recipe
    large: Recipe
    predictor: Head | None = None
    target: Literal["shared", "stop", "momentum"] = "shared"
    symmetric: bool = True
    views: int = 2
    queue: tuple[int, float] = (0, 0.0)
    source: str = ""


def solo(method: str) -> str:
    return f"solo-learn scripts/pretrain/cifar/{method}.yaml"


CIFAR = "simclr_cifar"
"""The policy of every small recipe, so that methods differ by their algorithms alone."""


def lars(policy: str, projector: Head, learning_rate: float, weight_decay: float, source: str, **more: object) -> Recipe:
    return Recipe(policy, projector, "lars", learning_rate, weight_decay, source, **more)  # type: ignore[arg-type]


def solo_lars(name: str, projector: Head, learning_rate: float, weight_decay: float, **more: object) -> Recipe:
    """LARS as solo-learn uses it, with `eta` 0.02 and `clip_lr`."""
    return lars(CIFAR, projector, learning_rate, weight_decay, solo(name), trust=0.02, clip=True, **more)


METHODS = {
    "simclr": Method(
        "nt_xent",
        small=solo_lars("simclr", Head(2, 2048, 256, norm="none"), 0.4, 1e-4, temperature=0.2),
        large=lars(
            "simclr",
            Head(2, 0, 128, last="scale"),
            1.2,  # 0.075 x sqrt(256)
            1e-4,
            "google-research/simclr README",
            temperature=0.1,
            scaling="sqrt",
        ),
        source="Chen et al. 2020, arXiv 2002.05709",
    ),
    "moco_v2": Method(
        "moco_v2",
        target="momentum",
        symmetric=False,
        queue=(65_536, 1 / 12),
        small=Recipe(
            CIFAR, Head(2, 2048, 256, norm="none"), "sgd", 0.3, 1e-4, solo("mocov2plus"), temperature=0.2, momentum_end=0.999
        ),
        large=Recipe(
            "moco_v2",
            Head(2, 0, 128, norm="none"),
            "sgd",
            0.03,
            1e-4,
            "facebookresearch/moco README",
            temperature=0.2,
            momentum=0.999,
            momentum_end=None,
            warmup=0.0,
        ),
        source="Chen et al. 2020, arXiv 2003.04297",
    ),
    "moco_v3": Method(
        "info_nce",
        target="momentum",
        predictor=Head(2, 4096, 256),
        small=solo_lars("mocov3", Head(2, 4096, 256, last="plain"), 0.3, 1e-6, temperature=0.2),
        large=lars(
            "byol",
            Head(2, 4096, 256, last="plain"),
            0.6,
            1e-6,
            "facebookresearch/moco-v3 CONFIG.md, 100 epochs",
            temperature=1.0,
        ),
        source="Chen et al. 2021, arXiv 2104.02057",
    ),
    "byol": Method(
        "cosine",  # its squared distances, summed over both directions, are 4 + 4 x the mean negative cosine
        target="momentum",
        predictor=Head(2, 4096, 256),
        small=solo_lars("byol", Head(2, 4096, 256), 1.0, 1e-5, loss_scale=4.0),
        large=lars(
            "byol",
            Head(2, 4096, 256),
            0.2,
            1.5e-6,
            "google-deepmind/deepmind-research byol/configs/byol.py, 1,000 epochs",
            momentum=0.996,
            loss_scale=4.0,
        ),
        source="Grill et al. 2020, arXiv 2006.07733",
    ),
    "simsiam": Method(
        "cosine",
        target="stop",
        predictor=Head(2, 512, 2048),
        small=Recipe(
            CIFAR,
            Head(2, 2048, 2048, last="plain"),
            "sgd",
            0.03,
            5e-4,
            "arXiv 2011.10566, appendix D; PatrickHua/SimSiam configs/simsiam_cifar.yaml (which has a warm-up)",
            warmup=0.0,
            steady_predictor=True,
        ),
        large=Recipe(
            "simsiam",
            Head(3, 2048, 2048, last="plain"),
            "sgd",
            0.05,
            1e-4,
            "facebookresearch/simsiam main_simsiam.py, --fix-pred-lr as in its README",
            warmup=0.0,
            steady_predictor=True,
        ),
        source="Chen and He 2021, arXiv 2011.10566",
    ),
    "swav": Method(
        "swav",
        queue=(3840, 1 / 12),
        small=solo_lars("swav", Head(2, 2048, 128), 0.6, 1e-6, outputs=3000, frozen_epochs=2, queue_epoch=50.0),
        large=lars(
            "swav",
            Head(2, 2048, 128),
            0.3,
            1e-6,
            "facebookresearch/swav scripts/swav_800ep_pretrain.sh; the queue: swav_200ep_bs256_pretrain.sh",
            outputs=3000,
            frozen_epochs=1,  # 313 steps of 4,096
        ),
        source="Caron et al. 2020, arXiv 2006.09882",
    ),
    "dino": Method(
        "dino",
        target="momentum",
        small=solo_lars(
            "dino", Head(3, 2048, 256, norm="none", gelu=True), 0.3, 1e-6, momentum=0.9995, outputs=4096, frozen_epochs=1
        ),
        large=Recipe(
            "dino",
            Head(3, 2048, 256, norm="none", gelu=True),
            "adamw",
            5e-4,
            0.04,
            "facebookresearch/dino main_dino.py, vision_transformer.py; target temperature: README, ViT-S",
            weight_decay_end=0.4,
            momentum=0.996,
            outputs=65_536,
            frozen_epochs=1,
        ),
        source="Caron et al. 2021, arXiv 2104.14294",
    ),
    "barlow_twins": Method(
        "barlow_twins",
        small=solo_lars("barlow", Head(3, 2048, 2048), 0.3, 1e-4, loss_weight=0.0051, loss_scale=0.1),
        large=lars(
            "barlow_twins",
            Head(3, 8192, 8192),
            0.2,
            1e-6,
            "facebookresearch/barlowtwins main.py",
            loss_weight=0.0051,
            loss_scale=0.024,
        ),
        source="Zbontar et al. 2021, arXiv 2103.03230",
    ),
    "vicreg": Method(
        "vicreg",
        small=solo_lars("vicreg", Head(3, 2048, 2048), 0.3, 1e-4),
        large=lars("vicreg", Head(3, 8192, 8192), 0.2, 1e-6, "facebookresearch/vicreg README"),
        source="Bardes et al. 2022, arXiv 2105.04906",
    ),
    "nnclr": Method(
        "nnclr",
        predictor=Head(2, 4096, 256),
        queue=(98_304, 1.0),
        small=solo_lars("nnclr", Head(3, 2048, 256, last="full"), 0.4, 1e-5, temperature=0.2),
        large=lars("byol", Head(3, 2048, 256, last="full"), 0.3, 1e-6, "arXiv 2104.14548, section 4", temperature=0.1),
        source="Dwibedi et al. 2021, arXiv 2104.14548",
    ),
    "w_mse": Method(
        "w_mse",
        small=Recipe(CIFAR, Head(2, 1024, 64), "adamw", 2e-3, 1e-6, solo("wmse") + " (Adam there)", scaling="none"),
        large=Recipe(
            "simclr",
            Head(2, 1024, 128),
            "adamw",
            2e-3,
            1e-6,
            "htdt/self-supervised README, Tiny ImageNet (Adam)",
            scaling="none",
        ),
        source="Ermolov et al. 2021, arXiv 2007.06346",
    ),
    "lejepa": Method(
        "lejepa",
        # Weight decay as for ResNets; ViTs have 5e-2.
        small=Recipe(CIFAR, Head(3, 2048, 16), "adamw", 2e-3, 5e-4, "rbalestr-lab/lejepa MINIMAL.md", loss_weight=0.02),
        large=Recipe("lejepa", Head(3, 2048, 128), "adamw", 5e-4, 5e-4, "rbalestr-lab/lejepa README", loss_weight=0.05),
        source="Balestriero and LeCun 2025, arXiv 2511.08544",
    ),
    "supervised": Method(
        "cross_entropy",
        views=1,
        small=Recipe(
            "supervised",
            Head(0, 0, 0),
            "sgd",
            0.2,
            1e-4,
            "akamaster/pytorch_resnet_cifar10 trainer.py, batches of 128",
            warmup=0.0,
        ),
        large=Recipe(
            "supervised", Head(0, 0, 0), "sgd", 0.1, 1e-4, "pytorch/vision references/classification/train.py", warmup=0.0
        ),
        source="He et al. 2016, arXiv 1512.03385",
    ),
}
