"""What a run reads: views to train on, by epoch, and both splits without augmentation."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import torch
from torch.utils.data import DistributedSampler

import gpuaug

from . import distributed
from .criteria import CRITERIA
from .data import open_data
from .errors import UserError
from .evaluate import plain_loader, plain_loaders
from .methods import METHODS
from .settings import Settings
from .views import run_policy


class Loaders:
    """Views to train on (`views`), and both splits without augmentation to evaluate on (`bank`, `queries`).

    labelled: whether the images have labels; without, `queries` is None and the views come with the images' indices instead.
    """

    def __init__(self, s: Settings, progress: bool) -> None:
        data = distributed.machine_first(lambda: open_data(s.data, progress))
        more: dict[str, Any] = {"num_workers": s.num_workers, "device": s.device, "seed": s.seed}
        more["memory_format"] = torch.channels_last  # as the network's
        try:
            self.bank = plain_loader(data.train, s.size, labels=data.labels, **more)
            self.labelled = self.bank.labelled
            if not self.labelled and CRITERIA[s.loss or ""].outputs == "classes":
                raise UserError(f"--loss {s.loss} learns from labels, and the images of --data {s.data} have none")
            self.classes = data.classes if self.labelled else 0
            self.queries = plain_loaders(data, s.size, **more)[1] if self.labelled else None
            self.images = len(self.bank.dataset)
            for option, value in (("batch-size", s.batch_size), ("knn-k", s.knn_k if s.eval_every and self.labelled else 0)):
                if value > self.images:
                    raise UserError(f"--{option} {value}: {s.data} has only {self.images} training images")
            order: dict[str, Any] = {"shuffle": True}
            if distributed.active():
                everything: Any = range(self.images)
                order = {"sampler": DistributedSampler(everything, seed=s.seed, drop_last=True)}
            more |= order | {"batch_size": s.batch_size // distributed.world(), "drop_last": True}

            def made(size: int) -> gpuaug.DataLoader:
                policy = run_policy(s.policy or "", size, s.multi_crop, s.local_size if size == s.size else None)
                if METHODS[s.method].views == 1:
                    policy = gpuaug.Policy(policy.views[0], name=policy.name, source=policy.source)
                return gpuaug.DataLoader(data.train, policy, labels=data.labels, **more)

            sizes = range(s.grow_from or s.size, s.size + 1, 32)
            self.stages = [made(size) for size in sizes]
            self.share = s.epochs / len(self.stages)  # epochs a stage
            self.policy = self.stages[-1].policy
        except (ValueError, TypeError, KeyError, OSError, ImportError) as error:
            raise UserError(str(error)) from error
        self.views = self.stages[0]

    def stage(self, epoch: int) -> gpuaug.DataLoader:
        """Make `views` the loader of that epoch's size."""
        self.views = self.stages[min(int(epoch / self.share), len(self.stages) - 1)]
        return self.views


def readable(loader: gpuaug.DataLoader) -> Generator[Any, None, None]:
    """The loader's batches. Raises UserError for a file that cannot be read or decoded."""
    try:
        yield from loader
    except OSError as error:  # gpuaug's DecodeError is one; it names the file
        raise UserError(str(error)) from error
