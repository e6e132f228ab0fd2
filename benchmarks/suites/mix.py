"""The suite `mix`: a batch of views and classes -> mixed views and soft labels, by MixUp, CutMix, and a choice of both.

Parameters are drawn in the timed region. gpuaug draws them per sample; torchvision and timm's mode `batch` draw them per batch,
which is less work. Before anything is timed, each contender mixes views of one gray each: whatever it drew, the mean of a mixed
view must be the mean of the grays by its soft label.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

import gpuaug

from ..measure import machine
from ..measure.result import FUSED, Result, WorkloadRecord
from ..measure.stats import quartiles
from ..measure.timing import Call
from ..peers.contender import BOTH, Contender, Setting, anything
from . import common
from .augment import COPY
from .common import Measurement, Progress, Request

WORKLOADS = ("mixup", "cutmix", "both")
SIZE, CLASSES = 224, 1000
BATCH = {False: 128, True: 32}
ALPHA = {"mixup": 0.8, "cutmix": 1.0}
"""DeiT's (arXiv 2012.12877), which chooses either with probability 1/2."""

CHECKED = 8
"""Views that are mixed to be checked."""

BOUND = {torch.float32: 1e-5, torch.bfloat16: 2**-6}
"""How far the mean of a mixed view may be from the mean by its soft label, where white is 1."""


@dataclass(frozen=True)
class Batch:
    """What is mixed: views (B, 3, H, W), and their classes, int64 (B,)."""

    views: torch.Tensor
    targets: torch.Tensor
    classes: int


Mixed = tuple[torch.Tensor, torch.Tensor]


def ours(kind: str, batch: Batch, setting: Setting) -> Callable[[], Mixed]:
    mixup, cutmix = gpuaug.MixUp(ALPHA["mixup"], batch.classes), gpuaug.CutMix(ALPHA["cutmix"], batch.classes)
    mix = {"mixup": mixup, "cutmix": cutmix, "both": gpuaug.RandomChoice([mixup, cutmix])}[kind]
    epoch = iter(range(2**32))

    def call() -> Mixed:
        draws = mix.sample(range(len(batch.views)), setting.seed, next(epoch))
        return mix(batch.views, batch.targets, draws)

    return call


def torchvisions(kind: str, batch: Batch, setting: Setting) -> Callable[[], Mixed]:
    from torchvision.transforms import v2

    torch.manual_seed(setting.seed)
    mixup = v2.MixUp(alpha=ALPHA["mixup"], num_classes=batch.classes)
    cutmix = v2.CutMix(alpha=ALPHA["cutmix"], num_classes=batch.classes)
    mix: Any = {"mixup": mixup, "cutmix": cutmix, "both": v2.RandomChoice([mixup, cutmix])}[kind]
    return lambda: mix(batch.views, batch.targets)


def timms(mode: str) -> Callable[[str, Batch, Setting], Callable[[], Mixed]]:
    def prepare(kind: str, batch: Batch, setting: Setting) -> Callable[[], Mixed]:
        import numpy as np
        from timm.data.mixup import Mixup

        np.random.seed(setting.seed)  # noqa: NPY002 - timm draws from the global generator
        alphas = {f"{name}_alpha": alpha if kind in (name, "both") else 0.0 for name, alpha in ALPHA.items()}
        mix = Mixup(**alphas, mode=mode, label_smoothing=0.0, num_classes=batch.classes)
        return lambda: mix(batch.views, batch.targets)

    return prepare


PREPARE: dict[str, Callable[[str, Batch, Setting], Callable[[], Mixed]]] = {
    FUSED: ours,
    "torchvision": torchvisions,
    "timm": timms("batch"),
    "timm-elem": timms("elem"),
}

IN_PLACE = "in place: its views are those of its last call"

