"""Step 5, training: SimCLR steps of three networks, fed in four ways.

gpuaug          gpuaug.DataLoader
replayed batch  one batch of views again and again: the network alone
kornia          gpuaug.DataLoader for pictures of one size, Kornia's strong views in the training loop
torchvision     torch's DataLoader with torchvision's transforms in all cores
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.datasets import ImageFolder
from torchvision.models import VisionTransformer

import gpuaug
from gpuaug import CenterCrop, Policy, Resize, View
from ssl_train.losses import nt_xent
from ssl_train.model import backbone

from ..measure.cores import cores
from ..measure.stats import quartiles
from ..measure.timing import synchronize
from ..peers import kornia
from .loading import folder
from .peers_loader import torchvision_loader
from .pixels import pictures
from .steps import Row, Setting, attempt

SECONDS = 12.0
"""That one network is trained on one feed, at most."""


def vit_s16(size: int) -> tuple[nn.Module, int]:
    """ViT-S/16 (Touvron et al. 2021, arXiv 2012.12877, table 1)."""
    net = VisionTransformer(image_size=size, patch_size=16, num_layers=12, num_heads=6, hidden_dim=384, mlp_dim=1536)
    net.heads = nn.Identity()
    return net, 384


@dataclass(frozen=True)
class Case:
    name: str
    make: Callable[[int], tuple[nn.Module, int]]
    size: int
    batch: int
    policy: str


CASES = (
    Case("ResNet-50, 224", partial(backbone, "resnet50"), 224, 256, "simclr"),
    Case("ViT-S/16, 224", vit_s16, 224, 256, "simclr"),
    Case("ResNet-18, 32", partial(backbone, "resnet18"), 32, 512, "simclr_cifar"),
)


def rows(setting: Setting) -> Iterator[Row]:
    cases = CASES if setting.cuda else [replace(c, batch=4, size=min(c.size, 64)) for c in CASES]
    with folder(setting) as root:
        for case in cases[-1:] if setting.quick else cases:
            data = Data(setting, case, str(root))
            alone: float | None = None
            for name, feed in {
                "replayed batch": replayed,
                "gpuaug": ours,
                "kornia": kornia_after,
                "torchvision": theirs,
            }.items():
                label = f"{case.name} / {name}"
                if setting.left < 2 * SECONDS and not setting.quick and name not in ("replayed batch", "gpuaug"):
                    yield Row(label, "skipped", "no time left; give more --minutes")
                    continue
                for row in attempt(label, measured(setting, case, label, partial(feed, setting, case, data), alone)):
                    alone = row.value if name == "replayed batch" else alone
                    yield row


class Data:
    """What a case trains on: small pictures in memory, or a folder of JPEGs.

    source: as gpuaug.DataLoader takes it. images: (PIL image, target) pairs, for torch's. order: samples, without an end.
    """

    def __init__(self, setting: Setting, case: Case, root: str) -> None:
        self.policy = gpuaug.policy(case.policy, size=case.size)
        self.small = case.size <= 32
        self.source: Any = root
        self.images: Any = None
        if self.small:
            made = pictures(4096 if setting.cuda else 64, case.size, case.size)
            arrays = made.permute(0, 2, 3, 1).contiguous().numpy()
            self.source = (arrays, np.zeros(len(arrays), np.int64))
            self.images = [(Image.fromarray(array), 0) for array in arrays]
        else:
            self.images = ImageFolder(root)
        self.order = [k % len(self.images) for k in range(case.batch * 1000)]


def loader(setting: Setting, case: Case, data: Data, policy: Policy, dtype: torch.dtype) -> gpuaug.DataLoader:
    return gpuaug.DataLoader(
        data.source,
        policy,
        case.batch,
        sampler=data.order,
        num_workers=cores(),
        device=setting.device,
        dtype=dtype,
        memory_format=torch.channels_last,
    )


Batches = Iterator[list[torch.Tensor]]


def ours(setting: Setting, case: Case, data: Data) -> Batches:
    for views, _ in loader(setting, case, data, data.policy, torch.bfloat16):
        yield views


def replayed(setting: Setting, case: Case, data: Data) -> Batches:
    generator = torch.Generator(setting.device).manual_seed(0)
    shape = (case.batch, 3, case.size, case.size)
    views = [torch.randn(shape, generator=generator, device=setting.device, dtype=torch.bfloat16) for _ in range(2)]
    return repeat([view.contiguous(memory_format=torch.channels_last) for view in views])


def kornia_after(setting: Setting, case: Case, data: Data) -> Batches:
    strong = [kornia.container(view, setting.device) for view in data.policy.views]
    side = case.size if data.small else round(case.size * 256 / 224)
    plain = Policy(View(side, Resize(side), CenterCrop()))
    for pixels, _ in loader(setting, case, data, plain, torch.float32):
        yield [view(pixels).to(torch.bfloat16) for view in strong]


def theirs(setting: Setting, case: Case, data: Data) -> Batches:
    for views, _ in torchvision_loader(data.images, data.policy, case.batch, data.order, setting.device):
        yield [view.contiguous(memory_format=torch.channels_last) for view in views]


def measured(setting: Setting, case: Case, label: str, feed: Callable[[], Batches], alone: float | None) -> Iterator[Row]:
    """A step's time, and the share of it in which the loop waits for its batch."""
    torch.manual_seed(0)
    net, width = case.make(case.size)
    head = nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, 128))
    model = nn.Sequential(net, head).to(setting.device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step(views: list[torch.Tensor]) -> None:
        with torch.autocast(setting.device, torch.bfloat16):
            z = model(torch.cat(views))
        z1, z2 = z.chunk(2)
        loss = nt_xent(z1, z2, 0.1)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

    batches = feed()
    try:
        yield timed_steps(setting, case, label, batches, step, alone)
    finally:
        close = getattr(batches, "close", None)
        if close:
            close()


def timed_steps(
    setting: Setting, case: Case, label: str, batches: Batches, step: Callable[[list[torch.Tensor]], None], alone: float | None
) -> Row:
    for _ in range(5 if setting.cuda else 1):  # cuDNN's choice, allocations, the loader's start
        step(next(batches))
    synchronize(setting.device)
    times: list[float] = []
    waited, count = 0.0, 10 if setting.cuda else 2
    begin = last = time.perf_counter()
    limit = min(SECONDS, max(2.0, setting.left / 12))
    while not times or (last - begin < limit and len(times) < 20 and not (setting.quick and len(times) > 1)):
        for _ in range(count):  # the host runs ahead, as it does in training
            start = time.perf_counter()
            views = next(batches)
            waited += time.perf_counter() - start
            step(views)
        synchronize(setting.device)
        now = time.perf_counter()
        times.append(1e3 * (now - last) / count)
        last = now
    spread = quartiles(times)
    more = {"data wait": waited / (last - begin), "images/s": 1e3 * case.batch / spread.median}
    if alone is not None:
        more["slowdown"] = spread.median / alone - 1
    return Row(label, "ok", "", spread.median, "ms a step", spread.low, spread.high, more)
