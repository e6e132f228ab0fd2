"""The promises of the README, and whether the figures keep them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..measure.result import FUSED
from ..measure.stats import brief, ratio
from .contenders import KORNIA, REPLAYED
from .report import Report, Verdict

PRICE = 2.0
"""Time of a strong view over that of a cheap one that still counts as the same price: the target on the CPU too."""


@dataclass(frozen=True)
class Figure:
    """value: what was measured. text: it in words."""

    value: float
    text: str


@dataclass(frozen=True)
class Promise:
    """measure: the figure, or the reason why there is none. It is kept from `least` on, or up to `most`."""

    text: str
    measure: Callable[[Report], Figure | str]
    least: float | None = None
    most: float | None = None


def times(check: Report, fast: str, slow: str) -> Figure | str:
    """How many times as fast one row of the step `augment` is as another, round by round."""
    if check.device != "cuda":
        return "needs CUDA"
    of, to = (check.row("augment", name) for name in (fast, slow))
    if of is None or to is None:
        return f"no figure for {fast if of is None else slow}"
    shared = min(len(of.rounds), len(to.rounds))
    r = ratio(of.rounds[:shared], to.rounds[:shared])
    return Figure(r.median, f"{brief(r.median)} x ({brief(r.low)} to {brief(r.high)})")


def price(check: Report) -> Figure | str:
    return times(check, f"cheap / {FUSED}", f"simclr / {FUSED}")


def against_kornia(check: Report) -> Figure | str:
    return times(check, f"simclr / {FUSED}", f"simclr / {KORNIA}")


def share(policy: str) -> Callable[[Report], Figure | str]:
    def measure(check: Report) -> Figure | str:
        if check.device != "cuda":
            return "needs CUDA"
        kernels, call = (check.row("augment", f"{policy} / {name}") for name in (REPLAYED, FUSED))
        if kernels is None:
            return f"no figure for {policy} / {REPLAYED}"
        whole = f"; the whole call {call.more['share']:.0%}" if call else ""
        return Figure(kernels.more["share"], f"{kernels.more['share']:.0%} in its kernels{whole}")

    return measure


def data_wait(check: Report) -> Figure | str:
    found = [r for r in check.rows("train") if r.name.endswith(" / gpuaug") and r.status == "ok" and "data wait" in r.more]
    if check.device != "cuda" or not found:
        return "needs CUDA" if check.device != "cuda" else "no training step was measured with the loader"
    worst = max(found, key=lambda r: r.more["data wait"])
    return Figure(worst.more["data wait"], f"{worst.more['data wait']:.2%} at worst, in {worst.group}")


def same_views(check: Report) -> Figure | str:
    rows = [r for r in check.rows("correct") if r.status != "skipped"]
    parity = [r for r in rows if r.group != "facts"]
    if not any(r.status == "ok" for r in parity):
        return "no case of tests/parity was compared"
    bad = [r.name for r in rows if r.status == "failed"]
    where = "on CUDA" if check.device == "cuda" else "on the CPU and in Triton's interpreter"
    return Figure(len(bad), f"{len(bad)} of {len(rows)} checks failed {where}" + (f", first {bad[0]}" if bad else ""))


PROMISES = (
    Promise(f"strong at the price of cheap: time at most {PRICE:g} x", price, most=PRICE),
    Promise("at least 100 x Kornia on CUDA (simclr)", against_kornia, least=100),
    Promise("cheap: at least 60 % of copy bandwidth", share("cheap"), least=0.60),
    Promise("strong: at least 30 % of copy bandwidth", share("simclr"), least=0.30),
    Promise("data wait under 1 % of a step", data_wait, most=0.01),
    Promise("same draws, same views", same_views, most=0),
)


def judge(check: Report) -> tuple[Verdict, ...]:
    return tuple(verdict(promise, promise.measure(check)) for promise in PROMISES)


def verdict(promise: Promise, found: Figure | str) -> Verdict:
    if isinstance(found, str):
        return Verdict(promise.text, None, found)
    if promise.least is not None and found.value < promise.least:
        by = f", {promise.least / found.value:.2g} times too little" if found.value > 0 else ""
        return Verdict(promise.text, False, found.text + by)
    if promise.most is not None and found.value > promise.most:
        by = f", {found.value / promise.most:.2g} times too much" if promise.most else ""
        return Verdict(promise.text, False, found.text + by)
    return Verdict(promise.text, True, found.text)
