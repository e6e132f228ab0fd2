"""Targets of a batch: collated as torch does, and moved to the device whatever their structure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..isolation import default_collate


def collate_targets(targets: npt.NDArray[Any], index: npt.NDArray[np.int64], transform: Callable[[Any], Any] | None) -> Any:
    """Targets of the samples `index`: a tensor (B, ...) of the targets' dtype, or the transformed ones, collated."""
    if transform is None:
        return torch.from_numpy(targets[index])
    return default_collate([transform(t) for t in targets[index].tolist()])


def to_device(tree: Any, device: torch.device) -> Any:
    """Every tensor in a target on the device."""
    pin = device.type == "cuda"
    return each_tensor(tree, lambda t: (t.pin_memory() if pin else t).to(device, non_blocking=True))


def each_tensor(tree: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Nested lists, tuples and mappings with every tensor changed; what is no tensor stays as it is."""
    if isinstance(tree, torch.Tensor):
        return change(tree)
    if isinstance(tree, Mapping):
        return {key: each_tensor(value, change) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(each_tensor(value, change) for value in tree))
    if isinstance(tree, (list, tuple)):
        return type(tree)(each_tensor(value, change) for value in tree)
    return tree


def tensors(tree: Any) -> list[torch.Tensor]:
    """Every tensor in nested lists, tuples and mappings."""
    found: list[torch.Tensor] = []

    def collect(tensor: torch.Tensor) -> torch.Tensor:
        found.append(tensor)
        return tensor

    each_tensor(tree, collect)
    return found
