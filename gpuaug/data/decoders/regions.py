"""Regions: which part of a picture the views of a policy read, so that no more of it need be decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt

from ...ops import RandomResizedCrop
from ...policy import Policy
from ...sampling import Draws
from .pillow import DecodeError, Pixels

Boxes = npt.NDArray[np.int32]

Regional: TypeAlias = Callable[[Sequence[int], Boxes], Boxes]
"""Positions in a list of files and their pictures' (height, width), as (n, 2) -> the region of each that is read, as (n, 4)
top, left, height and width."""


@dataclass(frozen=True)
class Region:
    """A part of a picture: its pixels, uint8 (h, w, 3), and its frame: top, left, and the whole picture's height and width."""

    pixels: Pixels
    frame: tuple[int, int, int, int]


Decoder: TypeAlias = Callable[[Sequence[bytes], Sequence[str], Regional | None], list[Pixels | Region | DecodeError]]
"""Encoded files, their names, and what of them is read -> for each its pixels, no less than that, or what is wrong with it."""


def starts_with_crop(policy: Policy) -> bool:
    """Whether all views begin with a crop, so that there are regions to speak of."""
    return all(isinstance(view.ops[0], RandomResizedCrop) for view in policy.views)


def regions_read(draws: Draws, shapes: Boxes) -> Boxes:
    """The regions (B, 4) that views read of pictures of these (height, width): the smallest boxes around their crops."""
    boxes = crop_boxes(draws, shapes)
    low = boxes[:, :, :2].min(axis=0)
    high = (boxes[:, :, :2] + boxes[:, :, 2:]).max(axis=0)
    return np.concatenate([low, high - low], axis=1)


def crop_boxes(draws: Draws, shapes: Boxes) -> Boxes:
    """The boxes (V, B, 4) of the crops that views begin with, in pictures of these (height, width)."""
    crops = [cast(RandomResizedCrop, view.steps[0]) for view in draws.policy.views]
    found = [crop.boxes(table[0], *shapes.T) for crop, table in zip(crops, draws.tables, strict=True)]
    return np.stack(found)


def crops_in_regions(draws: Draws, frames: Boxes) -> Draws:
    """The draws with the first crops as boxes in the regions at hand.

    frames: (B, 4), one a `Region`.
    """
    boxes = crop_boxes(draws, frames[:, 2:])
    boxes[:, :, :2] -= frames[:, :2]
    return replace(draws, tables=tuple(({"boxes": own}, *table[1:]) for own, table in zip(boxes, draws.tables, strict=True)))
