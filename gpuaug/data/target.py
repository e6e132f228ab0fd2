"""Targets of a batch: collated as torch does, and moved to the device whatever their structure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import default_collate


def collate_targets(targets: npt.NDArray[Any], index: npt.NDArray[np.int64], transform: Callable[[Any], Any] | None) -> Any:
    """Targets of the samples `index`: a tensor (B, ...) of the targets' dtype, or the transformed ones, collated."""
    if transform is None:
        return torch.from_numpy(targets[index])
    return default_collate([transform(t) for t in targets[index].tolist()])


def to_device(tree: Any, device: torch.device) -> Any:
    """Every tensor in nested lists, tuples and mappings on the device; what is no tensor stays as it is."""
    if isinstance(tree, torch.Tensor):
        return (tree.pin_memory() if device.type == "cuda" else tree).to(device, non_blocking=True)
    if isinstance(tree, Mapping):
        return {key: to_device(value, device) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(to_device(value, device) for value in tree))
    if isinstance(tree, (list, tuple)):
        return type(tree)(to_device(value, device) for value in tree)
    return tree


def tensors(tree: Any) -> list[torch.Tensor]:
    """Every tensor in nested lists, tuples and mappings."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    return [t for value in tree for t in tensors(value)] if isinstance(tree, (list, tuple)) else []
