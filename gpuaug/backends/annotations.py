"""Boxes, masks and keypoints of the images: moved by the same draws as the views, with torchvision's functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .. import ops as op
from ..isolation import eager, isolated
from ..ops import Op, OpDraws
from ..sampling import Draws

MOVES: frozenset[type[Op]] = frozenset(
    {
        op.RandomResizedCrop,
        op.Resize,
        op.CenterCrop,
        op.RandomCrop,
        op.RandomHorizontalFlip,
        op.RandomVerticalFlip,
        op.RandomAffine,
        op.RandomRotation,
        op.RandomPerspective,
        op.ElasticTransform,
        op.RandAugment,
        op.TrivialAugmentWide,
        op.AutoAugment,
        op.FixMatchRandAugment,
        op.TimmRandAugment,
    }
)
"""Ops that move pixels: the function in `torchvision.OPS` takes torchvision's tv_tensors too."""

STAYS: frozenset[type[Op]] = frozenset(
    {
        op.ColorJitter,
        op.RandomPhotometricDistort,
        op.RandomChannelPermutation,
        op.RandomGrayscale,
        op.RandomSolarize,
        op.RandomPosterize,
        op.RandomEqualize,
        op.RandomAutocontrast,
        op.RandomInvert,
        op.GaussianBlur,
        op.GaussianNoise,
        op.JPEG,
        op.RandomAdjustSharpness,
        op.RandomErasing,
        op.Cutout,
        op.Normalize,
        op.ToDtype,
    }
)
"""Ops that leave every pixel where it is, and so boxes and masks as they are."""

WITH_BOXES = ("labels", "area", "iscrowd")
"""Entries of a target that have a row per box, besides boxes, masks and keypoints."""


@eager
def transform_targets(
    targets: Sequence[Any],
    draws: Draws,
    *,
    min_size: float = 0.0,
    min_area: float = 0.0,
    mask_fill: float = 0,
    with_boxes: Sequence[str] = WITH_BOXES,
) -> list[Any]:
    """Move boxes, masks and keypoints as the views of a batch were moved, by the same draws.

    Ops that move pixels do to `torchvision.tv_tensors` what torchvision v2 does: masks are read at the nearest pixel, boxes
    become the smallest upright boxes around their moved corners, and are clipped to the view. Ops that change colours, blur,
    add noise or erase leave them as they are. Everything else in a target is passed on as it is.

    Args:
        targets: One per image: a dict, list, tuple or tensor with any number of `tv_tensors.BoundingBoxes`, `Mask` or
            `KeyPoints`, each of the image's size. Or one `tv_tensors.Mask` (B, H, W), a mask for each image.
        draws: The draws that the views are made from.
        min_size: In pixels of the view: boxes that are less wide or less high are dropped, from a dict that holds boxes. 0
            keeps all, also those that lie outside the view, as boxes without area at its edge.
        min_area: In square pixels of the view: boxes of a smaller area are dropped, likewise.
        mask_fill: Value of a mask where a view shows nothing of the image; 255 is a usual label to ignore.
        with_boxes: Keys of a dict whose values have one row per box, which is dropped together with the box. So are rows of
            masks (N, H, W) and of keypoints.

    Returns:
        For each view the targets: a list of B targets of the same structure, or a `tv_tensors.Mask` (B, *size of the view).

    Raises:
        TypeError: A target holds an image, or plain tensors as "boxes", "masks" or "keypoints".
        ValueError: There are not as many targets as draws, the sizes in one target differ, or an op is of unknown effect.
        ImportError: torchvision is missing.
    """
    from torchvision import tv_tensors

    if not isinstance(draws, Draws):
        raise TypeError(f"transform_targets: draws must be gpuaug.Draws, got {type(draws).__name__}")
    given = as_list(targets)
    if len(given) != len(draws):
        raise ValueError(f"transform_targets: {len(given)} targets but draws for {len(draws)}")
    for k, target in enumerate(given):
        size_of(target, f"targets[{k}]")
    for name, value in (("min_size", min_size), ("min_area", min_area)):
        if not value >= 0:
            raise ValueError(f"transform_targets: {name} must be a number >= 0, got {value!r}")
    out: list[Any] = []
    with isolated(torch.device("cpu")):
        for view, tables in zip(draws.policy.views, draws.tables, strict=True):
            steps = moving(view.steps, tables)
            moved = [each(target, Mover(steps, row, mask_fill)) for row, target in enumerate(given)]
            if min_size or min_area:
                moved = [without_small(target, min_size, min_area, with_boxes) for target in moved]
            if isinstance(targets, tv_tensors.Mask):
                empty = torch.zeros((0, *view.size), dtype=targets.dtype, device=targets.device)
                out.append(tv_tensors.Mask(torch.stack(moved) if moved else empty))
            else:
                out.append(moved)
    return out


def as_list(targets: Sequence[Any]) -> list[Any]:
    """One target per image."""
    from torchvision import tv_tensors

    if not isinstance(targets, tv_tensors.Mask):
        return list(targets)
    if targets.ndim != 3:
        raise ValueError(f"transform_targets: a Mask for the batch must have shape (B, H, W), got {tuple(targets.shape)}")
    return [tv_tensors.Mask(row) for row in targets]


def moving(steps: Sequence[Op], tables: Sequence[OpDraws]) -> list[tuple[Op, OpDraws]]:
    """The steps that move pixels, with their draws."""
    for step in steps:
        if type(step) not in MOVES and type(step) not in STAYS:
            raise ValueError(
                f"transform_targets: whether {type(step).__name__} moves pixels is not known, or it mixes an image with "
                "moved copies; leave it out of a policy for boxes or masks"
            )
    return [(step, table) for step, table in zip(steps, tables, strict=True) if type(step) in MOVES]


