"""Images: a batch of decoded pictures of different sizes in one flat buffer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from .isolation import eager
from .memory import POOL
from .yuv import to_rgb

if TYPE_CHECKING:
    from PIL import Image


Layout = Literal["interleaved", "planar", "yuv420"]


@dataclass(frozen=True, eq=False)
class Images:
    """A batch of 8-bit RGB images, each of its own size, on one device.

    Args:
        buffer: Flat uint8 tensor: the pixels of every image, row by row, three bytes per pixel unless `layout` says otherwise.
            A contiguous tensor is shared; any other, such as every second byte of another tensor, is copied.
        shapes: (B, 2) int32 NumPy array of heights and widths. It stays on the host, where crop boxes are computed.
        starts: (B,) int64 NumPy array: where each image begins in the buffer, which may contain other bytes too. None: the
            images follow each other without gaps.
        layout: How each image is stored: "interleaved" as (H, W, 3); "planar" as three planes (3, H, W); "yuv420" as a plane
            of brightness and two of colours at half resolution, 1.5 bytes per pixel (see `gpuaug.yuv`), which backends
            read as the RGB that libjpeg makes of them.

    Raises:
        TypeError: `buffer` or `shapes` has the wrong type.
        ValueError: A dtype or a shape is wrong, or the images do not fit into the buffer.
    """

    buffer: torch.Tensor
    shapes: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64] | None = None
    layout: Layout = "interleaved"

    def __post_init__(self) -> None:
        for name, value, kind in (("buffer", self.buffer, torch.Tensor), ("shapes", self.shapes, np.ndarray)):
            if not isinstance(value, kind):
                raise TypeError(f"Images: {name} must be a {kind.__module__}.{kind.__name__}, got {type(value).__name__}")
        if self.buffer.dtype != torch.uint8 or self.buffer.ndim != 1:
            raise ValueError(f"Images: buffer must be a flat uint8 tensor, got {self.buffer.dtype} of {self.buffer.ndim} dims")
        if self.shapes.ndim != 2 or self.shapes.shape[1] != 2 or self.shapes.dtype.kind not in "iu" or (self.shapes < 1).any():
            raise ValueError("Images: shapes must be (B, 2) heights and widths, integers, each at least 1")
        if self.layout not in get_args(Layout):
            raise ValueError(f"Images: layout must be one of {', '.join(map(repr, get_args(Layout)))}, got {self.layout!r}")
        if self.starts is None:
            if int(self.sizes.sum()) != self.buffer.numel():
                raise ValueError(f"Images: shapes need {int(self.sizes.sum())} bytes, the buffer has {self.buffer.numel()}")
        elif self.starts.shape != (len(self),) or self.starts.dtype != np.int64:
            raise ValueError(f"Images: starts must be ({len(self)},) int64, got {self.starts.shape} {self.starts.dtype}")
        elif len(self) and not 0 <= self.starts.min() <= (self.starts + self.sizes).max() <= self.buffer.numel():
            raise ValueError(f"Images: starts and shapes point outside the buffer, which has {self.buffer.numel()} bytes")
        # Kernels read these three arrays as contiguous memory.
        object.__setattr__(self, "buffer", self.buffer.contiguous())
        object.__setattr__(self, "shapes", dense(self.shapes, np.int32))
        if self.starts is not None:
            object.__setattr__(self, "starts", dense(self.starts, np.int64))

    @classmethod
    @eager
    def from_list(cls, images: Iterable[Any]) -> Images:
        """Copy a list of images into one batch on the CPU.

        Args:
            images: Each is a PIL image (see `rgb`), or a uint8 array or tensor of shape (H, W), (H, W, 1), (H, W, 3), (3, H, W)
                or (1, H, W) with any strides; `channels_last` decides where two of these fit.

        Raises:
            TypeError: An image has another type or dtype; the message names its position in the list.
            ValueError: An image has another shape; the message names its position in the list.
        """
        arrays = [as_rgb(image, k) for k, image in enumerate(images)]
        shapes = np.array([a.shape[:2] for a in arrays], dtype=np.int32).reshape(-1, 2)
        flat = np.concatenate([a.reshape(-1) for a in arrays]) if arrays else np.empty(0, dtype=np.uint8)
        return cls(torch.from_numpy(flat), shapes)

    @classmethod
    @eager
    def from_tensor(cls, images: torch.Tensor) -> Images:
        """A batch that shares memory with a uint8 tensor (B, 3, H, W), on the tensor's device.

        The tensor is copied only if the pixels of an image are not contiguous, neither as planes nor in channels-last order.

        Raises:
            TypeError: The dtype is not uint8.
            ValueError: The shape is not (B, 3, H, W).
        """
        if images.dtype != torch.uint8:
            raise TypeError(f"Images: a tensor must be uint8, got {images.dtype}; convert pixels to 0..255 first")
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"Images: a tensor must have shape (B, 3, H, W), got {tuple(images.shape)}")
        count, _, height, width = images.shape
        shapes = np.tile(np.array([[height, width]], dtype=np.int32), (count, 1))
        pixels = images.permute(0, 2, 3, 1)
        last = pixels[:1].is_contiguous()
        if not last and not images[:1].is_contiguous():
            last = images.stride(1) == 1
            images = images.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
        layout: Layout = "interleaved" if last else "planar"
        size, step = 3 * height * width, images.stride(0)
        if count < 2 or step == size:
            return cls((images.permute(0, 2, 3, 1) if last else images).reshape(-1), shapes, layout=layout)
        flat = images.as_strided(((count - 1) * step + size,), (1,), images.storage_offset())
        return cls(flat, shapes, np.arange(count, dtype=np.int64) * step, layout)

    @property
    def device(self) -> torch.device:
        """Where the pixels are."""
        return self.buffer.device

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """(B,) int64: how many bytes each image has."""
        height, width = self.shapes.T.astype(np.int64)
        if self.layout == "yuv420":
            return np.asarray(height * width + 2 * (-(-height // 2) * -(-width // 2)))
        return np.asarray(3 * height * width)

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """(B,) int64: where each image starts in the buffer."""
        if self.starts is not None:
            return self.starts
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.sizes)[:-1]])[: len(self)]

    @property
    def uniform(self) -> bool:
        """Whether all images have the same size."""
        return bool((self.shapes == self.shapes[:1]).all())

    def packed(self) -> Images:
        """The batch as (H, W, 3) images without gaps between them: itself if it is so already, else a copy."""
        if self.layout == "interleaved":
            return self.gathered()
        if not (len(self) and self.uniform):
            return Images(torch.cat([self.buffer[:0], *(image.reshape(-1) for image in self)]), self.shapes)
        height, width = self.shapes[0].tolist()
        rows = self.gathered().buffer.view(len(self), -1)
        if self.layout == "yuv420":
            return Images(to_rgb(rows, height, width).reshape(-1), self.shapes)
        return Images(rows.view(-1, 3, height, width).permute(0, 2, 3, 1).reshape(-1), self.shapes)

    def gathered(self) -> Images:
        """The batch without gaps between images: itself if it has none, else a copy."""
        if self.starts is None:
            return self
        sizes, starts = self.sizes, self.starts
        size = int(sizes[0]) if len(self) and self.uniform else 0
        if size and self.buffer.device.type == "cpu" and not (starts % size).any():  # the images are rows of a table
            rows = self.buffer.numel() // size
            out = POOL.allocate(len(self) * size)
            table = self.buffer[: rows * size].view(rows, size).numpy()
            np.take(table, starts // size, axis=0, out=out.reshape(len(self), size), mode="clip")  # "raise" makes another copy
            return Images(torch.from_numpy(out), self.shapes, layout=self.layout)
        parts = [self.buffer[a : a + n] for a, n in zip(starts.tolist(), sizes.tolist(), strict=True)]
        return Images(torch.cat(parts) if parts else self.buffer[:0], self.shapes, layout=self.layout)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Images:
        """Copy the batch to a device, without gaps between images; itself if it is there already."""
        if torch.device(device) == self.device:
            return self
        return Images(self.gathered().buffer.to(device, non_blocking=non_blocking), self.shapes, layout=self.layout)

    def pin_memory(self) -> Images:
        """Copy the batch to page-locked memory, without gaps between images, so that copies to a GPU can be asynchronous."""
        return Images(self.gathered().buffer.pin_memory(), self.shapes, layout=self.layout)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, k: int) -> torch.Tensor:
        """Image k, uint8 (H, W, 3), sharing memory unless the layout is "yuv420". Raises IndexError outside the batch."""
        try:
            k = index(k)
        except TypeError as error:
            kind = type(k).__name__
            raise TypeError(
                f"Images: [] takes one image's number, got {kind}; for several: [images[k] for k in ...]"
            ) from error
        if not -len(self) <= k < len(self):
            raise IndexError(f"Images: {k} is outside a batch of {len(self)}")
        k %= len(self)
        height, width = (int(n) for n in self.shapes[k])
        start = int(self.offsets[k])
        pixels = self.buffer[start : start + int(self.sizes[k])]
        if self.layout == "yuv420":
            return to_rgb(pixels[None], height, width)[0]
        return pixels.view(3, height, width).permute(1, 2, 0) if self.layout == "planar" else pixels.view(height, width, 3)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (self[k] for k in range(len(self)))

    def __repr__(self) -> str:
        if not len(self):
            return f"Images(0, {self.device})"
        low, high = self.shapes.min(axis=0), self.shapes.max(axis=0)
        size = f"{low[0]}x{low[1]}" + ("" if self.uniform else f" to {high[0]}x{high[1]}")
        return f"Images({len(self)} of {size}, {self.device})"


def as_rgb(image: Any, position: int = 0) -> npt.NDArray[np.uint8]:
    """One image as a contiguous uint8 (H, W, 3) array; see `Images.from_list`."""
    if hasattr(image, "convert") and hasattr(image, "getbands"):  # a PIL image; PIL itself need not be imported
        try:
            image = rgb(image)
        except ValueError as error:
            raise ValueError(f"Images: image {position} {error}") from error
    planes_first = isinstance(image, torch.Tensor)
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu().numpy()
    if not isinstance(image, np.ndarray):
        raise TypeError(f"Images: image {position} must be a PIL image, a uint8 array or tensor, got {type(image).__name__}")
    if image.dtype != np.uint8:
        raise TypeError(f"Images: image {position} must be uint8, got {image.dtype}; convert pixels to 0..255 first")
    if image.ndim == 3 and not channels_last(image.shape, planes_first):
        image = image.transpose(1, 2, 0)
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        raise ValueError(
            f"Images: image {position} must have shape (H, W), (H, W, 1 or 3) or (1 or 3, H, W), none of them 0, "
            f"got {tuple(image.shape)}"
        )
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


LARGE = 2**24
"""A picture with more pixels is converted in strips."""


def in_strips(image: Image.Image) -> npt.NDArray[np.uint8]:
    """`rgb` of a large picture in strips, since PIL would hold two copies of the whole."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, LARGE // 16 // image.width)
    for top in range(0, image.height, rows):
        pixels[top : top + rows] = rgb(image.crop((0, top, image.width, min(top + rows, image.height))))
    return pixels


