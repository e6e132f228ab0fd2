"""The data of a run: augmented views to train on, epoch by epoch, and both splits without augmentation."""

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
from .evaluate import evaluation_policy, plain_loader, plain_loaders
from .hard import candidates
from .methods import METHODS
from .options import ResolvedSettings
from .views import growth, run_policy


class Loaders:
    """The loaders of a run. Every folder is listed once; the loaders share its source.

    Attributes:
        views: augmented views of the training images; with --hard-views, all the candidates. With --grow-from, their size
            follows from the epoch. With --aware equimod, a view without augmentation comes last.
        bank, queries: all training and all test images without augmentation. `queries` is None without labels.
        labelled: whether the images have labels. If not, the views come with the images' indices in place of targets.
        classes: number of classes; 0 without labels.
        images: number of training images.
        policy: the augmentation policy to train on, at the run's full size.
        data: the training images, as gpuaug.DataLoader takes them.
    """

    def __init__(self, s: ResolvedSettings, progress: bool) -> None:
        data = distributed.once_per_machine(lambda: open_data(s.data, progress))
        self.data = data.train
        more: dict[str, Any] = {"num_workers": s.num_workers, "device": s.device, "seed": s.seed}
        more["memory_format"] = torch.channels_last  # as the network's
        try:
            self.bank = plain_loader(data.train, s.size, labels=data.labels, **more)
            self.labelled = self.bank.labelled
            if not self.labelled and CRITERIA[s.loss].outputs == "classes":
                raise UserError(f"--loss {s.loss} learns from labels, and the images of --data {s.data} have none")
            self.classes = class_count(self.bank.dataset) if self.labelled else 0
            self.queries = plain_loaders(data, s.size, self.bank, **more)[1] if self.labelled else None
            self.images = len(self.bank.dataset)
            for option, value in (("batch-size", s.batch_size), ("knn-k", s.knn_k if s.eval_every and self.labelled else 0)):
                if value > self.images:
                    raise UserError(f"--{option} {value}: {s.data} has only {self.images} training images")
            order: dict[str, Any] = {"shuffle": True}
            if distributed.active():
                everything: Any = range(self.images)
                order = {"sampler": DistributedSampler(everything, seed=s.seed, drop_last=True)}
            more |= order | {"batch_size": s.batch_size // distributed.world(), "drop_last": True}
            more["dtype"] = view_dtype(s)

            def policy_of(size: int) -> gpuaug.Policy:
                found = run_policy(s.policy, size, s.multi_crop, s.local_size if size == s.size else None)
                one = METHODS[s.method].views == 1
                return gpuaug.Policy(found.views[0], name=found.name, source=found.source) if one else found

            def drawn(size: int) -> gpuaug.Policy:
                found = candidates(policy_of(size), s.hard_views)[0] if s.hard_views > 2 else policy_of(size)
                if s.aware != "equimod":
                    return found
                plain = evaluation_policy(size).views[0]
                return gpuaug.Policy(*found.views, plain, name=found.name, source=found.source)

            self.policy = policy_of(s.size)
            stages = {epoch: drawn(size) for epoch, size in growth(s.grow_from, s.size, s.epochs).items()}
            policy = gpuaug.ScheduledPolicy(gpuaug.steps(stages)) if len(stages) > 1 else stages[0]
            self.views = gpuaug.DataLoader(self.bank.dataset, policy, labels=data.labels, **more)
        except (ValueError, TypeError, KeyError, OSError, ImportError) as error:
            raise UserError(str(error)) from error

    def position(self) -> dict[str, Any]:
        """How far `views` is, all ranks together, so that a run can continue with another number of processes."""
        state = self.views.state_dict()
        return {**state, "position": state["position"] * distributed.world()}

    def move_to(self, state: dict[str, Any]) -> None:
        """Continue from what `position` returned. Raises UserError if the order of images is another one."""
        try:
            here = {**state, "position": state["position"] // distributed.world()}
            self.views.load_state_dict(here)
        except ValueError as error:
            raise UserError(f"--resume: {error}; continue a run of torchrun or srun with one of them") from None


def view_dtype(s: ResolvedSettings) -> torch.dtype:
    """The type of the views to train on: on CUDA the one that autocast would convert them to, which halves their memory."""
    return torch.bfloat16 if s.precision == "bf16" and s.device.startswith("cuda") else torch.float32


def class_count(source: Any) -> int:
    """Number of classes of a labelled source: of its class names where it has them, else one more than the largest target."""
    names = getattr(source, "classes", None)
    return len(names) if names else int(source.targets.max()) + 1


def readable(loader: gpuaug.DataLoader) -> Generator[Any, None, None]:
    """The loader's batches. Raises UserError for a file that cannot be read or decoded."""
    try:
        yield from loader
    except OSError as error:  # gpuaug's DecodeError is one; it names the file
        raise UserError(str(error)) from error
