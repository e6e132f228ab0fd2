"""Map-style Datasets: each sample is what the user's own `__getitem__` gives."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from ...images import Images, as_rgb
from ..decoders.pillow import Pixels
from . import Index, collate_samples, first_is_labelled
from .targets import Collate, collate_by_torch


class DatasetSource:
    """Any Dataset whose items are (image, target), the image a PIL image or 8-bit pixels (see `Images.from_list`).

    An item without a label is the image alone, (image,) or (image, None). PIL images come out by the rules of `decode`, except
    that EXIF orientation is the Dataset's own affair. Targets are collated by torch's default_collate, unless the loader has a
    target_collate_fn.
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
        """Whether the first sample that can be read has a target; to ask reads it, in this process, once."""
        return first_is_labelled(self)

    def load(self, index: Index, collate: Collate = collate_by_torch) -> tuple[Images, Any]:
        samples = index.tolist()
        return collate_samples([self.item(i) for i in samples], samples, collate, self.name)

    def item(self, i: int) -> tuple[Pixels, Any]:
        """Pixels and target; None where there is no target."""
        try:
            item = self.dataset[i]
        except StopIteration as error:  # which would end the epoch without a word
            raise RuntimeError(f"{self.name(i)}: the Dataset raised StopIteration") from error
        if isinstance(item, Mapping) or (isinstance(item, (tuple, list)) and len(item) not in (1, 2)):
            raise TypeError(
                f"{self.name(i)} must be an image or a pair (image, target), got {type(item).__name__} of {len(item)}; what "
                "goes beside the image belongs into one target, such as a tuple or a dict"
            )
        if not isinstance(item, (tuple, list)):
            item = (item,)
        image, target = item[0], item[1] if len(item) == 2 else None
        try:
            return as_rgb(image), target
        except (TypeError, ValueError) as error:
            reason = str(error).removeprefix("Images: image 0 ")
            raise type(error)(
                f"{self.name(i)}: the image {reason}; a Dataset gives raw images, gpuaug does the rest"
            ) from error

    def __repr__(self) -> str:
        return f"DatasetSource({type(self.dataset).__name__}, {len(self)} samples)"
