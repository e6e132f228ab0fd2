"""Who makes the views of step 3: uint8 pictures of one size on the device -> two views in bfloat16, on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import torch

from gpuaug import Augmenter, Images, Policy, sample

from ..measure.machine import importable
from ..peers import dali, kornia, torchvision, triton_augment
from ..peers.contender import Contender as Peer
from ..peers.contender import Setting

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


def of_peer(peer: Peer, note: str, name: str = "") -> Contender:
    """The peer's own way to make a view, once for each of them. note, name: in this table."""

    def prepare(policy: Policy, pictures: torch.Tensor) -> MakeViews:
        views = [Policy(view) for view in policy.views]
        if refused := next(filter(None, map(peer.supports, views)), None):
            raise ValueError(refused)
        photos = list(pictures.permute(0, 2, 3, 1).contiguous().cpu().numpy())
        setting = Setting(torch.get_num_threads(), dtype=torch.bfloat16, device=pictures.device.type)
        makes = [peer.prepare(view, photos, setting) for view in views]
        return lambda: [make().to(torch.bfloat16) for make in makes]

    return Contender(name or peer.name, peer.modules, peer.install, note, prepare, cuda="cpu" not in peer.devices)


ALL = (
    Contender(FUSED, (), "pip install gpuaug", "draws included", fused),
    Contender(REPLAYED, ("triton",), "pip install triton", "kernels alone, as a CUDA graph", replayed, cuda=True),
    of_peer(kornia.CONTENDER, "one order of the jitter's parts a batch"),
    of_peer(torchvision.CONTENDER, "one draw a batch on CUDA", "torchvision v2"),
    of_peer(dali.CONTENDER, "jitter in one order, other hue"),
    of_peer(triton_augment.CONTENDER, triton_augment.CONTENDER.note),
)
