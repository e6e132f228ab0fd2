"""The worked examples of CONTRIBUTING.md, applied to a copy of the tree and run there.

Each section's `diff` blocks go through `git apply`, and its `python` blocks below a path become files. Then its commands
run, and its other `python` block, which must print what the `text` block below it shows.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from gpuaug.backends.fused.cpu import cache

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(?:^`(\S+)`:\n\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""The path in the line above a block, if there is one; the language of the block; its content."""

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="git tells which files belong to the tree")


@dataclass(frozen=True)
class Section:
    """The blocks of a section of CONTRIBUTING.md: language -> path (empty where there is none) and content of each."""

    blocks: dict[str, list[tuple[str, str]]]

    @property
    def edited(self) -> set[str]:
        """Files that the `diff` blocks change."""
        return {path for _, text in self.blocks["diff"] for path in re.findall(r"^\+\+\+ b/(\S+)$", text, re.MULTILINE)}

    @property
    def new(self) -> dict[str, str]:
        """Files that the `python` blocks add, with their contents."""
        return {path: text for path, text in self.blocks["python"] if path}

    @property
    def commands(self) -> list[list[str]]:
        lines = "".join(text for _, text in self.blocks["sh"]).replace("\\\n", " ").splitlines()
        return [shlex.split(line) for line in lines]


def section(title: str) -> Section:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    text = page.split(f"\n## {title}\n")[1].split("\n## ")[0]
    blocks: dict[str, list[tuple[str, str]]] = {"diff": [], "python": [], "sh": [], "text": []}
    for path, language, content in BLOCK.findall(text):
        blocks[language].append((path, content))
    return Section(blocks)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the files that git knows, or would add."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def apply(example: Section, tree: Path) -> None:
    """Change the tree as the section says; its diffs must apply to today's files."""
    subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)  # so that paths are this folder's, wherever it lies
    assert example.edited
    for path in example.edited:
        assert (tree / path).is_file(), f"CONTRIBUTING.md edits {path}, which is not there"
    for _, text in example.blocks["diff"]:
        done = subprocess.run(["git", "apply", "-"], cwd=tree, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"CONTRIBUTING.md no longer applies: {done.stderr}"
    for path, text in example.new.items():
        assert not (tree / path).exists(), f"CONTRIBUTING.md adds {path}, which is there"
        (tree / path).write_text(text, encoding="utf-8")


def run(tree: Path, *arguments: str) -> str:
    """What Python prints, run in the tree; its fused kernels are those of this tree, whose sources are the same."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    kernels, _ = cache.find_folder(f"fused-{cache.version()}", cache.cache_folders())
    if kernels is not None:
        environment["NUMBA_CACHE_DIR"] = str(kernels.parent)
    command = [sys.executable, *arguments]
    environment |= {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{shlex.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def works(title: str, tree: Path) -> tuple[Section, set[str]]:
    """Apply a section and run all of it; returns it, and the tests that passed."""
    example, passed = section(title), set()
    apply(example, tree)
    files = [path for path in (*example.edited, *example.new) if path.endswith(".py")]
    run(tree, "-m", "ruff", "check", "--quiet", *files)
    run(tree, "-m", "ruff", "format", "--quiet", "--check", *files)
    for python, *arguments in example.commands:
        assert python == "python"
        out = run(tree, *arguments, *(["-rA", "-p", "no:cacheprovider"] if "pytest" in arguments else []))
        passed |= set(re.findall(r"^PASSED (.*)$", out, re.MULTILINE))
    snippets = [text for path, text in example.blocks["python"] if not path]
    for code, (_, shown) in zip(snippets, example.blocks["text"], strict=True):
        assert run(tree, "-c", code) == shown
    return example, passed


def test_an_op_goes_into_five_files(tree: Path) -> None:
    example, passed = works("Adding an op", tree)
    assert len([path for path in example.edited if not path.startswith("tests/test_")]) == 5
    assert not example.new
    name = "RandomGamma"
    alike = "tests/parity/test_ops.py::test_an_op_that_keeps_the_size_equals_the_truth"
    assert passed >= {f"{alike}[{backend}-{name}]" for backend in ("fused", "batched", "kornia")}
    assert "tests/test_distributions.py::test_gamma" in passed
    assert "tests/test_draw_columns.py::test_every_public_op_is_in_the_tables" in passed


def test_a_backend_goes_into_a_file_of_its_own_and_two_tables(tree: Path) -> None:
    example, passed = works("Adding a backend", tree)
    assert example.edited == {"gpuaug/backends/__init__.py", "tests/parity/cases.py"}
    assert len(example.new) == 1
    alike = "tests/parity/test_ops.py::test_an_op_that_keeps_the_size_equals_the_truth"
    ops = ("RandomHorizontalFlip", "RandomVerticalFlip", "RandomInvert", "RandomSolarize", "GaussianBlur")
    assert passed >= {f"{alike}[opencv-{op}]" for op in ops}
    assert (tree / "sheet.png").is_file()


def test_a_source_goes_into_a_file_of_its_own_and_the_place_that_recognises_it(tree: Path) -> None:
    example, passed = works("Adding a source", tree)
    assert example.edited == {"gpuaug/data/sources/resolve.py"}
    alike = "tests/data/test_sqlite.py::test_views_and_targets_are_those_of_the_folder"
    assert passed >= {f"{alike}[{workers}]" for workers in (0, 2)}
    assert sum("test_a_row_without_an_image_is_named" in name for name in passed) == 4
    assert "tests/data/test_sqlite.py::test_a_missing_label_is_explained" in passed


def test_an_ssl_method_is_a_loss_a_criterion_and_a_row(tree: Path) -> None:
    example, passed = works("Adding an SSL method", tree)
    assert example.edited == {*(f"ssl_train/{name}.py" for name in ("losses", "criteria", "methods")), "docs/training.md"}
    assert "tests/ssl_train/test_dcl.py::test_it_equals_the_formula_and_lightlys" in passed
    assert "tests/ssl_train/test_commands.py::test_it_runs[--method dcl $QUICK]" in passed
    assert "tests/ssl_train/test_methods.py::test_every_method_moves_every_weight_it_trains[dcl]" in passed