def channels_last(shape: Sequence[int], tensor: bool) -> bool:
    """Whether an image of this shape, three numbers, is (H, W, 1 or 3) rather than (1 or 3, H, W).

    Where both fit, as for (3, 20, 3), an array counts as (H, W, channels), the order of Pillow and OpenCV, and a tensor as
    (channels, H, W), the order of torch and torchvision. Where neither fits, the answer is True.
    """
    first, last = shape[0] in (1, 3), shape[2] in (1, 3)
    return not first or (last and not tensor)


def dense(array: npt.NDArray[Any], dtype: type[np.integer[Any]]) -> npt.NDArray[Any]:
    """The array as contiguous and writable, which the kernels were compiled for: itself if it is so already, else a copy."""
    return np.require(array, dtype, ["C", "W"])


def rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    """A PIL image of any mode as uint8 (H, W, 3).

    Alpha is dropped and the colours under it are kept. 16-bit gray is divided by 257 and rounded; PIL's own conversion would
    clip it to white. Floats (mode F) are multiplied by 255 and rounded, and must be in [0, 1]. 32-bit integers (mode I) are
    accepted only from a PPM file, where PIL makes them from 16 bits. Every other mode goes through PIL's `convert("RGB")`.

    Raises:
        ValueError: The image has other integers or floats, whose range is unknown.
    """
    if image.width * image.height > LARGE and image.format != "PPM":  # a strip would lose the format, on which mode I depends
        return in_strips(image)
    if image.mode == "I" and image.format != "PPM":
        raise ValueError("has 32-bit integers (mode I), whose range is not known; convert it to 8-bit or 16-bit gray first")
    if image.mode == "I" or image.mode.startswith("I;16"):
        gray = (np.asarray(image).astype(np.int64).clip(0, 65535) + 128) // 257
        return np.repeat(gray.astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode == "F":
        gray = np.asarray(image)
        low, high = float(gray.min()), float(gray.max())
        if not -0.5 < 255 * low <= 255 * high < 255.5:
            raise ValueError(
                f"has floats (mode F) from {low:g} to {high:g}, but they must lie in 0..1; divide by their maximum"
            )
        return np.repeat(np.rint(gray * np.float32(255)).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # the direct conversion warns; the colours are the same
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
