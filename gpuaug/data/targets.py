"""Targets of a batch: collated by torch or by the user's function, and moved to the device as a whole."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from ..isolation import default_collate
from ..mixing import Mix
from ..mixing.mix import check_targets

Collate: TypeAlias = Callable[[list[Any]], Any]
"""Makes one target of the list of a batch's targets."""


def collate_by_torch(targets: list[Any]) -> Any:
    """The result of torch's default_collate. Raises TypeError or ValueError if the targets cannot be batched."""
    try:
        return default_collate(targets)
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"DataLoader: torch's default_collate cannot batch these targets: {error}; give target_collate_fn=, which is called"
            " with the list of a batch's targets (target_collate_fn=list keeps them as a list), or leave them out: labels=False"
        ) from error


def collate_nothing(targets: list[Any]) -> None:
    """Leave the targets out, as labels=False asks for."""


def collate_single(targets: list[Any]) -> Any:
    """The target of a batch of one sample, not batched."""
    (target,) = targets
    return target


def collate_batch(targets: Sequence[Any], collate: Collate, name: Callable[[int], str]) -> Any:
    """The target of a batch; None if no sample has one. name: position in the batch -> the sample's name.

    Raises TypeError with the names of two samples if only one of them has a target, or of one whose target is geometric.
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
    """The result of the collate function. Raises if it returns None, or raises StopIteration, which would end the epoch."""
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
    """Targets of the samples `index`: a tensor (B, ...) of the targets' dtype, or the transformed targets, collated.

    The transform and the user's collate function get integers as Python ints; the latter gets other targets as tensors. name:
    sample -> its name. Raises ValueError if the transform returns None for all of them.
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
    except StopIteration as error:  # it would end the epoch silently
        raise RuntimeError("DataLoader: the target_transform raised StopIteration") from error
    if made and all(target is None for target in made):
        raise ValueError(
            f"{name(int(index[0]))}: the target_transform returned None; to leave targets out, give the loader labels=False"
        )
    return collate_batch(made, collate, lambda k: name(int(index[k])))


def check_mixable(mix: Mix | None, target: Any, index: npt.NDArray[np.int64], name: Callable[[int], str]) -> None:
    """Raise TypeError or ValueError if the target of a batch on the host cannot be mixed. name: sample -> its name."""
    if mix is None or not len(index):
        return
    if target is None:
        raise TypeError(
            f"DataLoader: {name(int(index[0]))} has no target, which mix= needs; give the source labels, or leave out mix="
        )
    check_targets("DataLoader: mix", target, len(index), mix.num_classes, lambda row: name(int(index[row])))


def refuse_geometric(target: Any, name: str) -> None:
    """Raise TypeError for torchvision's masks, boxes and keypoints, which would not match cropped and flipped views."""
    module = sys.modules.get("torchvision.tv_tensors")  # if it is not loaded, nobody has made one
    if module is not None and (found := path_to(module.TVTensor, target)) is not None:
        where, kind = f"target{found[0]}", found[1]
        raise TypeError(
            f"{name}: {where} is of class torchvision.tv_tensors.{kind}, but gpuaug transforms only the image, so it would "
            "not match views that are cropped and flipped; leave it out of the target (or all targets, by labels=False), or, "
            f"if it is meant to stay unchanged, give a plain tensor: {where}.as_subclass(torch.Tensor)"
        )


LEAVES = frozenset({int, float, bool, str, bytes, type(None)})


def path_to(kind: type, tree: Any) -> tuple[str, str] | None:
    """The path to the first object of a kind in nested mappings, lists and tuples, and its class's name; None without one."""
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
    """A target with all its tensors moved to the device."""
    pin = device.type == "cuda"
    return each_tensor(tree, lambda t: (t.pin_memory() if pin else t).to(device, non_blocking=True))


def each_tensor(tree: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Nested lists, tuples and mappings with `change` applied to every tensor; other objects stay as they are."""
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
