"""Augmenter: makes views from images and draws, by a plan of stages that can be printed before it runs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import torch

from . import backends
from .backends import Backend, Batch, BatchForm
from .images import Images
from .isolation import eager, isolated
from .memory import uninitialised
from .ops import Op, OpDraws, Size, ToDtype
from .ops.filter import DTYPES
from .policy import Policy, View
from .sampling import Draws

LOG = logging.getLogger("gpuaug")


@dataclass(frozen=True)
class Stage:
    """Consecutive steps of one view that one backend applies in one call; `first` is the index of the first step."""

    backend: str
    first: int
    ops: tuple[Op, ...]


class Augmenter:
    """Makes the views of a batch of images from draws.

    `augment(images, draws)` returns one tensor (B, 3, H, W) per view. `print(augmenter)` shows which backend does which steps.
    Copying or pickling an Augmenter keeps only its arguments; the copy makes its plan anew.

    Args:
        policy: The policy that the draws are made from.
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
        self.policy = policy
        self.backend = backend
        self.device = None if device is None else canonical(device)
        self.dtype = dtype
        self.memory_format = memory_format
        self.approximate = approximate
        self.compose_warps = compose_warps
        self.backends = select(backend, "cpu" if self.device is None else self.device.type, approximate, compose_warps)
        self.plan = tuple(stages(view.steps, self.backends) for view in policy.views)
        if backend == "auto":
            warn_of_missing_packages(self.plan, "cpu" if self.device is None else self.device.type)

    def __reduce__(self) -> tuple[Any, ...]:
        options = (self.memory_format, self.approximate, self.compose_warps)
        return type(self), (self.policy, self.backend, self.device, self.dtype, *options)

    @eager
    def __call__(
        self, images: Images | torch.Tensor | Sequence[Any], draws: Draws, out: Sequence[torch.Tensor] | None = None
    ) -> list[torch.Tensor]:
        """Make the views of a batch.

        Inside torch.compile the call is a graph break. Autocast, the default dtype and the default device do not affect views.

        Args:
            images: `Images`, a uint8 tensor (B, 3, H, W), or a list that `Images.from_list` accepts.
            draws: Draws of this policy, with one row per image.
            out: Tensors to write the views into, as `empty` returns them, or slices of their rows. None allocates them.

        Returns:
            One tensor (B, 3, H, W) per view.

        Raises:
            TypeError: `images` or `draws` has the wrong type.
            ValueError: Policy, batch size, device or `out` does not fit.
        """
        if not isinstance(draws, Draws):
            raise TypeError(
                f"Augmenter: draws must be gpuaug.Draws, got {type(draws).__name__}; make them with "
                "gpuaug.sample(augmenter.policy, index, seed=..., epoch=...)"
            )
        batch = as_images(images)
        if draws.policy != self.policy:
            raise ValueError(
                "Augmenter: the draws were made from another policy; draw with gpuaug.sample(augmenter.policy, ...)"
            )
        if len(draws) != len(batch):
            raise ValueError(f"Augmenter: {len(batch)} images but draws for {len(draws)}")
        if self.device is not None and batch.device != self.device:
            raise ValueError(f"Augmenter: images are on {batch.device}, the augmenter on {self.device}; use images.to(...)")
        if out is not None:
            self.check_out(out, batch)
        with isolated(batch.device):
            return [
                self.make_view(batch, v, draws.tables[v], None if out is None else out[v])
                for v in range(len(self.policy.views))
            ]

    def prepare(self) -> None:
        """Do beforehand what makes the first call slow: compile the CPU kernels (a minute, once per machine) or load them."""
        for name in {stage.backend for plan in self.plan for stage in plan}:
            warm_up = self.backends[name].warm_up
            if warm_up is not None:
                warm_up("cpu" if self.device is None else self.device.type)

    def make_view(self, images: Images, v: int, draws: Sequence[OpDraws], out: torch.Tensor | None = None) -> torch.Tensor:
        """Make one view of a batch, (B, 3, H, W), in `out` if it is given, with torch's settings `isolated`."""
        view = self.policy.views[v]
        dtype = self.dtype or output_dtype(view)
        if not len(images):
            return torch.empty((0, 3, *view.size), dtype=dtype, device=images.device)
        return run(images, self.plan[v], self.backends, draws, dtype, self.memory_format, out)

    def empty(self, count: int) -> list[torch.Tensor]:
        """Allocate memory on the CPU for the views of a batch, reusing that of earlier views which nothing refers to any more.

        Args:
            count: How many images the batch has.

        Returns:
            One uninitialised tensor (count, 3, H, W) per view.
        """
        views = self.policy.views
        return [uninitialised((count, 3, *v.size), self.dtype or output_dtype(v), self.memory_format) for v in views]

    def check_out(self, out: Sequence[torch.Tensor], batch: Images) -> None:
        if len(out) != len(self.policy.views):
            raise ValueError(f"Augmenter: out has {len(out)} tensors, the policy {len(self.policy.views)} views")
        for v, (tensor, view) in enumerate(zip(out, self.policy.views, strict=True)):
            wanted = ((len(batch), 3, *view.size), self.dtype or output_dtype(view), batch.device)
            if (given := (tuple(tensor.shape), tensor.dtype, tensor.device)) != wanted:
                raise ValueError(f"Augmenter: out[{v}] must be {' '.join(map(str, wanted))}, got {' '.join(map(str, given))}")
            if not tensor.is_contiguous(memory_format=self.memory_format):
                raise ValueError(
                    f"Augmenter: out[{v}] must be contiguous as {self.memory_format}; use slices of the rows of `empty`"
                )

    def __str__(self) -> str:
        lines = [f"Augmenter(backend={self.backend!r}, device={str(self.device or 'of the images')!r})"]
        for (view, plan), same in groupby(zip(self.policy.views, self.plan, strict=True)):
            height, width = view.size
            dtype = str(self.dtype or output_dtype(view)).removeprefix("torch.")
            moved = [traffic(view, stage, self.backends[stage.backend], self.dtype or output_dtype(view)) for stage in plan]
            perfect = 3 * height * width * (1 + (self.dtype or output_dtype(view)).itemsize)
            lines.append(f"  {len(list(same))} x {height}x{width} {dtype}")
            for k, (stage, (read, written)) in enumerate(zip(plan, moved, strict=True), start=1):
                lines.append(f"    {k}. {stage.backend}: " + " -> ".join(type(o).__name__ for o in stage.ops))
                lines.append(f"       a view reads {kilobytes(read)}, writes {kilobytes(written)}")
            share = perfect / sum(read + written for read, written in moved)
            lines.append(f"    one perfect pass would move {kilobytes(perfect)}, {share:.0%} of this")
        return "\n".join(lines)


