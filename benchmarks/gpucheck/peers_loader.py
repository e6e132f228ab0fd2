"""torch's DataLoader with torchvision's transforms, image by image in worker processes: what most people have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from gpuaug import Policy

from ..measure.cores import cores
from ..peers import torchvision as tv


class TwoViews(Dataset[tuple[list[torch.Tensor], int]]):
    """A data set of (PIL image, target) pairs, its images under a policy's views."""

    def __init__(self, data: Any, policy: Policy) -> None:
        self.data = data
        self.views = [v2.Compose([v2.ToImage(), *(tv.TABLE[type(o)](o) for o in view.ops)]) for view in policy.views]

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, k: int) -> tuple[list[torch.Tensor], int]:
        image, target = self.data[k]
        return [view(image) for view in self.views], target


def torchvision_loader(data: Any, policy: Policy, batch: int, order: Sequence[int], device: str) -> Iterator[Any]:
    """Batches ([view, view], target) in bfloat16 on the device, made by as many processes as there are cores."""
    loader = DataLoader(
        TwoViews(data, policy),
        batch,
        sampler=order,
        num_workers=cores(),
        pin_memory=device == "cuda",
        drop_last=True,
        worker_init_fn=one_thread,
    )
    for views, target in loader:
        yield [view.to(device, torch.bfloat16, non_blocking=True) for view in views], target


def one_thread(worker: int) -> None:
    torch.set_num_threads(1)
