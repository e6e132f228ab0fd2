"""The suite `scaling`: ms a call against batch, image size, threads (on the CPU) and views, varied one at a time.

The exponent of each is the slope of a least-squares line through the logarithms, fitted in every round; its interval is the
95 % interval of the rounds' slopes. It says how certain the slope is, not whether the points lie on a line: the curves show
that.

Two bounds stand beside the threads: a plain copy, which gains nothing from a second core if one core can use the memory's whole
bandwidth, and arithmetic in registers, which gains less than twice if two cores share their clock or the machine is busy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import torch

from gpuaug import Policy, View

from .. import peers
from ..images import Photos
from ..measure import cores
from ..measure.result import FUSED, Cell, Fit, Key, Result, Run, WorkloadRecord, is_ours
from ..measure.stats import interval, quartiles
from ..peers.contender import Contender, MakeViews, Setting, anything
from ..workloads import Workload, one_view, photographs
from . import common
from .augment import QUICK
from .common import Measurement, Progress, Request

BATCHES = {False: (1, 4, 16, 64, 256, 1024), True: (1, 4, 16)}
SIDES = {False: (32, 64, 128, 256, 512), True: (64, 256)}
VIEWS = {False: (1, 2, 4), True: (1, 2)}


STEPS = 40_000
"""Steps of `arithmetic` for each image: about the time of a strong view."""


def in_threads(work: Callable[[int, int], object], count: int, threads: int) -> None:
    """Do the work of images begin..end-1 in the threads of the fused backend."""
    from gpuaug.backends.fused.cpu.threads import shares, spread

    def part(span: tuple[int, int]) -> None:
        work(*span)

    spread(part, shares(count, threads), threads)


def copying(policy: Policy, photos: Photos, setting: Setting) -> MakeViews:
    """Copy as many bytes as the views have."""
    source, target = (torch.ones(len(photos), 3, *policy.views[0].size) for _ in range(2))  # written: the pages are its own
    a, b = source.numpy(), target.numpy()

    def make() -> torch.Tensor:
        in_threads(lambda begin, end: np.copyto(b[begin:end], a[begin:end]), len(photos), setting.threads)
        return target

    return make


@cache
def arithmetic() -> Callable[[int], float]:
    """A compiled loop that touches no memory and holds no lock."""
    from numba import njit

    def loop(steps: int) -> float:
        a, b, c, d = 1.0, 1.1, 1.2, 1.3
        for _ in range(steps):
            a, b, c, d = 0.9 * a + 0.1, 0.9 * b + 0.2, 0.9 * c + 0.3, 0.9 * d + 0.4
        return a + b + c + d

    compiled: Callable[[int], float] = njit(nogil=True)(loop)
    return compiled


def computing(policy: Policy, photos: Photos, setting: Setting) -> MakeViews:
    """Compute in registers."""
    run, nothing = arithmetic(), torch.empty(0)

    def make() -> torch.Tensor:
        in_threads(lambda begin, end: run(STEPS * (end - begin)), len(photos), setting.threads)
        return nothing

    return make


BOUNDS = (
    Contender(
        name="copy",
        modules=("numba",),
        distributions=("numba",),
        regime="a bound: a plain copy of as many bytes as the views have, by the threads of the fused backend",
        supports=anything,
        prepare=copying,
    ),
    Contender(
        name="arithmetic",
        modules=("numba",),
        distributions=("numba",),
        regime="a bound: arithmetic in registers, by the threads of the fused backend",
        supports=anything,
        prepare=computing,
    ),
)
"""Measured for each number of threads, beside the contenders: how much more threads can gain on this machine."""


@dataclass(frozen=True)
class Point:
    """One quantity set to x; the others stay at a batch of 64 photographs of 256x256, the run's threads, one view."""

    axis: str
    x: int
    workload: Workload
    threads: int
    views: int

    @property
    def name(self) -> str:
        return f"{self.axis}={self.x}"


