"""Targets of a batch: collated as torch does, or as the user does, and moved to the device whatever their structure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from ...isolation import default_collate

Collate: TypeAlias = Callable[[list[Any]], Any]
"""What makes one target of the list of a batch's targets."""


def collate_by_torch(targets: list[Any]) -> Any:
    """What torch's default_collate makes of them. Raises TypeError or ValueError where they do not fit together."""
    try:
        return default_collate(targets)
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"DataLoader: torch's default_collate cannot batch these targets: {error}; give target_collate_fn=, which is called"
            " with the list of a batch's targets (target_collate_fn=list keeps them as a list), or leave them out: labels=False"
        ) from error


def collate_nothing(targets: list[Any]) -> None:
    """No target at all, as for labels=False."""


def collate_single(targets: list[Any]) -> Any:
    """The target of a batch of one, as it was before it was batched."""
    (target,) = targets
    return target


def collate_batch(targets: Sequence[Any], collate: Collate, name: Callable[[int], str]) -> Any:
    """The target of a batch; None where no sample has one. name: what to call the sample at a position.

    Raises TypeError naming two samples of which one has a target and the other has none, and one whose target is geometric.
    """
    if not targets or collate is collate_nothing:
        return None
    missing = [k for k, target in enumerate(targets) if target is None]
    if len(missing) == len(targets):
        return None
    if missing:
        other = next(k for k, target in enumerate(targets) if target is not None)
        raise TypeError(
            f"{name(missing[0])} has no target, while {name(other)} has one; give all of them a target, or give the loader "
            "labels=False, which leaves targets out"
        )
    for k, target in enumerate(targets):
        refuse_geometric(target, name(k))
    return call_collate(collate, list(targets))


def call_collate(collate: Collate, targets: list[Any]) -> Any:
    """The result of the user's function, or torch's. Raises for StopIteration, which would end the epoch, and None."""
    try:
        target = collate(targets)
    except StopIteration as error:
        raise RuntimeError(f"DataLoader: {collate_name(collate)} raised StopIteration") from error
    if target is None and collate is not collate_single:
        raise ValueError(f"DataLoader: {collate_name(collate)} returned None; to leave targets out, give labels=False instead")
    return target


def collate_name(function: Any) -> str:
    return f"target_collate_fn {getattr(function, '__name__', type(function).__name__)}"


def collate_targets(
    targets: npt.NDArray[Any],
    index: npt.NDArray[np.int64],
    transform: Callable[[Any], Any] | None,
    collate: Collate = collate_by_torch,
    name: Callable[[int], str] = str,
) -> Any:
    """Targets of the samples `index`: a tensor (B, ...) of the targets' dtype, or the transformed ones, collated.

    A transform and a collate function see integers as Python's; the latter sees other targets as tensors. name: what to call
    a sample. Raises ValueError where the transform gives None for all of them.
    """
    if collate is collate_nothing:
        return None
    if transform is None and collate is collate_by_torch:
        return torch.from_numpy(targets[index])
    if transform is None:
        found = targets[index]
        return call_collate(
            collate, found.tolist() if found.dtype.kind in "iu" and found.ndim == 1 else list(torch.from_numpy(found))
        )
    try:
        made = [transform(t) for t in targets[index].tolist()]
    except StopIteration as error:  # which would end the epoch without a word
        raise RuntimeError("DataLoader: the target_transform raised StopIteration") from error
    if made and all(target is None for target in made):
        raise ValueError(
            f"{name(int(index[0]))}: the target_transform returned None; to leave targets out, give the loader labels=False"
        )
    return collate_batch(made, collate, lambda k: name(int(index[k])))


def refuse_geometric(target: Any, name: str) -> None:
    """Raise TypeError for a target that says of itself that it belongs to the picture's geometry, which the views change."""
    module = sys.modules.get("torchvision.tv_tensors")  # without it nobody has made one
    if module is not None and (found := path_to(module.TVTensor, target)) is not None:
        where, kind = f"target{found[0]}", found[1]
        raise TypeError(
            f"{name}: {where} is of class torchvision.tv_tensors.{kind}, which would come out as it is beside views that are "
            "cropped and flipped, since gpuaug transforms the image alone; leave it out of the target (or all targets, by "
            f"labels=False), or, if it is meant to stay as it is, give a plain tensor: {where}.as_subclass(torch.Tensor)"
        )


LEAVES = frozenset({int, float, bool, str, bytes, type(None)})


def path_to(kind: type, tree: Any) -> tuple[str, str] | None:
    """Where in nested mappings, lists and tuples the first of a kind is, and its class's name; None where there is none."""
    if isinstance(tree, kind):
        return "", type(tree).__name__
    if isinstance(tree, Mapping):
        inside: Iterable[tuple[Any, Any]] = tree.items()
    elif isinstance(tree, (list, tuple)):
        inside = enumerate(tree)
    else:
        return None
    for key, value in inside:
        if type(value) not in LEAVES and (found := path_to(kind, value)) is not None:
            return f"[{key!r}]{found[0]}", found[1]
    return None


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
