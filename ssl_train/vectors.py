"""The draws of a step as tensors: the same columns for every view, and the targets of AugSelf."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

import gpuaug

from .errors import UserError

Tensor = torch.Tensor

CROPS = (gpuaug.RandomResizedCrop, gpuaug.RandomCrop)
GROUPS = {
    "crop": re.compile(r"crop\.(top|left|height|width)"),
    "flip": re.compile(r"RandomHorizontalFlip\.apply"),
    "color": re.compile(r"(ColorJitter|RandomPhotometricDistort)\.(brightness|contrast|saturation|hue)"),
    "blur": re.compile(r"GaussianBlur\.sigma"),
}
"""AugSelf's groups of parameters, and the columns of `Draws.vector` that each is made of."""


class Vectors:
    """`Draws.vector` of several views with the columns of all; those of ops that a view lacks are 0, as if not applied.

    Args:
        policy: the policy of a run.
        aware: the value of --aware, for error messages.

    Attributes:
        names: names of the columns, which depend on the types of the policy's ops alone.
        drawn: those of them that can differ between views: without the crop's where nothing crops at random.

    Raises:
        UserError: the views have nothing that differs.
    """

    def __init__(self, policy: gpuaug.Policy, aware: str) -> None:
        draws = gpuaug.sample(policy, [0])
        self.names = tuple(dict.fromkeys(name for k in range(len(policy.views)) for name in draws.vector_names(k)))
        crops = any(isinstance(op, CROPS) for view in policy.views for op in view.steps)
        self.drawn = tuple(name for name in self.names if crops or not name.startswith("crop."))
        if not self.drawn:
            raise UserError(f"--aware {aware}: the policy {policy.name} draws nothing that could be learned from")

    def __call__(self, draws: gpuaug.Draws, views: Sequence[int], device: torch.device) -> Tensor:
        """The normalised vectors of some views, float32 (views, B, D) with the columns `names`, on the device."""
        found = torch.zeros(len(views), len(draws), len(self.names), device="cpu")
        for row, view in zip(found, views, strict=True):
            row[:, [self.names.index(name) for name in draws.vector_names(view)]] = draws.vector(view)
        return found.to(device, non_blocking=True)

    def groups(self) -> dict[str, list[int]]:
        """AugSelf's groups of parameters that the policy has, with the places of their columns in `names`."""
        found = {
            group: [k for k, name in enumerate(self.names) if pattern.fullmatch(name) and name in self.drawn]
            for group, pattern in GROUPS.items()
        }
        return {group: columns for group, columns in found.items() if columns}


def differences(one: Tensor, other: Tensor, groups: dict[str, list[int]]) -> dict[str, Tensor]:
    """AugSelf's targets for pairs of views (Lee et al. 2021, arXiv 2111.09613, section 3; `transforms.py`, `extract_diff`).

    Crop: differences of the centres (vertical, horizontal) and of the sizes, as shares of the image; in a flipped view the
    horizontal centre is that of the mirrored image. Colour: differences of brightness, contrast, saturation and hue, each
    divided by the width of its range. Blur: the difference of the sigmas, divided by the largest; the authors divide by
    nothing, though their prediction ends at 1. All are in [-1, 1], and what was not applied counts as no change. Flip: 1 if
    both views are flipped or neither is, else 0.

    `Draws.relative` has no such bound: a small crop puts all others far away, and a factor of 0 has no logarithm.

    Args:
        one, other: normalised vectors (N, D) of the first and the second views.
        groups: name of a group -> places of its columns, as `Vectors.groups` returns them.

    Returns:
        Name of a group -> (N, columns): the first less the second.
    """
    found = {name: (one[:, columns] - other[:, columns]) / 2 for name, columns in groups.items()}
    if "crop" in groups:
        found["crop"] = boxes(one, groups) - boxes(other, groups)
    if "flip" in groups:
        found["flip"] = (one[:, groups["flip"]] == other[:, groups["flip"]]).to(one.dtype)
    if "blur" in groups:
        found["blur"] = 2 * found["blur"]  # a sigma is never below 0, so its range is half as wide as that of a factor
    return found


def boxes(vectors: Tensor, groups: dict[str, list[int]]) -> Tensor:
    """Centre (vertical, horizontal) and size (height, width) of each crop, (N, 4); flipped with the view."""
    top, left, height, width = vectors[:, groups["crop"]].T
    across = left + width / 2
    if "flip" in groups:
        across = torch.where(vectors[:, groups["flip"][0]] > 0, 1 - across, across)
    return torch.stack([top + height / 2, across, height, width], dim=1)
