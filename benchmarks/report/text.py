"""Plain text that fits 100 columns, in a terminal as in a log."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from io import StringIO

from rich.console import Console
from rich.table import Table

WIDTH = 100


def wrapped(text: str, indent: str = "  ") -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def table(rows: Iterable[Sequence[str]], head: Sequence[str] = (), align: str = "lr", least: int = 0) -> str:
    """Rows of cells as lines. head: titles of the columns. align: l or r a column, the last for all that follow.

    least: width of every column but the first, in characters.
    """
    rows = list(rows)
    made = Table(box=None, show_header=bool(head), header_style="", pad_edge=False, padding=(0, 1, 0, 0))
    for k in range(max(map(len, [head, *rows]))):
        side = align[min(k, len(align) - 1)]
        title = head[k] if head else ""
        made.add_column(title, justify="left" if side == "l" else "right", min_width=least if k else None, overflow="fold")
    for row in rows:
        made.add_row(*row)
    out = StringIO()
    Console(file=out, width=WIDTH, color_system=None, markup=False, highlight=False, emoji=False).print(made)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
