"""Checks of the DataLoader's arguments; each error names the argument, what is allowed, and what to do."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Sized
from typing import Any

import torch
from torch.utils.data import default_collate

from ..augmenter import canonical
from ..catalog import policy as named_policy
from ..convert import from_torchvision
from ..mixing import Mix
from ..ops import Size
from ..ops.base import is_integer, is_number
from ..ops.channels import fitted
from ..policy import Policy
from .engine.fetching.order import StreamOrder
from .engine.order import EpochOrder, OwnOrder, Share, own_order
from .sources import Source, is_source
from .sources.mixture import Mixture
from .sources.streams import is_stream

LOG = logging.getLogger("gpuaug")

REFUSED = {
    "collate_fn": "the loader itself batches the decoded images; to batch targets in another way, give target_collate_fn=, "
    "which is called with the list of a batch's targets; for MixUp and CutMix, give mix=",
    "generator": "the order and the draws follow from seed= and the epoch; give seed=",
}
"""Arguments of torch's DataLoader that are not supported -> what to do instead."""


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    if not is_integer(value) or value < low or (high is not None and value > high):
        allowed = f"at least {low}" if high is None else f"in {low}..{high}"
        raise ValueError(f"DataLoader: {name} must be an integer {allowed}, got {value!r}")
    return int(value)


def fraction(name: str, value: Any) -> float:
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"DataLoader: {name} must be a number in 0..1, got {value!r}")
    return float(value)


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"DataLoader: {name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return str(value)


def seconds(name: str, value: Any) -> float:
    """A time to wait in seconds; 0, no limit as in torch, becomes the longest wait that Python allows, at least 49 days."""
    if not is_number(value) or value < 0:
        raise ValueError(f"DataLoader: {name} must be a number of seconds, at least 0 (no limit), got {value!r}")
    return min(float(value), threading.TIMEOUT_MAX) or threading.TIMEOUT_MAX


def source_and_policy(source: Any, dataset: Any, policy: Any) -> tuple[Any, Policy | None]:
    """The source, which may be given as `dataset`, and the policy, which may be given by its name.

    A program that makes a loader from this one's attributes gives both source and dataset; the source is then a source object.
    """
    if source is not None and dataset is not None and not is_source(source):
        raise TypeError("DataLoader: dataset is another name of source; give one of them")
    if isinstance(policy, str):
        policy = named_policy(policy)
    if policy is not None and not isinstance(policy, Policy):
        raise TypeError(
            f"DataLoader: policy must be a gpuaug.Policy, a policy's name or None, got {policy!r}; it is the second argument "
            "here, so give batch_size= and shuffle= by name"
        )
    return dataset if source is None else source, None if policy is None else for_three_channels(policy)


def for_three_channels(policy: Policy) -> Policy:
    """The policy. Raises ValueError for an op that is for other images than RGB, since no source has others."""
    for epoch in policy.changes:
        for view in policy.at(epoch).views:
            for step in view.steps:
                fitted(step, 3)
    return policy


def shown_dataset(source: Any, given: Any) -> Any:
    """What `loader.dataset` is: the source as given, or the source object that was made of a path, arrays or a mixture."""
    made = isinstance(given, (str, tuple, list, Mixture)) or hasattr(given, "__fspath__")
    return source if made else given


def refuse_unsupported(**given: Any) -> None:
    """Raise for arguments of torch's DataLoader that are not supported, unless they have torch's default."""
    for name, value in given.items():
        if value is not None and value is not default_collate:
            raise ValueError(f"DataLoader: {name} is not supported; {REFUSED[name]}")


def fixed_share(rank: int | None, world_size: int | None, own_sampler: bool) -> Share | None:
    """The share of an epoch that the user has fixed; None to ask torch.distributed when each epoch begins."""
    if (rank is None) != (world_size is None):
        raise ValueError(
            "DataLoader: rank and world_size belong together; give both, or neither to use those of torch.distributed"
        )
    if rank is None or world_size is None:
        return None
    if own_sampler:
        raise ValueError(
            "DataLoader: with sampler or batch_sampler, which decides what a rank reads, rank and world_size must stay None"
        )
    size = integer("world_size", world_size, 1)
    return Share(integer("rank", rank, 0, size - 1), size)


