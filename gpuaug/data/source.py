"""Sources: where samples lie. Each is a small class with a length, names for error messages, and one way to read.

workers = "threads"     read(i) -> encoded bytes, target(index): decoded here, in threads (Pillow releases the GIL)
workers = "processes"   load(index) -> (Images, target), item(i) -> (pixels, target): a user's Python code, in worker processes
workers = "none"        load(index) -> (Images, target): pixels in memory, referred to where they lie
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch

from ..images import Images, as_rgb
from ..isolation import default_collate
from ..ops import Size
from .decode import Pixels
from .target import collate_targets

Index = npt.NDArray[np.int64]


class Source(Protocol):
    """What every source has; `workers` says which of the protocols below it follows."""

    workers: str

    def __len__(self) -> int: ...

    def name(self, i: int) -> str:
        """What to call sample i in an error message, such as its path."""
        ...


class Encoded(Source, Protocol):
    """A source of encoded files, each read on its own."""

    def read(self, i: int) -> bytes: ...

    def target(self, index: Index) -> Any: ...


class Loaded(Source, Protocol):
    """A source that gives whole batches of pixels."""

    def load(self, index: Index) -> tuple[Images, Any]: ...


class Itemized(Loaded, Protocol):
    """A source of single samples of decoded pixels; an OSError of one is its own affair, not the batch's."""

    def item(self, i: int) -> tuple[Pixels, Any]: ...


def collate(items: Sequence[tuple[Pixels, Any]]) -> tuple[Images, Any]:
    """A batch of single samples; no target where there are none."""
    target = default_collate([target for _, target in items]) if items else None
    return Images.from_list([pixels for pixels, _ in items]), target


def flat(pixels: Pixels) -> torch.Tensor | None:
    """Pixels where they lie, for batches to refer to; None unless in rows that torch may refer to: it warns of read-only
    memory."""
    shared = pixels.flags.c_contiguous and pixels.flags.writeable
    return torch.from_numpy(pixels.reshape(-1)) if shared else None


class ArraySource:
    """Images of one size in memory, or in a memory map.

    images: uint8 (N, H, W, 3), (N, 3, H, W), or gray (N, H, W), array or CPU tensor, not copied. Where both the second and
    the last dimension are 3, an array is taken as (N, H, W, 3) and a tensor as (N, 3, H, W). targets: N numbers or rows;
    integers become int64. Raises TypeError or ValueError for others, naming what was given.
    """

    workers = "none"

    def __init__(self, images: Any, targets: Any, target_transform: Callable[[Any], Any] | None = None) -> None:
        planes_first = isinstance(images, torch.Tensor)
        pixels = images.numpy() if isinstance(images, torch.Tensor) else images
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
            kind = getattr(pixels, "dtype", type(pixels).__name__)
            raise TypeError(f"DataLoader: images must be a uint8 array or tensor, got {kind}; convert pixels to 0..255 first")
        if pixels.ndim == 4 and pixels.shape[1] == 3 and (planes_first or pixels.shape[3] != 3):
            pixels = pixels.transpose(0, 2, 3, 1)
        if pixels.ndim == 3:
            pixels = np.broadcast_to(pixels[..., None], (*pixels.shape, 3))
        if pixels.ndim != 4 or pixels.shape[3] != 3 or 0 in pixels.shape[1:]:
            raise ValueError(f"DataLoader: images must have shape (N, H, W, 3) or (N, 3, H, W), got {tuple(images.shape)}")
        labels = np.asarray(targets)
        if labels.ndim == 0 or len(labels) != len(pixels):
            raise ValueError(f"DataLoader: {len(pixels)} images but {labels.size if labels.ndim == 0 else len(labels)} targets")
        if labels.dtype.kind not in "iufb":
            raise TypeError(f"DataLoader: targets must be numbers, got {labels.dtype}")
        self.images = pixels
        self.flat = flat(pixels)
        self.targets = labels.astype(np.int64) if labels.dtype.kind in "iu" else labels
        self.target_transform = target_transform

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "flat": None}  # or a copy would have the pixels twice

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.flat = flat(self.images)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> Size:
        """(height, width) of every image."""
        height, width = self.images.shape[1:3]
        return height, width

    def name(self, i: int) -> str:
        return f"image {i} of the array"

    def load(self, index: Index) -> tuple[Images, Any]:
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(self):
            raise IndexError(f"{self!r}: index must be in 0..{len(self) - 1}, got {int(index.min())}..{int(index.max())}")
        shape = self.images.shape[1:]
        shapes = np.tile(np.array([shape[:2]], dtype=np.int32), (len(index), 1))
        if self.flat is not None:
            images = Images(self.flat, shapes, index * prod(shape))
        else:
            images = Images(torch.from_numpy(self.images[index].reshape(-1)), shapes)
        return images, collate_targets(self.targets, index, self.target_transform)

    def __repr__(self) -> str:
        return f"ArraySource({len(self)} images of {self.size[0]}x{self.size[1]})"


class DatasetSource:
    """Any Dataset whose items are (image, target), the image a PIL image or 8-bit pixels (see `Images.from_list`).

    PIL images come out by the rules of `decode`, except that EXIF orientation is the Dataset's own affair. Targets are
    collated by torch's default_collate.
    """

    workers = "processes"

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.targets = getattr(dataset, "targets", None)

    def __len__(self) -> int:
        return len(self.dataset)

    def name(self, i: int) -> str:
        return f"sample {i} of {type(self.dataset).__name__}"

    def load(self, index: Index) -> tuple[Images, Any]:
        return collate([self.item(i) for i in index.tolist()])

    def item(self, i: int) -> tuple[Pixels, Any]:
        try:
            item = self.dataset[i]
        except StopIteration as error:  # which would end the epoch without a word
            raise RuntimeError(f"{self.name(i)}: the Dataset raised StopIteration") from error
        if not (isinstance(item, (tuple, list)) and len(item) == 2):
            raise TypeError(f"{self.name(i)} must be a pair (image, target), got {type(item).__name__}")
        image, target = item
        try:
            return as_rgb(image), target
        except (TypeError, ValueError) as error:
            reason = str(error).removeprefix("Images: image 0 ")
            raise type(error)(
                f"{self.name(i)}: the image {reason}; a Dataset gives raw images, gpuaug does the rest"
            ) from error

    def __repr__(self) -> str:
        return f"DatasetSource({type(self.dataset).__name__}, {len(self)} samples)"


class Selected:
    """Some samples of another source, in a given order, as torch's Subset; sample i is its i-th."""

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
        self.source = source
        self.indices = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(self.indices) and not 0 <= int(self.indices.min()) <= int(self.indices.max()) < len(source):
            raise ValueError(f"DataLoader: the Subset has indices outside 0..{len(source) - 1}")
        self.workers = source.workers

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, i: int) -> str:
        return self.source.name(int(self.indices[i]))

    def read(self, i: int) -> bytes:
        return cast(Encoded, self.source).read(int(self.indices[i]))

    def target(self, index: Index) -> Any:
        return cast(Encoded, self.source).target(self.indices[index])

    def load(self, index: Index) -> tuple[Images, Any]:
        return cast(Loaded, self.source).load(self.indices[index])

    def item(self, i: int) -> tuple[Pixels, Any]:
        return cast(Itemized, self.source).item(int(self.indices[i]))
