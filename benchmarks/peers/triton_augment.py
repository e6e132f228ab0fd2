"""triton-augment: crop, flip, brightness, contrast, saturation, gray and normalize in one kernel; CUDA only."""

from __future__ import annotations

from gpuaug.policy import Policy

from ..contender import Contender, MakeViews, Photos, Setting


def lacking(policy: Policy) -> str | None:
    return "has no resized crop, hue or blur"


def prepare(policy: Policy, photos: Photos, setting: Setting) -> MakeViews:
    raise ValueError(lacking(policy))


CONTENDER = Contender(
    name="triton-augment",
    modules=("triton_augment",),
    install="pip install triton-augment",
    distributions=("triton-augment", "triton"),
    regime="a float32 batch on a CUDA device",
    note="needs CUDA; no resized crop, hue or blur, and another contrast",
    supports=lacking,
    prepare=prepare,
    devices=("cuda",),
)