CONTENDERS = (
    Contender(
        name=FUSED,
        distributions=("gpuaug", "torch"),
        regime="float batch; on the CPU it reuses the memory of its output",
        note="parameters per sample",
        supports=anything,
        devices=BOTH,
    ),
    Contender(
        name="torchvision",
        modules=("torchvision",),
        distributions=("torchvision", "torch"),
        regime="float batch",
        note="parameters per batch",
        supports=anything,
        devices=BOTH,
    ),
    Contender(
        name="timm",
        modules=("timm",),
        distributions=("timm", "torch"),
        regime=f"float batch, {IN_PLACE}",
        note="parameters per batch",
        supports=anything,
        devices=BOTH,
    ),
    Contender(
        name="timm-elem",
        modules=("timm",),
        distributions=("timm", "torch"),
        regime=f"float batch, {IN_PLACE}",
        note="parameters per sample",
        supports=anything,
        devices=BOTH,
    ),
)


def measure(request: Request, progress: Progress) -> Result:
    settings = request.settings
    setting = common.setting(settings)
    count = request.batch or BATCH[settings.quick]
    m = Measurement(request, common.chosen(CONTENDERS, request.contenders), progress)
    copies: list[float] = []
    with common.threads(settings.threads):
        with common.reported(progress, "copy bandwidth"):
            copies += machine.copies(COPY[settings.device][settings.quick], settings.device)
        for kind in WORKLOADS:
            progress(f"{kind}: checking views against their labels")
            for contender in m.contenders:

                def make(name: str = contender.name, kind: str = kind) -> Call:
                    return PREPARE[name](kind, random_batch(count, setting), setting)

                if m.prepare(contender, kind, None, make):
                    with m.caught(key := (contender.name, kind)):
                        found = deviations(PREPARE[contender.name], kind, setting)
                        m.cells[key] = replace(m.cells[key], deviations=tuple(found))
        m.time()
    one_thread = (settings.device, settings.threads) == ("cpu", 1)
    m.fill(dict.fromkeys(WORKLOADS, count), lambda key: one_thread)
    perfect = 2 * 3 * SIZE * SIZE * setting.dtype.itemsize  # each view read and written once; partners are read as views
    bandwidth = quartiles(copies) if copies else None
    for key, cell in m.cells.items():
        if cell.figure and bandwidth:
            m.cells[key] = replace(cell, share=cell.figure.median * perfect / bandwidth.median)
    records = [WorkloadRecord(kind, "none", (SIZE, SIZE), (SIZE, SIZE), count, perfect) for kind in WORKLOADS]
    return m.result("mix", "views/s", records, bandwidth=bandwidth)


def random_batch(count: int, setting: Setting) -> Batch:
    generator = torch.Generator().manual_seed(setting.seed)
    views = torch.rand(count, 3, SIZE, SIZE, generator=generator).to(setting.device, setting.dtype)
    return Batch(views, torch.randint(CLASSES, (count,), generator=generator).to(setting.device), CLASSES)


def deviations(prepare: Callable[[str, Batch, Setting], Callable[[], Mixed]], kind: str, setting: Setting) -> list[str]:
    """Where mixed views and their soft labels do not go together, or nothing is mixed."""
    grays = torch.linspace(0, 1, CHECKED)
    found: list[str] = []
    changed = 0
    for seed in range(CHECKED):
        views = grays.view(-1, 1, 1, 1).expand(-1, 3, 32, 32).contiguous().to(setting.device, setting.dtype)
        batch = Batch(views, torch.arange(CHECKED, device=setting.device), CHECKED)
        mixed, labels = prepare(kind, batch, replace(setting, seed=seed))()
        if mixed.shape != views.shape or labels.shape != (CHECKED, CHECKED):
            raise ValueError(f"made {tuple(mixed.shape)} and {tuple(labels.shape)}")
        labels = labels.cpu().float()
        off = float((mixed.cpu().float().mean((1, 2, 3)) - labels @ grays).abs().max())
        total = float((labels.sum(1) - 1).abs().max())
        if not (off <= BOUND[setting.dtype] and total <= BOUND[setting.dtype]):
            found = [f"views {off:.4f} off their labels, which sum to 1 within {total:.4f}"]
        changed += int((labels.max(1).values < 1).any())
    return found if changed else [*found, "mixes nothing"]
