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
"""Positions in a list of files, ascending and each at most once, and the (height, width) of their pictures, (n, 2) -> the
region of each that is read, (n, 4): top, left, height and width."""


Frame: TypeAlias = tuple[int, int, int, int]
"""Top and left of a region, and the height and width of the whole picture."""


@dataclass(frozen=True)
class Region:
    """Part of a picture. pixels: uint8 (h, w, 3).

    scale: Each pixel stands for scale x scale pixels of the picture, in which `frame` is given all the same.
    """

    pixels: Pixels
    frame: Frame
    scale: int = 1


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


SCALES = (8, 4, 2)
"""Scales at which libjpeg decodes, beside 1: each pixel stands for as many pixels in either direction."""

FINER = 2
"""How many pixels of a scaled picture each pixel of a view has at least, in either direction."""


@dataclass(frozen=True)
class DrawnRegions:
    """A `Regional` by the draws of the files' samples, which also tells at which scale each file may be decoded."""

    draws: Callable[[], Draws]

    def __call__(self, where: Sequence[int], shapes: Boxes) -> Boxes:
        return regions_read(self.of(where), shapes)

    def of(self, where: Sequence[int]) -> Draws:
        """The draws of some of the files."""
        draws = self.draws()
        return draws if len(where) == len(draws) else draws.take(where)

    def take(self, where: Sequence[int]) -> DrawnRegions:
        """The same for some of the files."""
        return DrawnRegions(lambda: self.of(where))

    def scales(self, where: Sequence[int], shapes: Boxes) -> list[int]:
        """The scale of each file: see `scales`."""
        return scales(self.of(where), shapes)

    @property
    def least_edge(self) -> int:
        """A picture whose longer edge has fewer pixels is decoded at scale 1, whatever was drawn."""
        return min(SCALES) * FINER * max(max(crop_size(crop)) for crop in first_crops(self.draws().policy))


def first_crops(policy: Policy) -> list[RandomResizedCrop]:
    """The crop at the start of each view, which is one if `starts_with_crop`."""
    return [cast(RandomResizedCrop, view.steps[0]) for view in policy.views]


def crop_size(crop: RandomResizedCrop) -> tuple[int, int]:
    return cast(tuple[int, int], crop.size)


def scalable(policy: Policy) -> bool:
    """Whether pictures may be decoded at a smaller scale: all views begin with a random crop that filters what it reads."""
    return starts_with_crop(policy) and all(crop.interpolation != "nearest" for crop in first_crops(policy))


def scales(draws: Draws, shapes: Boxes) -> list[int]:
    """The scale at which each picture may be decoded: the largest at which every crop is `FINER` times its view or larger.

    shapes: (height, width) of each upright picture. A picture's scale follows from its own size, its draws and the views' sizes
    alone. It is 1 if no larger one will do, and for crops that take the nearest pixel, since they filter nothing.
    """
    if not scalable(draws.policy):
        return [1] * len(shapes)
    sizes = np.array([crop_size(crop) for crop in first_crops(draws.policy)], np.int64)
    most = (crop_boxes(draws, shapes)[:, :, 2:] // (FINER * sizes[:, None])).min(axis=(0, 2))
    return [next((scale for scale in SCALES if scale <= limit), 1) for limit in most.tolist()]


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
    for crop, tables in zip(first_crops(draws.policy), draws.tables, strict=True):
        boxes = drawn_boxes(tables, shapes)
        found.append(crop.boxes(tables[0], *shapes.T) if boxes is None else boxes)
    return np.stack(found)


def crops_in_regions(draws: Draws, frames: Boxes) -> Draws:
    """The draws with their first crops as boxes inside the decoded regions. frames: (B, 5), frame and scale of each `Region`.

    In a scaled region a box has its edges at the nearest pixels, since boxes are integers: at most half of the scale away.
    """
    tables = (in_frames(table, draws.policy, v, frames) for v, table in enumerate(draws.tables))
    return replace(draws, tables=tuple(tables))
