"""If a package is missing, slower code does its work, and one warning names the package and how to install it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HIDING = """
import sys
from importlib.machinery import PathFinder

class Without:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in {missing!r} else PathFinder.find_spec(name, path, target)

sys.meta_path = [Without if finder is PathFinder else finder for finder in sys.meta_path]
import gpuaug
"""

USING = """
import numpy as np
def use(*ops, **options):
    policy = gpuaug.Policy(gpuaug.View(16, gpuaug.RandomResizedCrop(), *ops))
    augment = gpuaug.Augmenter(policy, **options)
    if "device" not in options:
        assert len(augment([np.zeros((20, 30, 3), np.uint8)], gpuaug.sample(policy, [0]))) == 1
    print(*dict.fromkeys(stage.backend for stages in augment.plan for stage in stages))
"""


def program(missing: tuple[str, ...], code: str) -> tuple[list[str], list[str]]:
    """Run code in a process that cannot find these packages: its lines on standard output and on standard error."""
    done = subprocess.run(
        [sys.executable, "-c", HIDING.format(missing=missing) + USING + code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "compiling" not in line]
    return done.stdout.splitlines(), told


def test_nothing_is_said_where_nothing_is_missing() -> None:
    assert program((), "use(); use(gpuaug.RandomCrop(padding=2))") == (["fused", "fused batched"], [])


def test_without_numba_batched_is_taken_and_one_line_says_so() -> None:
    out, (line,) = program(("numba",), "use(); use(gpuaug.RandomInvert()); use(gpuaug.RandomCrop(padding=2))")
    assert out == ["batched"] * 3
    assert line.startswith("numba is not installed, so backend 'fused' is left out on cpu")
    assert line.endswith("pip install numba")


def test_without_kornia_nothing_is_slower() -> None:
    """Only the backend `kornia` needs Kornia, and gpuaug can be imported without it."""
    assert program(("kornia",), "use(); use(gpuaug.RandomCrop(padding=2)); use(gpuaug.RandomInvert(), backend='batched')") == (
        ["fused", "fused batched", "batched"],
        [],
    )


def test_without_triton_a_gpu_does_without_the_fused_kernels() -> None:
    out, (line,) = program(("triton",), "use(device='cuda:0')")
    assert out == ["batched"]
    assert line.startswith("triton is not installed, so backend 'fused' is left out on cuda")


def test_a_backend_that_was_asked_for_says_nothing_of_others() -> None:
    assert program(("numba",), "use(backend='torchvision')") == (["torchvision"], [])


def test_a_backend_that_was_asked_for_says_what_to_install() -> None:
    code = "try: use(backend='kornia')\nexcept ImportError as error: print(error)"
    assert program(("kornia",), code)[0] == ["backend 'kornia' needs kornia; install it with: pip install kornia"]


def test_a_decoder_that_was_asked_for_says_what_to_install() -> None:
    code = "from gpuaug.data.decoders import decoder_of\ntry: decoder_of('libjpeg', 100)\nexcept ImportError as e: print(e)"
    (line,) = program(("numba",), code)[0]
    assert line.startswith('decoder "libjpeg" cannot be used: numba is not installed')
    assert line.endswith("pip install numba")


@pytest.mark.parametrize("data", [False, True])
def test_doctor_says_it_too(data: bool, tmp_path: Path) -> None:
    arguments = ["doctor"]
    if data:
        for k in range(4):
            path = tmp_path / "photos" / "a" / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((20, 20, 3), k, np.uint8)).save(path)
        arguments += [str(tmp_path / "photos"), "simclr_cifar", "--batch-size", "2", "--workers", "0", "--seconds", "0.1"]
    code = f"from gpuaug import cli; sys.exit(cli.main({arguments!r}))"
    slow = [line for line in program(("numba",), code)[0] if line.startswith("slow: ")]
    assert len(slow) == 1
    assert "pip install numba" in slow[0]
    assert not any(line.startswith("slow: ") for line in program((), code)[0])