class Mover:
    """Applies the steps of one view, for one image of the batch, to a tv_tensor."""

    def __init__(self, steps: Sequence[tuple[Op, OpDraws]], row: int, mask_fill: float) -> None:
        self.steps, self.row, self.mask_fill = steps, row, mask_fill

    def __call__(self, x: Any) -> Any:
        from torchvision import tv_tensors
        from torchvision.transforms.v2 import functional

        moved = self.run(x)
        if isinstance(x, tv_tensors.BoundingBoxes):
            return functional.clamp_bounding_boxes(moved)
        if isinstance(x, tv_tensors.Mask) and self.mask_fill:
            shown = self.run(tv_tensors.Mask(torch.ones(x.shape[-2:], dtype=torch.uint8, device=x.device)))
            return tv_tensors.wrap(torch.where(shown.bool(), moved, self.mask_fill).to(x.dtype), like=x)
        return moved

    def run(self, x: Any) -> Any:
        from . import torchvision as truth

        for step, table in self.steps:
            d = {name: column[self.row] for name, column in table.items()}
            if d.pop("apply", True):
                x = truth.OPS[type(step)](x, step, d)
        return x


def each(target: Any, function: Callable[[Any], Any]) -> Any:
    """The target with the function applied to each of its tv_tensors."""
    from torchvision import tv_tensors

    if isinstance(target, tv_tensors.TVTensor):
        return function(target)
    if isinstance(target, Mapping):
        return {key: each(value, function) for key, value in target.items()}
    if isinstance(target, (list, tuple)):
        made = [each(value, function) for value in target]
        return type(target)(*made) if hasattr(target, "_fields") else type(target)(made)
    return target


KINDS = {"boxes": "BoundingBoxes", "masks": "Mask", "keypoints": "KeyPoints"}
"""Key of a dict -> the tv_tensor that it must hold: a plain tensor would stay where it is."""


def size_of(target: Any, name: str) -> tuple[int, int] | None:
    """(height, width) of the image that a target is for; None if it holds nothing that tells."""
    from torchvision import tv_tensors
    from torchvision.transforms.v2 import functional

    if isinstance(target, (tv_tensors.Image, tv_tensors.Video)):
        raise TypeError(f"transform_targets: {name} is an image; give images to the Augmenter, and dense labels as a Mask")
    if isinstance(target, tv_tensors.TVTensor):
        height, width = functional.get_size(target)
        return height, width
    found: dict[str, tuple[int, int]] = {}
    inside = target.items() if isinstance(target, Mapping) else enumerate(target) if isinstance(target, (list, tuple)) else ()
    for key, value in inside:
        where = f"{name}[{key!r}]"
        plain = isinstance(value, (torch.Tensor, np.ndarray)) and not isinstance(value, tv_tensors.TVTensor)
        if plain and key in KINDS:
            raise TypeError(f"transform_targets: {where} must be a tv_tensors.{KINDS[key]}, got a plain tensor or array")
        size = size_of(value, where)
        if size is not None:
            found[where] = size
    if len(set(found.values())) > 1:
        shown = ", ".join(f"{where} {size[0]}x{size[1]}" for where, size in found.items())
        raise ValueError(f"transform_targets: one image has one size, but these differ: {shown}")
    return next(iter(found.values()), None)


def check_sizes(targets: Sequence[Any], shapes: npt.NDArray[np.int32]) -> None:
    """Raise ValueError for the first target that is not for an image of this height and width; shapes: (B, 2)."""
    for k, (target, (height, width)) in enumerate(zip(as_list(targets), shapes.tolist(), strict=False)):
        size = size_of(target, f"targets[{k}]")
        if size is not None and size != (height, width):
            raise ValueError(f"Augmenter: targets[{k}] is for {size[0]}x{size[1]}, but its image is {height}x{width}")


def without_small(target: Any, min_size: float, min_area: float, with_boxes: Sequence[str]) -> Any:
    """The target with the rows of small boxes dropped from each dict that holds boxes."""
    from torchvision import tv_tensors
    from torchvision.transforms.v2 import functional

    if isinstance(target, (list, tuple)):
        made = [without_small(value, min_size, min_area, with_boxes) for value in target]
        return type(target)(*made) if hasattr(target, "_fields") else type(target)(made)
    if not isinstance(target, dict):
        return target
    boxes = next((value for value in target.values() if isinstance(value, tv_tensors.BoundingBoxes)), None)
    if boxes is None:
        return {key: without_small(value, min_size, min_area, with_boxes) for key, value in target.items()}
    plain = functional.convert_bounding_box_format(boxes, new_format=tv_tensors.BoundingBoxFormat.XYXY)
    wide, high = (plain.as_subclass(torch.Tensor)[:, k + 2] - plain.as_subclass(torch.Tensor)[:, k] for k in (0, 1))
    keep = (wide >= min_size) & (high >= min_size) & (wide * high >= min_area)

    def rows(key: Any, value: Any) -> Any:
        counted = isinstance(value, tv_tensors.TVTensor) and (value.ndim == 3 or not isinstance(value, tv_tensors.Mask))
        if not (counted or key in with_boxes) or len(value) != len(keep):
            return value
        if isinstance(value, torch.Tensor):
            kept = value.as_subclass(torch.Tensor)[keep.to(value.device)]
            return tv_tensors.wrap(kept, like=value) if counted else kept
        kept_rows = np.flatnonzero(keep.cpu().numpy())
        return value[kept_rows] if isinstance(value, np.ndarray) else type(value)(value[k] for k in kept_rows)

    return {key: rows(key, value) for key, value in target.items()}
