"""What programs written for torch's DataLoader ask of one: its class, attributes, samplers, length, epoch and saved state.

Lightning, Fabric and Accelerate ask for torch's class by `isinstance`. The machinery behind it is `loader.DataLoader`'s own, so
torch's `__init__` is not called.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Any

from torch.utils import data as torch_data

from .arguments import check_length, integer
from .engine.cursor import EpochCursor, check_state
from .engine.order import EpochOrder, samplers_with_epoch
from .engine.pipeline import NextEpoch
from .sources import Source

FIXED = frozenset(
    ("backend", "decoder", "device", "dtype", "labels", "memory_format", "num_workers", "policy", "seed", "shuffle", "source")
)
"""Arguments that other parts of a loader have been made of, beside those that torch settles."""


EPOCHS = 2**32
"""As many as draws can tell apart."""


class TorchInterface(torch_data.DataLoader[Any]):
    """The attributes of torch's DataLoader with torch's meaning, except `collate_fn`, which raises TypeError."""

    _is_accelerate_prepared = True
    """Accelerate's mark of a loader that `Accelerator.prepare` leaves as it is; it would make another of this one's parts."""

    # What torch's own methods and iterators read.
    _dataset_kind = 0  # map-style
    _iterator = None
    _IterableDataset_len_called = None
    prefetch_factor: int

    generator = None
    source: Source
    dataset: Any
    """The source as given; of a path or of arrays, what the loader made of it."""
    on_error: str
    sampler: Any
    batch_sampler: Any
    seed: int
    shuffle: bool
    cursor: EpochCursor
    next_epoch: NextEpoch
    own_batches: bool
    """Whether the user's own batch sampler decides on the batches."""

    def set_samplers(self, sampler: Iterable[int], batch_sampler: Iterable[Iterable[int]] | None) -> None:
        """Set `sampler` and `batch_sampler` as torch has them. batch_sampler: the user's own, or None."""
        self.own_batches = batch_sampler is not None
        if batch_sampler is not None:
            self.sampler = torch_data.SequentialSampler(range(len(self.source)))  # which decides on nothing, in torch's too
            self.batch_sampler = batch_sampler
        else:
            self.sampler = sampler
            self.batch_sampler = torch_data.BatchSampler(sampler, self.size, self.drop_last)

    def freeze(self) -> None:
        """From now on torch refuses other values of batch_size, sampler and the like."""
        self._DataLoader__initialized = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIXED and getattr(self, "_DataLoader__initialized", False):
            raise ValueError(f"DataLoader: {name} is settled when the loader is made; make another loader for another {name}")
        super().__setattr__(name, value)

    def _get_iterator(self) -> Iterator[Any]:  # type: ignore[override]
        return iter(self)

    def __len__(self) -> int:
        """Batches of a whole epoch, on this rank as torch.distributed has it now."""
        given = self.batch_sampler if self.own_batches else self.sampler
        if not isinstance(given, Sized):
            raise TypeError(f"DataLoader: {type(given).__name__} has no length, so the loader has none")
        if self.own_batches:
            return len(given)
        return len(given) // self.size if self.drop_last else -(-len(given) // self.size)

    def check_length(self) -> None:
        """Raise where an epoch has no batch on this rank, which torch.distributed may have changed."""
        given = self.batch_sampler if self.own_batches else self.sampler
        check_length(given, len(self.source), 1 if self.own_batches else self.size, self.drop_last, self.on_error)

    @property
    def size(self) -> int:
        """Samples of a full batch; 1 where a batch sampler decides."""
        return self.batch_size or 1

    @property
    def epoch_samplers(self) -> list[Any]:
        """What a loop may call `set_epoch` of: the sampler, or the user's own batch sampler and the sampler inside it."""
        return samplers_with_epoch(self.batch_sampler if self.own_batches else self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Make this the epoch of the pass that begins next, also of an iterator that has not been used yet.

        An epoch that `load_state_dict` has just restored keeps its position. `loader.sampler.set_epoch` does the same. A
        sampler of the user's own that has `set_epoch` is told when the pass begins.
        """
        self.cursor.jump_to_epoch(integer("epoch", epoch, 0, EPOCHS - 1))

    def state_dict(self) -> dict[str, Any]:
        """Where the iterator used last stands; after its end, the start of the next epoch.

        position: samples of the epoch that all ranks together have delivered, bad ones included, given that each has
        delivered as many batches as this one. With a sampler of one's own, samples delivered by this rank.
        """
        epoch, position = self.cursor.reached
        return {
            "seed": self.seed,
            "epoch": epoch,
            "position": position,
            "samples": len(self.source),
            "shuffle": self.shuffle,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the next `iter()` yield the rest of the saved epoch, whatever the batch size, the workers and the ranks.

        Raises ValueError where seed, shuffle or the number of samples differ, since the rest would be another one, and where
        the state is none. A sampler of one's own must give the same order again.
        """
        check_state(state, self.state_dict())
        most = self.sampler.samples if isinstance(self.sampler, EpochOrder) else None
        epoch = integer("epoch", state["epoch"], 0, EPOCHS - 1)
        position = integer("position", state["position"], 0, most)
        self.next_epoch.discard()
        self.cursor.jump(epoch, position)

    @property
    def rank(self) -> int:
        """Of this process, among `world_size`; 0 with a sampler of one's own, which decides by itself."""
        return self.sampler.rank if isinstance(self.sampler, EpochOrder) else 0

    @property
    def world_size(self) -> int:
        """Processes that share an epoch: as given, or those of torch.distributed now."""
        return self.sampler.num_replicas if isinstance(self.sampler, EpochOrder) else 1

    @property
    def collate_fn(self) -> Any:  # type: ignore[override]
        """Raises TypeError: who asks for it means to make a loader of this one's parts."""
        raise TypeError(
            "gpuaug.DataLoader has no collate_fn, so no other loader can be made of its parts: it decodes and draws by itself. "
            "Give the loader itself to the loop (in a process group each rank takes its share of it); to go on in the middle "
            "of an epoch, save loader.state_dict() and call loader.load_state_dict(state), instead of skipping batches"
        )