def kilobytes(count: float) -> str:
    return f"{count / 1e3:,.0f} kB"


def traffic(view: View, stage: Stage, backend: Backend, dtype: torch.dtype) -> tuple[float, float]:
    """Bytes that a stage reads and writes per view, averaged over draws, for a source image with as many pixels as the view.

    The first stage reads 8-bit pixels, the last writes the view's dtype; everything in between is float32. Each extra pass of
    the backend writes the view in float32 and reads it again.
    """
    values = 3 * view.size[0] * view.size[1]
    first, last = stage.first == 0, stage.first + len(stage.ops) == len(view.steps)
    between = 4 * values * backend.extra_passes(stage.ops)
    return values * (1 if first else 4) + between, values * (dtype.itemsize if last else 4) + between


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


def select(backend: str, kind: str, approximate: bool = False, compose_warps: bool = False) -> dict[str, Backend]:
    """The backends to use on this type of device, best first."""
    if backend == "auto":
        names = [name for name in backends.AUTOMATIC if backends.installed(name, kind)]
    else:
        fallback = backends.load(backend, kind).fallback
        names = [backend, *([fallback] if fallback else [])]
    found = {name: backends.load(name, kind) for name in names}
    if compose_warps and not any(chosen.composing for chosen in found.values()):
        advice = backends.lacking(kind).get("fused", 'use backend="fused"')
        raise ValueError(f"Augmenter: compose_warps needs backend 'fused', got {backend!r}; {advice}")
    chosen_by = {name: (approximate and chosen.approximate) or chosen for name, chosen in found.items()}
    return {name: (compose_warps and chosen.composing) or chosen for name, chosen in chosen_by.items()}


