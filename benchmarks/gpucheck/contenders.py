"""Who makes the views of step 3: uint8 pictures of one size on the device -> two views in bfloat16, on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from typing import Any

import torch
from torch.utils.dlpack import from_dlpack
from torchvision.transforms import v2

from gpuaug import Augmenter, Images, Policy, View, sample
from gpuaug import ops as op

from ..contender import factor, importable
from ..peers import dali, kornia
from ..peers import torchvision as tv

FUSED, REPLAYED, KORNIA = "gpuaug-fused", "gpuaug-fused, replayed", "kornia"

MakeViews = Callable[[], Sequence[torch.Tensor]]


@dataclass(frozen=True)
class Contender:
    """modules: that must be importable; install: what brings them. note: what it does otherwise. cuda: whether it needs CUDA.

    prepare: everything that is done once, given the policy and pictures (B, 3, H, W) on the device. Raises ValueError where
    it cannot make these views.
    """

    name: str
    modules: tuple[str, ...]
    install: str
    note: str
    prepare: Callable[[Policy, torch.Tensor], MakeViews]
    cuda: bool = False

    def obstacle(self, device: str) -> str | None:
        """Why it is not measured here, or None."""
        if self.cuda and device != "cuda":
            return "needs CUDA"
        missing = [name for name in self.modules if not importable(name)]
        return f"not installed; install it with: {self.install}" if missing else None


def fused(policy: Policy, pictures: torch.Tensor) -> MakeViews:
    """The draws are made inside the timed region, as they are in training."""
    augment = Augmenter(policy, device=pictures.device, dtype=torch.bfloat16)
    if any(stage.backend != "fused" for plan in augment.plan for stage in plan):
        raise ValueError("not all of this policy is fused")
    images, epochs = Images.from_tensor(pictures), count()
    return lambda: augment(images, sample(policy, range(len(images)), epoch=next(epochs)))


def replayed(policy: Policy, pictures: torch.Tensor) -> MakeViews:
    """The kernels alone: each view a CUDA graph, its draws already on the device."""
    from gpuaug.backends.fused import cuda, plan

    images = Images.from_tensor(pictures)
    draws = sample(policy, range(len(images)))
    recorded = []
    for view, tables in zip(policy.views, draws.tables, strict=True):
        found = plan.tables(images, view.steps, tables)
        recorded.append(cuda.Recorded(images, view.steps, found, torch.bfloat16, torch.contiguous_format))

    def make() -> list[torch.Tensor]:
        for one in recorded:
            one.graph.replay()
        return [one.view for one in recorded]

    return make


def all_in(table: dict[Any, Any], policy: Policy) -> None:
    lacking = {type(o).__name__ for view in policy.views for o in view.ops if type(o) not in table}
    if lacking:
        raise ValueError(f"has no {', '.join(sorted(lacking))}")


def kornia_views(policy: Policy, device: torch.device | str) -> list[Callable[[torch.Tensor], torch.Tensor]]:
    """Kornia's container for each view: float32 (B, 3, H, W) in [0, 1] -> a view in float32."""
    all_in(kornia.TABLE, policy)
    lib = import_module("kornia.augmentation")
    return [
        lib.AugmentationSequential(*(kornia.TABLE[type(o)](lib, o) for o in view.ops), data_keys=["input"]).to(device)
        for view in policy.views
    ]


def with_kornia(policy: Policy, pictures: torch.Tensor) -> MakeViews:
    views = kornia_views(policy, pictures.device)
    return lambda: [view(pictures.float().div_(255)).to(torch.bfloat16) for view in views]


def with_torchvision(policy: Policy, pictures: torch.Tensor) -> MakeViews:
    all_in(tv.TABLE, policy)
    views = [v2.Compose([tv.TABLE[type(o)](o) for o in view.ops]) for view in policy.views]
    return lambda: [view(pictures).to(torch.bfloat16) for view in views]


def with_triton_augment(policy: Policy, pictures: torch.Tensor) -> MakeViews:
    lib = import_module("triton_augment")

    def one(view: View) -> Any:
        found = {type(o): o for o in view.ops}
        given: dict[str, Any] = {"crop_size": view.size}
        for o in found.values():
            if isinstance(o, op.RandomHorizontalFlip):
                given["horizontal_flip_p"] = o.p
            elif isinstance(o, op.ColorJitter):
                given |= {part: factor(o.limits(part)) for part in ("brightness", "contrast", "saturation")}
            elif isinstance(o, op.RandomGrayscale):
                given["grayscale_p"] = o.p
            elif isinstance(o, op.Normalize):
                given |= {"mean": o.mean, "std": o.std}
        return lib.TritonFusedAugment(**given)

    views = [one(view) for view in policy.views]
    return lambda: [view(pictures.float().div_(255)).to(torch.bfloat16) for view in views]


def with_dali(policy: Policy, pictures: torch.Tensor) -> MakeViews:
    all_in(dali.TABLE, policy)
    lib = import_module("nvidia.dali")
    import_module("nvidia.dali.fn")  # becomes lib.fn
    cuda = pictures.is_cuda
    pixels = pictures.permute(0, 2, 3, 1).contiguous()
    given = pixels if cuda else list(pixels.numpy())

    def pipeline() -> Any:
        x = lib.fn.external_source(
            source=lambda: given, batch=True, no_copy=True, layout="HWC", device="gpu" if cuda else "cpu"
        )
        return tuple(dali.graph(lib, x, view) for view in policy.views)

    built = lib.pipeline_def(pipeline, enable_conditionals=True, **dali.AT_ONCE)(
        batch_size=len(pictures), num_threads=torch.get_num_threads(), device_id=torch.cuda.current_device() if cuda else None
    )
    built.build()
    return lambda: [from_dlpack(view.as_tensor()).to(torch.bfloat16) for view in built.run()]


ALL = (
    Contender(FUSED, (), "pip install gpuaug", "draws included", fused),
    Contender(REPLAYED, ("triton",), "pip install triton", "kernels alone, as a CUDA graph", replayed, cuda=True),
    Contender(KORNIA, ("kornia",), "pip install kornia", "one order of the jitter's parts a batch", with_kornia),
    Contender("torchvision v2", ("torchvision",), "pip install torchvision", "one draw a batch", with_torchvision),
    Contender("dali", ("nvidia.dali",), "pip install nvidia-dali-cuda130", "jitter in one order, other hue", with_dali),
    Contender(
        "triton-augment",
        ("triton_augment",),
        "pip install triton-augment",
        "less work: a crop without resize, no hue, no blur, no solarize",
        with_triton_augment,
        cuda=True,
    ),
)