def check_batch_sampler(batch_size: Any, shuffle: Any, sampler: Any, drop_last: Any) -> None:
    if batch_size != 1 or shuffle or sampler is not None or drop_last:
        raise ValueError("DataLoader: batch_sampler makes the batches, so leave out batch_size, shuffle, sampler and drop_last")


def check_labels_argument(labels: Any, collate: Any) -> bool | None:
    """Whether labels are wanted. Raises if `labels` is no bool, or if it is False beside a function that collates labels."""
    if labels is not None and not isinstance(labels, bool):
        raise ValueError(f"DataLoader: labels must be True, False, or None to use those that the source has, got {labels!r}")
    if collate is not None and not callable(collate):
        raise TypeError(f"DataLoader: target_collate_fn must be a function of a list of targets, such as list, got {collate!r}")
    if collate is not None and labels is False:
        raise ValueError(
            "DataLoader: labels=False leaves out the targets that target_collate_fn would collate; give only one of them"
        )
    return labels


def check_mix(mix: Any, labels: bool | None) -> Mix | None:
    """The mix, checked. Raises TypeError for another object, and ValueError beside labels=False."""
    if mix is None:
        return None
    if not isinstance(mix, Mix):
        raise TypeError(
            f"DataLoader: mix must be gpuaug.MixUp, gpuaug.CutMix or gpuaug.RandomChoice, got {mix!r}; write "
            "torchvision's transforms of these names anew, since those draw once a batch: gpuaug.MixUp(alpha, num_classes)"
        )
    if labels is False:
        raise ValueError("DataLoader: mix mixes the labels too, so it cannot go with labels=False; give only one of them")
    return mix


def check_labelled_mix(mix: Mix | None, labelled: bool | None) -> bool | None:
    """Whether the source has labels, as given. Raises ValueError if it has none and a mix needs them."""
    if mix is not None and labelled is False:
        raise ValueError("DataLoader: mix mixes the labels too, but the source has none; leave out mix, or add labels")
    return labelled


def labels_changed_error(name: str, labelled: bool) -> TypeError:
    """The error if a Dataset's sample has a target and the samples before it had none, or the other way round."""
    has, had = ("a", "had none") if labelled else ("no", "had one, or labels=True asks for one")
    return TypeError(
        f"DataLoader: {name} has {has} target, while samples before it {had}; give all samples a target, or none of them, or "
        "give the loader labels=False, which leaves all targets out"
    )


def check_length(sampler: Iterable[int], available: int, batch_size: int, drop_last: bool, on_error: str) -> None:
    """Raise if there will be no batch, or if replacements for bad samples cannot be chosen."""
    samples = len(sampler) if isinstance(sampler, Sized) else None
    if samples is None and on_error == "replace":
        raise ValueError(f"DataLoader: on_error='replace' needs a sampler with a length, which {sampler!r} does not have")
    if samples == 0 or not available:
        raise ValueError("DataLoader: the source or the sampler has no samples")
    if samples is not None and drop_last and batch_size > samples:
        raise ValueError(
            f"DataLoader: batch_size={batch_size} with drop_last=True leaves no batch of {samples} samples; "
            f"lower batch_size to at most {samples}, or set drop_last=False"
        )


def loader_order(
    source: Source, shuffle: bool, seed: int, fixed: Share | None, batch_size: int, drop_last: bool, workers: int
) -> OwnOrder:
    """The loader's own sampler."""
    if is_stream(source):
        return StreamOrder(source, fixed, batch_size, drop_last, workers)
    return own_order(source, shuffle, seed, fixed, drop_last)


def check_stream(source: Source, shuffle: bool, sampler: Any, batch_sampler: Any, on_error: str) -> None:
    """Raise for arguments that need samples in an order of ours, if the source is a stream."""
    if not is_stream(source):
        return
    if shuffle:
        raise ValueError(
            f"DataLoader: {source!r} is a stream, so shuffle must stay False; shuffle the stream itself, such as by its "
            ".shuffle(...), or in its own code"
        )
    if batch_sampler is not None or not (sampler is None or isinstance(sampler, StreamOrder)):
        name = "batch_sampler" if batch_sampler is not None else "sampler"
        raise ValueError(
            f"DataLoader: {source!r} is a stream, whose samples come in its own order, so {name} must stay None; choose and "
            "order samples in the stream itself, or give a source with len and []"
        )
    if on_error == "replace":
        raise ValueError(
            f"DataLoader: {source!r} is a stream, in which no other sample can be read in place of a bad one; give "
            "on_error='skip' or 'raise'"
        )


