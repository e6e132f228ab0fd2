"""Text from the templates of this folder, and plain tables that fit 100 columns in a terminal or a log."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from ..measure.result import FUSED, is_ours
from ..measure.stats import brief, shown
from .figures import axes_of, half_range, judged, measured, remarks, verdict_rows

WIDTH = 100


def fill(template: str, **values: Any) -> str:
    """The text of a template, without a line break at its end."""
    return templates().get_template(template).render(**values).rstrip("\n")


@cache
def templates() -> Environment:
    """The templates, and the functions that they call; an undefined name is an error."""
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    functions = (axes_of, brief, half_range, is_ours, judged, measured, remarks, shown, table, verdict_rows, wrapped)
    found.globals.update({function.__name__: function for function in functions}, FUSED=FUSED)
    return found


def wrapped(text: str, indent: str = "  ") -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def table(rows: Iterable[Sequence[str]], head: Sequence[str] = (), align: str = "lr", least: int = 0) -> str:
    """Lay out rows of cells as lines.

    Args:
        rows: Cells of each row.
        head: Titles of the columns.
        align: "l" or "r" for each column; the last one holds for all that follow.
        least: Width that every column but the first has at least, in characters.
    """
    lines = [list(row) for row in ([head] if head else []) + list(rows)]
    count = max(map(len, lines), default=0)
    lines = [line + [""] * (count - len(line)) for line in lines]
    widths = [max([least if k else 0, *(len(line[k]) for line in lines)]) for k in range(count)]
    while sum(widths) + count - 1 > WIDTH:
        widths[widths.index(max(widths))] -= 1
    sides = [str.ljust if align[min(k, len(align) - 1)] == "l" else str.rjust for k in range(count)]
    text = []
    for line in lines:
        cells = [textwrap.wrap(cell, max(width, 1), break_on_hyphens=False) for cell, width in zip(line, widths, strict=True)]
        for parts in zip_longest(*cells, fillvalue=""):
            padded = (pad(part, width) for pad, part, width in zip(sides, parts, widths, strict=True))
            text.append(" ".join(padded).rstrip())
    return "\n".join(text)
