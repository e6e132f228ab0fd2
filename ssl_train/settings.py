"""Everything that determines a run, as one dataclass that is also the command line."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from importlib.util import find_spec
from typing import Annotated, Any, Literal

import torch
import tyro

from . import distributed
from .criteria import CRITERIA
from .errors import UserError
from .methods import METHODS, Head, Norm, Recipe
from .model import SMALL
from .optim import DEFAULTS, OPTIMIZERS, SCALING

FREE = ("device", "num_workers", "eval_every", "checkpoint_every", "compile", "tensorboard", "out", "resume")
"""What may change when a run is continued; all else would make it another run."""

Switch = Literal["on", "off"]
OwnInt = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]
OwnFloat = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")]
OwnStr = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
OwnSwitch = Annotated[Switch | None, tyro.conf.arg(metavar="{on,off}", help_behavior_hint="")]
"""Options that take the recipe's value where they are not given; the help page shows no default for them."""


@dataclass(frozen=True)
class Settings:
    """Pretrain a backbone without labels, and measure its features by kNN and a linear probe. For instance, on a CPU:

    python -m ssl_train --method simclr --data photos --backbone resnet18_quarter --optimizer adamw --epochs 10

    Every option from --loss to --queue-size is one column of the method's row (ssl_train/methods.py) and can be switched by
    itself. Options without a default take the published value of the method's recipe for the image size.
    """

    method: str = "simclr"
    """simclr, moco_v2, moco_v3, byol, simsiam, swav, dino, barlow_twins, vicreg, nnclr, w_mse, lejepa, supervised."""
    data: str = "photos"
    """photos, cifar10, or the path of a folder that has train/ and test/ (or val/), each with one folder of images a class; or
    of any other folder of images, which are taken at any depth and without labels."""
    policy: OwnStr = None
    """A named policy; `gpuaug policies` lists them."""
    multi_crop: OwnInt = None
    """Small views besides the two large ones; 0 drops those of the policy. Default: as the policy has them."""
    local_size: OwnInt = None
    """Side of a small view. Default: the policy's at 224 pixels, and in proportion (up to a multiple of 8) at other sizes."""
    backbone: str = "resnet18"
    """resnet18, resnet34, resnet50; for CPUs resnet18_quarter, resnet10_quarter; vit_nano, vit_tiny, vit_small; timm's."""
    size: int = 32
    """Side of a view in pixels; up to 64 the backbone has the CIFAR stem, or patches of 4 pixels."""
    batch_size: int = 256
    """Images a step, over all processes."""
    epochs: int = 100
    """Passes over the training images."""

    loss: OwnStr = None
    """nt_xent, info_nce, moco_v2, nnclr, cosine, swav, dino, barlow_twins, vicreg, w_mse, lejepa, cross_entropy."""
    predictor: OwnSwitch = None
    """A prediction network on the branch that is trained; `on` gives a method without one BYOL's."""
    momentum: Annotated[float | Literal["off"] | None, tyro.conf.arg(metavar="{off}|FLOAT", help_behavior_hint="")] = None
    """Of the moving average that gives the targets, at the start; off: the network itself gives them."""
    momentum_end: OwnFloat = None
    """Where half a cosine takes the momentum by the end of the run."""
    stop_gradient: OwnSwitch = None
    """Whether targets that the network itself gives are cut off from the gradient."""
    symmetric: OwnSwitch = None
    """Whether each of the two large views is a target in turn, or only the second."""
    projector_layers: OwnInt = None
    """Layers of the projector; 0: none."""
    projector_hidden: OwnInt = None
    """Width of its hidden layers, and of the predictor's; 0: that of what comes in."""
    projector_dim: OwnInt = None
    """Width of the embedding."""
    head_norm: Annotated[Norm | None, tyro.conf.arg(metavar="{batch,layer,none}", help_behavior_hint="")] = None
    """Normalisation in projector and predictor."""
    prototypes: OwnInt = None
    """Number of prototypes, where the loss has any."""
    queue_size: OwnInt = None
    """Earlier embeddings that moco_v2, nnclr and swav keep, in whole batches. Default: as published, or less for small data."""
    temperature: OwnFloat = None
    """Softmax temperature of the loss."""
    target_temperature: OwnFloat = None
    """Softmax temperature of the targets (DINO), after its warm-up."""
    negatives: OwnInt = None
    """Other images each view is told apart from (nt_xent, info_nce), e.g. 1. Default: all of the batch."""
    weights: Literal["uniform", "score", "shuffled", "draws"] = "uniform"
    """Of positive pairs, by the difference of their views' scores (ScoreCL, reconstructed), or of their draws' strengths."""
    score_epochs: int = 5
    """Passes over the images to train the score network."""
    grow_from: OwnInt = None
    """Size of the views at the start, growing to --size in steps of 32 pixels, each for an equal share of the epochs."""

    optimizer: OwnStr = None
    """lars, adamw (better for short runs), or sgd."""
    learning_rate: OwnFloat = None
    """The peak for 256 images a batch."""
    scaling: OwnStr = None
    """How the learning rate follows the batch size: linear, sqrt, none."""
    weight_decay: OwnFloat = None
    """Not applied to biases and normalisation."""
    weight_decay_end: OwnFloat = None
    """Where half a cosine takes it by the end of the run. Default: it stays (but for DINO above 64 pixels)."""
    warmup_epochs: OwnFloat = None
    """In which the learning rate rises. Default: 10, or none where it is published so, and at most a tenth of the run."""
    seed: int = 0
    """Of the initial weights, the order of the images and the draws."""
    device: str = "auto"
    """auto (CUDA where there is one), cpu, cuda, cuda:1, mps."""
    precision: Literal["auto", "bf16", "float32"] = "auto"
    """bf16 is autocast; auto takes it on CUDA."""
    compile: bool = False
    """Compile the network with torch.compile."""
    num_workers: int = 1
    """The loader's workers."""
    knn_k: int = 200
    """Neighbours that vote in the evaluation."""
    eval_every: int = 10
    """Epochs between evaluations; the first and the last are always made. 0: none at all."""
    probe: Literal["off", "backbone", "all"] = "backbone"
    """Linear classifiers trained beside the network, on its features, or on every layer of the projector too."""
    checkpoint_every: int = 0
    """Steps between checkpoints, besides the one at the end of each epoch; 0: none."""
    tensorboard: bool = False
    """Write the metrics for TensorBoard too, to tensorboard/ in the run's folder."""
    out: OwnStr = None
    """The run's folder. Default: runs/METHOD-DATA-BACKBONE-seed."""
    resume: Literal["never", "always", "auto"] = "never"
    """Whether to continue the run in --out where its last checkpoint was written: never (there must be none), always (what is
    not given is as it was; --resume alone means this), auto (where there is one; else the command begins it)."""


