"""`import gpuaug` stays light: what a backend or a dataset needs is imported when it is first asked for."""

from __future__ import annotations

import json
import subprocess
import sys
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
    """The top-level packages that each stage imports and the stages before it did not, in one fresh interpreter."""
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
        "ssl_train",
        "benchmarks",
    ],
)
def test_import_gpuaug_leaves_other_packages_alone(package: str, added: dict[str, set[str]]) -> None:
    assert package not in added["gpuaug"]
    assert "gpuaug" in added["gpuaug"]


def test_declaring_and_drawing_need_no_backend_package(added: dict[str, set[str]]) -> None:
    assert not added["draws"] & {"kornia", "torchvision"}


def test_a_backend_imports_its_own_package_alone(added: dict[str, set[str]]) -> None:
    assert "torchvision" in added["truth"]
    assert "kornia" not in added["truth"]


def test_every_public_name_exists() -> None:
    assert len(set(gpuaug.__all__)) == len(gpuaug.__all__)
    assert all(hasattr(gpuaug, name) for name in gpuaug.__all__)
    assert {"policy", "policies", "Policy", "View", "sample", "Draws", "Images", "Augmenter", "DataLoader"} <= set(
        gpuaug.__all__
    )
