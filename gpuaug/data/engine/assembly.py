"""Putting the parts of a batch together, and decoding on the device what the threads have left for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..decoders.device import DeviceDecoder
from ..decoders.pillow import DecodeError
from ..decoders.regions import Boxes, Waiting
from ..decoders.staging import OnDevice, StagedBatch
from ..sources import Encoded, Index
from .batch import DecodedBatch, DecodedPart, FetchConfig, Sent, place, read_part, to_images
from .stats import Stamp, stamp


def assemble(
    source: Encoded,
    index: Index,
    parts: Sequence[DecodedPart],
    config: FetchConfig,
    out: Sequence[torch.Tensor] | None = None,
    staged: StagedBatch | None = None,
) -> DecodedBatch:
    """Put the parts of a batch together, in the thread that uses the device.

    out: the batch's views, if the parts have written theirs there, in order. staged: memory of the pictures, if they go to a
    device; the parts have placed theirs there, or have left files that the device shall decode.
    """
    read, decode, augment = (sum(getattr(part, name) for part in parts) for name in ("read", "decode", "augment"))
    sent: list[Sent] = []
    began: Stamp | None = None
    if staged is None:
        images, frames = to_images([pixels for part in parts for pixels in part.pixels])
    else:
        began = stamp(staged.staging.device) if isinstance(config.decode, DeviceDecoder) else None
        parts, sent = decoded_on_device(source, index, parts, config, staged)
        images, frames = to_images([])[0], frames_of(sent)
    kept = np.array([i for part in parts for i in part.index], dtype=np.int64)
    bad = tuple(bad for part in parts for bad in part.bad)
    target = source.target(kept, config.collate) if len(kept) else None
    views = None if out is None else [kept_rows(view, parts) for view in out]
    places = [one.place for one in sent]
    shapes = None if out is None else np.concatenate([np.empty((0, 2), np.int32), *(s for part in parts for s in part.shapes)])
    return DecodedBatch(
        kept, images, target, len(index), bad, read, decode, frames, views, augment, staged, places, began, shapes
    )  # fmt: skip


def kept_rows(view: torch.Tensor, parts: Sequence[DecodedPart]) -> torch.Tensor:
    """The rows of a view (B, 3, H, W) that were written: all of them unless samples were skipped."""
    if all(len(part.index) == part.asked for part in parts):
        return view
    areas = torch.split(view, [part.asked for part in parts])
    return torch.cat([area[: len(part.index)] for area, part in zip(areas, parts, strict=True)])


def decoded_on_device(
    source: Encoded, index: Index, parts: Sequence[DecodedPart], config: FetchConfig, staged: StagedBatch
) -> tuple[Sequence[DecodedPart], list[Sent]]:
    """Decode the files that parts have left for the device; the parts, read anew if a file is bad, and where each picture is.

    The decoder remembers a bad file, so that reading the batch anew treats it as `on_error` says.
    """
    while True:
        items = [item for part in parts for item in part.pixels]
        files = [item for item in items if isinstance(item, Waiting)]
        found = iter(config.decode.decode(files) if isinstance(config.decode, DeviceDecoder) else [])
        sent: list[Sent | None] = []
        for item in items:
            if not isinstance(item, Waiting):
                sent.append(place(item, staged))
                continue
            one = next(found)
            if isinstance(one, DecodeError):
                sent.append(None)
            elif isinstance(one, OnDevice):
                sent.append(Sent(one, item.frame))
            else:
                sent.append(place(one, staged))
        if None not in sent:
            staged.copied += sum(len(file.data) for file in files)
            return parts, [one for one in sent if one is not None]
        staged.clear()
        parts = [read_part(source, index, config, None, staged)]


def frames_of(sent: Sequence[Sent]) -> Boxes | None:
    """The frame and scale of each picture, (B, 5), if any of them is a region."""
    if all(one.frame == (0, 0, *one.place.shape) for one in sent):
        return None
    return np.array([(*one.frame, one.scale) for one in sent], np.int32)
