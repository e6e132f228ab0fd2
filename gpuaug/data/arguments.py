"""Arguments of the DataLoader, checked when it is made: each error names the argument, what may be, and what to do."""

from __future__ import annotations

from typing import Any

import torch

from ..augmenter import canonical
from ..backends import findable
from ..convert import from_torchvision
from ..ops.base import is_integer
from ..policy import Policy
from .dali import shared
from .decode import decode_batch
from .regions import Decoder

REFUSED = {
    "collate_fn": "images are batched by the loader, which needs them as decoded; batch targets otherwise in the loop, or make "
    "them tensors in the Dataset",
    "generator": "the order and the draws follow from seed= and the epoch; give seed=",
    "batch_sampler": "give sampler=, the samples in order, and batch_size=",
}
"""Arguments of torch's DataLoader that cannot be meant here -> what to do instead."""


DECODERS = ("auto", "pillow", "dali")


def decoder_of(name: str, max_pixels: int) -> Decoder:
    """The decoder of that name. Raises ImportError where DALI is asked for and missing."""
    if name == "dali" or (name == "auto" and findable("nvidia.dali")):
        return shared(max_pixels)
    return lambda datas, names, _: list(decode_batch(datas, names, max_pixels))  # Pillow decodes whole pictures only


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    if not is_integer(value) or value < low or (high is not None and value > high):
        allowed = f"at least {low}" if high is None else f"in {low}..{high}"
        raise ValueError(f"DataLoader: {name} must be an integer {allowed}, got {value!r}")
    return int(value)


def share(name: str, value: Any) -> float:
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"DataLoader: {name} must be a number in 0..1, got {value!r}")
    return float(value)


def chosen(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"DataLoader: {name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return str(value)


def refuse(given: dict[str, Any]) -> None:
    """Raise for an argument that is not taken; None, torch's default, is let through for those that torch has."""
    for name, value in given.items():
        if name not in REFUSED:
            raise TypeError(f"DataLoader: unexpected argument {name}; see help(gpuaug.DataLoader)")
        if value is not None:
            raise ValueError(f"DataLoader: {name} is not taken; {REFUSED[name]}")


def place(rank: int | None, world_size: int | None, own_sampler: bool) -> tuple[int, int]:
    """Which rank of how many this is: as given, else as torch.distributed says, else the only one.

    With a sampler of the user's own, which decides by itself, it is the only one.
    """
    if (rank is None) != (world_size is None):
        raise ValueError("DataLoader: rank and world_size belong together; give both, or neither to take torch.distributed's")
    if rank is not None and world_size is not None:
        if own_sampler:
            raise ValueError("DataLoader: sampler decides on a rank's samples, so rank and world_size must stay None with it")
        size = integer("world_size", world_size, 1)
        return integer("rank", rank, 0, size - 1), size
    if own_sampler or not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def usable(device: torch.device | str) -> torch.device:
    """The device, checked now rather than at the first batch."""
    if str(device).startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"DataLoader: device {str(device)!r} needs CUDA, which torch does not find here; use device='cpu'")
    found = canonical(device)
    if found.type == "cuda" and found.index >= (count := torch.cuda.device_count()):
        raise ValueError(f"DataLoader: device {str(device)!r} is not here; torch finds 'cuda:0' to 'cuda:{count - 1}'")
    return found


def converted(transform: Any) -> Policy:
    if transform is None:
        raise ValueError(
            "DataLoader: policy is missing; give a gpuaug.Policy, a policy's name (see `gpuaug policies`), or a Dataset with "
            "a torchvision transform inside"
        )
    return from_torchvision(transform)
