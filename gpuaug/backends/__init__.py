"""Backends: each a module that says which ops it has (`OPS`) and applies a run of them (`apply`).

    apply(batch, ops, draws) -> batch

    batch   Images (uint8, ragged), a float32 tensor (B, 3, H, W), or a list of float32 (3, H, W) while sizes still differ;
            values in [0, 1] until Normalize. Never changed in place.
    ops     a run of steps of one view; `OPS` holds the type of each.
    draws   one dict of arrays a step (see `gpuaug.Draws`): NumPy, on the host.

A backend never imports another, and is imported when it is first asked for, so none of their libraries is required.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

import torch

from ..images import Images

Batch = Images | torch.Tensor | list[torch.Tensor]

REQUIRES = {"torchvision": "torchvision", "kornia": "kornia"}
"""Backend -> the package it needs, in the order of the documentation."""

INSTALL = {"torchvision": "pip install torchvision", "kornia": "pip install kornia"}


def installed(name: str) -> bool:
    """Whether the package that a backend needs can be found; it is not imported."""
    return importlib.util.find_spec(REQUIRES[name]) is not None


def load(name: str) -> ModuleType:
    """The backend's module. Raises ValueError for an unknown name, ImportError with the remedy where its package is missing."""
    if name not in REQUIRES:
        raise ValueError(f'backend must be "auto" or one of {", ".join(map(repr, REQUIRES))}, got {name!r}')
    if not installed(name):
        raise ImportError(f"backend {name!r} needs {REQUIRES[name]}; install it with: {INSTALL[name]}")
    return importlib.import_module(f"{__name__}.{name}")
