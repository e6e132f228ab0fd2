"""Augmenter: Images + Draws -> view tensors, by a plan of stages that can be read before it runs."""

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

FALLBACK = {"fused": "batched", "kornia": "batched"}
"""Backend -> the one that does, stage by stage and in order, what it cannot."""


@dataclass(frozen=True)
class Stage:
    """A run of steps of one view that one backend applies in one call."""

    backend: str
    first: int
    ops: tuple[Op, ...]


class Augmenter:
    """Make views of images, given draws.

    `augment(images, draws)` gives a list with one tensor (B, 3, H, W) a view. `print(augmenter)` shows which backend does
    which steps. A copy or a pickle of an Augmenter holds its arguments alone, and plans again from them.

    Args:
        policy: what the draws were made from.
        backend: "auto" fuses what can be fused and leaves the rest to "batched", and logs a warning where a missing package
            would make it faster. "fused" is the same, and raises where its package is missing. "batched": torch functions on
            the whole batch, on any device, differentiable. "kornia": Kornia's functions where they equal torchvision's, and
            "batched" for the rest. "torchvision": the truth, image by image, on the CPU. "dali": one DALI graph, on the CPU.
        device: where views are made and come out. The images must be there already, nothing is copied silently; None takes
            the images' device.
        dtype: float32, float16 or bfloat16 of the views; None takes the policy's ToDtype, else float32.
        memory_format: torch.contiguous_format (NCHW) or torch.channels_last.
        approximate: allow "dali" what it does otherwise than torchvision. The other backends never do, and ignore it.

    Raises:
        ValueError: an op that no chosen backend has.
        ImportError: a backend was asked for by name and its package is missing.
    """

    def __init__(
        self,
        policy: Policy,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        memory_format: torch.memory_format = torch.contiguous_format,
        approximate: bool = False,
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
        self.backends = select(backend, "cpu" if self.device is None else self.device.type, approximate)
        self.plan = tuple(stages(view.steps, self.backends) for view in policy.views)
        if backend == "auto":
            tell_lacking(self.plan, "cpu" if self.device is None else self.device.type)

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.policy, self.backend, self.device, self.dtype, self.memory_format, self.approximate)
        return type(self), arguments

    @eager
    def __call__(
        self, images: Images | torch.Tensor | Sequence[Any], draws: Draws, out: Sequence[torch.Tensor] | None = None
    ) -> list[torch.Tensor]:
        """Views of a batch.

        images: `Images`, a uint8 tensor (B, 3, H, W), or a list that `Images.from_list` takes. draws: of this policy, one
        row an image. out: tensors to write the views into, as `empty` gives them, or rows of these. Inside torch.compile the
        call is a graph break; autocast and the default dtype and device have no effect on the views. Raises TypeError for
        what is no images or no draws, ValueError where policy, batch size or device do not fit.
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
            self.check_room(out, batch)
        return [
            self.make_view(batch, v, draws.tables[v], None if out is None else out[v]) for v in range(len(self.policy.views))
        ]

    def prepare(self) -> None:
        """Compile kernels for the CPU (about a minute, once a machine), or load them, as the first call would do."""
        for name in {stage.backend for plan in self.plan for stage in plan}:
            warm_up = self.backends[name].warm_up
            if warm_up is not None:
                warm_up("cpu" if self.device is None else self.device.type)

    def make_view(self, images: Images, v: int, draws: Sequence[OpDraws], out: torch.Tensor | None = None) -> torch.Tensor:
        """One view of a batch, (B, 3, H, W), in `out` where it is given."""
        view = self.policy.views[v]
        dtype = self.dtype or output_dtype(view)
        if not len(images):
            return torch.empty((0, 3, *view.size), dtype=dtype, device=images.device)
        with isolated(images.device):
            return run(images, self.plan[v], self.backends, draws, dtype, self.memory_format, out)

    def empty(self, count: int) -> list[torch.Tensor]:
        """Room on the CPU for the views of so many images: tensors (count, 3, H, W) of any content.

        It is the memory of earlier views where nobody holds these any more.
        """
        views = self.policy.views
        return [uninitialised((count, 3, *v.size), self.dtype or output_dtype(v), self.memory_format) for v in views]

    def check_room(self, out: Sequence[torch.Tensor], batch: Images) -> None:
        if len(out) != len(self.policy.views):
            raise ValueError(f"Augmenter: out has {len(out)} tensors, the policy {len(self.policy.views)} views")
        for v, (tensor, view) in enumerate(zip(out, self.policy.views, strict=True)):
            wanted = ((len(batch), 3, *view.size), self.dtype or output_dtype(view), batch.device)
            if (given := (tuple(tensor.shape), tensor.dtype, tensor.device)) != wanted:
                raise ValueError(f"Augmenter: out[{v}] must be {' '.join(map(str, wanted))}, got {' '.join(map(str, given))}")
            if not tensor.is_contiguous(memory_format=self.memory_format):
                raise ValueError(f"Augmenter: out[{v}] must be contiguous as {self.memory_format}; take rows of `empty`")

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
    """Bytes that a stage reads and writes a view, on average over its draws, for a source with as many pixels as the view.

    A perfect pass reads 8-bit pixels once and writes the view once. Each of the backend's passes in between writes the view in
    float32 and reads it again.
    """
    values = 3 * view.size[0] * view.size[1]
    first, last = stage.first == 0, stage.first + len(stage.ops) == len(view.steps)
    between = 4 * values * backend.extra_passes(stage.ops)
    return values * (1 if first else 4) + between, values * (dtype.itemsize if last else 4) + between


def canonical(device: torch.device | str) -> torch.device:
    """The device with its index, as its tensors bear it, so that "cuda" and "cuda:0" compare equal.

    Raises ValueError for what is no device.
    """
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device must be one of torch's, such as 'cpu', 'cuda' or 'cuda:0', got {device!r}") from error
    if str(found) not in ("cuda", "mps"):  # it has an index, or its kind has none
        return found
    return torch.device(found.type, torch.cuda.current_device() if found.type == "cuda" else 0)


def select(backend: str, kind: str, approximate: bool = False) -> dict[str, Backend]:
    """The backends to use on this type of device, best first."""
    if backend == "auto":
        names = [name for name in backends.AUTOMATIC if backends.installed(name, kind)]
    else:
        names = [backend, *([FALLBACK[backend]] if backend in FALLBACK else [])]
    found = {name: backends.load(name, kind) for name in names}
    return {name: (approximate and chosen.approximate) or chosen for name, chosen in found.items()}


def tell_lacking(plan: Sequence[Sequence[Stage]], kind: str) -> None:
    """Log, once a process, which packages would let a better backend do some of a plan's stages."""
    order = backends.AUTOMATIC
    worst = max(order.index(stage.backend) for stages in plan for stage in stages)
    for name, words in backends.lacking(kind).items():
        if order.index(name) < worst:
            tell_once(words)


@cache
def tell_once(words: str) -> None:
    LOG.warning("%s", words)


def stages(steps: Sequence[Op], found: dict[str, Backend], form: BatchForm = "images") -> tuple[Stage, ...]:
    """Runs of steps by backend, in order: each step goes to the first backend that takes it.

    form: what the first step starts from. Raises ValueError for a step that none takes.
    """
    out: list[Stage] = []
    size: Size | None = None
    at = 0
    while at < len(steps):
        state = form if at == 0 else "ragged" if size is None and form == "images" else "floats"
        name = next((name for name, backend in found.items() if backend.count_supported(steps[at:], state)), None)
        if name is None:
            raise ValueError(f"Augmenter: no backend of {', '.join(found)} has {steps[at]}; {remedy(steps[at], found)}")
        # The best backend takes all it can; the others one step at a time, so that the best may go on after it.
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
    """What helps where no backend takes a step."""
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
    """Apply the stages; the last gives the dtype and the memory format, and writes into `out` where it is given."""
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
    assert isinstance(batch, torch.Tensor)  # View has checked that its ops end at one size
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