def warn_share(order: EpochOrder | StreamOrder) -> None:
    """Warn if this process reads a share of the source, or all of it, when the user may expect the opposite."""
    if isinstance(order, EpochOrder):
        warn_rank_share(order)
    elif order.share.world_size > 1 and not order.stream.divides:
        LOG.warning(
            "rank %d of %d runs %r as it is, as torch's DataLoader does: it must leave out the samples of the other ranks by "
            "itself, or each rank reads all of them",
            *(order.share.rank, order.share.world_size, order.stream),
        )
    elif order.fixed is None and order.share.world_size > 1:
        LOG.warning(
            "rank %d of %d reads its share of %r, since torch.distributed is initialised. To read all, as in evaluation, give "
            "rank=0, world_size=1; to read a share without this warning, give rank=%d, world_size=%d",
            *(order.share.rank, order.share.world_size, order.stream, order.share.rank, order.share.world_size),
        )


def warn_rank_share(order: EpochOrder) -> None:
    """Warn if this process reads a share of the source, or all of it, when the user may expect the opposite.

    Nothing is logged if rank and world_size were given, since they say what is meant.
    """
    share = order.share
    if order.fixed is not None:
        return
    if share.world_size > 1:
        LOG.warning(
            "rank %d of %d reads %s of the %s samples of an epoch, since torch.distributed is initialised (torch's DataLoader "
            "without a sampler would read all of them). To read all, as in evaluation, give rank=0, world_size=1; to read a "
            "share without this warning, as in training, give rank=%d, world_size=%d",
            *(share.rank, share.world_size, f"{len(order):,}", f"{order.samples:,}", share.rank, share.world_size),
        )
    elif (launched := launched_processes()) > 1:
        LOG.warning(
            "this process reads all %s samples of an epoch, though WORLD_SIZE=%d: torch.distributed is not initialised. Call "
            "torch.distributed.init_process_group before the epoch begins, so that each rank reads its share, or give rank= "
            "and world_size=",
            *(f"{order.samples:,}", launched),
        )


def launched_processes() -> int:
    """The number of processes that a launcher such as torchrun says it has started; 1 without a launcher."""
    try:
        return int(os.environ.get("WORLD_SIZE", "1"))
    except ValueError:
        return 1


def warn_unused(**options: Any) -> None:
    """Warn of options of worker processes that were given for a source that has no such processes."""
    for name, value in options.items():
        if value is not None:
            LOG.warning(
                "DataLoader: %s is not used, because threads rather than worker processes read this source, and the draws "
                "follow from seed=; leave it out",
                name,
            )


def available_device(device: torch.device | str) -> torch.device:
    """The device, checked when the loader is made rather than at the first batch."""
    if str(device).startswith("cuda"):
        if torch.cuda._is_in_bad_fork():
            raise ValueError(
                f"DataLoader: device {str(device)!r} cannot be used in a process that was forked after CUDA was used; start "
                "such a process by multiprocessing's 'spawn' or 'forkserver'"
            )
        if not torch.cuda.is_available():
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            hidden = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
            raise ValueError(
                f"DataLoader: device {str(device)!r} needs CUDA, which torch cannot find on this machine{hidden}; "
                "use device='cpu'"
            )
    found = canonical(device)
    if found.type == "cuda" and found.index >= (count := torch.cuda.device_count()):
        raise ValueError(f"DataLoader: device {str(device)!r} does not exist; torch finds 'cuda:0' to 'cuda:{count - 1}'")
    return found


def policy_of_transform(transform: Any, size: Size | None) -> Policy:
    """The policy of a transform that was found in a Dataset. size: (height, width) if all images have one size, or None."""
    if transform is None:
        raise ValueError(
            "DataLoader: policy is missing; give a gpuaug.Policy, a policy's name (see `gpuaug policies`), or a Dataset with "
            "a torchvision transform inside"
        )
    return for_three_channels(from_torchvision(transform, size=size))
