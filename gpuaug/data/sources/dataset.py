"""Map-style Datasets: each sample comes from the user's own `__getitem__`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from ...images import Images, as_rgb
from ..decoders.pillow import Pixels
from ..targets import Collate, collate_by_torch
from . import Index, collate_samples, first_is_labelled


class DatasetSource:
    """Any map-style Dataset whose items are (image, target), read by worker processes.

    An item without a label is the image alone, (image,) or (image, None). PIL images are converted to RGB by the rules of
    `decode`, but EXIF orientation is left to the Dataset. torch's `default_collate` batches the targets, unless the loader has
    a `target_collate_fn`.

    Args:
        dataset: Object with `len` and `[]`. Its images are PIL images, or uint8 (H, W, 3) or (3, H, W) arrays or tensors.
    """

    workers = "processes"

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.targets = getattr(dataset, "targets", None)

    def __len__(self) -> int:
        return len(self.dataset)

    def name(self, i: int) -> str:
        return f"sample {i} of {type(self.dataset).__name__}"

    @cached_property
    def labelled(self) -> bool:
        """Whether the first readable sample has a target; the first access reads that sample in this process."""
        return first_is_labelled(self)

    def load(self, index: Index, collate: Collate = collate_by_torch) -> tuple[Images, Any]:
        samples = index.tolist()
        return collate_samples([self.item(i) for i in samples], samples, collate, self.name)

    def item(self, i: int) -> tuple[Pixels, Any]:
        """Pixels and target of sample i; the target is None if there is none."""
        try:
            item = self.dataset[i]
        except StopIteration as error:  # it would end the epoch silently
            raise RuntimeError(f"{self.name(i)}: the Dataset raised StopIteration") from error
        return as_sample(item, lambda: self.name(i))

    def __repr__(self) -> str:
        return f"DatasetSource({type(self.dataset).__name__}, {len(self)} samples)"


def as_sample(item: Any, name: Callable[[], str]) -> tuple[Pixels, Any]:
    """Pixels and target, or None, of what a user's Dataset returned. Raises TypeError or ValueError for anything else."""
    if isinstance(item, Mapping) or (isinstance(item, (tuple, list)) and len(item) not in (1, 2)):
        raise TypeError(
            f"{name()} must be an image or a pair (image, target), got {type(item).__name__} of {len(item)}; what "
            "belongs to the image beside its pixels must be one target, such as a tuple or a dict"
        )
    if not isinstance(item, (tuple, list)):
        item = (item,)
    image, target = item[0], item[1] if len(item) == 2 else None
    try:
        return as_rgb(image), target
    except (TypeError, ValueError) as error:
        reason = str(error).removeprefix("Images: image 0 ")
        raise type(error)(f"{name()}: the image {reason}; a Dataset must return raw images, which gpuaug augments") from error
