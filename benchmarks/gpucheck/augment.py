"""Step 3, augmentation: two views a picture, uint8 256 x 256 -> bfloat16 224 x 224, in memory on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

import gpuaug
from gpuaug import Policy

from ..measure.stats import quartiles
from ..measure.timing import Lane, rounds
from ..workloads import one_view
from . import hardware
from .contenders import ALL, Contender
from .pixels import pictures
from .steps import Row, Setting, words

GROUPS = (("simclr", "cheap"), ("byol", "dino"))
"""Policies whose rounds are interleaved: strong beside cheap."""

SIDE = 256

LEAST = 0.05
"""Seconds that a round of a lane lasts on CUDA, by calling a fast one several times."""

SPARE = 10.0
"""Seconds kept back for what follows the rounds."""


def two_views(name: str) -> Policy:
    """The first two views of a policy; of one with a single view, that view twice."""
    policy = one_view(name) if name == "cheap" else gpuaug.policy(name)
    views = policy.views if len(policy.views) > 1 else (*policy.views, *policy.views)
    return Policy(*views[:2], name=name)


def perfect_bytes(view: int = 224) -> int:
    """Of a view: the 8-bit picture read once, the bfloat16 view written once."""
    return 3 * SIDE * SIDE + 2 * 3 * view * view


def rows(setting: Setting) -> Iterator[Row]:
    size = 256 if setting.cuda else 2 if setting.quick else 8
    repeats = 20 if setting.cuda else 2 if setting.quick else 4
    images = pictures(size, SIDE, SIDE).to(setting.device)
    bandwidth = hardware.copy_bandwidth(setting).value or 0.0
    yield Row("copy bandwidth", value=bandwidth, unit="GB/s", text="in this process")
    for names in GROUPS[: 1 if setting.quick else None]:
        lanes: dict[tuple[str, Contender], Lane] = {}
        for name in names:
            for contender in ALL:
                label = f"{name} / {contender.name}"
                if obstacle := contender.obstacle(setting.device):
                    yield Row(label, "skipped", obstacle)
                    continue
                try:
                    make = contender.prepare(two_views(name), images)
                    checked(make(), size)
                except ValueError as error:
                    yield Row(label, "skipped", str(error))
                except Exception as error:  # a library may raise anything; the others go on
                    yield Row(label, "failed", words(error))
                else:
                    lanes[name, contender] = Lane(make, setting.device)
        rounds(list(lanes.values()), repeats, LEAST if setting.cuda else 0.0, silent, lambda: setting.left - SPARE)
        for (name, contender), lane in lanes.items():
            yield row(setting, f"{name} / {contender.name}", contender.note, lane, 2 * size, bandwidth)


def checked(views: Sequence[torch.Tensor], size: int) -> None:
    """Raises AssertionError where views are not what was asked for."""
    for view in views:
        found = f"{view.dtype} {tuple(view.shape)}"
        if view.dtype != torch.bfloat16 or view.shape != (size, 3, 224, 224):
            raise AssertionError(f"made {found}, expected bfloat16 {(size, 3, 224, 224)}")
        if not bool(view.isfinite().all()):
            raise AssertionError("made values that are not finite")


def silent(text: str) -> None:
    """No progress: rows are."""


def row(setting: Setting, name: str, note: str, lane: Lane, views: int, bandwidth: float) -> Row:
    if lane.error is not None or not lane.seconds:
        return Row(name, "failed", words(lane.error) if lane.error else "no time left for a round")
    speeds = [views / seconds for seconds in lane.seconds]
    speed = quartiles(speeds)
    more = {"share": speed.median * perfect_bytes() / (1e9 * bandwidth), "ms a batch": 1e3 * views / speed.median}
    if setting.cuda:
        more |= launches(lane.make)
    return Row(
        name,
        "ok",
        note,
        speed.median,
        "views/s",
        speed.low,
        speed.high,
        more,
        tuple(round(s, 2) for s in speeds),
    )


def launches(make: Callable[[], object]) -> dict[str, float]:
    """Kernels launched for a batch's two views, halved, and the device's busy time; nothing where it cannot be profiled."""
    from torch.profiler import ProfilerActivity, profile

    try:
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
            make()
            torch.cuda.synchronize()
        kernels = [e for e in found.events() or [] if str(e.device_type).endswith("CUDA")]
    except RuntimeError:  # CUPTI is not allowed everywhere
        return {}
    copies = sum(e.name.startswith(("Memcpy", "Memset")) for e in kernels)
    busy = sum(e.time_range.elapsed_us() for e in kernels)
    return {"launches a view": (len(kernels) - copies) / 2, "device ms a batch": busy / 1e3}