def out_folder(s: Settings) -> str:
    """--out, or its default."""
    return s.out or f"runs/{s.method}-{s.data.strip('/').split('/')[-1]}-{s.backbone}-{s.seed}"


def recipe(s: Settings) -> Recipe:
    method = METHODS[s.method]
    return method.small if s.size <= SMALL else method.large


def resolve(settings: Settings) -> Settings:
    """The settings with every None filled in that does not depend on the data. Raises UserError for values that cannot be."""
    s = settings
    known: Any
    for option, value, known in (
        ("method", s.method, METHODS),
        ("loss", s.loss, CRITERIA),
        ("optimizer", s.optimizer, OPTIMIZERS),
        ("scaling", s.scaling, SCALING),
        ("precision", s.precision, ("auto", "bf16", "float32")),
        ("resume", s.resume, ("never", "always", "auto")),
    ):
        if value is not None and value not in known:
            raise UserError(f"--{option} {value}: unknown; there are {', '.join(known)}")
    method, published = METHODS[s.method], recipe(s)
    optimizer = s.optimizer or published.optimizer
    own = optimizer == published.optimizer
    rate, decay = (published.learning_rate, published.weight_decay) if own else DEFAULTS.get(optimizer, (0.3, 1e-6))
    loss = s.loss or method.loss
    momentum = s.momentum if s.momentum is not None else published.momentum if method.target == "momentum" else "off"
    device = known_device(s.device)
    given: dict[str, Any] = {name: value for name, value in vars(s).items() if value is not None}
    prototypes = (published.outputs or 3000) if CRITERIA[loss].outputs == "prototypes" else 0
    filled: dict[str, Any] = {
        "policy": published.policy,
        "loss": loss,
        "predictor": "on" if method.predictor else "off",
        "momentum": momentum,
        "momentum_end": published.momentum_end if published.momentum_end is not None else momentum,
        "stop_gradient": "on" if method.target == "stop" or method.target == "momentum" else "off",
        "symmetric": "on" if method.symmetric else "off",
        "projector_layers": published.projector.layers,
        "projector_hidden": published.projector.hidden,
        "projector_dim": published.projector.out,
        "head_norm": published.projector.norm,
        "prototypes": prototypes,
        "temperature": published.temperature,
        "target_temperature": published.target_temperature[1],
        "optimizer": optimizer,
        "learning_rate": rate,
        "scaling": published.scaling if own else "linear",
        "weight_decay": decay,
        "weight_decay_end": (published.weight_decay_end if own else None) or given.get("weight_decay", decay),
        "warmup_epochs": min(published.warmup if own else 10.0, s.epochs / 10),
        "out": out_folder(s),
    }
    if filled["momentum_end"] == "off" or momentum == "off":
        filled["momentum_end"] = 1.0
    chosen = {**filled, **given, "device": device}
    chosen["precision"] = ("bf16" if device.startswith("cuda") else "float32") if s.precision == "auto" else s.precision
    s = replace(s, **chosen)
    check(s)
    return s


