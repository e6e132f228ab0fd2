"""Augmenter: makes views from images and draws, by a plan of stages that can be printed before it runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, overload

import torch

from .backends import Batch
from .backends.annotations import check_sizes, transform_targets
from .backends.inputs import RGB, Kind, as_batch, device_of, kind_of, shapes_of
from .backends.stages import output_dtype, run, select, stages, warn_of_missing_packages
from .backends.traffic import Stage, described
from .images import Images
from .isolation import eager, isolated
from .memory import uninitialised
from .ops import OpDraws
from .ops.channels import channels_of, fitted
from .ops.filter import DTYPES
from .policy import Policy
from .sampling import Draws
from .schedules import errors_name_epoch

KEPT = 4
"""Epochs whose plans an augmenter keeps: a loader begins the next one while another is in use."""


class Augmenter:
    """Makes the views of a batch of images from draws.

    `augment(images, draws)` returns one tensor (B, C, H, W) per view. `print(augmenter)` shows which backend does which steps,
    for 8-bit RGB images and for each other kind of images that it has been given; docs/inputs.md lists these kinds. Copying or
    pickling an Augmenter keeps only its arguments; the copy makes its plans anew.

    Args:
        policy: The policy that the draws are made from. With schedules, every epoch has a plan of its own: see `at`.
        backend: "auto": "fused" for the steps that it can do and "batched" for the others; a warning is logged if a missing
            package makes this slow. "fused": the same, but a missing package raises. "batched": torch functions on the whole
            batch, on any device, differentiable. "kornia": Kornia's functions where they equal torchvision's, and "batched" for
            the other steps. "torchvision": image by image, on the CPU; every other backend is tested against it. "dali": one
            DALI graph; on CUDA it has not been run yet.
        device: Where the views are made. The images must already be on this device; nothing is copied silently. None uses the
            device of the images.
        dtype: torch.float32, float16 or bfloat16; None uses the policy's ToDtype, or float32 without one.
        memory_format: torch.contiguous_format (NCHW) or torch.channels_last.
        approximate: Whether "dali" may run ops that it computes differently from torchvision. Other backends ignore it.
        compose_warps: Whether "fused" makes one warp of several in a row (affine, rotation, perspective, and those of automatic
            ops) if they interpolate and fill alike. It then reads the image once: this is faster and sharper, and differs from
            torchvision, which resamples for every warp; docs/parity.md has the difference. No other backend can.

    Raises:
        TypeError: `policy` is not a Policy.
        ValueError: An argument is outside its range, or no chosen backend has one of the ops.
        ImportError: The package of a backend that was asked for by name is missing.
    """

    def __init__(
        self,
        policy: Policy,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        memory_format: torch.memory_format = torch.contiguous_format,
        approximate: bool = False,
        compose_warps: bool = False,
    ) -> None:
        if not isinstance(policy, Policy):
            raise TypeError(f"Augmenter: policy must be a gpuaug.Policy, got {type(policy).__name__}")
        if dtype is not None and dtype not in DTYPES:
            raise ValueError(f"Augmenter: dtype must be float32, float16 or bfloat16, got {dtype}")
        if memory_format not in (torch.contiguous_format, torch.channels_last):
            raise ValueError(f"Augmenter: memory_format must be contiguous_format or channels_last, got {memory_format}")
        if not isinstance(compose_warps, bool):
            raise TypeError(f"Augmenter: compose_warps must be True or False, got {compose_warps!r}")
        self.policy = policy
        self.backend = backend
        self.device = None if device is None else canonical(device)
        self.dtype = dtype
        self.memory_format = memory_format
        self.approximate = approximate
        self.compose_warps = compose_warps
        self.backends = select(backend, self.kind_of_device, approximate, compose_warps)
        self.latest: dict[int, Augmenter] = {}
        if policy.scheduled:
            self.plan_every_epoch()
            return
        channels = channels_of(step for view in policy.views for step in view.steps)
        self.plans: dict[Kind, tuple[tuple[Stage, ...], ...]] = {}
        self.plan = self.plan_for(RGB if channels == 3 else Kind("floats", channels, self.kind_of_device))
        if backend == "auto":
            warn_of_missing_packages(self.plan, self.kind_of_device)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.policy, *self.options)

    @property
    def options(self) -> tuple[Any, ...]:
        return self.backend, self.device, self.dtype, self.memory_format, self.approximate, self.compose_warps

    def at(self, epoch: int) -> Augmenter:
        """The augmenter of one epoch's policy, `policy.at(epoch)`; itself if the policy has no schedules.

        Those of the last few epochs are kept. Calling an augmenter with draws asks for theirs by itself.

        Args:
            epoch: An integer from 0 on.

        Raises:
            ValueError: `epoch` is no such integer.
        """
        policy = self.policy.at(epoch)
        if policy is self.policy:
            return self
        found = self.latest.get(epoch)
        if found is None:
            made = (other for other in list(self.latest.values()) if other.policy == policy)
            found = next(made, None) or type(self)(policy, *self.options)
            kept = list(self.latest.items())[1 - KEPT :]
            self.latest = {**dict(kept), epoch: found}  # one assignment, since several threads may ask
        return found

    def plan_every_epoch(self) -> None:
        """Raise what the plan of any epoch raises. `plan` and `plans` are those of epoch 0."""
        for epoch in reversed(self.policy.changes):
            with errors_name_epoch(epoch):
                made = type(self)(self.policy.at(epoch), *self.options)
        self.latest = {0: made}
        self.plan, self.plans = made.plan, made.plans

    @overload
    def __call__(
        self, images: Images | torch.Tensor | Sequence[Any], draws: Draws, out: Sequence[torch.Tensor] | None = None
    ) -> list[torch.Tensor]: ...
    @overload
    def __call__(
        self,
        images: Images | torch.Tensor | Sequence[Any],
        draws: Draws,
        out: Sequence[torch.Tensor] | None = None,
        *,
        targets: Sequence[Any],
    ) -> tuple[list[torch.Tensor], list[Any]]: ...
    @eager
    def __call__(
        self,
        images: Images | torch.Tensor | Sequence[Any],
        draws: Draws,
        out: Sequence[torch.Tensor] | None = None,
        *,
        targets: Sequence[Any] | None = None,
    ) -> list[torch.Tensor] | tuple[list[torch.Tensor], list[Any]]:
        """Make the views of a batch.

        Gradients flow from the views to a float batch that requires them: every step then runs on a backend that autograd can
        follow, "batched" in place of "fused". Inside torch.compile the call is a graph break. Autocast, the default dtype and
        the default device do not affect views.

        Args:
            images: `Images`; a tensor (B, C, H, W), uint8, or floats in [0, 1]; a list that `Images.from_list` accepts; or a
                list of float tensors (C, H, W), which may differ in size.
            draws: Draws of this policy, with one row per image. If it has schedules, the views are those of the draws' epoch.
            out: Tensors to write the views into, as `empty` returns them, or slices of their rows. None allocates them.
            targets: Boxes, masks and keypoints to move with the images, one target per image; see `gpuaug.transform_targets`.

        Returns:
            One tensor (B, C, H, W) per view; with targets, a pair of these and of the targets of each view.

        Raises:
            TypeError: `images` or `draws` has the wrong type.
            ValueError: Policy, batch size, number of channels, device or `out` does not fit.
        """
        if not isinstance(draws, Draws):
            raise TypeError(
                f"Augmenter: draws must be gpuaug.Draws, got {type(draws).__name__}; make them with "
                "gpuaug.sample(augmenter.policy, index, seed=..., epoch=...)"
            )
        if self.policy.scheduled:
            of_epoch: Any = self.at(draws.epoch)
            made: list[torch.Tensor] | tuple[list[torch.Tensor], list[Any]] = of_epoch(images, draws, out, targets=targets)
            return made
        batch = as_batch(images)
        kind = kind_of(batch)
        plan = self.plans.get(kind) or self.plan_for(kind)
        if draws.policy != self.policy:
            raise ValueError(
                "Augmenter: the draws were made from another policy; draw with gpuaug.sample(augmenter.policy, ...)"
            )
        if len(draws) != len(batch):
            raise ValueError(f"Augmenter: {len(batch)} images but draws for {len(draws)}")
        device = device_of(batch)
        if self.device is not None and device != self.device:
            raise ValueError(f"Augmenter: images are on {device}, the augmenter on {self.device}; use images.to(...)")
        if out is not None:
            self.check_out(out, len(batch), kind.channels, device)
        if targets is not None:
            check_sizes(targets, shapes_of(batch))
        with isolated(device):
            views = [
                self.make_view(batch, v, plan[v], draws.tables[v], None if out is None else out[v])
                for v in range(len(self.policy.views))
            ]
        return views if targets is None else (views, transform_targets(targets, draws))

    @property
    def kind_of_device(self) -> str:
        """The type of device that backends are chosen for."""
        return "cpu" if self.device is None else self.device.type

    def plan_for(self, kind: Kind) -> tuple[tuple[Stage, ...], ...]:
        """The stages of each view for this kind of images.

        Raises ValueError for a step that needs another number of channels, or that no suitable backend has.
        """
        found = {
            name: backend
            for name, backend in self.backends.items()
            if (kind.channels == 3 or not {kind.device, "any"}.isdisjoint(backend.any_channels))
            and (backend.differentiable or not kind.graph)
        }
        steps = [[fitted(step, kind.channels) for step in view.steps] for view in self.policy.views]
        if not found:
            raise ValueError(f"Augmenter: backend {self.backend!r} does not take {kind}; use backend='auto'")
        plan = tuple(stages(ops, found, *kind.forms) for ops in steps)
        self.plans[kind] = plan
        return plan

    def prepare(self) -> None:
        """Do beforehand what makes the first call slow: compile the CPU kernels (a minute, once per machine) or load them."""
        for name in {stage.backend for plan in self.plan for stage in plan}:
            warm_up = self.backends[name].warm_up
            if warm_up is not None:
                warm_up(self.kind_of_device)

    def make_view(
        self, batch: Batch, v: int, plan: Sequence[Stage], draws: Sequence[OpDraws], out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Make one view of a batch, (B, C, H, W), in `out` if it is given, with torch's settings `isolated`."""
        view = self.policy.views[v]
        dtype = self.dtype or output_dtype(view)
        if not len(batch):
            return torch.empty((0, kind_of(batch).channels, *view.size), dtype=dtype, device=device_of(batch))
        return run(batch, plan, self.backends, draws, dtype, self.memory_format, out)

    def empty(self, count: int, channels: int = 3, epoch: int = 0) -> list[torch.Tensor]:
        """Allocate memory on the CPU for the views of a batch, reusing that of earlier views which nothing refers to any more.

        Args:
            count: How many images the batch has.
            channels: How many channels they have.
            epoch: Epoch of the draws, on which the size of the views depends if it is a schedule.

        Returns:
            One uninitialised tensor (count, channels, H, W) per view.
        """
        views = self.policy.at(epoch).views
        return [uninitialised((count, channels, *v.size), self.dtype or output_dtype(v), self.memory_format) for v in views]

    def check_out(self, out: Sequence[torch.Tensor], count: int, channels: int, device: torch.device) -> None:
        if len(out) != len(self.policy.views):
            raise ValueError(f"Augmenter: out has {len(out)} tensors, the policy {len(self.policy.views)} views")
        for v, (tensor, view) in enumerate(zip(out, self.policy.views, strict=True)):
            wanted = ((count, channels, *view.size), self.dtype or output_dtype(view), device)
            if (given := (tuple(tensor.shape), tensor.dtype, tensor.device)) != wanted:
                raise ValueError(f"Augmenter: out[{v}] must be {' '.join(map(str, wanted))}, got {' '.join(map(str, given))}")
            if not tensor.is_contiguous(memory_format=self.memory_format):
                raise ValueError(
                    f"Augmenter: out[{v}] must be contiguous as {self.memory_format}; use slices of the rows of `empty`"
                )

    def __str__(self) -> str:
        lines = [f"Augmenter(backend={self.backend!r}, device={str(self.device or 'of the images')!r})"]
        if self.policy.scheduled:
            for epoch in dict.fromkeys((0, self.policy.changes[-1])):
                lines += [f"  epoch {epoch}:", *("  " + line for line in str(self.at(epoch)).splitlines()[1:])]
            return "\n".join(lines)
        for kind, plan in list(self.plans.items()):
            lines += [f"  given {kind}:"] if kind != RGB else []
            for (view, planned), same in groupby(zip(self.policy.views, plan, strict=True)):
                dtype = self.dtype or output_dtype(view)
                lines += described(view, planned, self.backends, len(list(same)), dtype, kind)
        return "\n".join(lines)


def canonical(device: torch.device | str) -> torch.device:
    """The device with its index, as tensors report it, so that "cuda" and "cuda:0" compare equal.

    Raises ValueError if torch does not know the device.
    """
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device must be one of torch's, such as 'cpu', 'cuda' or 'cuda:0', got {device!r}") from error
    if str(found) not in ("cuda", "mps"):  # it has an index, or is of a type without indices
        return found
    return torch.device(found.type, torch.cuda.current_device() if found.type == "cuda" else 0)
