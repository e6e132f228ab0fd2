"""A result as text that fits 100 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..measure.result import FUSED, Cell, Result
from ..measure.stats import brief, quartiles, shown
from .figures import axes_of, half_range, judged, measured, priced, remarks
from .text import table, wrapped

ACROSS, COLUMN = 5, 15
"""Workloads side by side, and the characters of each at least."""

INSTEAD = {"skipped": "-", "unsupported": "-", "error": "error", "ok": ""}
BUSY = 0.9
"""Share of a core below which a contender was kept waiting by other programs."""


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


MORE: dict[str, tuple[str, Callable[[float], str]]] = {
    "data_wait": ("data wait: share of a step's time that passes before its batch is there", percent),
    "slowdown": ("slowdown: a step's time over that with a replayed batch, less 1", percent),
    "step_ms": ("a step, ms", brief),
    "host": ("peak of the host's memory, MiB/view", brief),
    "launches": ("kernels launched in a call", brief),
    "device_ms": ("ms in which the device is busy in a call", brief),
    "processor": ("images/s of processor time", brief),
    "largest": ("largest difference from Pillow's pixels, in steps of 8 bits", brief),
    "mean": ("mean difference from Pillow's pixels, in steps of 8 bits", brief),
}
"""Further figures of a cell -> title, and text."""


def render(result: Result) -> str:
    """The whole report."""
    parts = (head, speeds, ratios, further, exponents, bounds, decodes, prices, verdicts, notes)
    sections = [part(result) for part in parts]
    return "\n\n".join("\n".join(lines) for section in sections if (lines := list(section)))


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
    if result.matrix:
        yield f"bfloat16 matrix products {result.matrix.median / 1e12:.0f} TFLOP/s ±{half_range(result.matrix)}"
    starved = [c.cores for c in result.cells if c.cores is not None and c.cores < BUSY]
    if starved:
        said = f"{len(starved)} cells got less than {BUSY} of a core ({min(starved):.2f} at worst): noise, not figures"
        yield wrapped(f"BUSY MACHINE: {said}")


def grid(title: str, rows: Sequence[str], columns: Sequence[str], text: Callable[[str, str], str]) -> Iterator[str]:
    yield wrapped(title)
    for at in range(0, len(columns), ACROSS):
        part = columns[at : at + ACROSS]
        yield "\n" * (at > 0) + table([[row, *(text(row, name) for name in part)] for row in rows], ["", *part], least=COLUMN)


def cells(
    result: Result, title: str, text: Callable[[Cell], str], rows: Sequence[str] = (), columns: Sequence[str] = ()
) -> Iterator[str]:
    """Contenders down (those measured, unless `rows`), workloads across; nothing where no cell has a text."""

    def of(contender: str, workload: str) -> str:
        cell = result.cell(contender, workload)
        return text(cell) if cell else ""

    if any(map(text, result.cells)):
        yield from grid(title, rows or measured(result), columns or [w.name for w in result.workloads], of)


def speeds(result: Result) -> Iterator[str]:
    def text(cell: Cell) -> str:
        if cell.figure is None:
            return INSTEAD[cell.status]
        return f"{brief(cell.figure.median)} ±{half_range(cell.figure)}{'*' if cell.deviations else ' '}"

    stars = "; * not what the truth makes, see the notes" if any(c.deviations for c in result.cells) else ""
    title = f"{result.unit}: median ± half the interquartile range{stars}"
    yield from cells(result, title, text, [c.name for c in result.contenders])


def ratios(result: Result) -> Iterator[str]:
    def text(cell: Cell) -> str:
        r = cell.ratio
        return "" if r is None else shown(r) if shown(r) == "=" else f"{shown(r)} {brief(r.low)}-{brief(r.high)}"

    if others := [name for name in measured(result) if name != FUSED]:
        title = f"{FUSED} / contender: median of the rounds' ratios, 95 % interval; = where that holds 1"
        yield from cells(result, title, text, others)


def further(result: Result) -> Iterator[str]:
    for k, name in enumerate(found := [name for name in MORE if any(name in cell.more for cell in result.cells)]):
        title, words = MORE[name]
        yield from cells(result, title, lambda cell, n=name, w=words: w(cell.more[n]) if n in cell.more else "")  # type: ignore[misc]
        if k + 1 < len(found):
            yield ""


def exponents(result: Result) -> Iterator[str]:
    found = {(f.contender, f.axis): f.exponent for f in result.fits}

    def text(contender: str, axis: str) -> str:
        e = found.get((contender, axis))
        return f"{e.median:.2f} ±{(e.high - e.low) / 2:.2f}" if e else ""

    if found:
        title = "time ~ x ^ exponent, ± half the 95 % interval of the line's slope"
        yield from grid(title, measured(result), axes_of(result), text)


def bounds(result: Result) -> Iterator[str]:
    title = "share of the memory bound: bytes of a perfect pass (whole image in, view out) x views/s over copy bandwidth"
    yield from cells(result, title, lambda cell: f"{100 * cell.share:.3g} %" if cell.share else "")
    if any(cell.share for cell in result.cells):
        passes = ", ".join(f"{w.name} {(w.perfect_bytes or 0) / 1000:,.0f} kB" for w in result.workloads)
        yield wrapped(f"a perfect pass: {passes}")


def decodes(result: Result) -> Iterator[str]:
    """What a view costs in units of what a loader pays anyway."""
    rates = {w.name: w.decode for w in result.workloads if w.decode}

    def text(cell: Cell) -> str:
        rate = rates.get(cell.workload)
        return brief(rate / cell.figure.median) if rate and cell.figure else ""

    title = "time of a view / of decoding its image from JPEG with Pillow"
    yield from cells(result, title, text, columns=list(rates))


def prices(result: Result) -> Iterator[str]:
    """What strong costs in units of cheap."""
    pairs = {strong.partition("-")[2]: (strong, cheap) for strong, cheap in priced(result)}

    def text(contender: str, side: str) -> str:
        strong, cheap = (result.cell(contender, name) for name in pairs[side])
        if not (strong and cheap and strong.values and cheap.values):
            return ""
        times = quartiles([b / a for a, b in zip(strong.values, cheap.values, strict=True)])
        return f"{brief(times.median)} ±{half_range(times)}"

    if pairs and measured(result):
        yield from grid("strong / cheap: time of a view", measured(result), list(pairs), text)


def verdicts(result: Result) -> Iterator[str]:
    if result.targets:
        yield f"targets, {result.run.in_threads}"
        yield table(((f"  {v.target}", *judged(v)) for v in result.targets), align="lrll")
    elif result.suite == "augment":
        yield "targets: they are for one thread and float32, run with --threads 1; on CUDA for bfloat16"


def notes(result: Result) -> Iterator[str]:
    yield "notes"
    for c in result.contenders:
        if c.note or c.name in measured(result):
            yield wrapped(f"  {c.name}: {c.regime}" + (f"; {c.note}" if c.note else ""), "    ")
    for mark, where, text in remarks(result):
        yield wrapped(f"  {mark} {where}: {text}", "    ")
    first = [(cell.first_call_s, cell) for cell in result.cells if cell.first_call_s is not None]
    if first:
        seconds, cell = max(first, key=lambda pair: pair[0])
        yield f"  slowest first call, untimed above: {cell.contender} on {cell.workload}, {seconds:.1f} s"
    greedy = [c for c in result.cells if c.cores is not None and c.cores > allowed(c, result) + 0.2]
    if greedy:
        said = ", ".join(f"{c.contender} on {c.workload} {c.cores:.1f}" for c in greedy)
        yield wrapped(f"  more cores than given: {said}", "    ")


def allowed(cell: Cell, result: Result) -> int:
    return result.run.threads * (2 if cell.contender.endswith("-2x") else 1)
