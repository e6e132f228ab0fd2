"""Step 2, correctness on the device: the cases of tests/parity, and what only a device shows (`facts`).

The truth is made on the CPU, from the same draws. Most important first, since time may run out: the Triton kernels, the facts,
named policies, then every op of every backend, in float32 and bfloat16.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from types import ModuleType
from typing import Any

import torch

import gpuaug
from gpuaug import Images, backends
from gpuaug.augmenter import run, stages

from . import facts
from .runner import ROOT
from .steps import Row, Setting, words

SMALL = (
    "policy simclr",
    "policy simclr_cifar",
    "policy mae",
    "several tiles, bfloat16",
    "ColorJitter hue alone",
    "GaussianBlur alone",
)
"""Cases of the kernels that the interpreter runs where there is no GPU; all take it minutes."""

FEW = 3
"""Cases of a kind in a quick run."""

SPARE = 3.0
"""Seconds that are kept back at the end, to say what was not reached."""


def rows(setting: Setting) -> Iterator[Row]:
    groups: list[Iterator[tuple[str, Callable[[], Row]]]] = [facts.jobs(setting)]
    try:
        cases, kernels = parity("cases"), parity("triton_interpreter")
    except ImportError as error:
        yield Row("parity", "skipped", f"{error}; the cases are in the repository: run this from a checkout, with scikit-image")
    else:
        every = [kind(setting, cases, name, dtype) for kind in (policies, ops) for name in compared(cases) for dtype in DTYPES]
        groups = [triton(setting, kernels), facts.jobs(setting), *every]
    late: dict[str, int] = {}
    for name, job in chain(*groups):
        group = name.partition(" / ")[0]
        if setting.left < SPARE:
            late[group] = late.get(group, 0) + 1
            continue
        try:
            yield job()
        except facts.SkipError as reason:
            yield Row(name, "skipped", str(reason))
        except Exception as error:  # a backend that fails is a finding; the other cases go on
            yield Row(name, "failed", words(error))
    for group, count in late.items():
        yield Row(f"{group} / not reached", "skipped", f"{count} cases, no time left; give more --minutes")


def parity(name: str) -> ModuleType:
    """A module of tests/parity, which lies beside the packages in a checkout. Raises ImportError elsewhere."""
    place = str(ROOT / "tests")
    if place not in sys.path:
        sys.path.insert(0, place)  # not the repository: another `tests` might be installed
    return importlib.import_module(f"parity.{name}")


def triton(setting: Setting, kernels: ModuleType) -> Iterator[tuple[str, Callable[[], Row]]]:
    """The kernels, compiled for the device or interpreted."""
    chosen = kernels.CASES if setting.cuda else [name for name in SMALL if name in kernels.CASES]
    for name in list(chosen)[-2 if setting.quick else None :]:
        label = f"triton{'' if setting.cuda else ' interpreted'} / {name}"
        yield label, lambda name=name, label=label: kernel_row(label, kernels, name, setting.device)  # type: ignore[misc]


def kernel_row(label: str, kernels: ModuleType, name: str, device: str) -> Row:
    # Scratch of narrow views is rounded, which instructions after it amplify.
    limit = kernels.NARROW if "float16" in name else kernels.LARGEST
    found = kernels.CASES[name](device)
    mean_limit = kernels.MEAN * (10 if "float16" in name else 1)
    good = found["largest"] <= limit and found["mean"] <= mean_limit and found["exempt"] <= 0.01
    return judged(label, good, limit, **found)


def judged(label: str, good: bool, limit: float, largest: float, mean: float, exempt: float) -> Row:
    text = "" if good else f"largest error {largest:.1e} (allowed {limit:.0e}), mean {mean:.1e}, {exempt:.2%} left out"
    more = {"mean": mean, "exempt": exempt, "limit": limit}
    return Row(label, "ok" if good else "failed", text, value=largest, more=more)


DTYPES = (torch.float32, torch.bfloat16)


def compared(cases: ModuleType) -> list[str]:
    """Backends that are compared with the truth."""
    return [name for name in backends.REQUIRES if name in cases.TOLERANCE]


def policies(setting: Setting, cases: ModuleType, backend: str, dtype: torch.dtype) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Every kind of view of every named policy."""
    names = ("simclr", "byol", "simclr_cifar") if setting.quick or not setting.cuda else tuple(gpuaug.policies)
    for name in names[: 1 if setting.quick else None]:
        for k, (steps, draws) in enumerate(cases.policy_cases(name)):
            label = f"{backend} {short(dtype)}, policies / {name}, view {k}"
            yield job(setting, cases, label, backend, cases.photos, steps, draws, dtype)


def ops(setting: Setting, cases: ModuleType, backend: str, dtype: torch.dtype) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Every op alone: those that keep the size on floats, the others on images of many sizes."""
    few = FEW if setting.quick else None
    for name, op in list(cases.MAPS.items())[:few]:
        steps, draws = cases.map_tables(op, len(cases.uniform()))
        yield job(setting, cases, f"{backend} {short(dtype)}, ops / {name}", backend, cases.uniform, steps, draws, dtype)
    for name, given in list(cases.CROPS.items())[:few]:
        steps, draws = cases.tables(given, len(cases.ragged()), 64)
        yield job(setting, cases, f"{backend} {short(dtype)}, ops / {name}", backend, cases.ragged, steps, draws, dtype)


def job(
    setting: Setting, cases: ModuleType, label: str, backend: str, batch: Callable[[], Any], steps: Any, draws: Any, dtype: Any
) -> tuple[str, Callable[[], Row]]:
    return label, lambda: case_row(label, cases, backend, batch(), steps, draws, dtype, setting.device)


def case_row(
    label: str, cases: ModuleType, backend: str, batch: Any, steps: Any, draws: Any, dtype: torch.dtype, device: str
) -> Row:
    """One case of `tests.parity.cases.compare`, on a device and in a dtype."""
    found = usable(backend, device)
    given: backends.Given = "images" if isinstance(batch, Images) else "floats"
    try:
        plan = stages(steps, found, given)
    except ValueError as refusal:
        raise facts.SkipError(f"{backend} does not take it: {refusal}") from None
    made = run(batch.to(device), plan, found, draws, dtype).float().cpu()
    truth = cases.made_by(cases.TRUTH, batch, steps, draws)
    error = (made - truth).abs()
    limit = cases.TOLERANCE[backend]
    if dtype != torch.float32:  # beyond its own rounding; what follows narrow scratch is amplified
        error = (error - torch.finfo(dtype).eps / 2 * truth.abs()).clamp(min=0)
        limit = max(limit, 1e-3)
    out = ~(error <= limit)
    if out.any():
        out &= cases.jumps(batch, steps, draws, truth, limit, cases.NUDGE.get(backend, 0.0))
    kept = error[~out]
    largest, exempt = float(kept.max()), float(out.float().mean())
    good = largest <= limit and exempt <= cases.EXEMPT and bool(made.isfinite().all() == truth.isfinite().all())
    return judged(label, good, limit, largest, float(kept.mean()), exempt)


def usable(backend: str, device: str) -> dict[str, backends.Backend]:
    """The backend alone, so that no other takes its place. Raises SkipError where it is not here."""
    if backends.requirement(backend, device) is None:
        raise facts.SkipError(f"{backend} does not run on {device}")
    if not backends.installed(backend, device):
        raise facts.SkipError(f"{backend} needs {backends.requirement(backend, device)}, which is not installed")
    return {backend: backends.load(backend, device)}


def short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
