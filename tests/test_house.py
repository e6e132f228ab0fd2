"""The house: files are listed, short, few to a folder, and import downwards."""

import ast

import file_table
import pytest

ROOT = file_table.ROOT
FILES = sorted((ROOT / "gpuaug").rglob("*.py"))
LAYERS = ("decoders", "sources", "engine", "packing")
"""Of gpuaug/data: each may import itself and those before it; packing, which runs no epoch, not the engine."""


def test_contributing_lists_every_file_with_its_purpose():
    text = file_table.PAGE.read_text(encoding="utf-8")
    assert text == file_table.page(text), "write it anew: python tests/file_table.py"


def test_a_file_has_at_most_350_lines_and_a_folder_12_files():
    assert {p.name: n for p in FILES if (n := len(p.read_text(encoding="utf-8").splitlines())) > 350} == {}
    folders = {p.parent for p in FILES}
    assert {f.name: n for f in folders if (n := len(list(f.glob("*.py")))) > 12} == {}


def imported(path):
    """The modules that a file imports, by their whole names."""
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from [alias.name for alias in node.names]


@pytest.mark.parametrize("layer", LAYERS)
def test_data_goes_one_way(layer):
    above = list(LAYERS[LAYERS.index(layer) + 1 :]) + (["engine"] if layer == "packing" else [])
    above += ["loader", "arguments", "torch_interface", "doctor"]
    for path in (ROOT / "gpuaug/data" / layer).glob("*.py"):
        wrong = [m for m in imported(path) if any(f"{m}.".startswith(f"gpuaug.data.{other}.") for other in above)]
        assert wrong == [], path.name


def test_the_library_imports_neither_the_trainer_nor_the_suites():
    wrong = {p.name: m for p in FILES for m in imported(p) if m.split(".")[0] in ("ssl_train", "benchmarks")}
    assert wrong == {}
