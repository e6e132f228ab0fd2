"""Backends: each a module that says which ops it has (`OPS`), how many steps it takes at a time, and applies them.

    take(steps, given) -> n          how many of the steps, from the first on, one stage of this backend can do
    apply(batch, ops, draws) -> batch

    given   what the stage starts from: "images", "floats" or "ragged" (see below).
    batch   Images (uint8, ragged), float32 (B, 3, H, W), or a list of float32 (3, H, W) while sizes still differ; values in
            [0, 1] until Normalize. Never changed in place.
    ops     a run of steps of one view; `OPS` holds the type of each.
    draws   one dict of arrays a step (see `gpuaug.Draws`): NumPy, on the host.

A backend may have `prepare(kind)`, which does beforehand, for a type of device, what its first `apply` would take long with.
`apply` of the fused backend also takes the dtype and the memory format of the result, which it writes at no further cost.
A backend may have a second of its kind, `APPROXIMATE`, which also takes what its library does in another way.
A backend never imports another, and is imported when it is first asked for, so none of their libraries is required.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Container, Sequence
from types import ModuleType
from typing import Literal

import torch

from ..images import Images
from ..ops import Op

Batch = Images | torch.Tensor | list[torch.Tensor]
Given = Literal["images", "floats", "ragged"]

REQUIRES: dict[str, dict[str, str]] = {
    "fused": {"cpu": "numba", "cuda": "triton"},
    "kornia": {"any": "kornia"},
    "torchvision": {"cpu": "torchvision"},
    "dali": {"cpu": "nvidia.dali"},
}
"""Backend -> type of device it runs on -> module it needs there; best first, which is the order of "auto"."""

ON_REQUEST = frozenset({"dali"})
"""Backends that "auto" never takes."""

DISTRIBUTIONS = {"nvidia.dali": "nvidia-dali-cuda130"}
"""Module -> what pip calls it, where that is another name."""


def requirement(name: str, kind: str = "cpu") -> str | None:
    """The module that a backend needs on this type of device, None where it does not run there."""
    return REQUIRES[name].get(kind) or REQUIRES[name].get("any")


def installed(name: str, kind: str = "cpu") -> bool:
    """Whether a backend runs on this type of device and its module can be found; it is not imported."""
    module = requirement(name, kind)
    return module is not None and findable(module)


def findable(module: str) -> bool:
    parent = module.rpartition(".")[0]
    try:
        return (not parent or findable(parent)) and importlib.util.find_spec(module) is not None
    except ImportError:  # of a finder that hides it
        return False


def lacking(kind: str = "cpu") -> dict[str, str]:
    """Backends that "auto" would take on this type of device, were their package installed -> what to say of it."""
    out = {}
    for name in REQUIRES:
        module = requirement(name, kind)
        if module is not None and name not in ON_REQUEST and not findable(module):
            package = DISTRIBUTIONS.get(module, module)
            out[name] = (
                f"{package} is not installed, so backend {name!r} is left out on {kind} and slower ones do its work, at a "
                f"fifth of the speed or less; install it with: pip install {package}"
            )
    return out


def load(name: str, kind: str = "cpu") -> ModuleType:
    """A backend's module.

    Raises ValueError for an unknown name or a device that it does not run on, ImportError with the remedy where its package
    is missing.
    """
    if name not in REQUIRES:
        raise ValueError(f'backend must be "auto" or one of {", ".join(map(repr, REQUIRES))}, got {name!r}')
    module = requirement(name, kind)
    if module is None:
        others = " or ".join(repr(other) for other in REQUIRES if requirement(other, kind))
        raise ValueError(f"backend {name!r} runs on {', '.join(REQUIRES[name])}, not on {kind}; use {others}")
    if not installed(name, kind):
        package = DISTRIBUTIONS.get(module, module)
        raise ImportError(f"backend {name!r} needs {package}; install it with: pip install {package}")
    return importlib.import_module(f"{__name__}.{name}")


def leading(steps: Sequence[Op], known: Container[type[Op]]) -> int:
    """How many steps, from the first on, are of known types: `take` of a backend that does any of its ops in any order."""
    return next((n for n, op in enumerate(steps) if type(op) not in known), len(steps))
