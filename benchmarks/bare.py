"""`python -m benchmarks.bare DEVICE`: what this machine has of what `gpu-check` uses, and a first view on its GPU.

It prints a row for each thing. Whatever `gpu-check` cannot do without is also named on stderr, and makes the exit status 1.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import sysconfig
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .measure import machine
from .report.text import table

PACKAGES = dict.fromkeys(
    ("torch", "torchvision", "triton", "numba", "numpy", "pillow", "tqdm", "jinja2", "pytest", "scikit-image", "hypothesis"), ""
) | {
    "kornia": "its rows, and the backend kornia",
    "nvidia-dali-cuda130": "its rows, and the decoder dali",
    "matplotlib": "the page and the picture; `report` makes them elsewhere",
    "tyro": "commands of gpuaug and ssl_train, which gpu-check does not run",
}
"""Distribution -> what is left out without it; "" if gpu-check needs it."""


def package(name: str) -> str:
    found, lost = machine.version_of(name), PACKAGES[name]
    if not (found or lost):
        raise ImportError(f"missing; carry its wheel, or install it with: pip install {name}")
    return found or f"missing, and with it {lost}"


def maxnreg() -> str:
    """Triton's limit on registers, which some kernels are launched with."""
    from triton.backends.nvidia.compiler import CUDAOptions

    if "maxnreg" not in CUDAOptions.__dataclass_fields__:
        raise RuntimeError("this Triton does not know it; use Triton 3.6 to 3.9")
    return "known to Triton"


def compiler() -> str:
    """Triton compiles a launcher for each kernel, by CC if that is set, else by gcc or clang."""
    names = [os.environ["CC"]] if "CC" in os.environ else ["gcc", "clang"]
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise RuntimeError(f"no {' or '.join(names)}; Triton's launchers need one: install gcc, or name another compiler in CC")
    return found


def header() -> str:
    """Triton's launchers include it."""
    path = Path(sysconfig.get_path("include"), "Python.h")
    if not path.is_file():
        raise RuntimeError(f"not in {path.parent}; Triton's launchers include it: install python3-dev, or use another Python")
    return str(path)


def bandwidth() -> str:
    return f"{max(machine.copies(2**30, 'cuda')) / 1e9:.0f} GB/s, read and written"


def first_view() -> str:
    import torch

    import gpuaug

    policy = gpuaug.policy("simclr", size=32)
    images = gpuaug.Images.from_list([torch.zeros(40, 50, 3, dtype=torch.uint8, device="cpu")]).to("cuda")
    views = gpuaug.Augmenter(policy, "fused", "cuda")(images, gpuaug.sample(policy, [0]))
    if not bool(views[0].isfinite().all()):
        raise ValueError("it has values that are not finite")
    return "made by Triton"


def main(device: str) -> int:
    checks: dict[str, Callable[[], str]] = {"Python": platform.python_version}
    checks |= {name: partial(package, name) for name in PACKAGES}
    if device == "cuda":
        checks |= {"maxnreg": maxnreg, "C compiler": compiler, "Python.h": header}
        checks |= {"GPU": machine.gpu, "driver": machine.driver, "copy bandwidth": bandwidth, "a first view": first_view}
    rows, missing = [], []
    for name, check in checks.items():
        try:
            rows.append((f"  {name}", check()))
        except Exception as error:  # a driver or a compiler may raise anything
            text = " ".join(f"{type(error).__name__}: {error}".split())[:150]
            rows.append((f"  {name}", text))
            missing.append(f"{name}: {text}")
    print(f"machine\n{table(rows, align='ll')}", flush=True)
    if missing:
        print("; ".join(missing), file=sys.stderr)
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
