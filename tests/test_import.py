"""`import gpuaug` is light: the packages of a backend or a dataset are imported when it is first used."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gpuaug

STAGES = {
    "torch": "import torch",
    "gpuaug": "import gpuaug",
    "draws": "p = gpuaug.policy('byol'); str(p), gpuaug.sample(p, range(4)), gpuaug.Images.from_list([])",
    "truth": "gpuaug.Augmenter(p, 'torchvision')",
}


@pytest.fixture(scope="module")
def added() -> dict[str, set[str]]:
    """The top-level packages that each stage imports in addition to those before it, in one fresh interpreter."""
    show = "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    program = "\n".join(["import json, sys", *(f"{statement}\n{show}" for statement in STAGES.values())])
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    seen = [set(json.loads(line)) for line in done.stdout.splitlines()]
    return {stage: seen[k] - (seen[k - 1] if k else set()) for k, stage in enumerate(STAGES)}


@pytest.mark.parametrize(
    "package",
    [
        "kornia",
        "nvidia",
        "triton",
        "numba",
        "torchvision",
        "webdataset",
        "datasets",
        "pyarrow",
        "matplotlib",
        "scipy",
        "skimage",
        "tyro",
        "ssl_train",
        "benchmarks",
    ],
)
def test_import_gpuaug_leaves_other_packages_alone(package: str, added: dict[str, set[str]]) -> None:
    assert package not in added["gpuaug"]
    assert "gpuaug" in added["gpuaug"]


def test_the_package_can_be_imported_where_there_is_no_fork() -> None:
    program = "import os, torch; del os.register_at_fork, os.fork; import gpuaug, gpuaug.cli"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parent.parent)


def test_declaring_and_drawing_need_no_backend_package(added: dict[str, set[str]]) -> None:
    assert not added["draws"] & {"kornia", "torchvision"}


def test_a_backend_imports_its_own_package_alone(added: dict[str, set[str]]) -> None:
    assert "torchvision" in added["truth"]
    assert "kornia" not in added["truth"]


BELOW = {
    "backends": {"images", "isolation", "memory", "ops", "philox", "policy", "sampling", "yuv"},
    "convert": {"ops", "policy", "schedules"},
    "record": {"convert", "data", "gallery", "ops", "policy", "sampling"},
    "augmenter": {"backends", "images", "isolation", "memory", "ops", "policy", "sampling", "schedules"},
    "sampling": {"convert", "isolation", "ops", "philox", "policy"},
    "policy": {"ops", "schedules"},
    "ops": {"schedules"},
    "schedules": set(),
    "philox": set(),
    "yuv": set(),
}
"""Part of gpuaug -> the parts that it may import."""


@pytest.mark.parametrize("part", BELOW)
def test_no_import_runs_up(part: str) -> None:
    package = Path(gpuaug.__file__).parent
    files = [*(package / part).rglob("*.py"), *package.glob(f"{part}.py")]
    found = {name for file in files for name in imported(file, package)}
    assert files
    assert found <= BELOW[part] | {part}


def imported(file: Path, package: Path) -> Iterator[str]:
    """The parts of gpuaug that a file imports, at its top or inside functions."""
    depth = len(file.relative_to(package).parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == depth:  # `from .images import`, `from . import images`
            yield from [node.module.partition(".")[0]] if node.module else [name.name for name in node.names]
        elif isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "level", 0):
            named = [name.name for name in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (name.split(".")[1] for name in named if name.startswith("gpuaug."))


def test_every_public_name_exists() -> None:
    assert len(set(gpuaug.__all__)) == len(gpuaug.__all__)
    assert all(hasattr(gpuaug, name) for name in gpuaug.__all__)
    assert {"policy", "policies", "Policy", "View", "sample", "Draws", "Images", "Augmenter", "DataLoader"} <= set(
        gpuaug.__all__
    )
