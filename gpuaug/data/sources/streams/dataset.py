"""torch's IterableDatasets: each sample comes from the user's own iterator."""

from __future__ import annotations

from functools import cached_property
from types import MappingProxyType
from typing import Any

from ..dataset import as_sample


class DatasetStream:
    """Any `torch.utils.data.IterableDataset` whose items are (image, target), (image, None) or images.

    torch's DataLoader runs it, in `num_workers` processes, which must divide the samples among themselves by torch's
    `get_worker_info()`, as always with torch; ranks too. A sample that worker w of W on rank r of R gives as its k-th has the
    index k W R + r W + w. If the workers take turns (each takes every (W R)-th sample), that is its position in the whole.

    Args:
        dataset: Its images are those that a `DatasetSource` takes. If it has `set_epoch`, that is called before each pass.
    """

    workers = "stream"
    encoded = False
    divides = False
    identity = MappingProxyType({"kind": "IterableDataset"})

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def name(self, i: int) -> str:
        return f"sample {i} of {type(self.dataset).__name__}"

    @cached_property
    def labelled(self) -> bool:
        """Whether the first sample has a target; the first access reads it in this process. True if there is no sample."""
        for item in self.dataset:
            return as_sample(item, lambda: self.name(0))[1] is not None
        return True

    def __repr__(self) -> str:
        return f"DatasetStream({type(self.dataset).__name__})"
