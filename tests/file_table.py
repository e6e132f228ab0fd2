"""Writes the table of files into CONTRIBUTING.md, each with the first sentence of its docstring.

python tests/file_table.py
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
PACKAGES = ("gpuaug", "ssl_train", "benchmarks")
BEGIN, END = "<!-- files: python tests/file_table.py -->", "<!-- end of files -->"


def purpose(path: Path) -> str:
    """The first sentence of a module's docstring, on one line. Raises ValueError if it has none."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not text:
        raise ValueError(f"{path.relative_to(ROOT)}: no docstring says what the file is for")
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[a-z)`\"0-9])(?<!et al)\.(?: |$)", paragraph)[0].rstrip(":.").replace("|", "\\|")


def table() -> str:
    """One list per folder, headed by the docstring of the package's `__init__.py`."""
    lines: list[str] = []
    for package in PACKAGES:
        for folder in sorted({path.parent for path in (ROOT / package).rglob("*.py")}):
            lines += ["", f"**`{folder.relative_to(ROOT)}/`** {purpose(folder / '__init__.py')}", ""]
            names = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
            lines += [f"- `{path.name}`: {purpose(path)}" for path in names]
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """The page with an up-to-date table."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
