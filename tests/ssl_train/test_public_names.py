"""The trainer is a user of gpuaug like any other: it takes only names that tests/api_surface.json lists as public."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PUBLIC = json.loads((ROOT / "tests" / "api_surface.json").read_text(encoding="utf-8"))


def names_of_gpuaug(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(module, name) for each `from gpuaug... import name`, and for each attribute of the package itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and str(node.module).split(".")[0] == "gpuaug":
            yield from ((str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.startswith("gpuaug."))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "gpuaug":
            yield "gpuaug", node.attr


@pytest.mark.parametrize("path", sorted((ROOT / "ssl_train").glob("*.py")), ids=lambda path: str(path.name))
def test_only_public_names_of_gpuaug_are_used(path: Path) -> None:
    used = set(names_of_gpuaug(ast.parse(path.read_text(encoding="utf-8"))))
    assert [f"{module}.{name}" for module, name in used if name not in PUBLIC.get(module, {})] == []


def test_private_names_would_be_found() -> None:
    source = "import gpuaug.data.loader\nfrom gpuaug.gallery import caption\ngpuaug.augmenter\nfrom .data import x\n"
    assert list(names_of_gpuaug(ast.parse(source))) == [
        ("gpuaug.data.loader", ""),
        ("gpuaug.gallery", "caption"),
        ("gpuaug", "augmenter"),
    ]
