"""The kinds of images that an Augmenter is given: 8-bit RGB, floats, other numbers of channels, lists of several sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ..images import Images
from ..memory import uninitialised
from . import Batch, BatchForm

TAKES = "gpuaug.Images, a tensor (B, C, H, W), uint8 or floats in [0, 1], or a list of images"


NOUNS = {
    "images": "8-bit images",
    "bytes": "8-bit images of one size",
    "floats": "floats of one size",
    "ragged": "floats of several sizes",
}


class Kind(NamedTuple):
    """What a plan depends on besides the policy.

    Attributes:
        form: What the first stage starts from.
        channels: How many channels the images have.
        device: Type of their device. It does not matter to 8-bit images, and is "cpu" then.
        graph: Whether autograd must follow the images through every stage.
    """

    form: Literal["images", "floats", "ragged", "bytes"]
    channels: int
    device: str = "cpu"
    graph: bool = False

    @property
    def forms(self) -> tuple[BatchForm, BatchForm]:
        """What the first stage starts from, and what later ones do once the images have one size."""
        if self.form == "images":
            return "images", "floats"
        later: BatchForm = "planes" if self.channels != 3 else "host" if self.device == "cpu" else "floats"
        first: BatchForm = "ragged" if self.form == "ragged" else "bytes" if self.form == "bytes" else later
        return first, later

    def __str__(self) -> str:
        noun = NOUNS[self.form]
        place = f" on {self.device}" if self.device != "cpu" else ""
        return f"{noun}{place}, {self.channels} channel{'s' * (self.channels != 1)}{', with gradients' * self.graph}"


RGB = Kind("images", 3)


def as_batch(images: Images | torch.Tensor | Sequence[Any]) -> Batch:
    """The images as a backend takes them; see `gpuaug.Augmenter` for what they may be.

    8-bit RGB becomes `Images`, which shares memory with a tensor. uint8 of other channels stays so. Floats become float32,
    through which gradients flow.

    Raises:
        TypeError: The images, one of them or their dtype are of another kind.
        ValueError: Their shape is another.
    """
    if isinstance(images, Images):
        return images
    if isinstance(images, torch.Tensor):
        if images.dtype == torch.uint8 and (images.ndim != 4 or images.shape[1] in (0, 3)):
            return Images.from_tensor(images)  # says what is wrong, if it is not (B, 3, H, W)
        if images.ndim != 4 or 0 in images.shape[1:]:
            raise ValueError(f"Augmenter: images must have shape (B, C, H, W), none but B 0, got {tuple(images.shape)}")
        check_dtype(images, "images")
        images = images if type(images) is torch.Tensor else images.as_subclass(torch.Tensor)
        return images if images.dtype == torch.uint8 else images.to(torch.float32)
    if not isinstance(images, Iterable):
        raise TypeError(f"Augmenter: images must be {TAKES}, got {type(images).__name__}")
    given = list(images)
    if not (given and isinstance(given[0], torch.Tensor) and given[0].is_floating_point()):
        return Images.from_list(given)
    return as_list(given)


def as_list(images: list[Any]) -> torch.Tensor | list[torch.Tensor]:
    """Float images as one tensor if they have one size, else as a list."""
    for k, image in enumerate(images):
        if not (isinstance(image, torch.Tensor) and image.is_floating_point()):
            found = image.dtype if isinstance(image, torch.Tensor) else type(image).__name__
            raise TypeError(f"Augmenter: image {k} must be a float tensor as image 0 is, got {found}")
        if image.ndim != 3 or 0 in image.shape:
            raise ValueError(f"Augmenter: image {k} must have shape (C, H, W), none of them 0, got {tuple(image.shape)}")
        if (image.shape[0], image.device) != (images[0].shape[0], images[0].device):
            raise ValueError(
                f"Augmenter: image {k} must have {images[0].shape[0]} channels on {images[0].device} as image 0 has, "
                f"got {image.shape[0]} on {image.device}"
            )
    floats = [image.as_subclass(torch.Tensor).to(torch.float32) for image in images]
    return torch.stack(floats) if len({image.shape for image in floats}) == 1 else floats


def check_dtype(x: torch.Tensor, name: str) -> None:
    if x.dtype != torch.uint8 and not x.is_floating_point():
        raise TypeError(f"Augmenter: {name} must be uint8, or floats in [0, 1], got {x.dtype}")


def as_floats(x: torch.Tensor) -> torch.Tensor:
    """uint8 divided by 255, in float32; on the CPU in memory that earlier batches have used."""
    if x.device.type != "cpu":
        return x / 255
    return torch.div(x, 255, out=uninitialised(tuple(x.shape), torch.float32, torch.contiguous_format))


def kind_of(batch: Batch) -> Kind:
    if isinstance(batch, Images):
        return RGB
    graph = torch.is_grad_enabled() and any(x.requires_grad for x in (batch if isinstance(batch, list) else [batch]))
    if isinstance(batch, list):
        return Kind("ragged", batch[0].shape[0], batch[0].device.type, graph)
    return Kind("bytes" if batch.dtype == torch.uint8 else "floats", batch.shape[1], batch.device.type, graph)


def device_of(batch: Batch) -> torch.device:
    return batch[0].device if isinstance(batch, list) else batch.device


def shapes_of(batch: Batch) -> npt.NDArray[np.int32]:
    """(B, 2) heights and widths."""
    if isinstance(batch, Images):
        return batch.shapes
    return np.array([x.shape[-2:] for x in batch], dtype=np.int32).reshape(-1, 2)