def points(policy: str, batch: int, settings: Run) -> Iterator[Point]:
    quick, threads = settings.quick, settings.threads
    base = Workload(policy, policy, (256, 256), batch)
    for x in BATCHES[quick]:
        yield Point("batch", x, replace(base, batch=x), threads, 1)
    for x in SIDES[quick]:
        yield Point("image side", x, replace(base, image=(x, x)), threads, 1)
    all_cores = cores()
    for x in sorted({2**k for k in range(all_cores.bit_length())} | {all_cores}) if settings.device == "cpu" else ():
        yield Point("threads", x, base, x, 1)
    for x in VIEWS[quick]:
        yield Point("views", x, base, threads, x)


def measure(request: Request, progress: Progress) -> Result:
    settings = request.settings
    if len(request.policies) > 1:
        raise ValueError(f"--policy: scaling takes one, got {', '.join(request.policies)}")
    contenders = common.chosen(peers.ALL, request.contenders or (FUSED,))
    batch = request.batch or (64 // QUICK if settings.quick else 64)
    made = list(points((request.policies or ("simclr",))[0], batch, settings))
    bounds = BOUNDS if settings.device == "cpu" and not request.contenders else ()
    m = Measurement(request, (*contenders, *bounds), progress)
    with common.threads(settings.threads):
        for point in made:
            progress(f"{point.name}: first calls")
            policy, photos = one_view(point.workload.policy), photographs(point.workload)
            for c in (*contenders, *bounds) if point.axis == "threads" else contenders:
                m.prepare(c, point.name, policy, partial(maker, c, point, photos, common.setting(settings)))
        m.time()
    threads_of, ones = {p.name: p.threads for p in made}, {c.name: c.threads for c in m.contenders}
    one_thread = settings.device == "cpu"
    m.fill({p.name: 1 for p in made}, lambda key: one_thread and threads_of[key[1]] == ones[key[0]] == 1, ratios=False)
    m.cells = {key: milliseconds(cell) for key, cell in m.cells.items()}
    axes = list(dict.fromkeys(p.axis for p in made))
    fits = [fit for c in m.contenders for axis in axes for fit in fitted(c.name, axis, made, m.cells)]
    return m.result("scaling", "ms", [record(p) for p in made], better="lower", fits=fits)


def record(p: Point) -> WorkloadRecord:
    w = p.workload
    return WorkloadRecord(p.name, w.policy, w.image, one_view(w.policy).views[0].size, w.batch, None, p.axis, float(p.x))


def milliseconds(cell: Cell) -> Cell:
    if not cell.values:
        return cell
    values = tuple(1000 / v for v in cell.values)
    return replace(cell, values=values, figure=quartiles(values))


def maker(contender: Contender, point: Point, photos: Sequence[np.ndarray], setting: Setting) -> MakeViews:
    """A call for all views: gpuaug makes them in one, the other contenders are called once for each view."""
    view = one_view(point.workload.policy).views[0]
    ours = is_ours(contender.name)
    policy = Policy(View(view.size, *view.ops, repeat=point.views if ours else 1))
    make = contender.prepare(policy, photos, replace(setting, threads=point.threads))

    def call() -> torch.Tensor:
        with common.threads(point.threads):
            for _ in range(1 if ours else point.views):
                views = make()
        return views

    return call


def fitted(contender: str, axis: str, made: Sequence[Point], cells: dict[Key, Cell]) -> Iterator[Fit]:
    """Nothing where fewer than two points were measured."""
    cell = {p.x: cells.get((contender, p.name)) for p in made if p.axis == axis}
    found = [(x, c.values) for x, c in cell.items() if c is not None and c.values]
    if len(found) > 1:
        yield Fit(contender, axis, interval(slopes(np.array([x for x, _ in found]), np.array([values for _, values in found]))))


def slopes(x: np.ndarray, times: np.ndarray) -> list[float]:
    """The least-squares slope of log time on log x in each round. x: (points,), times: (points, rounds)."""
    u = np.log(x) - np.log(x).mean()
    found: list[float] = (u @ np.log(times) / (u @ u)).tolist()
    return found
