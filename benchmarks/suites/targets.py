"""The targets of the fused backend, as data, and whether a run met them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..measure.result import FUSED, REPLAYED, Cell, Key, Verdict, is_ours
from ..measure.stats import Spread

Compare = Callable[[Key, Key], Spread | None]
"""Returns views/s of one cell over another's; None if one is missing."""


@dataclass(frozen=True)
class Target:
    """The views/s of the cell `of` divided by those of the cell `to`: at least `least`, or at most `most`."""

    text: str
    of: Key
    to: Key
    least: float | None = None
    most: float | None = None


def against(peer: str, workload: str, least: float) -> Target:
    return Target(f"{workload}: {FUSED} / {peer}", (FUSED, workload), (peer, workload), least)


OTHERS = ("albumentationsx", "dali", "kornia", "torchtransform")

LEAST: dict[str, dict[str, float]] = {
    "strong-256": {"torchvision": 50, "albumentationsx": 10, "dali": 30, "kornia": 100},
    "cheap-256": {"torchvision": 8, "albumentationsx": 5, "dali": 10, "kornia": 30},
    "strong-500": {"torchvision": 35},
    "cheap-500": {"albumentationsx": 2.5},
    "cifar": {"torchvision": 80, "kornia": 20},
    **{name: {"torchvision": 20.0} | dict.fromkeys(OTHERS, 5.0) for name in ("randaugment", "trivialaugment")},
}
"""Workload -> peer -> least ratio of gpuaug-fused's views/s to the peer's."""

WARPS = ("affine", "affine_nearest", "rotation", "perspective")


def price(workload: str, most: float, contender: str = FUSED) -> Target:
    """What a workload may cost, in units of a crop."""
    return Target(f"{contender}: time of {workload} / cheap-256", (contender, "cheap-256"), (contender, workload), most=most)


PRICE = price("strong-256", 2)
TARGETS = (
    *(against(peer, workload, least) for workload, peers in LEAST.items() for peer, least in peers.items()),
    PRICE,
    *(price(warp, 3) for warp in WARPS),
    Target("strong-256: two threads / one", (f"{FUSED}-2x", "strong-256"), (FUSED, "strong-256"), least=1.7),
)
"""One thread, float32 views; draws included."""

KERNELS_PRICE = price("strong-256", 2, REPLAYED)
"""In whole calls cheap augmentation may take as long as the host takes to launch it; the kernels alone do not wait for that."""
KORNIA = against("kornia", "strong-256", 100)
SHARES = {
    (REPLAYED, "cheap-256"): ("cheap-256: share of copy bandwidth in the kernels", 0.6),
    (REPLAYED, "strong-256"): ("strong-256: share of copy bandwidth in the kernels", 0.3),
}
"""Cell -> the promise for CUDA, and the least share."""

DATA_WAIT = "data wait of the worst network, a share of the step"
SAME_VIEWS = "same draws, same views: tests of tests/parity that failed"


def judge_cuda(compare: Compare, share: Callable[[Key], Spread | None]) -> tuple[Verdict, ...]:
    """The promises for CUDA. share: a cell's share of copy bandwidth; None if it is missing."""
    return (
        *judge(compare, (PRICE, KERNELS_PRICE, KORNIA)),
        *(judged(text, share(key), least) for key, (text, least) in SHARES.items()),
    )


def data_wait(worst: float | None) -> Verdict:
    return judged(DATA_WAIT, None if worst is None else Spread(worst, worst, worst), most=0.01)


def unmeasured() -> tuple[Verdict, ...]:
    """The suites' promises for CUDA, not measured."""
    return (*judge_cuda(lambda of, to: None, lambda key: None), data_wait(None))


def same_views(passed: int, failed: int) -> Verdict:
    """The promise of the tests; not measured if no test came to its end."""
    return judged(SAME_VIEWS, Spread(failed, failed, failed) if passed + failed else None, most=0)


def judge(compare: Compare, targets: Sequence[Target] = TARGETS) -> tuple[Verdict, ...]:
    return tuple(judged(t.text, compare(t.of, t.to), t.least, t.most) for t in targets)


def losses(cells: Iterable[Cell]) -> Verdict:
    """Whether another library is faster anywhere, beyond noise; the verdict names the cells."""
    others = [cell for cell in cells if cell.ratio and not is_ours(cell.contender)]
    lost = [f"{cell.contender} on {cell.workload}" for cell in others if cell.ratio and cell.ratio.high < 1]
    count = Spread(len(lost), len(lost), len(lost)) if others else None
    return judged("cells in which another library is faster" + f": {', '.join(lost)}" * bool(lost), count, most=0)


def judged(text: str, measured: Spread | None, least: float | None = None, most: float | None = None) -> Verdict:
    """The verdict on a median; None if nothing was measured."""
    met = None
    if measured is not None:
        met = (least is None or measured.median >= least) and (most is None or measured.median <= most)
    return Verdict(text, least, most, measured, met)