def warn_of_missing_packages(plan: Sequence[Sequence[Stage]], kind: str) -> None:
    """Log, once per process, which missing packages would let a faster backend do some of the plan's stages."""
    order = backends.AUTOMATIC
    worst = max(order.index(stage.backend) for stages in plan for stage in stages)
    for name, words in backends.lacking(kind).items():
        if order.index(name) < worst:
            warn_once(words)


@cache
def warn_once(words: str) -> None:
    LOG.warning("%s", words)


def stages(steps: Sequence[Op], found: dict[str, Backend], form: BatchForm = "images") -> tuple[Stage, ...]:
    """Divide steps into stages, in order: each step goes to the first backend that supports it.

    form: what the first step starts from. Raises ValueError for a step that no backend supports.
    """
    out: list[Stage] = []
    size: Size | None = None
    at = 0
    while at < len(steps):
        state = form if at == 0 else "ragged" if size is None and form == "images" else "floats"
        name = next((name for name, backend in found.items() if backend.count_supported(steps[at:], state)), None)
        if name is None:
            raise ValueError(f"Augmenter: no backend of {', '.join(found)} has {steps[at]}; {remedy(steps[at], found)}")
        # The best backend gets every step that it can do, the others one at a time, so that the best one continues after it.
        best = name == next(iter(found))
        count = found[name].count_supported(steps[at:], state) if best else 1
        for op in steps[at : at + count]:
            size = op.output_size(size)
        if not best and out and out[-1].backend == name:
            out[-1] = Stage(name, out[-1].first, (*out[-1].ops, *steps[at : at + count]))
        else:
            out.append(Stage(name, at, tuple(steps[at : at + count])))
        at += count
    return tuple(out)


def remedy(step: Op, found: dict[str, Backend]) -> str:
    """What to do about a step that no backend supports."""
    if "batched" not in found:
        own = ", or approximate=True if DALI has one of its own that will do" if "dali" in found else ""
        return f"use backend='auto'{own}"
    kind = type(step).__name__
    return f"give it a function of a batch with gpuaug.register({kind}, function), in the module that defines {kind}"


def run(
    batch: Batch,
    plan: Sequence[Stage],
    found: dict[str, Backend],
    draws: Sequence[OpDraws],
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.contiguous_format,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Apply the stages in order and return the view in the dtype and memory format asked for, in `out` if it is given."""
    for stage in plan:
        backend = found[stage.backend]
        steps = draws[stage.first : stage.first + len(stage.ops)]
        if isinstance(batch, Images) and not backend.reads_in_place:
            batch = batch.packed()
        if backend.writes_output and stage is plan[-1]:
            batch = backend.apply(batch, stage.ops, steps, dtype, memory_format, out)
            assert isinstance(batch, torch.Tensor)
            return batch
        batch = backend.apply(batch, stage.ops, steps)
    assert isinstance(batch, torch.Tensor)  # View checked that its ops end at one size
    if out is not None:
        return out.copy_(batch)
    return batch.to(dtype).contiguous(memory_format=memory_format)


def output_dtype(view: View) -> torch.dtype:
    return next((op.dtype for op in view.steps if isinstance(op, ToDtype)), torch.float32)


def as_images(images: Images | torch.Tensor | Sequence[Any]) -> Images:
    if isinstance(images, Images):
        return images
    if isinstance(images, torch.Tensor):
        return Images.from_tensor(images)
    if not isinstance(images, Iterable):
        raise TypeError(
            "Augmenter: images must be gpuaug.Images, a uint8 tensor (B, 3, H, W) or a list of images, got "
            f"{type(images).__name__}"
        )
    return Images.from_list(images)