def heads(s: Settings) -> tuple[Head, Head | None]:
    """The projector and the predictor of resolved settings: the method's, with what was switched."""
    assert s.projector_layers is not None
    assert s.projector_hidden is not None
    assert s.projector_dim is not None
    assert s.head_norm is not None
    base = recipe(s).projector
    projector = replace(base, layers=s.projector_layers, hidden=s.projector_hidden, out=s.projector_dim, norm=s.head_norm)
    if s.predictor == "off":
        return projector, None
    predictor = METHODS[s.method].predictor or Head(2, 4096, 256)
    hidden = predictor.hidden if s.projector_hidden == base.hidden else s.projector_hidden
    return projector, replace(predictor, hidden=hidden, out=s.projector_dim, norm=s.head_norm if base.layers else "batch")


def queue_length(s: Settings, images: int) -> int:
    """Of the loss's queue, in whole batches; 0 where it keeps none, as SwAV in large batches."""
    if s.loss not in ("moco_v2", "nnclr", "swav"):
        return 0
    published, share = METHODS[s.method].queue if METHODS[s.method].queue[0] else METHODS[s.loss].queue
    wanted = s.queue_size if s.queue_size is not None else min(published, int(images * share))
    return max(s.loss != "swav", wanted // s.batch_size) * s.batch_size


def known_device(name: str) -> str:
    """The device of that name; for "auto" CUDA, where there is one. Raises UserError where it is not there."""
    name = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # torch raises either, and a subclass of RuntimeError, for what it lacks
        raise UserError(f"--device {name}: not available here ({str(error).splitlines()[0][:100]})") from None
    return name


def check(s: Settings) -> None:
    """Raise UserError for numbers outside their range, and switches that exclude each other."""
    least = {"size": 8, "batch_size": 2, "epochs": 1, "knn_k": 1, "num_workers": 0, "eval_every": 0, "checkpoint_every": 0}
    least |= {"seed": 0, "learning_rate": 0, "weight_decay": 0, "weight_decay_end": 0, "warmup_epochs": 0, "multi_crop": 0}
    least |= {"local_size": 8, "score_epochs": 1, "projector_layers": 0, "projector_hidden": 0}
    least |= {"queue_size": 0 if s.loss == "swav" else 1}
    for name, low in least.items():
        value = getattr(s, name)
        if value is not None and not (math.isfinite(value) and value >= low):
            raise UserError(f"--{name.replace('_', '-')} {value}: it must be at least {low}")
    for name in ("temperature", "target_temperature"):
        value = getattr(s, name)
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"--{name.replace('_', '-')} {value}: it must be above 0")
    for name in ("momentum", "momentum_end"):
        value = getattr(s, name)
        if value != "off" and not 0 <= value <= 1:
            raise UserError(f"--{name.replace('_', '-')} {value}: it must be in 0..1, or --momentum off")
    assert s.warmup_epochs is not None
    if s.warmup_epochs >= s.epochs:
        raise UserError(f"--warmup-epochs {s.warmup_epochs:g}: it must be below --epochs {s.epochs}")
    if s.projector_layers and not s.projector_dim:
        raise UserError(
            f"--projector-dim {s.projector_dim}: with --projector-layers {s.projector_layers} it must be at least 1"
        )
    if s.predictor == "on" and not s.projector_layers:
        raise UserError("--predictor on: it needs a projector before it; give --projector-layers and --projector-dim")
    criterion = CRITERIA[s.loss or ""]
    if s.weights != "uniform" and not criterion.weighted:
        raise UserError(f"--weights {s.weights}: the loss {s.loss} is no mean over images, so it takes --weights uniform")
    if s.negatives is not None and not (criterion.negatives and 1 <= s.negatives < s.batch_size):
        raise UserError(f"--negatives {s.negatives}: 1..{s.batch_size - 1}, with the losses nt_xent and info_nce")
    if s.grow_from is not None and not (32 <= s.grow_from <= s.size and (s.size - s.grow_from) % 32 == 0):
        raise UserError(f"--grow-from {s.grow_from}: it must be --size {s.size} less a multiple of 32, and at least 32")
    if s.tensorboard and not find_spec("tensorboard"):
        raise UserError("--tensorboard: it needs `pip install tensorboard`")
    world = distributed.world()
    if s.batch_size % world or s.batch_size < 2 * world:
        raise UserError(
            f"--batch-size {s.batch_size}: it must be a multiple of the {world} processes, two images each at least"
        )


def from_saved(saved: dict[str, Any]) -> Settings:
    """Settings as a run folder holds them; unknown names, of another version, are an error."""
    unknown = set(saved) - {f.name for f in fields(Settings)}
    if unknown:
        raise UserError(f"the run's settings have options that this version lacks: {', '.join(sorted(unknown))}")
    return Settings(**{**saved, "resume": "never"})  # which is of the command that began it


def check_same(saved: Settings, given: Settings) -> None:
    """Raise UserError where a continued run is asked to be another one."""
    for name, value in asdict(given).items():
        before = getattr(saved, name)
        if name not in FREE and value != before:
            raise UserError(
                f"--{name.replace('_', '-')} {value}: the run was started with {before}; give that, or choose another --out"
            )
