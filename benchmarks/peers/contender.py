"""The interface of a contender: what each file in this folder fills in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from gpuaug import Policy
from gpuaug.ops import Op

from ..images import Photos, Source
from ..measure.machine import importable, version_of

BOTH = ("cpu", "cuda")
"""Devices of a contender that runs on either."""

MakeViews = Callable[[], torch.Tensor]
"""Draws parameters and makes a whole batch's views, floats (B, 3, H, W), once."""


@dataclass(frozen=True)
class Setting:
    """threads: that a contender may use. seed: of its draws. dtype: float32 or bfloat16, of the views. scratch: a folder that
    what it writes may lie in; the suite removes it. device: "cpu" or "cuda", where images lie and views come out."""

    threads: int = 1
    seed: int = 0
    dtype: torch.dtype = torch.float32
    scratch: Path | None = None
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """What is compared with gpuaug, or gpuaug itself.

    name: in tables. modules: that must be importable. distributions: whose versions are recorded, where installed; the first
    brings the modules. remedy: the command that does, where that is not `pip install`. regime: the form in which it takes
    images. note: what it does otherwise than the truth. supports: why it cannot do a policy, or None. devices: where it runs.
    threads: a multiple of the run's threads. on_request: it is run only where it is named, and on the core workloads of a full
    run of `augment`.
    """

    name: str
    modules: tuple[str, ...] = ()
    distributions: tuple[str, ...]
    remedy: str = ""
    regime: str
    note: str = ""
    supports: Callable[[Policy], str | None]
    devices: tuple[str, ...] = ("cpu",)
    threads: int = 1
    on_request: bool = False

    @property
    def install(self) -> str:
        return self.remedy or f"pip install {self.distributions[0]}"

    @property
    def missing(self) -> list[str]:
        """Modules that cannot be imported."""
        return [name for name in self.modules if not importable(name)]

    @property
    def versions(self) -> dict[str, str]:
        return {name: found for name in self.distributions if (found := version_of(name))}


@dataclass(frozen=True, kw_only=True)
class Contender(Peer):
    """One way to make views.

    prepare: everything that is done once, untimed. same_draws: its first batch is made from the truth's draws. probe: takes
    the place of `prepare` where one op alone is checked against the truth.
    """

    prepare: Callable[[Policy, Photos, Setting], MakeViews]
    same_draws: bool = False
    probe: Callable[[Policy, Photos, Setting], MakeViews] | None = None


Epoch = Callable[[], Iterator[Sequence[torch.Tensor]]]
"""Begins an epoch: batches of the policy's views, (B, 3, H, W) each; every image once, a last incomplete batch dropped."""


Decode = Callable[[], Iterable[Any]]
"""Decodes every file once: pictures in the order of the files, uint8 (H, W, 3) or (3, H, W), or parts of them."""


@dataclass(frozen=True, kw_only=True)
class FilePeer(Peer):
    """One way from files to pixels or views.

    decode: given files, a `Decode`; None where it is not offered. pixels: whether that keeps the pictures. load: an Epoch of a
    source; None likewise. takes: the types of its sources. processes: whether its work is done in worker processes, whose
    processor time is not known.
    """

    decode: Callable[[Sequence[Path], Setting], Decode] | None = None
    pixels: bool = True
    load: Callable[[Source, Policy, int, Setting], Epoch] | None = None
    takes: tuple[type, ...] = (Path,)
    processes: bool = False


def anything(policy: Policy) -> str | None:
    """`supports` of a peer that makes no views."""
    return None


def has_only(table: Mapping[type[Op], Any]) -> Callable[[Policy], str | None]:
    """`supports` of a contender that has one entry for each op that it can do."""

    def supports(policy: Policy) -> str | None:
        lacking = dict.fromkeys(type(op).__name__ for op in policy.views[0].ops if type(op) not in table)
        return f"has no {', '.join(lacking)} here" if lacking else None

    return supports


@cache
def buffer(count: int, height: int, width: int) -> torch.Tensor:
    return torch.empty(count, 3, height, width)


def collate(views: Sequence[torch.Tensor]) -> torch.Tensor:
    """A batch of views made one by one, in memory used before: fresh pages would cost as much as a cheap view."""
    return torch.stack(list(views), out=buffer(len(views), *views[0].shape[1:]))


def factor(limits: tuple[float, float] | None, neutral: float = 1.0) -> tuple[float, float]:
    """The range of a jitter's part; the neutral value where it is left out."""
    low, high = limits or (neutral, neutral)
    if not math.isfinite(high):
        raise ValueError(f"the factor's range ({low}, {high}) has no end")
    return low, high
