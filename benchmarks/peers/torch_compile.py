"""The peer kornia under torch.compile; the first call compiles, and is reported apart."""

from __future__ import annotations

from dataclasses import replace

import torch

from gpuaug import Policy

from ..images import Photos
from . import kornia
from .contender import MakeViews, Setting


def prepare(policy: Policy, photos: Photos, setting: Setting) -> MakeViews:
    compiled: MakeViews = torch.compile(kornia.prepare(policy, photos, setting))
    return compiled


CONTENDER = replace(
    kornia.CONTENDER,
    name="torch-compile",
    distributions=("kornia", "torch", "triton"),
    note=f"{kornia.CONTENDER.note}; compiled by torch.compile, needs a C++ compiler",
    prepare=prepare,
    on_request=True,
    probe=kornia.prepare,
)
