"""Every method as one entry of the table METHODS, with its recipes and their sources.

All fit one template (Morningstar et al. 2024, arXiv 2403.05726):

    views -> backbone -> projector (-> predictor) (-> prototypes) -> loss against the target branch

The target branch is the trained network itself, the same without a gradient, or a moving average of it. Each field of a method
and of its recipes that matters to a study is an option of the command line as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Norm = Literal["batch", "layer", "none"]


@dataclass(frozen=True)
class Head:
    """An MLP on top of the backbone.

    Attributes:
        layers: number of linear layers; 0 is the identity.
        hidden: width of the hidden layers; 0 is the width of the input.
        out: width of the output.
        norm: normalisation after each hidden layer, before the activation.
        last: normalisation after the last layer: "none", "plain" (neither scale nor shift is trained), "scale" (only the scale
            is trained) or "full" (both are).
        gelu: GELU as the activation instead of ReLU.
    """

    layers: int
    hidden: int
    out: int
    norm: Norm = "batch"
    last: Literal["none", "scale", "plain", "full"] = "none"
    gelu: bool = False


@dataclass(frozen=True)
class Recipe:
    """The published settings of a method at one image size.

    Attributes:
        policy: name of the augmentation policy.
        projector: the head between backbone and loss.
        optimizer: a name in `ssl_train.optim.OPTIMIZERS`.
        learning_rate: peak learning rate for 256 images per batch.
        weight_decay: weight decay at the start.
        temperature: softmax temperature of the loss.
        scaling: how the learning rate follows the batch size.
        momentum: momentum of the moving average at the start; 0 to 1.
        momentum_end: momentum at the end, which half a cosine leads to; None keeps it constant.
        weight_decay_end: weight decay at the end, likewise.
        target_temperature: softmax temperature of the targets at the start, and after `target_warmup` epochs.
        target_warmup: epochs in which the target temperature rises, at most 0.3 of the run.
        warmup: epochs in which the learning rate rises from 0.
        steady_predictor: the learning rate of the predictor stays at its peak.
        outputs: number of prototypes.
        frozen_epochs: epochs at the start in which the prototypes are not trained.
        queue_epoch: epoch in which SwAV's queue begins, at most 0.3 of the run.
        loss_weight: weight of the second term of Barlow Twins and LeJEPA.
        loss_scale: factor of the whole loss. LARS rescales gradients, so with it only biases and normalisation feel the factor.
        trust, clip: arguments of `ssl_train.optim.LARS`.
    """

    policy: str
    projector: Head
    optimizer: str
    learning_rate: float
    weight_decay: float
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
    """A self-supervised method.

    Attributes:
        loss: a name in `ssl_train.criteria.CRITERIA`.
        small: the recipe for images of up to 64 pixels.
        large: the recipe for larger images.
        sources: the paper, then the file that the small recipe was compared with, then that of the large one.
        predictor: the head that predicts the target from the trained branch; None without one.
        target: where the targets come from: "shared" (the trained network, with gradient), "stop" (the same, without gradient)
            or "momentum" (a moving average of the network).
        symmetric: each of the two global views is the target once. If not, only the second is, and with "momentum" the trained
            network does not see it.
        views: number of global views per image.
    """

    loss: str
    small: Recipe
    large: Recipe
    sources: tuple[str, str, str]
    predictor: Head | None = None
    target: Literal["shared", "stop", "momentum"] = "shared"
    symmetric: bool = True
    views: int = 2


CIFAR = "simclr_cifar"
"""The policy of every small recipe, so that the methods differ in their algorithms only."""

SOLO = "solo-learn scripts/pretrain/cifar/"
DINO_HEAD = Head(3, 2048, 256, norm="none", gelu=True)


def lars(policy: str, projector: Head, learning_rate: float, weight_decay: float, **more: Any) -> Recipe:
    """A recipe with LARS."""
    return Recipe(policy, projector, "lars", learning_rate, weight_decay, **more)


def solo(projector: Head, learning_rate: float, weight_decay: float, **more: Any) -> Recipe:
    """A recipe of solo-learn for CIFAR: LARS with `eta` 0.02 and `clip_lr`."""
    return lars(CIFAR, projector, learning_rate, weight_decay, trust=0.02, clip=True, **more)


METHODS = {
    "simclr": Method(
        "nt_xent",
        small=solo(Head(2, 2048, 256, norm="none"), 0.4, 1e-4, temperature=0.2),
        large=lars("simclr", Head(2, 0, 128, last="scale"), 1.2, 1e-4, scaling="sqrt"),  # 0.075 x sqrt(256)
        sources=("Chen et al. 2020, arXiv 2002.05709", SOLO + "simclr.yaml", "google-research/simclr README"),
    ),
    "moco_v2": Method(
        "moco_v2",
        target="momentum",
        symmetric=False,
        small=Recipe(CIFAR, Head(2, 2048, 256, norm="none"), "sgd", 0.3, 1e-4, temperature=0.2, momentum_end=0.999),
        large=Recipe(
            "moco_v2",
            Head(2, 0, 128, norm="none"),
            "sgd",
            0.03,
            1e-4,
            temperature=0.2,
            momentum=0.999,
            momentum_end=None,
            warmup=0,
        ),
        sources=("Chen et al. 2020, arXiv 2003.04297", SOLO + "mocov2plus.yaml", "facebookresearch/moco README"),
    ),
    "moco_v3": Method(
        "info_nce",
        target="momentum",
        predictor=Head(2, 4096, 256),
        small=solo(Head(2, 4096, 256, last="plain"), 0.3, 1e-6, temperature=0.2),
        large=lars("byol", Head(2, 4096, 256, last="plain"), 0.6, 1e-6, temperature=1.0),  # for 100 epochs
        sources=("Chen et al. 2021, arXiv 2104.02057", SOLO + "mocov3.yaml", "facebookresearch/moco-v3 CONFIG.md"),
    ),
    "byol": Method(
        "cosine",  # BYOL sums squared distances over both directions, which is 4 + 4 x the mean negative cosine
        target="momentum",
        predictor=Head(2, 4096, 256),
        small=solo(Head(2, 4096, 256), 1.0, 1e-5, loss_scale=4.0),
        large=lars("byol", Head(2, 4096, 256), 0.2, 1.5e-6, momentum=0.996, loss_scale=4.0),  # for 1,000 epochs
        sources=("Grill et al. 2020, arXiv 2006.07733", SOLO + "byol.yaml", "deepmind-research byol/configs/byol.py"),
    ),
    "simsiam": Method(
        "cosine",
        target="stop",
        predictor=Head(2, 512, 2048),
        small=Recipe(CIFAR, Head(2, 2048, 2048, last="plain"), "sgd", 0.03, 5e-4, warmup=0.0, steady_predictor=True),
        large=Recipe("simsiam", Head(3, 2048, 2048, last="plain"), "sgd", 0.05, 1e-4, warmup=0.0, steady_predictor=True),
        sources=(
            "Chen and He 2021, arXiv 2011.10566",
            "its appendix D, as in PatrickHua/SimSiam configs/simsiam_cifar.yaml (except for its warm-up)",
            "facebookresearch/simsiam main_simsiam.py, with --fix-pred-lr as in its README",
        ),
    ),
    "swav": Method(
        "swav",
        small=solo(Head(2, 2048, 128), 0.6, 1e-6, outputs=3000, frozen_epochs=2, queue_epoch=50.0),
        large=lars("swav", Head(2, 2048, 128), 0.3, 1e-6, outputs=3000, frozen_epochs=1),  # frozen for 313 steps of 4,096
        sources=(
            "Caron et al. 2020, arXiv 2006.09882",
            SOLO + "swav.yaml",
            "facebookresearch/swav scripts/swav_800ep_pretrain.sh, and swav_200ep_bs256_pretrain.sh for the queue",
        ),
    ),
    "dino": Method(
        "dino",
        target="momentum",
        small=solo(DINO_HEAD, 0.3, 1e-6, momentum=0.9995, outputs=4096, frozen_epochs=1),
        large=Recipe(
            "dino", DINO_HEAD, "adamw", 5e-4, 0.04, weight_decay_end=0.4, momentum=0.996, outputs=65_536, frozen_epochs=1
        ),
        sources=(
            "Caron et al. 2021, arXiv 2104.14294",
            SOLO + "dino.yaml",
            "facebookresearch/dino main_dino.py, vision_transformer.py; target temperature: README, ViT-S",
        ),
    ),
    "barlow_twins": Method(
        "barlow_twins",
        small=solo(Head(3, 2048, 2048), 0.3, 1e-4, loss_weight=0.0051, loss_scale=0.1),
        large=lars("barlow_twins", Head(3, 8192, 8192), 0.2, 1e-6, loss_weight=0.0051, loss_scale=0.024),
        sources=("Zbontar et al. 2021, arXiv 2103.03230", SOLO + "barlow.yaml", "facebookresearch/barlowtwins main.py"),
    ),
    "vicreg": Method(
        "vicreg",
        small=solo(Head(3, 2048, 2048), 0.3, 1e-4),
        large=lars("vicreg", Head(3, 8192, 8192), 0.2, 1e-6),
        sources=("Bardes et al. 2022, arXiv 2105.04906", SOLO + "vicreg.yaml", "facebookresearch/vicreg README"),
    ),
    "nnclr": Method(
        "nnclr",
        predictor=Head(2, 4096, 256),
        small=solo(Head(3, 2048, 256, last="full"), 0.4, 1e-5, temperature=0.2),
        large=lars("byol", Head(3, 2048, 256, last="full"), 0.3, 1e-6),
        sources=("Dwibedi et al. 2021, arXiv 2104.14548", SOLO + "nnclr.yaml", "the paper's section 4, not compared"),
    ),
    "w_mse": Method(
        "w_mse",
        small=Recipe(CIFAR, Head(2, 1024, 64), "adamw", 2e-3, 1e-6, scaling="none"),
        large=Recipe("simclr", Head(2, 1024, 128), "adamw", 2e-3, 1e-6, scaling="none"),
        sources=(
            "Ermolov et al. 2021, arXiv 2007.06346",
            SOLO + "wmse.yaml (Adam there)",
            "htdt/self-supervised README, Tiny ImageNet (Adam there)",
        ),
    ),
    "lejepa": Method(
        "lejepa",
        # The weight decay is that of ResNets; ViTs are published with 5e-2.
        small=Recipe(CIFAR, Head(3, 2048, 16), "adamw", 2e-3, 5e-4, loss_weight=0.02),
        large=Recipe("lejepa", Head(3, 2048, 128), "adamw", 5e-4, 5e-4, loss_weight=0.05),
        sources=(
            "Balestriero and LeCun 2025, arXiv 2511.08544",
            "rbalestr-lab/lejepa MINIMAL.md",
            "rbalestr-lab/lejepa README; loss_weight: the paper's algorithm 2, by a transcription",
        ),
    ),
    "supervised": Method(
        "cross_entropy",
        views=1,
        small=Recipe("supervised", Head(0, 0, 0), "sgd", 0.2, 1e-4, warmup=0.0),
        large=Recipe("supervised", Head(0, 0, 0), "sgd", 0.1, 1e-4, warmup=0.0),
        sources=(
            "He et al. 2016, arXiv 1512.03385",
            "akamaster/pytorch_resnet_cifar10 trainer.py",
            "pytorch/vision references/classification/train.py",
        ),
    ),
}
