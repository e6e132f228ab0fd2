"""From the options given to the settings of a run: what the recipe fills in, and what is checked."""

from __future__ import annotations

import math
from dataclasses import asdict, fields, replace
from importlib.util import find_spec
from typing import Any, get_args

import torch

from . import distributed
from .criteria import CRITERIA
from .errors import UserError
from .methods import METHODS, Head, Recipe
from .model import SMALL
from .optim import DEFAULTS, OPTIMIZERS, SCALING
from .options import AwareKind, Precision, Recording, ResolvedSettings, Resume, Settings, losses_with

FREE = ("device", "num_workers", "eval_every", "checkpoint_every", "compile", "tensorboard", "out", "resume")
"""Settings that may change when a run is continued; a change of any other would make it another run."""


def out_folder(s: Settings | ResolvedSettings) -> str:
    """The folder of the run: --out, or its default."""
    return s.out or f"runs/{s.method}-{s.data.strip('/').split('/')[-1]}-{s.backbone}-{s.seed}"


def recipe(s: Settings | ResolvedSettings) -> Recipe:
    """The recipe of the method for the image size."""
    method = METHODS[s.method]
    return method.small if s.size <= SMALL else method.large


def resolve(settings: Settings | ResolvedSettings) -> ResolvedSettings:
    """The settings of a run on this machine.

    Args:
        settings: what the user has given.

    Returns:
        The same settings with a value for everything that was left open, and with a device and a precision for "auto".

    Raises:
        UserError: a name is unknown, a number is out of range, the device is not available, or two settings exclude each
            other. The message names the option and what is allowed.
    """
    check_names(settings)
    device = known_device(settings.device)
    s = replace(fill(settings), device=device)
    if s.precision == "auto":
        s = replace(s, precision="bf16" if device.startswith("cuda") else "float32")
    check_values(s)
    return s


def fill(s: Settings | ResolvedSettings) -> ResolvedSettings:
    """Settings with the recipe's values for the options that were not given."""
    method, published = METHODS[s.method], recipe(s)
    optimizer = s.optimizer or published.optimizer
    own = optimizer == published.optimizer
    rate, decay = (published.learning_rate, published.weight_decay) if own else DEFAULTS.get(optimizer, (0.3, 1e-6))
    loss = s.loss or method.loss
    momentum = s.momentum if s.momentum is not None else published.momentum if method.target == "momentum" else "off"
    momentum_end = published.momentum_end if published.momentum_end is not None else momentum
    given: dict[str, Any] = {name: value for name, value in vars(s).items() if value is not None}
    filled: dict[str, Any] = {
        "policy": published.policy,
        "loss": loss,
        "predictor": "on" if method.predictor else "off",
        "momentum": momentum,
        "momentum_end": 1.0 if momentum == "off" else momentum_end,
        "stop_gradient": "off" if method.target == "shared" else "on",
        "symmetric": "on" if method.symmetric else "off",
        "projector_layers": published.projector.layers,
        "projector_hidden": published.projector.hidden,
        "projector_dim": published.projector.out,
        "head_norm": published.projector.norm,
        "prototypes": (published.outputs or 3000) if CRITERIA[loss].outputs == "prototypes" else 0,
        "temperature": published.temperature,
        "target_temperature": published.target_temperature[1],
        "aware_weight": aware_weight(s),
        "grow_from": s.size,
        "optimizer": optimizer,
        "learning_rate": rate,
        "scaling": published.scaling if own else "linear",
        "weight_decay": decay,
        "weight_decay_end": (published.weight_decay_end if own else None) or given.get("weight_decay", decay),
        "warmup_epochs": min(published.warmup if own else 10.0, s.epochs / 10),
        "out": out_folder(s),
    }
    return ResolvedSettings(**{**filled, **given})


def aware_weight(s: Settings | ResolvedSettings) -> float:
    """The published weight of the loss that --aware adds; 0 if it adds none.

    AugSelf: README of hankook/AugSelf, 1 for STL-10 and 0.5 for ImageNet100. EquiMod: `lmbd` in all scripts of the authors.
    """
    return {"augself": 1.0 if s.size <= SMALL else 0.5, "equimod": 1.0}.get(s.aware, 0.0)


def check_aware(s: ResolvedSettings) -> None:
    """Raise UserError for an --aware that the other settings exclude, and for a weight outside its range."""
    if s.aware != "off" and METHODS[s.method].views == 1:
        raise UserError(f"--aware {s.aware}: the method {s.method} has one view of an image, and it needs two")
    if s.aware == "cassle" and not s.projector_layers:
        raise UserError("--aware cassle: it shows the draws to the projector; give --projector-layers of at least 1")
    if s.aware in ("off", "cassle") and s.aware_weight:
        raise UserError(f"--aware-weight {s.aware_weight:g}: --aware {s.aware} adds no loss; leave it out")
    if s.aware in ("augself", "equimod") and not (math.isfinite(s.aware_weight) and s.aware_weight > 0):
        raise UserError(f"--aware-weight {s.aware_weight:g}: it must be above 0, or --aware off")


