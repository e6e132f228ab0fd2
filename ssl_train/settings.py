"""Everything that determines a run, as one dataclass that is also the command line."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import torch

from .errors import UserError
from .methods import METHODS
from .model import BACKBONES, SMALL
from .optim import DEFAULTS, OPTIMIZERS

FREE = ("device", "num_workers", "eval_every", "checkpoint_every", "compile", "out", "resume")
"""What may change when a run is continued; all else would make it another run."""


@dataclass(frozen=True)
class Settings:
    """Pretrain a backbone without labels, and measure its features by kNN.

    Options left at None take the method's published value for the image size, or ours for other optimizers than LARS.
    """

    method: str = "simclr"
    """The method; see ssl_train/methods.py."""
    data: str = "photos"
    """photos, cifar10, or the path of a folder that has train/ and test/ (or val/), each with one folder of images a class."""
    policy: str | None = None
    """A named policy (`gpuaug policies` lists them) with as many views as the method takes."""
    backbone: str = "resnet18"
    """resnet18, resnet34, resnet50, or resnet18_quarter (a quarter of the channels, for CPUs)."""
    size: int = 32
    """Side of a view in pixels; up to 64 the backbone has the CIFAR stem."""
    batch_size: int = 256
    """Images a step."""
    epochs: int = 100
    """Passes over the training images."""
    optimizer: str = "lars"
    """lars (as SimCLR), adamw (better for short runs), or sgd."""
    learning_rate: float | None = None
    """The peak for 256 images a batch; it is scaled linearly with the batch."""
    weight_decay: float | None = None
    """Not applied to biases and normalisation."""
    warmup_epochs: float | None = None
    """Default: 10, or a tenth of a run of under 100 epochs."""
    temperature: float | None = None
    """Of the loss."""
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
    checkpoint_every: int = 0
    """Steps between checkpoints, besides the one at the end of each epoch; 0: none."""
    out: str | None = None
    """The run's folder. Default: runs/METHOD-DATA-BACKBONE-seed."""
    resume: bool = False
    """Continue the run in --out, exactly where its last checkpoint was written."""


def resolve(settings: Settings) -> Settings:
    """The settings with every None filled in. Raises UserError for values that cannot be."""
    s = settings
    for option, value, known in (
        ("method", s.method, METHODS),
        ("backbone", s.backbone, BACKBONES),
        ("optimizer", s.optimizer, OPTIMIZERS),
        ("precision", s.precision, ("auto", "bf16", "float32")),
    ):
        if value not in known:
            raise UserError(f"--{option} {value}: unknown; there are {', '.join(known)}")
    method = METHODS[s.method]
    policy, recipe = method.small if s.size <= SMALL else method.large
    rate, decay = DEFAULTS.get(s.optimizer, (recipe.learning_rate, recipe.weight_decay))
    chosen = "cuda" if torch.cuda.is_available() else "cpu"
    device = chosen if s.device == "auto" else s.device
    s = replace(
        s,
        policy=policy if s.policy is None else s.policy,
        learning_rate=rate if s.learning_rate is None else s.learning_rate,
        weight_decay=decay if s.weight_decay is None else s.weight_decay,
        warmup_epochs=min(10.0, s.epochs / 10) if s.warmup_epochs is None else s.warmup_epochs,
        temperature=recipe.temperature if s.temperature is None else s.temperature,
        device=device,
        precision=("bf16" if device.startswith("cuda") else "float32") if s.precision == "auto" else s.precision,
        out=s.out or f"runs/{s.method}-{s.data.strip('/').split('/')[-1]}-{s.backbone}-{s.seed}",
    )
    check(s)
    return s


def check(s: Settings) -> None:
    """Raise UserError for numbers outside their range and devices that are not there."""
    least = {"size": 8, "batch_size": 2, "epochs": 1, "knn_k": 1, "num_workers": 0, "eval_every": 0, "checkpoint_every": 0}
    least |= {"seed": 0, "learning_rate": 0, "weight_decay": 0, "warmup_epochs": 0}
    for name, low in least.items():
        value = getattr(s, name)
        if not (math.isfinite(value) and value >= low):
            raise UserError(f"--{name.replace('_', '-')} {value}: it must be at least {low}")
    assert s.temperature is not None
    assert s.warmup_epochs is not None
    if not (math.isfinite(s.temperature) and s.temperature > 0):
        raise UserError(f"--temperature {s.temperature}: it must be above 0")
    if s.warmup_epochs >= s.epochs:
        raise UserError(f"--warmup-epochs {s.warmup_epochs:g}: it must be below --epochs {s.epochs}")
    try:
        torch.empty(0, device=s.device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"--device {s.device}: not available here ({str(error).splitlines()[0][:100]})") from None


def from_saved(saved: dict[str, Any]) -> Settings:
    """Settings as a run folder holds them; unknown names, of another version, are an error."""
    unknown = set(saved) - {f.name for f in fields(Settings)}
    if unknown:
        raise UserError(f"the run's settings have options that this version lacks: {', '.join(sorted(unknown))}")
    return Settings(**saved)


def check_same(saved: Settings, given: Settings) -> None:
    """Raise UserError where a continued run is asked to be another one."""
    for name, value in asdict(given).items():
        before = getattr(saved, name)
        if name not in FREE and value != before:
            raise UserError(
                f"--{name.replace('_', '-')} {value}: the run was started with {before}; leave it, or choose another --out"
            )
