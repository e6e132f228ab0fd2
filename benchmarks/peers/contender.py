"""The interface of a contender, which each file of this folder fills in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpuaug import Policy
from gpuaug.ops import Op

from ..images import Photos
from ..measure.machine import importable, version_of
from ..sources import Source

BOTH = ("cpu", "cuda")
"""`devices` of a contender that runs on either."""

SIDE = 224
"""Pixels of a view's side in workloads of one op, for libraries that count in shares of it or in cells."""

MakeViews = Callable[[], torch.Tensor]
"""Draws parameters and makes a whole batch of views once: floats (B, 3, H, W)."""

Epoch = Callable[[], Iterator[Sequence[torch.Tensor]]]
"""Begins an epoch of batches of views, (B, 3, H, W) each. Every image comes once; an incomplete batch is dropped."""

Decode = Callable[[], Iterable[Any]]
"""Decodes every file once: pictures in the order of the files, uint8 (H, W, 3) or (3, H, W), or regions of them."""


@dataclass(frozen=True)
class Setting:
    """What a run tells its contenders.

    Attributes:
        threads: Threads that a contender may use.
        seed: Seed of its draws.
        dtype: Type of the views, float32 or bfloat16.
        scratch: Folder for what a contender writes; the suite removes it.
        device: "cpu" or "cuda", where images lie and views come out.
    """

    threads: int = 1
    seed: int = 0
    dtype: torch.dtype = torch.float32
    scratch: Path | None = None
    device: str = "cpu"


def starts_from_files(policy: Policy, photos: Photos, setting: Setting) -> MakeViews:
    """`prepare` of a contender that only decodes or loads files. No suite of images in memory has such a contender."""
    raise TypeError("this contender starts from files; it makes no views of images in memory")


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A way to make views, to decode files or to load batches: another library's, or gpuaug's own.

    Attributes:
        name: Its name in tables.
        modules: Modules that must be importable.
        distributions: Distributions whose versions are recorded if installed; the first one brings the modules.
        remedy: Command that installs it, unless that is `pip install` of the first distribution.
        regime: The form in which it takes images.
        note: What it does differently from the truth.
        differs: Op -> what it does differently there, which statistics of a batch may not show; its cells are marked.
        supports: Returns why it cannot do a policy, or None.
        devices: Types of device that it runs on.
        threads: Factor on the run's threads.
        on_request: It runs only if it is named, and on the core workloads of a full run of `augment`.
        prepare: Does what is done once and is not timed, and returns a `MakeViews`.
        same_draws: Its first batch is made from the truth's draws.
        probe: Takes the place of `prepare` where a single op is compared with the truth.
        decode: Returns a `Decode` of some files; None if it does not decode.
        pixels: Whether `decode` keeps the pictures, so that they can be compared.
        load: Returns an `Epoch` of a source; None if it does not load.
        takes: Types of source that `load` takes.
        processes: `load` works in worker processes, whose processor time is not known.
    """

    name: str
    modules: tuple[str, ...] = ()
    distributions: tuple[str, ...]
    remedy: str = ""
    regime: str
    note: str = ""
    differs: Mapping[type[Op], str] = field(default_factory=dict)
    supports: Callable[[Policy], str | None]
    devices: tuple[str, ...] = ("cpu",)
    threads: int = 1
    on_request: bool = False
    prepare: Callable[[Policy, Photos, Setting], MakeViews] = starts_from_files
    same_draws: bool = False
    probe: Callable[[Policy, Photos, Setting], MakeViews] | None = None
    decode: Callable[[Sequence[Path], Setting], Decode] | None = None
    pixels: bool = True
    load: Callable[[Source, Policy, int, Setting], Epoch] | None = None
    takes: tuple[type, ...] = (Path,)
    processes: bool = False

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


def anything(policy: Policy) -> str | None:
    """`supports` of a contender that makes no views."""
    return None


def has_only(table: Mapping[type[Op], Any]) -> Callable[[Policy], str | None]:
    """`supports` of a contender with a table of the ops that it can do."""

    def supports(policy: Policy) -> str | None:
        ops = chain.from_iterable(view.ops for view in policy.views)
        lacking = dict.fromkeys(type(op).__name__ for op in ops if type(op) not in table)
        return f"has no {', '.join(lacking)} here" if lacking else None

    return supports


def epochs(loader: Iterable[Any], views_of: Callable[[Any], Sequence[torch.Tensor]]) -> Epoch:
    """Epochs of a loader that gives pairs of views and target."""
    return lambda: (views_of(views) for views, _ in loader)


def on_device(photos: Photos, device: str) -> torch.Tensor:
    """Photographs of one size as a uint8 batch (B, 3, H, W) on the device."""
    return torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).contiguous().to(device)


@cache
def buffer(count: int, height: int, width: int) -> torch.Tensor:
    return torch.empty(count, 3, height, width)


def collate(views: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stack views that were made one by one, in memory that is reused: fresh pages would cost as much as a cheap view."""
    return torch.stack(list(views), out=buffer(len(views), *views[0].shape[1:]))


def factor(limits: tuple[float, float] | None, neutral: float = 1.0) -> tuple[float, float]:
    """The range of a jitter's factor; the neutral value if the jitter leaves this part out."""
    low, high = limits or (neutral, neutral)
    if not math.isfinite(high):
        raise ValueError(f"the factor's range ({low}, {high}) has no end")
    return low, high


def bytes_of(fill: float | Sequence[float]) -> list[int]:
    """A fill of gpuaug's ops, in [0, 1], as the 8-bit value of each channel."""
    return [round(255 * value) for value in (fill if isinstance(fill, Sequence) else (fill,) * 3)]


def negated(limits: Sequence[float]) -> tuple[float, float]:
    """The range of a parameter that a library counts the other way."""
    low, high = limits
    return -high, -low


def spline(o: Any) -> tuple[float, float]:
    """An elastic transform by random coefficients of cubic splines in place of blurred noise.

    Returns:
        Pixels between the coefficients, and their standard deviation in pixels, for the truth's smoothness and strength.
    """
    alpha, sigma = o.alpha[0], o.sigma[0]
    moves = alpha / 2 * 3**-0.5 / (2 * sigma * math.pi**0.5)  # of uniform noise in half pixels, blurred along both axes
    return 3**0.5 * sigma, moves / 0.479  # a cubic B-spline's variance is 1/3, and the sum of its squares 0.479
