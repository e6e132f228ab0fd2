"""The options of `python -m ssl_train`: every setting with its type, default and help text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, Never, TypeAlias, TypeVar

from .command import arg, tyro
from .criteria import CRITERIA, Criterion
from .methods import METHODS, Norm
from .model import BACKBONES
from .optim import OPTIMIZERS, SCALING

Switch = Literal["on", "off"]
Resume: TypeAlias = Literal["never", "always", "auto"]
Recording: TypeAlias = Literal["off", "jsonl", "parquet"]
Precision: TypeAlias = Literal["auto", "bf16", "float32"]
AwareKind: TypeAlias = Literal["off", "augself", "cassle", "equimod"]

Unset = TypeVar("Unset")
"""None where an option may be left out, Never once it is resolved: mypy then reads `str | Unset` as `str`."""
UNSET: Any = None


def option(metavar: str, help: str | None = None) -> Any:
    """An option that takes its value from the recipe unless it is given, so the help page shows no default for it."""
    return arg(metavar=metavar, help=help, help_behavior_hint="")


def text(help: str, metavar: str | None = None) -> Any:
    """A help text of several lines: tyro breaks the lines of a docstring where the source does."""
    return arg(help=help, metavar=metavar)


def read_momentum(words: list[str]) -> float | str:
    """The momentum, or "off". Raises ValueError for a word that is neither."""
    try:
        return "off" if words == ["off"] else float(words[0])
    except ValueError:
        raise ValueError(f"{words[0]} is not a number in 0..1, or off") from None


MOMENTUM: Any = tyro and tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar="FLOAT|off",
    instance_from_str=read_momentum,
    is_instance=lambda value: value == "off" or isinstance(value, float),
    str_from_instance=lambda value: [str(value)],
)
"""tyro's own message for a union of types would name Python's types."""


def losses_with(feature: Callable[[Criterion], object]) -> str:
    """The names of the losses that have a feature."""
    return ", ".join(name for name, criterion in CRITERIA.items() if feature(criterion))


INT, FLOAT, NAME, SWITCH = option("INT"), option("FLOAT"), option("NAME"), option("{on,off}")
NAMED: Any = arg(metavar="NAME")
"""An option that takes a name, and whose default the help page shows."""
FLAG: Any = arg(help_behavior_hint="")
"""An option without a value, which is off unless it is given."""
FOLDER: Any = arg(metavar="FOLDER")


@dataclass(frozen=True)
class BaseSettings(Generic[Unset]):
    """Every setting with its type, default and help text, once for both classes below."""

    method: Annotated[str, text(f"Method: {', '.join(METHODS)}.", "NAME")] = "simclr"
    data: Annotated[
        str,
        text(
            "Training data: photos, cifar10, the path of a folder that has train/ and test/ (or val/), each with one folder of "
            "images per class, or the path of any other folder, whose images are taken at any depth and without labels.",
            "NAME",
        ),
    ] = "photos"
    policy: Annotated[str | Unset, NAME] = UNSET
    """Named augmentation policy; `gpuaug policies` lists them."""
    multi_crop: Annotated[int | None, INT] = None
    """Number of small views besides the two large ones; 0 drops the policy's own. Default: as many as the policy has."""
    local_size: Annotated[
        int | None,
        option(
            "INT",
            "Side of a small view in pixels. Default: the policy's at --size 224, in proportion at other sizes, rounded up to "
            "a multiple of 8.",
        ),
    ] = None
    backbone: Annotated[str, text(f"Network: {', '.join(BACKBONES)} (quarter: for CPUs), or a timm model.", "NAME")] = (
        "resnet18"
    )
    size: int = 32
    """Side of a large view in pixels. Up to 64 the backbone gets the CIFAR stem, or patches of 4 pixels."""
    batch_size: int = 256
    """Images per step, summed over all processes."""
    epochs: int = 100
    """Passes over the training images."""

    loss: Annotated[str | Unset, option("NAME", f"Loss: {', '.join(CRITERIA)}.")] = UNSET
    predictor: Annotated[Switch | Unset, SWITCH] = UNSET
    """Prediction head on the trained branch; `on` gives BYOL's to a method that has none."""
    momentum: Annotated[
        float | Literal["off"] | Unset,
        MOMENTUM,
        option(
            "FLOAT|off",
            "Momentum of the target network at the start, 0 to 1; its weights are a moving average of the trained network's. "
            "off: no target network, the trained network gives the targets itself.",
        ),
    ] = UNSET
    momentum_end: Annotated[float | Unset, FLOAT] = UNSET
    """Momentum at the end of the run, 0 to 1; half a cosine leads there."""
    stop_gradient: Annotated[Switch | Unset, SWITCH] = UNSET
    """Detach the targets from the gradient; only matters without a target network."""
    symmetric: Annotated[Switch | Unset, SWITCH] = UNSET
    """`on`: each of the two large views is the target once. `off`: only the second is."""
    projector_layers: Annotated[int | Unset, INT] = UNSET
    """Layers of the projector; 0: no projector."""
    projector_hidden: Annotated[int | Unset, INT] = UNSET
    """Width of the hidden layers of projector and predictor; 0: as wide as their input."""
    projector_dim: Annotated[int | Unset, INT] = UNSET
    """Dimension of the embedding."""
    head_norm: Annotated[Norm | Unset, option("{batch,layer,none}")] = UNSET
    """Normalisation in projector and predictor."""
    prototypes: Annotated[
        int | Unset, option("INT", f"Number of prototypes of {losses_with(lambda c: c.outputs == 'prototypes')}.")
    ] = UNSET
    queue_size: Annotated[
        int | None,
        option(
            "INT",
            f"Earlier embeddings in the queue of {losses_with(lambda c: c.queue)}, rounded down to whole batches. Default: as "
            "published, or fewer for a small data set.",
        ),
    ] = None
    temperature: Annotated[float | Unset, FLOAT] = UNSET
    """Softmax temperature of the loss, above 0."""
    target_temperature: Annotated[float | Unset, FLOAT] = UNSET
    """Softmax temperature of DINO's targets after its warm-up, above 0."""
    negatives: Annotated[
        int | None,
        option(
            "INT",
            f"Other images that serve as negatives for each view in {losses_with(lambda c: c.negatives)}, 1 to batch size - 1. "
            "Default: all.",
        ),
    ] = None
    weights: Annotated[
        Literal["uniform", "score", "shuffled", "draws"],
        text(
            "Weights of the positive pairs. score: how differently a score network rates the two views (ScoreCL, "
            "reconstructed); shuffled: the same weights on other pairs; draws: how much the augmentations' strengths differ."
        ),
    ] = "uniform"
    aware: Annotated[
        AwareKind,
        text(
            "Learn from the draws as well. augself: predict how the parameters of two views differ; cassle: show a view's to "
            "the projector; equimod: predict a view's embedding from them and from the image without augmentation, a view more."
        ),
    ] = "off"
    aware_weight: Annotated[
        float | Unset,
        option("FLOAT", "Weight of the loss of --aware augself (default: 1, above 64 pixels 0.5) or equimod (1), above 0."),
    ] = UNSET
    score_epochs: int = 5
    """Epochs of training for the score network of --weights score or shuffled."""
    hard_views: int = 2
    """Large views to draw per image, of which it is trained on the pair with the largest loss; 2: the two that are drawn."""
    grow_from: Annotated[
        int | Unset,
        option(
            "INT",
            "Side of the large views at the start, in pixels; it grows to --size in steps of 32, each size for an equal share "
            "of the epochs. Default: --size throughout.",
        ),
    ] = UNSET

    optimizer: Annotated[str | Unset, option("NAME", f"Optimizer: {', '.join(OPTIMIZERS)}. AdamW suits short runs.")] = UNSET
    learning_rate: Annotated[float | Unset, FLOAT] = UNSET
    """Peak learning rate for 256 images per batch."""
    scaling: Annotated[str | Unset, option("NAME", f"How the rate grows with the batch size: {', '.join(SCALING)}.")] = UNSET
    weight_decay: Annotated[float | Unset, FLOAT] = UNSET
    """Weight decay; biases and normalisation layers get none."""
    weight_decay_end: Annotated[float | Unset, FLOAT] = UNSET
    """Weight decay at the end of the run; half a cosine leads there. Default: constant, except for DINO above 64 pixels."""
    warmup_epochs: Annotated[
        float | Unset,
        option(
            "FLOAT",
            "Epochs in which the learning rate rises from 0. Default: 10, or 0 if the method is published without a warm-up, "
            "but at most a tenth of the run.",
        ),
    ] = UNSET
    seed: int = 0
    """Seed of the initial weights, the order of the images and the augmentations."""
    device: Annotated[str, NAMED] = "auto"
    """auto (CUDA if available), cpu, cuda, cuda:1, mps."""
    precision: Precision = "auto"
    """Precision of the network: bf16 runs it under autocast; auto is bf16 on CUDA and float32 elsewhere."""
    compile: Annotated[bool, FLAG] = False
    """Compile the network with torch.compile."""
    num_workers: int = 1
    """Worker threads of the data loader."""
    knn_k: int = 200
    """Neighbours that vote in the kNN evaluation."""
    eval_every: int = 10
    """Epochs between evaluations, besides one before the first epoch and one after the last; 0: no evaluation."""
    probe: Literal["off", "backbone", "all"] = "backbone"
    """Linear probes trained along with the network: on the backbone's features, or on every projector layer as well (all)."""
    checkpoint_every: int = 0
    """Steps between checkpoints, besides the one at the end of each epoch; 0: only that one."""
    tensorboard: Annotated[bool, FLAG] = False
    """Write the metrics for TensorBoard as well, to tensorboard/ in the run's folder."""
    record_draws: Recording = "off"
    """Write the draws of every batch to the run's folder, for `gpuaug replay`: draws.jsonl, or the smaller draws.parquet."""
    out: Annotated[str | Unset, option("FOLDER")] = UNSET
    """Folder of the run. Default: runs/METHOD-DATA-BACKBONE-SEED."""
    resume: Annotated[
        Resume,
        text(
            "Whether to continue the run in --out from its last checkpoint. never: refuse a folder that has a run in it. "
            "always, or --resume alone: continue; options that are not given keep the run's values. auto: continue if there is "
            "a run, else begin one."
        ),
    ] = "never"


@dataclass(frozen=True)
class Settings(BaseSettings[None]):
    """Pretrain a backbone without labels, and measure its features by kNN and a linear probe. For instance, on a CPU:

    python -m ssl_train --method simclr --data photos --backbone resnet18_quarter --optimizer adamw --epochs 10

    The options from --loss to --queue-size each change one part of the method (see ssl_train/methods.py) and combine freely.

    An option without a default takes the value of the method's recipe for the image size.
    """


@dataclass(frozen=True)
class ResolvedSettings(BaseSettings[Never]):
    """Settings in which every open option has its value: what a run uses, and what its settings.json holds.

    None remains only where it is a choice of its own: `multi_crop` and `local_size` (as the policy has it), `queue_size` (as
    published, which depends on the number of images) and `negatives` (all other images).
    """
