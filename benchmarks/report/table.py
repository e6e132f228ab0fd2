"""A result as text that fits 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence

from ..measure.result import FUSED, Cell, Result, Verdict
from ..measure.stats import Spread, brief, quartiles, shown

WIDTH = 100
COLUMN = 16
ACROSS = 5
"""Workloads side by side."""

PAIRS = (("strong-256", "cheap-256"), ("strong-500", "cheap-500"))
INSTEAD = {"skipped": "-", "unsupported": "-", "error": "error"}
BUSY = 0.9
"""Share of a core below which a contender was kept waiting by other programs."""


def render(result: Result) -> str:
    """The whole report."""
    parts = (head, speeds, ratios, waits, exponents, bounds, decodes, prices, verdicts, notes)
    sections = [part(result) for part in parts]
    return "\n\n".join("\n".join(lines) for section in sections if (lines := list(section)))


def wrapped(text: str, indent: str = "  ") -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def head(result: Result) -> Iterator[str]:
    run, m = result.run, result.machine
    quick = ", quick (rough figures)" if run.quick else ""
    dtype = "" if run.dtype == "float32" else f", {run.dtype}"
    yield f"{result.suite} on {run.device}, {run.in_threads}{dtype}, {run.repeats} interleaved repeats, seed {run.seed}{quick}"
    load = " and ".join(f"{value:.1f}" for value in m.load)
    if m.gpu:
        yield wrapped(f"{m.gpu}, driver {m.driver}")
    yield wrapped(f"{m.cpu}, {m.cores} cores, {m.memory / 2**30:.0f} GiB, {m.system}, load {load} before and after")
    versions = ", ".join(f"{name} {version}" for name, version in m.versions.items())
    yield wrapped(f"commit {m.commit or 'unknown'}, Python {m.python}, {versions}")
    if result.bandwidth:
        yield f"copy bandwidth {result.bandwidth.median / 1e9:.1f} GB/s ±{half_range(result.bandwidth)}, read and written"
    starved = [c for c in result.cells if c.cores is not None and c.cores < BUSY]
    if starved:
        least = min(c.cores for c in starved if c.cores is not None)
        yield wrapped(
            f"BUSY MACHINE: {len(starved)} cells got less than {BUSY} of a core ({least:.2f} at worst): noise, not figures"
        )


def half_range(spread: Spread) -> str:
    return f"{(spread.high - spread.low) / 2 / spread.median:.0%}"


def grid(title: str, rows: Sequence[str], columns: Sequence[str], text: Callable[[str, str], str]) -> Iterator[str]:
    first = max(len(row) for row in rows)
    for at in range(0, len(columns), ACROSS):
        part = columns[at : at + ACROSS]
        yield wrapped(title) if at == 0 else ""
        yield " " * first + "".join(f" {name:>{COLUMN}}" for name in part)
        for row in rows:
            yield (f"{row:{first}}" + "".join(f" {text(row, name):>{COLUMN}}" for name in part)).rstrip()


def names(result: Result) -> tuple[list[str], list[str]]:
    return [c.name for c in result.contenders], [w.name for w in result.workloads]


def measured(result: Result) -> list[str]:
    """Contenders with a figure."""
    return [c.name for c in result.contenders if any(cell.figure for cell in result.cells if cell.contender == c.name)]


def axes_of(result: Result) -> list[str]:
    """What a suite varied, in its order."""
    return list(dict.fromkeys(w.axis for w in result.workloads if w.axis is not None))


def speeds(result: Result) -> Iterator[str]:
    def text(contender: str, workload: str) -> str:
        cell = result.cell(contender, workload)
        if cell is None or cell.figure is None:
            return INSTEAD[cell.status] if cell else ""
        spread = cell.figure
        return f"{brief(spread.median)} ±{half_range(spread)}{'*' if cell.deviations else ' '}"

    title = f"{result.unit}: median ± half the interquartile range; * not what the truth makes, see the notes"
    title = title if any(c.deviations for c in result.cells) else title.partition(";")[0]
    yield from grid(title, *names(result), text)


def ratios(result: Result) -> Iterator[str]:
    def text(contender: str, workload: str) -> str:
        cell = result.cell(contender, workload)
        if cell is None or cell.ratio is None:
            return ""
        r = cell.ratio
        return shown(r) if shown(r) == "=" else f"{shown(r)} {brief(r.low)}-{brief(r.high)}"

    others = [name for name in measured(result) if name != FUSED]
    if others and any(c.ratio for c in result.cells):
        title = f"{FUSED} / contender: median of the rounds' ratios, 95 % interval; = where that holds 1"
        yield from grid(title, others, names(result)[1], text)


def waits(result: Result) -> Iterator[str]:
    def text(contender: str, workload: str) -> str:
        cell = result.cell(contender, workload)
        return f"{100 * cell.more['data_wait']:.1f} %" if cell and "data_wait" in cell.more else ""

    if any("data_wait" in cell.more for cell in result.cells):
        yield from grid("data wait: share of a step's time that passes before its batch is there", *names(result), text)


def exponents(result: Result) -> Iterator[str]:
    found = {(f.contender, f.axis): f.exponent for f in result.fits}

    def text(contender: str, axis: str) -> str:
        e = found.get((contender, axis))
        return f"{e.median:.2f} ±{(e.high - e.low) / 2:.2f}" if e else ""

    if found:
        yield from grid(
            "time ~ x ^ exponent, ± half the 95 % interval of the line's slope", measured(result), axes_of(result), text
        )


def bounds(result: Result) -> Iterator[str]:
    perfect = {w.name: f"{(w.perfect_bytes or 0) / 1000:,.0f} kB" for w in result.workloads}
    row = "a perfect pass"
    if not any(c.share for c in result.cells):
        return

    def text(contender: str, workload: str) -> str:
        if contender == row:
            return perfect[workload]
        cell = result.cell(contender, workload)
        return "" if cell is None or cell.share is None else f"{100 * cell.share:.3g} %"

    title = "share of the memory bound: bytes of a perfect pass (whole image in, view out) x views/s over copy bandwidth"
    yield from grid(title, [row, *measured(result)], names(result)[1], text)


def decodes(result: Result) -> Iterator[str]:
    """What a view costs in units of what a loader pays anyway."""
    rates = {w.name: w.decode for w in result.workloads if w.decode}

    def text(contender: str, workload: str) -> str:
        cell, rate = result.cell(contender, workload), rates.get(workload)
        return "" if not (rate and cell and cell.figure) else brief(rate / cell.figure.median)

    if rates and measured(result):
        yield from grid("time of a view / of decoding its image from JPEG with Pillow", measured(result), list(rates), text)


def priced(result: Result) -> list[tuple[str, str]]:
    """The pairs of workloads, strong and cheap, whose speeds the result has both of."""
    workloads = {w.name for w in result.workloads}
    return [pair for pair in PAIRS if set(pair) <= workloads and result.unit == "views/s"]


def prices(result: Result) -> Iterator[str]:
    """What strong costs in units of cheap."""

    def text(contender: str, pair: str) -> str:
        strong, cheap = (result.cell(contender, name) for name in pair.split("/"))
        return "" if not (strong and cheap and strong.values and cheap.values) else price(strong, cheap)

    pairs = ["/".join(pair) for pair in priced(result)]
    if pairs and (rows := measured(result)):
        head, *lines = grid("", rows, ["256", "500"][: len(pairs)], lambda row, name: text(row, pairs[name == "500"]))
        yield "strong / cheap: time of a view" + head
        yield from lines


def price(strong: Cell, cheap: Cell) -> str:
    times = quartiles([b / a for a, b in zip(strong.values, cheap.values, strict=True)])
    return f"{brief(times.median)} ±{half_range(times)} "


def verdicts(result: Result) -> Iterator[str]:
    if not result.targets:
        if result.suite == "augment":
            yield "targets: they are for one thread and float32, run with --threads 1"
        return
    yield f"targets, {result.run.in_threads}"
    yield from (line(v) for v in result.targets)


def line(v: Verdict) -> str:
    wanted, found, word = judged(v)
    return f"  {v.target:45}{wanted:>8}   {found:18} {word}".rstrip() if found else f"  {v.target:45}{wanted:>8}   {word}"


def judged(v: Verdict) -> tuple[str, str, str]:
    """What was wanted, what was found, and the verdict in words."""
    limit = v.least if v.least is not None else v.most
    wanted = f"{'>=' if v.least is not None else '<='} {limit:g}"
    if v.measured is None or limit is None:
        return wanted, "", "not measured"
    m = v.measured
    unsure = ", within noise" if m.low <= limit <= m.high else ""
    return wanted, f"{brief(m.median)} ({brief(m.low)}-{brief(m.high)})", f"{'met' if v.met else 'MISSED'}{unsure}"


def notes(result: Result) -> Iterator[str]:
    yield "notes"
    for c in result.contenders:
        if c.note or c.name in measured(result):
            yield wrapped(f"  {c.name}: {c.regime}" + (f"; {c.note}" if c.note else ""), "    ")
    for text, where in grouped(result, lambda cell: ", ".join(cell.deviations)).items():
        yield wrapped(f"  * {where}: {text}", "    ")
    for text, where in grouped(result, lambda cell: cell.reason or "").items():
        yield wrapped(f"  - {where}: {text}", "    ")
    first = [c for c in result.cells if c.first_call_s is not None]
    if first:
        slowest = max(first, key=lambda cell: cell.first_call_s or 0)
        yield f"  slowest first call, untimed above: {slowest.contender} on {slowest.workload}, {slowest.first_call_s:.1f} s"
    greedy = [c for c in result.cells if c.cores is not None and c.cores > allowed(c, result) + 0.2]
    if greedy:
        yield wrapped(
            "  more cores than given: " + ", ".join(f"{c.contender} on {c.workload} {c.cores:.1f}" for c in greedy), "    "
        )


def allowed(cell: Cell, result: Result) -> int:
    return result.run.threads * (2 if cell.contender.endswith("-2x") else 1)


def grouped(result: Result, text: Callable[[Cell], str]) -> dict[str, str]:
    """Text -> the contender and its workloads that it is said of."""
    found: dict[str, dict[str, list[str]]] = {}
    for cell in result.cells:
        if said := text(cell):
            found.setdefault(said, {}).setdefault(cell.contender, []).append(cell.workload)
    everywhere = len(result.workloads)
    return {
        said: ", ".join(who if len(on) == everywhere else f"{who} on {' '.join(on)}" for who, on in by.items())
        for said, by in found.items()
    }


def remarks(result: Result) -> list[tuple[str, str]]:
    """Where, and what: deviations from the truth first, then why cells are empty."""
    found = grouped(result, lambda cell: ", ".join(cell.deviations)), grouped(result, lambda cell: cell.reason or "")
    return [(where, text) for one in found for text, where in one.items()]
