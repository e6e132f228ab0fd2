"""For every op, the nearest function of Kornia and its error, even if the backend `kornia` does not use it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from kornia import enhance
from kornia.geometry import transform

import gpuaug
from gpuaug.backends import kornia as backend
from gpuaug.backends.batched.rows import on_marked
from gpuaug.backends.torchvision import apply as truth
from gpuaug.ops import Op, OpDraws

from .cases import CROPS, MAPS, compare, map_tables, photographs, tables, uniform

Function = Callable[[torch.Tensor, Any, OpDraws], torch.Tensor]


@dataclass(frozen=True)
class Candidate:
    """A function of Kornia that the backend does not use, and the reason."""

    label: str
    function: Function | None
    why: str


def column(values: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))


def jitter(part: str, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Function:
    return lambda x, o, d: function(x, column(d[part]))


def posterize(x: torch.Tensor, o: gpuaug.RandomPosterize, d: OpDraws) -> torch.Tensor:
    return enhance.posterize(x, torch.full((len(x),), o.bits))


def sharpness(x: torch.Tensor, o: gpuaug.RandomAdjustSharpness, d: OpDraws) -> torch.Tensor:
    return enhance.sharpness(x, torch.full((len(x),), o.sharpness_factor))


def corners(boxes: Any) -> torch.Tensor:
    """Boxes (B, 4) as (top, left, height, width), converted to Kornia's (B, 4, 2): x and y of the corner pixels, clockwise."""
    top, left, height, width = (column(c) for c in boxes.T)
    right, bottom = left + width - 1, top + height - 1
    points = ((left, top), (right, top), (right, bottom), (left, bottom))
    return torch.stack([torch.stack(p, dim=1) for p in points], dim=1)


def crop_and_resize(x: torch.Tensor, o: Any, d: OpDraws) -> torch.Tensor:
    boxes = corners(o.boxes(d, np.array([x.shape[2]]), np.array([x.shape[3]])))
    mode = "bilinear" if o.interpolation == "bicubic" else o.interpolation  # it has no cubic filter
    return transform.crop_and_resize(x, boxes, o.size, mode=mode, align_corners=False)


def crop_by_boxes(x: torch.Tensor, o: Any, d: OpDraws) -> torch.Tensor:
    box = o.boxes(d, np.array([x.shape[2]]), np.array([x.shape[3]]))
    return transform.crop_by_boxes(x, corners(box), corners(np.array([[0, 0, *o.size]])))


def resize(x: torch.Tensor, o: Any, d: OpDraws) -> torch.Tensor:
    return transform.resize(x, o.size, o.interpolation, align_corners=None, antialias=o.interpolation != "nearest")


WEIGHTS = "weights red by 0.299, torchvision by 0.2989; after Normalize the error is 4.4 times as large"
ONE_SIZE = "needs a batch of one size; ours reads boxes from the bytes of images of any sizes"
NO_FILTER = f"does not filter before it shrinks the box; {ONE_SIZE}"

REFUSED: dict[str, Candidate] = {
    "RandomResizedCrop nearest": Candidate("crop_and_resize", crop_and_resize, f"selects other neighbours; {ONE_SIZE}"),
    "RandomResizedCrop bilinear": Candidate("crop_and_resize", crop_and_resize, NO_FILTER),
    "RandomResizedCrop bicubic": Candidate(
        "crop_and_resize (bilinear)", crop_and_resize, f"has no cubic filter, and {NO_FILTER}"
    ),
    "Resize nearest": Candidate("resize", resize, ONE_SIZE),
    "Resize bilinear": Candidate("resize (antialias)", resize, f"blurs by a Gaussian, then samples single pixels; {ONE_SIZE}"),
    "Resize bicubic": Candidate("resize (antialias)", resize, f"blurs by a Gaussian, then samples single pixels; {ONE_SIZE}"),
    "CenterCrop": Candidate("crop_by_boxes", crop_by_boxes, ONE_SIZE),
    "ColorJitter contrast": Candidate(
        "adjust_contrast_with_mean_subtraction", jitter("contrast", enhance.adjust_contrast_with_mean_subtraction), WEIGHTS
    ),
    "ColorJitter saturation": Candidate(
        "adjust_saturation_with_gray_subtraction",
        jitter("saturation", enhance.adjust_saturation_with_gray_subtraction),
        WEIGHTS,
    ),
    "ColorJitter hue": Candidate(
        "adjust_hue",
        jitter("hue", lambda x, turns: enhance.adjust_hue(x, turns * (2 * math.pi))),
        "differs outside [0, 1], where noise, erasing and Normalize leave pixels",
    ),
    "RandomPosterize 3 bits": Candidate(
        "posterize", posterize, "cuts 8-bit levels to multiples of 32/255; torchvision cuts floats to multiples of 1/8"
    ),
    "RandomEqualize": Candidate(
        "equalize (of x clamped)",
        lambda x, o, d: enhance.equalize(x.clamp(0, 1)),
        "equal on 8-bit levels; a crop leaves pixels between them, for which its bins are not torchvision's",
    ),
    "RandomAutocontrast": Candidate(
        "normalize_min_max", lambda x, o, d: enhance.normalize_min_max(x).clamp(0, 1), "turns a flat channel black"
    ),
    "GaussianNoise": Candidate(
        "RandomGaussianNoise", None, "draws from torch's generator; ours is a function of the drawn key"
    ),
    "RandomAdjustSharpness": Candidate(
        "sharpness", sharpness, "clamps the smoothed image to [0, 1], but noise, erasing and Normalize leave pixels outside"
    ),
    "RandomErasing with colour": Candidate("RandomErasing", None, "fills the three channels with one value"),
    "RandomErasing with noise": Candidate("RandomErasing", None, "fills the box with one value"),
}
"""Case -> the function of Kornia that is nearest to the op, where the backend does not use it."""

