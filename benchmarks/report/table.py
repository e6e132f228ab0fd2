"""A result as text that fits 100 columns: the tables of its figures, put into the template `table.txt`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..measure.result import FUSED, Cell, Result
from ..measure.stats import Spread, brief, quartiles, shown
from .figures import CROP, axes_of, cropped, half_range, measured, priced
from .text import fill, table, wrapped

ACROSS, COLUMN = 5, 15
"""Workloads side by side, and the least width of a column in characters."""

INSTEAD = {"skipped": "-", "unsupported": "-", "error": "error", "ok": ""}
BUSY = 0.9
"""Share of a core below which other programs kept a contender waiting."""


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


MORE: dict[str, tuple[str, Callable[[float], str]]] = {
    "data_wait": ("data wait: share of a step's time that passes before its batch is there", percent),
    "slowdown": ("slowdown: a step's time over that with a replayed batch, less 1", percent),
    "step_ms": ("a step, ms", brief),
    "views": ("views/s", brief),
    "host": ("peak of the host's memory, MiB/view", brief),
    "launches": ("kernels launched in a call", brief),
    "device_ms": ("ms in which the device is busy in a call", brief),
    "processor": ("images/s of processor time", brief),
    "largest": ("largest difference from Pillow's pixels, in steps of 8 bits", brief),
    "mean": ("mean difference from Pillow's pixels, in steps of 8 bits", brief),
}
"""Further figures of a cell -> title, and how the figure is written."""


def render(result: Result) -> str:
    """The whole report."""
    busy = [c for c in result.cells if c.cores is not None]
    return fill(
        "table.txt",
        result=result,
        tables=filter(None, tables(result)),
        BUSY=BUSY,
        starved=[c.cores for c in busy if c.cores is not None and c.cores < BUSY],
        greedy=[c for c in busy if c.cores is not None and c.cores > 0.2 + allowed(c, result)],
        first=[c for c in result.cells if c.first_call_s is not None],
    )


def allowed(cell: Cell, result: Result) -> int:
    """Cores that a contender may use."""
    return result.run.threads * (2 if cell.contender.endswith("-2x") else 1)


def tables(result: Result) -> Iterator[str]:
    """The tables of a result, each with its title; "" for one that has nothing to show."""
    contenders, workloads = measured(result), [w.name for w in result.workloads]

    def cells(title: str, text: Callable[[Cell], str], rows: Sequence[str] = contenders) -> str:
        """Contenders down, workloads across."""
        return grid(title, rows, workloads, lambda c, w: text(cell) if (cell := result.cell(c, w)) else "")

    stars = "; * not what the truth makes, see the notes" if any(c.deviations for c in result.cells) else ""
    everyone = [c.name for c in result.contenders]
    yield cells(f"{result.unit}: median ± half the interquartile range{stars}", speed, everyone)
    title = f"{FUSED} / contender: median of the rounds' ratios, 95 % interval; = where that holds 1"
    yield cells(title, ratio, [name for name in contenders if name != FUSED])
    for name, (title, words) in MORE.items():
        yield cells(title, lambda cell, name=name, words=words: words(cell.more[name]) if name in cell.more else "")  # type: ignore[misc]
    exponents = {(f.contender, f.axis): f.exponent for f in result.fits}
    title = "time ~ x ^ exponent, ± half the 95 % interval of the line's slope"
    yield grid(title, contenders, axes_of(result), lambda c, axis: slope(exponents.get((c, axis))))
    title = "share of the memory bound: bytes of a perfect pass (whole image in, view out) x views/s over copy bandwidth"
    if shares := cells(title, lambda cell: f"{100 * cell.share:.3g} %" if cell.share else ""):
        passes = ", ".join(f"{w.name} {(w.perfect_bytes or 0) / 1000:,.0f} kB" for w in result.workloads)
        yield f"{shares}\n{wrapped(f'a perfect pass: {passes}')}"
    rates = {w.name: w.decode for w in result.workloads if w.decode}
    title = "time of a view / of decoding its image from JPEG with Pillow"
    yield grid(title, contenders, list(rates), lambda c, w: brief(rates[w] / f.median) if (f := result.figure(c, w)) else "")
    title = f"time of a view / of {CROP}'s: what a policy, or one op, costs in units of a crop"
    yield grid(title, contenders, cropped(result), lambda c, w: price(result.cell(c, w), result.cell(c, CROP)))
    pairs = {strong.partition("-")[2]: (strong, cheap) for strong, cheap in priced(result)}
    title = "strong / cheap: time of a view"
    yield grid(title, contenders, list(pairs), lambda c, side: price(*(result.cell(c, w) for w in pairs[side])))


def grid(title: str, rows: Sequence[str], columns: Sequence[str], text: Callable[[str, str], str]) -> str:
    """A table, with at most ACROSS columns side by side; "" where no cell has a text."""
    texts = {(row, column): text(row, column) for row in rows for column in columns}
    if not any(texts.values()):
        return ""
    parts = [columns[at : at + ACROSS] for at in range(0, len(columns), ACROSS)]
    made = [table([[row, *(texts[row, name] for name in part)] for row in rows], ["", *part], least=COLUMN) for part in parts]
    return f"{wrapped(title)}\n" + "\n\n".join(made)


def speed(cell: Cell) -> str:
    if cell.figure is None:
        return INSTEAD[cell.status]
    return f"{brief(cell.figure.median)} ±{half_range(cell.figure)}{'*' if cell.deviations else ' '}"


def ratio(cell: Cell) -> str:
    r = cell.ratio
    return "" if r is None else shown(r) if shown(r) == "=" else f"{shown(r)} {brief(r.low)}-{brief(r.high)}"


def slope(exponent: Spread | None) -> str:
    return f"{exponent.median:.2f} ±{(exponent.high - exponent.low) / 2:.2f}" if exponent else ""


def price(strong: Cell | None, cheap: Cell | None) -> str:
    """What strong augmentation costs in units of cheap augmentation."""
    if not (strong and cheap and strong.values and cheap.values):
        return ""
    times = quartiles([b / a for a, b in zip(strong.values, cheap.values, strict=True)])
    return f"{brief(times.median)} ±{half_range(times)}"
