"""Results as one HTML page that needs nothing else: no network, no script; it follows the reader's light or dark setting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from ..measure.result import FUSED, Cell, Result, Verdict, is_ours
from ..measure.stats import brief, shown
from . import charts
from .table import axes_of, grouped, half_range, judged, measured

CAPTIONS = {
    "speeds": "{unit} by contender",
    "limit": "Share of the limit that the memory sets",
    "strong-cheap": "Strong against cheap augmentation",
    "curves": "Scaling",
    "data-wait": "Waiting for data",
}

CSS = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1f2933; --muted: #5b6673; --grid: #dfe4ea; --ours: #0f766e;
  --peer: #94a3b8; --line0: #0e7490; --line1: #b45309; --line2: #7c3aed; --line3: #be185d; --line4: #4d7c0f;
  --line5: #64748b; --line6: #a16207; --line7: #1d4ed8; --bad: #b91c1c; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --ink: #e6eaee; --muted: #a3aeba; --grid: #343c46;
  --ours: #2dd4bf; --peer: #64748b; --line0: #22d3ee; --line1: #fbbf24; --line2: #a78bfa; --line3: #f472b6;
  --line4: #a3e635; --line5: #94a3b8; --line6: #facc15; --line7: #60a5fa; --bad: #f87171; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 1150px; padding: 0 1rem; }
svg { width: 100%; height: auto; font-family: "DejaVu Sans", Verdana, sans-serif; }
figure { margin: 1.5rem 0; } figcaption { font-weight: 600; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--grid); padding: 0.3rem 0.7rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } td.ours, th.ours { color: var(--ours); font-weight: 600; }
small, .muted { color: var(--muted); } .bad { color: var(--bad); font-weight: 600; }
"""


def page(files: Sequence[tuple[str, Sequence[Result]]]) -> str:
    """files: names, and what they hold."""
    everything = [(name, result) for name, results in files for result in results]
    body = "\n".join("\n".join(section(result, f"c{k}", name)) for k, (name, result) in enumerate(everything))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>gpuaug benchmarks</title>\n'
        f'<link rel="icon" href="data:,">\n<style>{CSS}</style>\n</head>\n<body>\n'
        f"<h1>gpuaug benchmarks</h1>\n{body}\n</body>\n</html>\n"
    )


def section(result: Result, name: str, file: str) -> Iterator[str]:
    """name: unique in the page."""
    run, m = result.run, result.machine
    yield f"<h2>{escape(result.suite)}</h2>"
    quick = ", <strong>quick: rough figures</strong>" if run.quick else ""
    yield (
        f"<p>{escape(m.processors)}, {m.cores} cores, {m.memory / 2**30:.0f} GiB; {escape(run.device)}, {run.in_threads}, "
        f"{run.dtype}, {run.repeats} interleaved repeats, seed {run.seed}{quick}; {escape(result.date[:10])}, commit "
        f"{escape(m.commit or 'unknown')}; load {' and '.join(map(str, m.load))} before and after<br><small>{escape(file)}; "
        f"Python {escape(m.python)}, {escape(', '.join(f'{k} {v}' for k, v in m.versions.items()))}</small></p>"
    )
    for kind, chart in charts.charts(result).items():
        caption = CAPTIONS[kind].format(unit=result.unit)
        yield f"<figure><figcaption>{escape(caption)}</figcaption>{charts.svg(chart, result, f'{name}-{kind}')}</figure>"
    yield from figures(result)
    yield from exponents(result)
    yield from targets(result.targets)
    yield from notes(result)


def figures(result: Result) -> Iterator[str]:
    """Contenders down, workloads across: median, half the interquartile range, and gpuaug-fused's ratio to it."""
    if not measured(result):
        return
    yield f"<h3>{escape(result.unit)}</h3>\n<div class='wide'><table><tr><th></th>"
    yield "".join(f"<th>{escape(w.name)}</th>" for w in result.workloads) + "</tr>"
    for c in result.contenders:
        ours = ' class="ours"' if is_ours(c.name) else ""
        cells = "".join(f"<td{ours}>{figure(result.cell(c.name, w.name))}</td>" for w in result.workloads)
        yield f"<tr><td{ours}>{escape(c.name)}</td>{cells}</tr>"
    if any(w.decode for w in result.workloads):
        yield "<tr><td>decoding the image, images/s</td>"
        yield "".join(f"<td>{brief(w.decode) if w.decode else ''}</td>" for w in result.workloads) + "</tr>"
    yield "</table></div>"
    more = "; below, gpuaug-fused over it" if any(c.ratio for c in result.cells) else ""
    stars = "; * differs from the truth" if any(c.deviations for c in result.cells) else ""
    yield f'<p class="muted">Median ± half the interquartile range{more}{stars}.</p>'


def figure(cell: Cell | None) -> str:
    if cell is None:
        return ""
    if cell.figure is None:
        return f'<small title="{escape(cell.reason or "")}">{escape(cell.status)}</small>'
    ratio = f"<br><small>{shown(cell.ratio)}</small>" if cell.ratio and cell.contender != FUSED else ""
    spread = f"<small>±{half_range(cell.figure)}</small>" if len(cell.values) > 1 else ""
    return f"{brief(cell.figure.median)}{'*' * bool(cell.deviations)} {spread}{ratio}"


def exponents(result: Result) -> Iterator[str]:
    if not result.fits:
        return
    axes = axes_of(result)
    yield "<h3>time ~ x ^ exponent, with its 95 % interval</h3><table><tr><th></th>"
    yield "".join(f"<th>{escape(axis)}</th>" for axis in axes) + "</tr>"
    found = {(f.contender, f.axis): f.exponent for f in result.fits}
    for name in measured(result):
        spreads = [found.get((name, axis)) for axis in axes]
        texts = [f"{s.median:.2f} <small>{s.low:.2f} to {s.high:.2f}</small>" if s else "" for s in spreads]
        yield f"<tr><td>{escape(name)}</td>{''.join(f'<td>{text}</td>' for text in texts)}</tr>"
    yield "</table>"


def targets(verdicts: Sequence[Verdict]) -> Iterator[str]:
    if not verdicts:
        return
    yield "<h3>targets</h3><table><tr><th>target</th><th>wanted</th><th>measured</th><th></th></tr>"
    for v in verdicts:
        wanted, found, word = judged(v)
        bad = ' class="bad"' if v.met is False else ""
        yield f"<tr><td>{escape(v.target)}</td><td>{escape(wanted)}</td><td>{escape(found)}</td>"
        yield f"<td{bad}>{escape(word)}</td></tr>"
    yield "</table>"


def notes(result: Result) -> Iterator[str]:
    lines = [f"<b>{escape(c.name)}</b>: {escape('; '.join(filter(None, (c.regime, c.note))))}" for c in result.contenders]
    for of in (lambda cell: ", ".join(cell.deviations), lambda cell: cell.reason or ""):
        lines += [f"{escape(where)}: {escape(text)}" for text, where in grouped(result, of).items()]
    yield "<details><summary>notes</summary><ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul></details>"


def pictures(files: Sequence[tuple[str, Sequence[Result]]], folder: Path) -> list[Path]:
    """Every chart as a PNG, named SUITE-CHART.png, with the file's stem before it where there are several files."""
    paths = []
    for name, results in files:
        for result in results:
            for kind, chart in charts.charts(result).items():
                stem = f"{Path(name).stem}-" if len(files) > 1 else ""
                paths.append(folder / f"{stem}{result.suite}-{kind}.png")
                charts.png(chart, result, paths[-1])
    return paths
