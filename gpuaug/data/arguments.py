"""Arguments of the DataLoader, checked when it is made: each error names the argument, what may be, and what to do."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence, Sized
from functools import partial
from typing import Any

import torch
from torch.utils.data import default_collate

from ..augmenter import canonical
from ..backends import findable
from ..catalog import policy as named_policy
from ..convert import from_torchvision
from ..ops import Size
from ..ops.base import is_integer, is_number
from ..policy import Policy
from .dali import SharedDecoder
from .decode import DecodeError, Pixels, decode_batch
from .order import EpochOrder
from .regions import Decoder, Region, Regional

LOG = logging.getLogger("gpuaug")

REFUSED = {
    "collate_fn": "images are batched by the loader, which needs them as decoded; to batch targets otherwise, give "
    "target_collate_fn=, which is called with the list of a batch's targets",
    "generator": "the order and the draws follow from seed= and the epoch; give seed=",
    "batch_sampler": "give sampler=, the samples in order, and batch_size=",
}
"""Arguments of torch's DataLoader that cannot be meant here -> what to do instead."""

IGNORED = ("pin_memory_device", "in_order")
"""Arguments of torch's DataLoader that change no batch here: which memory is page-locked follows from device, and batches are
always in order."""

DECODERS = ("auto", "pillow", "dali")


def decoder_of(name: str, max_pixels: int) -> Decoder:
    """The decoder of that name. Raises ImportError where DALI is asked for and missing."""
    if name == "dali" or (name == "auto" and findable("nvidia.dali")):
        return SharedDecoder(max_pixels)
    return partial(by_pillow, max_pixels)


def by_pillow(
    max_pixels: int, datas: Sequence[bytes], names: Sequence[str], regional: Regional | None
) -> list[Pixels | Region | DecodeError]:
    """Pillow decodes whole pictures only."""
    return list(decode_batch(datas, names, max_pixels))


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


def seconds(name: str, value: Any) -> float:
    """A time to wait; torch's 0, no limit, becomes the longest that Python can wait for, 49 days at least."""
    if not is_number(value) or value < 0:
        raise ValueError(f"DataLoader: {name} must be a number of seconds at least 0, which is no limit, got {value!r}")
    return min(float(value), threading.TIMEOUT_MAX) or threading.TIMEOUT_MAX


def source_and_policy(source: Any, dataset: Any, policy: Any) -> tuple[Any, Policy | None]:
    """What was given as the source, or by torch's name for it, and the policy, by its name or itself."""
    if source is not None and dataset is not None:
        raise TypeError("DataLoader: dataset is another name of source; give one of them")
    if isinstance(policy, str):
        policy = named_policy(policy)
    if policy is not None and not isinstance(policy, Policy):
        raise TypeError(
            f"DataLoader: policy must be a gpuaug.Policy, a policy's name or None, got {policy!r}; it is the second argument "
            "here, so name those that come second in torch's DataLoader: batch_size=, shuffle="
        )
    return dataset if source is None else source, policy


def refuse(given: dict[str, Any]) -> None:
    """Raise for an argument that is not taken; torch's defaults are let through for those that torch has."""
    for name, value in given.items():
        if name in IGNORED:
            continue
        if name not in REFUSED:
            raise TypeError(f"DataLoader: unexpected argument {name}; see help(gpuaug.DataLoader)")
        if value is not None and value is not default_collate:
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


def wanted(labels: Any, collate: Any) -> bool | None:
    """Whether labels are wanted. Raises where it is no bool, or where there is a function for labels that are left out."""
    if labels is not None and not isinstance(labels, bool):
        raise ValueError(f"DataLoader: labels must be True, False, or None to take those that the source has, got {labels!r}")
    if collate is not None and not callable(collate):
        raise TypeError(f"DataLoader: target_collate_fn must be a function of a list of targets, such as list, got {collate!r}")
    if collate is not None and labels is False:
        raise ValueError("DataLoader: labels=False leaves out the targets that target_collate_fn is for; give one of them")
    return labels


def check_labelled(found: bool, settled: bool, name: str) -> None:
    """Raise where a Dataset's batch has targets and batches before it had none, or the other way round."""
    if found != settled:
        has = ("has a target", "had none") if found else ("has no target", "had one, or labels=True asks for one")
        raise TypeError(
            f"DataLoader: {name} {has[0]}, while samples before it {has[1]}; give all samples a target, or none, or give the "
            "loader labels=False, which leaves targets out"
        )


def check_length(sampler: Iterable[int], available: int, batch_size: int, drop_last: bool, on_error: str) -> None:
    """Raise where there will be no batch, or where a replacement for a bad sample cannot be drawn."""
    samples = len(sampler) if isinstance(sampler, Sized) else None
    if samples is None and on_error == "replace":
        raise ValueError(f"DataLoader: on_error='replace' needs a sampler with a length, which {sampler!r} has not")
    if samples == 0 or not available:
        raise ValueError("DataLoader: the source or the sampler has no samples")
    if samples is not None and drop_last and batch_size > samples:
        raise ValueError(
            f"DataLoader: batch_size={batch_size} with drop_last=True leaves no batch of {samples} samples; "
            f"lower batch_size to at most {samples}, or set drop_last=False"
        )


def tell_share(order: EpochOrder) -> None:
    """Log that this process reads but a share of the source, where nobody has asked for that in so many words."""
    LOG.warning(
        "rank %d of %d reads %s of the %s samples of an epoch, since torch.distributed is initialised (torch's DataLoader "
        "reads all without a sampler). For all, as in evaluation, give rank=0, world_size=1; where a share is meant, as in "
        "training, rank=%d, world_size=%d says so without this warning",
        *(order.rank, order.world_size, f"{len(order):,}", f"{order.samples:,}", order.rank, order.world_size),
    )


def tell_unused(**options: Any) -> None:
    """Log which options of worker processes were given, for a source that has none."""
    for name, value in options.items():
        if value is not None:
            LOG.warning(
                "DataLoader: %s is not used: threads of this process read this source, not worker processes, and the draws "
                "follow from seed=; leave it out",
                name,
            )


def usable(device: torch.device | str) -> torch.device:
    """The device, checked now rather than at the first batch."""
    if str(device).startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"DataLoader: device {str(device)!r} needs CUDA, which torch does not find here; use device='cpu'")
    found = canonical(device)
    if found.type == "cuda" and found.index >= (count := torch.cuda.device_count()):
        raise ValueError(f"DataLoader: device {str(device)!r} is not here; torch finds 'cuda:0' to 'cuda:{count - 1}'")
    return found


def converted(transform: Any, size: Size | None) -> Policy:
    """The policy of a transform that was found in a Dataset. size: (height, width) of all its images, or None."""
    if transform is None:
        raise ValueError(
            "DataLoader: policy is missing; give a gpuaug.Policy, a policy's name (see `gpuaug policies`), or a Dataset with "
            "a torchvision transform inside"
        )
    return from_torchvision(transform, size=size)