def heads(s: ResolvedSettings) -> tuple[Head, Head | None]:
    """The projector and the predictor: the method's, with the changes that the settings make. None: no predictor."""
    base = recipe(s).projector
    projector = replace(base, layers=s.projector_layers, hidden=s.projector_hidden, out=s.projector_dim, norm=s.head_norm)
    if s.predictor == "off":
        return projector, None
    predictor = METHODS[s.method].predictor or Head(2, 4096, 256)
    hidden = predictor.hidden if s.projector_hidden == base.hidden else s.projector_hidden
    return projector, replace(predictor, hidden=hidden, out=s.projector_dim, norm=s.head_norm if base.layers else "batch")


def queue_length(s: ResolvedSettings, images: int) -> int:
    """Embeddings in the loss's queue, a multiple of the batch size; 0 if there is none, as for SwAV in large batches."""
    queue = CRITERIA[s.loss].queue
    if queue is None:
        return 0
    wanted = s.queue_size if s.queue_size is not None else min(queue.length, int(images * queue.share))
    return max(queue.least_batches, wanted // s.batch_size) * s.batch_size


def known_device(name: str) -> str:
    """The device of that name; "auto" is CUDA if available, else the CPU. Raises UserError if the device is not available."""
    name = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # torch raises one or the other, depending on the device
        raise UserError(f"--device {name}: not available here ({str(error).splitlines()[0][:100]})") from None
    return name


def check_names(s: Settings | ResolvedSettings) -> None:
    """Raise UserError for a name that is not in its table."""
    known: Any
    for option, value, known in (
        ("method", s.method, METHODS),
        ("loss", s.loss, CRITERIA),
        ("optimizer", s.optimizer, OPTIMIZERS),
        ("scaling", s.scaling, SCALING),
        ("precision", s.precision, get_args(Precision)),
        ("resume", s.resume, get_args(Resume)),
        ("record-draws", s.record_draws, get_args(Recording)),
        ("aware", s.aware, get_args(AwareKind)),
    ):
        if value is not None and value not in known:
            raise UserError(f"--{option} {value}: unknown; choose from {', '.join(known)}")


def check_values(s: ResolvedSettings) -> None:
    """Raise UserError for numbers outside their range, and for settings that exclude each other."""
    criterion = CRITERIA[s.loss]
    least = {"size": 8, "batch_size": 2, "epochs": 1, "knn_k": 1, "num_workers": 0, "eval_every": 0, "checkpoint_every": 0}
    least |= {"seed": 0, "learning_rate": 0, "weight_decay": 0, "weight_decay_end": 0, "warmup_epochs": 0, "multi_crop": 0}
    least |= {"local_size": 8, "score_epochs": 1, "hard_views": 2, "projector_layers": 0, "projector_hidden": 0}
    least |= {"queue_size": criterion.queue.least_batches if criterion.queue else 1}
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
    if s.warmup_epochs >= s.epochs:
        raise UserError(f"--warmup-epochs {s.warmup_epochs:g}: it must be below --epochs {s.epochs}")
    if s.projector_layers and not s.projector_dim:
        raise UserError(
            f"--projector-dim {s.projector_dim}: with --projector-layers {s.projector_layers} it must be at least 1"
        )
    if s.predictor == "on" and not s.projector_layers:
        raise UserError("--predictor on: it needs a projector before it; give --projector-layers and --projector-dim")
    if s.weights != "uniform" and not criterion.weighted:
        raise UserError(f"--weights {s.weights}: the loss {s.loss} is not a mean over images; use --weights uniform")
    if s.hard_views > 2 and not criterion.weighted:
        raise UserError(f"--hard-views {s.hard_views}: the loss {s.loss} is not a mean over images; use --hard-views 2")
    if s.negatives is not None and not (criterion.negatives and 1 <= s.negatives < s.batch_size):
        names = losses_with(lambda c: c.negatives)
        raise UserError(f"--negatives {s.negatives}: it must be in 1..{s.batch_size - 1}, with one of the losses {names}")
    check_aware(s)
    if s.grow_from != s.size and not (32 <= s.grow_from < s.size and (s.size - s.grow_from) % 32 == 0):
        raise UserError(f"--grow-from {s.grow_from}: it must be --size {s.size} less a multiple of 32, and at least 32")
    if s.tensorboard and not find_spec("tensorboard"):
        raise UserError("--tensorboard: TensorBoard is not installed; run `pip install tensorboard`")
    if s.record_draws == "parquet" and not find_spec("pyarrow"):
        raise UserError("--record-draws parquet: pyarrow is not installed; run `pip install pyarrow`, or give jsonl")
    world = distributed.world()
    if s.batch_size % world or s.batch_size < 2 * world:
        raise UserError(
            f"--batch-size {s.batch_size}: it must be a multiple of the {world} processes, with at least two images each"
        )


def from_saved(saved: dict[str, Any]) -> ResolvedSettings:
    """The settings in a run's settings.json. Raises UserError for names that this version does not know."""
    unknown = set(saved) - {f.name for f in fields(Settings)}
    if unknown:
        raise UserError(f"the run's settings have options that this version lacks: {', '.join(sorted(unknown))}")
    return fill(Settings(**{**saved, "resume": "never"}))  # --resume belongs to the command, not to the run


def check_same(saved: ResolvedSettings, given: ResolvedSettings) -> None:
    """Raise UserError if the command describes another run than the saved one."""
    for name, value in asdict(given).items():
        before = getattr(saved, name)
        if name not in FREE and value != before:
            raise UserError(
                f"--{name.replace('_', '-')} {value}: the run was started with {before}; give that, or choose another --out"
            )
