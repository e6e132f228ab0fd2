"""A plain DALI pipeline of a policy, for programs that live in DALI and bring their own iterator."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch

from .. import backends
from ..backends.stages import output_dtype, select
from ..catalog import policy as named_policy
from ..ops.base import is_integer
from ..policy import Policy
from ..sampling import sample
from .arguments import for_three_channels
from .process import cores
from .sources.folder import FolderSource
from .sources.resolve import as_source

KINDS = {"cpu": "cpu", "cuda": "gpu"}
"""Type of torch's device -> DALI's word for it."""


def dali_pipeline(
    policy: Policy | str,
    source: Any,
    batch_size: int,
    *,
    device: torch.device | str = "cuda",
    seed: int = 0,
    epoch: int = 0,
    shard_id: int = 0,
    num_shards: int = 1,
    random_shuffle: bool = False,
    num_threads: int | None = None,
    prefetch_queue_depth: int = 2,
    labels: bool | None = None,
    approximate: bool = False,
) -> Any:
    """A DALI pipeline that reads files, decodes them and makes a policy's views: `nvidia.dali.Pipeline`, not built yet.

    Its outputs are the views in their order, (3, H, W) a picture, and the label, int32 (1,); without labels the number of the
    picture in the source stands in its place. Its reader is named "reader" and fills up the last batch of an epoch with its
    last picture, so DALI's own iterator, given `reader_name="reader"` and `LastBatchPolicy.PARTIAL`, delivers every picture of
    the shard once an epoch. (All shards have equally many batches; of a shard with one picture less, the last may be empty.)

        pipe = gpuaug.dali_pipeline("simclr", "imagenet/train", 256, shard_id=rank, num_shards=world_size, random_shuffle=True)
        for (batch,) in DALIGenericIterator([pipe], ["first", "second", "label"], reader_name="reader", ...):

    Parameters are not drawn by DALI's random operators, whose crops, orders and factors have other distributions than
    torchvision's. They are `gpuaug.sample(policy, index, seed, epoch)`, so a picture has the same draws as in
    `gpuaug.DataLoader`, in any batch, shard and order. The views are those of the backend "dali" on DALI's pixels. For the
    draws DALI calls Python once a batch, as it does for an `external_source`; so the pipeline cannot be serialised, and after a
    restart `epoch` says which draws come next.

    A file that DALI cannot decode raises RuntimeError, without its name, when its batch is made, and ends the pipeline;
    `gpuaug.DataLoader` names such files, and can skip or replace them.

    With `device="cuda"` the pipeline has not been run yet; only its graph has been defined.

    Args:
        policy: A `Policy`, or the name of one, of ops that the backend "dali" has. A ToDtype may be float32 or float16.
        source: Path of an image folder, a list of image files (without labels), a torchvision ImageFolder, or a
            `gpuaug.data.FolderSource`.
        batch_size: Pictures in a batch, at least 1.
        device: "cuda", with DALI's `mixed` decoder and operators of the GPU, or "cpu". "cuda" is the current GPU when the
            pipeline is built.
        seed: Seed of the draws, 0..2^64-1, and of DALI's shuffling.
        epoch: Epoch of the draws of the first pass; each pass of the reader over its shard is the next.
        shard_id: Which share of the files this pipeline reads in its first pass; in the next ones, DALI goes on to the others.
        num_shards: Number of pipelines that share the files, at most as many as files.
        random_shuffle: Whether each pass has another random order, as DALI's reader makes it.
        num_threads: DALI's threads; None takes the cores that this process may use.
        prefetch_queue_depth: Batches that are made ahead, at least 1.
        labels: As in `gpuaug.DataLoader`.
        approximate: As in `gpuaug.Augmenter`.

    Raises:
        ValueError: An argument is out of its range, or DALI has not all ops of the policy.
        TypeError: The policy or the source is of another kind.
        ImportError: DALI is not installed.
        OSError: Files are missing.
    """
    policy = named_policy(policy) if isinstance(policy, str) else policy
    if not isinstance(policy, Policy):
        raise TypeError(f"dali_pipeline: policy must be a gpuaug.Policy or a policy's name, got {policy!r}")
    if policy.scheduled:
        raise ValueError(
            "dali_pipeline: a graph has one policy, and this one has schedules; give that of an epoch, policy.at(epoch)"
        )
    where = device_of(device)
    check(policy, where.type, approximate)
    for name, value, allowed in (("random_shuffle", random_shuffle, (True, False)), ("labels", labels, (True, False, None))):
        if not any(value is one for one in allowed):
            raise ValueError(f"dali_pipeline: {name} must be one of {', '.join(map(str, allowed))}, got {value!r}")
    files, targets = files_of(source, labels)
    graphs = import_module("gpuaug.backends.dali.pipeline")
    setting = graphs.Setting(
        batch_size=integer("batch_size", batch_size, 1),
        device=KINDS[where.type],
        device_id=where.index if where.type == "cuda" else None,
        half=[output_dtype(view) == torch.float16 for view in policy.views],
        seed=integer("seed", seed, 0, 2**64 - 1) % 2**63,
        epoch=integer("epoch", epoch, 0, 2**32 - 1),
        shard_id=integer("shard_id", shard_id, 0, integer("num_shards", num_shards, 1, len(files)) - 1),
        num_shards=num_shards,
        random_shuffle=random_shuffle,
        num_threads=cores() if num_threads is None else integer("num_threads", num_threads, 1),
        prefetch_queue_depth=integer("prefetch_queue_depth", prefetch_queue_depth, 1),
    )

    def draw(samples: np.ndarray[Any, Any], epoch: int) -> Sequence[Any]:
        return sample(policy, samples, seed, epoch).tables

    return graphs.pipeline([view.steps for view in policy.views], draw, files, targets, setting)


def device_of(device: Any) -> torch.device:
    try:
        where = torch.device(device)
    except (RuntimeError, TypeError):
        where = torch.device("meta")
    if where.type not in KINDS:
        raise ValueError(f"dali_pipeline: device must be 'cuda', 'cuda:N' or 'cpu', got {str(device)!r}")
    return where


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    if not is_integer(value) or value < low or (high is not None and value > high):
        allowed = f"at least {low}" if high is None else f"in {low}..{high}"
        raise ValueError(f"dali_pipeline: {name} must be an integer {allowed}, got {value!r}")
    return int(value)


def check(policy: Policy, kind: str, approximate: bool) -> None:
    """Raise if DALI is missing, or lacks an op or a dtype of the policy."""
    for_three_channels(policy)
    backend = select("dali", kind, approximate)["dali"]
    more = backends.load("dali", kind).approximate
    for view in policy.views:
        count = backend.count_supported(view.steps, "images")
        if count < len(view.steps):
            near = more is not None and more.count_supported(view.steps, "images") == len(view.steps)
            advice = "give approximate=True, or use" if near else "use"
            raise ValueError(f"dali_pipeline: DALI has no {view.steps[count]}; {advice} gpuaug.DataLoader")
        if output_dtype(view) == torch.bfloat16:
            raise ValueError(
                "dali_pipeline: DALI has no bfloat16; give ToDtype float32 or float16, or leave it out and convert the views"
            )


def files_of(source: Any, labels: bool | None) -> tuple[list[str], np.ndarray[Any, Any]]:
    """The paths of a source's files, and int32 labels; without labels, their numbers."""
    if isinstance(source, list | tuple) and not source:
        raise ValueError("dali_pipeline: source is an empty list")
    found, _ = as_source(source, policy_given=True, labels=labels)
    if not isinstance(found, FolderSource):
        raise TypeError(
            "dali_pipeline: source must be an image folder, a list of image files or an ImageFolder, got a "
            f"{type(found).__name__}; gpuaug.DataLoader takes all other sources"
        )
    if found.target_transform is not None:
        raise ValueError("dali_pipeline: labels are numbers of classes; take the target_transform out of the dataset")
    files = [found.name(k) for k in range(len(found))]
    return files, np.asarray(found.targets if found.labelled else np.arange(len(files)), np.int32)