USED: dict[str, str] = {
    "RandomHorizontalFlip": "hflip",
    "RandomVerticalFlip": "vflip",
    "RandomAffine nearest": "homography_warp",
    "RandomAffine bilinear": "homography_warp",
    "RandomRotation nearest": "homography_warp",
    "RandomRotation bilinear": "homography_warp",
    "RandomPerspective nearest": "homography_warp",
    "RandomPerspective bilinear": "homography_warp",
    "ColorJitter brightness": "adjust_brightness_accumulative",
    "RandomGrayscale": "rgb_to_grayscale (torchvision's weights)",
    "RandomSolarize": "solarize",
    "RandomInvert": "invert",
    "GaussianBlur": "gaussian_blur2d",
    "RandomErasing": "RandomErasing (module, our boxes)",
    "Normalize": "normalize",
}
"""Case -> the function of Kornia that the backend runs."""


@dataclass(frozen=True)
class Row:
    """One row of the table: whether Kornia's function runs, and its largest errors; None: not measured."""

    case: str
    kornia: bool
    label: str
    inside: float | None
    outside: float | None
    why: str


def rows() -> Iterator[Row]:
    for case in (*CROPS, *MAPS):
        if case in USED:
            inside, outside = (used_error(MAPS[case], x) for x in inputs())
            yield Row(case, True, USED[case], inside, outside, "")
        elif case in REFUSED:
            chosen = REFUSED[case]
            if chosen.function is None:
                yield Row(case, False, chosen.label, None, None, chosen.why)
            elif case in CROPS:
                yield Row(case, False, chosen.label, crop_error(CROPS[case][0], chosen.function), None, chosen.why)
            else:
                inside, outside = (error(MAPS[case], chosen.function, x) for x in inputs())
                yield Row(case, False, chosen.label, inside, outside, chosen.why)


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    """Photographs and patterns with values between 8-bit levels, in [0, 1], and the same in [-0.3, 1.3]."""
    x = uniform() * 0.93 + 0.031
    return x, x * 1.6 - 0.3


def used_error(op: Op, x: torch.Tensor) -> float:
    """Largest error of the backend, except for pixels between two neighbours (see `cases.compare`)."""
    ops, draws = map_tables(op, len(x))
    assert backend.count_supported(ops, "floats") == 1
    return compare("kornia", x, ops, draws).largest


def error(op: Op, function: Function, x: torch.Tensor) -> float:
    """Largest error of a function on the images that the draws mark."""
    ops, draws = map_tables(op, len(x))
    made = on_marked(x, draws[0], lambda x, d: function(x, ops[0], d))
    expected = truth(x, ops, draws)
    assert isinstance(expected, torch.Tensor)
    return float((made - expected).abs().max())


def crop_error(op: Op, function: Function) -> float:
    """Largest error on the photographs, one at a time."""
    (o,), draws = tables([op], 4, 64)
    images = [torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255 for image in photographs()]
    errors = []
    for k, x in enumerate(images):
        d = {name: a[k : k + 1] for name, a in draws[0].items()}
        expected = truth(x, [o], [d])
        assert isinstance(expected, torch.Tensor)
        errors.append(float((function(x, o, d) - expected).abs().max()))
    return max(errors)
