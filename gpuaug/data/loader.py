"""The DataLoader: torch.utils.data.DataLoader's arguments and habits, with views that follow from the draws."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import torch

from ..augmenter import Augmenter, canonical
from ..catalog import policy as named_policy
from ..convert import from_torchvision
from ..ops.base import is_integer
from ..policy import Policy
from ..sampling import Draws
from .fetch import Fetched, Workers, fetch
from .given import as_source
from .order import EpochOrder, Index, batches, epoch_order
from .pipeline import Delivery, Producer, make


class DataLoader:
    """Batches of views, made on the device: `for views, target in loader`.

    source: path of an image folder (one folder a class, as torchvision's ImageFolder); a map-style Dataset of (image,
        target), the image a PIL image or uint8 (H, W, 3) or (3, H, W); or a pair of arrays (images uint8 (N, H, W, 3) or
        (N, 3, H, W), targets).
    policy: a `Policy` or a policy's name. It takes the place of a torchvision dataset's transform; None converts that
        transform (see `gpuaug.from_torchvision`).
    batch_size, shuffle, sampler, num_workers, drop_last, worker_init_fn, multiprocessing_context: as torch's. Workers are
        threads for a folder and processes for a Dataset; with 0, all is done in `next()`.
    device: where views and targets come out. seed: 0..2^64-1, of the order and of the draws.
    backend, dtype, memory_format: as `gpuaug.Augmenter`.
    prefetch_factor: batches kept ready ahead of the consumer, and as many in the making; no effect without workers.
    timeout: seconds to wait for a batch before TimeoutError.

    A batch is (views, target): views a list of (B, 3, H, W) tensors, one a view, or the tensor itself where the policy has
    one view; target int64 (B,), or what torch's default_collate makes of a Dataset's targets. Each `iter()` is the next
    epoch, from 0. A sample's views depend on (seed, epoch, sample index, view) alone.

    draws, index: `Draws` and sample indices (B,) int64 of the batch delivered last. dataset: the source as given.
    Raises ValueError or TypeError for an argument that cannot be, naming it, and what the source raises (see `gpuaug.data`).
    """

    draws: Draws
    index: Index

    def __init__(
        self,
        source: Any,
        policy: Policy | str | None = None,
        batch_size: int = 1,
        shuffle: bool = False,
        sampler: Iterable[int] | None = None,
        num_workers: int = 0,
        drop_last: bool = False,
        *,
        device: torch.device | str = "cpu",
        seed: int = 0,
        backend: str = "auto",
        dtype: torch.dtype | None = None,
        memory_format: torch.memory_format = torch.contiguous_format,
        prefetch_factor: int = 2,
        timeout: float = 300.0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
    ) -> None:
        self.batch_size = integer("batch_size", batch_size, 1)
        self.num_workers = integer("num_workers", num_workers, 0)
        self.prefetch_factor = integer("prefetch_factor", prefetch_factor, 1)
        self.seed = integer("seed", seed, 0, 2**64 - 1)
        if not timeout > 0:
            raise ValueError(f"DataLoader: timeout must be a number of seconds above 0, got {timeout!r}")
        if sampler is not None and shuffle:
            raise ValueError("DataLoader: sampler decides on the order, so shuffle must stay False with it")
        self.timeout = float(timeout)
        self.drop_last = bool(drop_last)
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.device = usable(device)
        chosen = named_policy(policy) if isinstance(policy, str) else policy
        self.source, transform = as_source(source, chosen is not None)
        self.dataset = self.source if isinstance(source, (str, tuple, list)) or hasattr(source, "__fspath__") else source
        self.policy = chosen if chosen is not None else converted(transform)
        self.augment = Augmenter(self.policy, backend, self.device, dtype, memory_format)
        self.shuffle = bool(shuffle)
        self.sampler = EpochOrder(len(self.source), self.shuffle, self.seed) if sampler is None else sampler
        self.check_length()
        self.upcoming: tuple[int, int] = (0, 0)
        self.reached: tuple[int, int] = (0, 0)

    def check_length(self) -> None:
        samples = len(self.sampler) if isinstance(self.sampler, Sized) else None
        if samples == 0 or not len(self.source):
            raise ValueError("DataLoader: the source or the sampler has no samples")
        if samples is not None and self.drop_last and self.batch_size > samples:
            raise ValueError(
                f"DataLoader: batch_size={self.batch_size} with drop_last=True leaves no batch of {samples} samples; "
                f"lower batch_size to at most {samples}, or set drop_last=False"
            )

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        if not isinstance(self.sampler, Sized):
            raise TypeError(f"DataLoader: {type(self.sampler).__name__} has no length, so the loader has none")
        samples = len(self.sampler)
        return samples // self.batch_size if self.drop_last else -(-samples // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        epoch, start = self.reached = self.upcoming
        self.upcoming = (epoch + 1, 0)
        return self.run(epoch, start, epoch_order(self.sampler, epoch))

    def run(self, epoch: int, start: int, order: Iterable[int]) -> Iterator[tuple[Any, Any]]:
        """The batches of one epoch from its `start`-th sample on."""

        def augmented(fetched: Fetched) -> Delivery:
            return make(fetched, augment, device, seed, epoch)

        augment, device, seed = self.augment, self.device, self.seed  # the thread must not keep the loader alive
        work = batches(order, start, self.batch_size, self.drop_last, len(self.source))
        fetcher = fetch(self.source, work, self.workers(epoch))
        position = start
        if not self.num_workers:
            for fetched in fetcher:
                position += len(fetched.index)
                yield self.deliver(augmented(fetched), epoch, position)
        else:
            threads = max(1, (torch.get_num_threads() - self.num_workers) // 2)  # half of what decoding leaves to the consumer
            producer = Producer(fetcher, augmented, self.prefetch_factor, device, threads)
            try:
                while (delivery := producer.get(self.timeout)) is not None:
                    position += len(delivery.draws)
                    yield self.deliver(delivery, epoch, position)
            finally:
                producer.close()
        self.reached = (epoch + 1, 0)

    def workers(self, epoch: int) -> Workers:
        seed = (self.seed + epoch) % 2**63  # of the workers' own generators, for Datasets that draw by themselves
        return Workers(
            self.num_workers, self.prefetch_factor, self.timeout, seed, self.worker_init_fn, self.multiprocessing_context
        )

    def deliver(self, delivery: Delivery, epoch: int, position: int) -> tuple[Any, Any]:
        delivery.receive()
        self.draws, self.index = delivery.draws, delivery.draws.index
        self.reached = (epoch, position)
        views = delivery.views
        return views if len(views) > 1 else views[0], delivery.target

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next `iter()`; a sampler that has `set_epoch` is told at that time.

        An epoch that `load_state_dict` has just restored keeps its position.
        """
        integer("epoch", epoch, 0, 2**32 - 1)
        if epoch != self.upcoming[0]:
            self.upcoming = (epoch, 0)
        self.reached = self.upcoming

    def state_dict(self) -> dict[str, Any]:
        """Where the iterator used last stands: delivered samples of its epoch; after its end, the start of the next."""
        epoch, position = self.reached
        return {
            "seed": self.seed,
            "epoch": epoch,
            "position": position,
            "samples": len(self.source),
            "shuffle": self.shuffle,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the next `iter()` yield the rest of the saved epoch, whatever the batch size and the number of workers.

        Raises ValueError where seed, shuffle or the number of samples differ, since the rest would be another one. A sampler
        of one's own must give the same order again.
        """
        for name, mine in (("seed", self.seed), ("samples", len(self.source)), ("shuffle", self.shuffle)):
            if state[name] != mine:
                raise ValueError(f"DataLoader: the state was saved with {name}={state[name]}, this loader has {name}={mine}")
        self.upcoming = self.reached = (int(state["epoch"]), int(state["position"]))

    def __repr__(self) -> str:
        return f"DataLoader({self.source!r}, {self.policy.name or 'policy'!r}, batch_size={self.batch_size}, {self.device})"


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    if not is_integer(value) or value < low or (high is not None and value > high):
        allowed = f"at least {low}" if high is None else f"in {low}..{high}"
        raise ValueError(f"DataLoader: {name} must be an integer {allowed}, got {value!r}")
    return int(value)


def usable(device: torch.device | str) -> torch.device:
    """The device, checked now rather than at the first batch."""
    kind = torch.device(device).type
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"DataLoader: device {str(device)!r} needs CUDA, which torch does not find here; use device='cpu'")
    return canonical(device)


def converted(transform: Any) -> Policy:
    if transform is None:
        raise ValueError(
            "DataLoader: policy is missing; give a gpuaug.Policy, a policy's name (see `gpuaug policies`), or a Dataset with "
            "a torchvision transform inside"
        )
    return from_torchvision(transform)
