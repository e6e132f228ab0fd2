"""Regions: the part of a picture that a policy's views read, so that only this part need be decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt

from ...ops import RandomResizedCrop
from ...policy import Policy
from ...sampling import Draws
from ...sampling.tables import in_frames
from .pillow import DecodeError, Pixels

Boxes = npt.NDArray[np.int32]

Regional: TypeAlias = Callable[[Sequence[int], Boxes], Boxes]
"""Positions in a list of files and the (height, width) of their pictures, (n, 2) -> the region of each that is read, (n, 4):
top, left, height and width."""


Frame: TypeAlias = tuple[int, int, int, int]
"""Top and left of a region, and the height and width of the whole picture."""


@dataclass(frozen=True)
class Region:
    """Part of a picture. pixels: uint8 (h, w, 3)."""

    pixels: Pixels
    frame: Frame


@dataclass(frozen=True)
class Waiting:
    """A file that waits for the device's decoder, which decodes a batch at a time.

    size: (height, width) of the picture. box: top, left, height and width of the region to decode; None for the whole picture.
    """

    data: bytes
    name: str
    size: tuple[int, int]
    box: tuple[int, int, int, int] | None

    @property
    def frame(self) -> Frame:
        """Of what will be decoded."""
        return (*(self.box or (0, 0))[:2], *self.size)


Decoded: TypeAlias = Pixels | Region | Waiting

Decoder: TypeAlias = Callable[[Sequence[bytes], Sequence[str], Regional | None], Iterable[Decoded | DecodeError]]
"""Encoded files, their names, and which region of each is read -> for each at least those pixels, or its error. What the device
shall decode stays a file."""


def starts_with_crop(policy: Policy) -> bool:
    """Whether all views begin with a random crop, so that they read only a region of the picture."""
    return all(isinstance(view.steps[0], RandomResizedCrop) for view in policy.views)


def regions_read(draws: Draws, shapes: Boxes) -> Boxes:
    """The regions (B, 4) that views read, the smallest boxes around their crops. shapes: (height, width) of each picture."""
    boxes = crop_boxes(draws, shapes)
    low = boxes[:, :, :2].min(axis=0)
    high = (boxes[:, :, :2] + boxes[:, :, 2:]).max(axis=0)
    return np.concatenate([low, high - low], axis=1)


def crop_boxes(draws: Draws, shapes: Boxes) -> Boxes:
    """The boxes (V, B, 4) of the crops at the start of each view. shapes: (height, width) of each picture."""
    from ...backends.fused.draw_program import drawn_boxes  # here, since Numba takes a while to import

    found = []
    for view, tables in zip(draws.policy.views, draws.tables, strict=True):
        boxes = drawn_boxes(tables, shapes)
        found.append(cast(RandomResizedCrop, view.steps[0]).boxes(tables[0], *shapes.T) if boxes is None else boxes)
    return np.stack(found)


def crops_in_regions(draws: Draws, frames: Boxes) -> Draws:
    """The draws with their first crops as boxes inside the decoded regions. frames: (B, 4), the frame of each `Region`."""
    tables = (in_frames(table, draws.policy, v, frames) for v, table in enumerate(draws.tables))
    return replace(draws, tables=tuple(tables))
