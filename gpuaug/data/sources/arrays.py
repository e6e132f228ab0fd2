"""Images of one size in an array, in memory or in a memory map."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...images import Images, Layout
from ...ops import Size
from ..decoders.pillow import Pixels
from ..targets import Collate, collate_by_torch, collate_single, collate_targets, refuse_geometric
from . import Index


def memory_layout(pixels: Pixels) -> tuple[Pixels, Layout]:
    """Images (N, H, W, 3) in the axis order of their memory, and what that is: "planar" if channels are first, (N, 3, H, W)."""
    planes = pixels.transpose(0, 3, 1, 2)
    planar = planes.flags.c_contiguous and not pixels.flags.c_contiguous
    return (planes, "planar") if planar else (pixels, "interleaved")


def flat_view(table: Pixels) -> torch.Tensor | None:
    """A flat tensor that shares memory with the table; None if it is not contiguous, or read-only, which torch warns of."""
    shared = table.flags.c_contiguous and table.flags.writeable
    return torch.from_numpy(table.reshape(-1)) if shared else None


class ArraySource:
    """Images of one size in memory, or in a memory map; they are not copied.

    Args:
        images: uint8 array or CPU tensor of shape (N, H, W, 3), (N, 3, H, W), or gray (N, H, W), (N, H, W, 1), (N, 1, H, W).
            If both the second and the last axis could be the channels, an array has them last, a tensor second.
        targets: N numbers or rows of numbers; integers become int64. None for images without labels.
        target_transform: Function of one target, applied when a batch is read.

    Raises:
        TypeError: Images are not uint8, or targets are not numbers.
        ValueError: A shape is none of these, or there are more or fewer targets than images.
    """

    workers = "none"

    def __init__(self, images: Any, targets: Any = None, target_transform: Callable[[Any], Any] | None = None) -> None:
        self.hold(rows_of_rgb(images), targets, target_transform)

    def hold(self, images: Pixels, targets: Any, target_transform: Callable[[Any], Any] | None = None) -> None:
        self.images = images
        self.flat = flat_view(self.table()[0])
        self.labelled = targets is not None
        self.targets = as_targets(targets, len(images))
        self.target_transform = target_transform

    def table(self) -> tuple[Pixels, Layout]:
        """The images in the axis order of their memory, (N, ...), and how each of them is stored."""
        return memory_layout(self.images)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "flat": None}  # a pickle with both would hold the pixels twice

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.flat = flat_view(self.table()[0])

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> Size:
        """(height, width) of every image."""
        height, width = self.images.shape[1:3]
        return height, width

    def name(self, i: int) -> str:
        return f"image {i} of the array"

    def __getitem__(self, i: int) -> Any:
        """Sample i as a torch Dataset gives it: (image, target), the image uint8 (H, W, 3); without labels the image alone."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"{self!r}: index must be in {-len(self)}..{len(self) - 1}, got {i}")
        images, target = ArraySource.load(self, np.array([i % len(self)]), collate_single)
        pixels = images[0].numpy()
        return (pixels, target) if self.labelled else pixels

    def load(self, index: Index, collate: Collate = collate_by_torch) -> tuple[Images, Any]:
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(self):
            raise IndexError(f"{self!r}: index must be in 0..{len(self) - 1}, got {int(index.min())}..{int(index.max())}")
        shapes = np.repeat(np.array([self.size], dtype=np.int32), len(index), axis=0)
        table, layout = self.table()
        if self.flat is not None:
            images = Images(self.flat, shapes, index * prod(table.shape[1:]), layout)
        else:
            images = Images(torch.from_numpy(table[index].reshape(-1)), shapes, layout=layout)
        if not self.labelled:
            return images, None
        return images, collate_targets(self.targets, index, self.target_transform, collate, self.name)

    def __repr__(self) -> str:
        return f"ArraySource({len(self)} images of {self.size[0]}x{self.size[1]}{'' if self.labelled else ', no labels'})"


def rows_of_rgb(images: Any) -> npt.NDArray[np.uint8]:
    """Images as (N, H, W, 3), not copied; gray ones repeat their value three times. Raises what ArraySource raises."""
    planes_first = isinstance(images, torch.Tensor)
    pixels = images.numpy() if isinstance(images, torch.Tensor) else images
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
        kind = getattr(pixels, "dtype", type(pixels).__name__)
        raise TypeError(f"DataLoader: images must be a uint8 array or tensor, got {kind}; convert pixels to 0..255 first")
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        raise ValueError(
            f"DataLoader: images of shape {tuple(images.shape)} look like one picture (H, W, 3); give it as (1, H, W, 3), "
            f"or gray pictures of three columns as (N, H, 3, 1)"
        )
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    elif pixels.ndim == 4 and pixels.shape[1] in (1, 3) and (planes_first or pixels.shape[3] not in (1, 3)):
        pixels = pixels.transpose(0, 2, 3, 1)
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or 0 in pixels.shape[1:]:
        raise ValueError(
            "DataLoader: images must have shape (N, H, W, 3), (N, 3, H, W), or gray (N, H, W), (N, H, W, 1) or (N, 1, H, W), "
            f"got {tuple(images.shape)}"
        )
    return np.broadcast_to(pixels, (*pixels.shape[:3], 3)) if pixels.shape[3] == 1 else pixels


def as_targets(targets: Any, count: int) -> npt.NDArray[Any]:
    """The targets of `count` images, integers as int64; all -1 if `targets` is None."""
    if targets is None:
        return np.full(count, -1, dtype=np.int64)
    refuse_geometric(targets, "DataLoader")
    try:
        labels = np.asarray(targets)
    except ValueError as error:  # rows of different lengths
        raise ValueError(
            f"DataLoader: targets do not make one array ({error}); give a Dataset of (image, target), with target_collate_fn=, "
            "which is called with the list of a batch's targets, or leave them out: labels=False"
        ) from error
    if labels.ndim == 0 or len(labels) != count:
        raise ValueError(f"DataLoader: {count} images but {labels.size if labels.ndim == 0 else len(labels)} targets")
    if labels.dtype.kind not in "iufb":
        raise TypeError(
            f"DataLoader: targets must be numbers, got {labels.dtype}; encode them as integers, such as by "
            "numpy.unique(targets, return_inverse=True)[1], or leave them out: labels=False, or None in their place"
        )
    return labels.astype(np.int64, copy=False) if labels.dtype.kind in "iu" else labels
