"""docs/policies.md lists every named policy, and its examples print what it shows.

`python tests/test_policies_page.py` writes both anew.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from pathlib import Path

import gpuaug

PAGE = Path(__file__).parents[1] / "docs" / "policies.md"
LIST = re.compile(r"<!-- policies: (.*?) -->\n.*?<!-- end -->", re.DOTALL)
EXAMPLE = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)


def listed(files: str) -> str:
    """A row for each policy of these files of the catalog: its arguments, and the first line of its docstring."""
    rows = [f"<!-- policies: {files} -->", "| policy | arguments beside `size` | what it is |", "|---|---|---|"]
    for name, function in gpuaug.policies.items():
        if function.__module__.rpartition(".")[2] in files.split():
            given = inspect.signature(function).parameters.values()
            arguments = ", ".join(f"`{p.name}={p.default!r}`" for p in given if p.name != "size")
            line = (inspect.getdoc(function) or "").splitlines()[0]
            rows.append(f"| `{name}` | {arguments} | {line} |")
    return "\n".join([*rows, "<!-- end -->"])


def page(text: str) -> str:
    """The page with its lists and the output of its examples."""
    text = LIST.sub(lambda found: listed(found[1]), text)
    names: dict[str, object] = {}

    def shown(found: re.Match[str]) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(found[1], names)
        return f"```python\n{found[1]}```\n\n```text\n{out.getvalue()}```"

    return EXAMPLE.sub(shown, text)


def test_the_page_is_up_to_date() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text
    assert len(EXAMPLE.findall(text)) == text.count("```python") == 2


def test_the_page_lists_every_policy() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == list(dict.fromkeys(rows))
    assert set(rows) == set(gpuaug.policies)


def test_the_readme_counts_the_policies() -> None:
    readme = (PAGE.parents[1] / "README.md").read_text(encoding="utf-8")
    assert f"{len(gpuaug.policies)} policies as published" in readme


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
