"""Flips and warps: ops that move pixels and keep the size of the image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import numpy as np

from .base import Array, Op, OpDraws, Size, between, factor, is_number, words
from .checks import check_fill, check_interpolation, check_number, check_probability, check_range, fail, set_field

__all__ = [
    "ElasticTransform",
    "RandomAffine",
    "RandomHorizontalFlip",
    "RandomPerspective",
    "RandomRotation",
    "RandomVerticalFlip",
]

WARPS = ("nearest", "bilinear")
Pair = tuple[float, float]


@dataclass(frozen=True)
class RandomHorizontalFlip(Op):
    """Swap left and right, with probability `p` (torchvision `RandomHorizontalFlip`)."""

    p: float = 0.5

    def __post_init__(self) -> None:
        check_probability(self)


@dataclass(frozen=True)
class RandomVerticalFlip(Op):
    """Swap top and bottom, with probability `p` (torchvision `RandomVerticalFlip`)."""

    p: float = 0.5

    def __post_init__(self) -> None:
        check_probability(self)


def check_angles(op: Op, name: str) -> None:
    """A number d means (-d, d), as in torchvision."""
    value = getattr(op, name)
    if is_number(value):
        if value < 0:
            raise fail(op, name, "a non-negative number of degrees or a pair (min, max)", value)
        set_field(op, name, (-float(value), float(value)))
    else:
        check_range(op, name)


def check_center(op: Op) -> None:
    center = getattr(op, "center")  # noqa: B009 - the field belongs to the subclasses
    if center is None:
        return
    if not (isinstance(center, (tuple, list)) and len(center) == 2 and all(is_number(v) for v in center)):
        raise fail(op, "center", "a pair (x, y) in pixels from the top left corner, or None for the image's centre", center)
    set_field(op, "center", (float(center[0]), float(center[1])))


def resized_center(center: Pair | None, before: Size, after: Size) -> Pair | None:
    return None if center is None else (center[0] * after[1] / before[1], center[1] * after[0] / before[0])


def offset(center: tuple[float, float] | None, height: int, width: int) -> tuple[float, float]:
    """The centre of a warp relative to the centre of the image, (x, y) in pixels."""
    return (0.0, 0.0) if center is None else (center[0] - 0.5 * width, center[1] - 0.5 * height)


@dataclass(frozen=True)
class RandomAffine(Op):
    """Rotate, translate, scale and shear about a centre (torchvision `RandomAffine`).

    Args:
        degrees: Range of the angle in degrees, or d for (-d, d).
        translate: Largest shift as shares of (width, height), in [0, 1]; shifts are rounded to whole pixels. None: no shift.
        scale: Range of the factor, above 0. None: no scaling.
        shear: In degrees: d for x in (-d, d), (min, max) for x, or (x min, x max, y min, y max). None: no shear.
        interpolation: "nearest" or "bilinear".
        fill: Value outside the image in [0, 1], or one per channel.
        center: (x, y) in pixels from the top left corner; None is the image's centre.
        p: Probability per image.
    """

    degrees: float | tuple[float, float]
    translate: tuple[float, float] | None = None
    scale: tuple[float, float] | None = None
    shear: float | tuple[float, ...] | None = None
    interpolation: str = "nearest"
    fill: float | tuple[float, ...] = 0.0
    center: tuple[float, float] | None = None
    p: float = 1.0

    uniforms: ClassVar[int] = 6

    def __post_init__(self) -> None:
        check_angles(self, "degrees")
        if self.translate is not None:
            pair = self.translate
            if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and all(is_number(v) and 0 <= v <= 1 for v in pair)):
                raise fail(self, "translate", "a pair of shares (of width, of height) in [0, 1]", pair)
            set_field(self, "translate", (float(pair[0]), float(pair[1])))
        if self.scale is not None:
            check_range(self, "scale", 1e-6)
        if isinstance(self.shear, (tuple, list)) and len(self.shear) == 4:
            x0, x1, y0, y1 = self.shear
            if not (all(is_number(v) for v in self.shear) and x0 <= x1 and y0 <= y1):
                raise fail(self, "shear", "(x min, x max, y min, y max) in degrees", self.shear)
            set_field(self, "shear", tuple(float(v) for v in self.shear))
        elif self.shear is not None:
            check_angles(self, "shear")
        check_interpolation(self, allowed=WARPS)
        check_fill(self)
        check_center(self)
        check_probability(self)

    def draw(self, u: Array) -> OpDraws:
        low, high = cast(tuple[float, float], self.degrees)
        draws = {"angle": between(u[:, 0], low, high)}
        if self.translate is not None:
            draws["translate_x"] = between(u[:, 1], -self.translate[0], self.translate[0])
            draws["translate_y"] = between(u[:, 2], -self.translate[1], self.translate[1])
        if self.scale is not None:
            draws["scale"] = between(u[:, 3], *self.scale)
        if self.shear is not None:
            shear = cast(tuple[float, ...], self.shear)
            draws["shear_x"] = between(u[:, 4], shear[0], shear[1])
            if len(shear) == 4:
                draws["shear_y"] = between(u[:, 5], shear[2], shear[3])
        return draws

    def resized(self, before: Size, after: Size) -> Op:
        return replace(self, center=resized_center(self.center, before, after))

    def matrices(self, draws: OpDraws, height: int, width: int) -> Array:
        """Inverse maps (B, 6) float64, from output to input coordinates, in pixels from the image's centre."""
        zero = np.zeros(len(draws["angle"]))
        shift_x = np.rint(draws.get("translate_x", zero).astype(np.float64) * width)
        shift_y = np.rint(draws.get("translate_y", zero).astype(np.float64) * height)
        return inverse_affine(
            draws["angle"],
            shift_x,
            shift_y,
            draws.get("scale", zero + 1),
            draws.get("shear_x", zero),
            draws.get("shear_y", zero),
            offset(self.center, height, width),
        )


def inverse_affine(
    angle: Array, shift_x: Array, shift_y: Array, scale: Array, shear_x: Array, shear_y: Array, center: tuple[float, float]
) -> Array:
    """Inverse of T C R(angle) S(scale) SHy SHx C^-1, as rows (a, b, c, d, e, f); angles in degrees, all (B,)."""
    rot, sx, sy = (np.deg2rad(v.astype(np.float64)) for v in (angle, shear_x, shear_y))
    scale = scale.astype(np.float64)
    a = np.cos(rot - sy) / np.cos(sy)
    b = -(a * np.tan(sx) + np.sin(rot))
    c = np.sin(rot - sy) / np.cos(sy)
    d = np.cos(rot) - c * np.tan(sx)
    a, b, c, d = d / scale, -b / scale, -c / scale, a / scale  # the determinant before scaling is 1
    x, y = center[0] + shift_x, center[1] + shift_y
    return np.stack([a, b, center[0] - a * x - b * y, c, d, center[1] - c * x - d * y], axis=1)


@dataclass(frozen=True)
class RandomRotation(Op):
    """Rotate counter-clockwise about a centre, keeping the size (torchvision `RandomRotation` with expand=False).

    Args:
        degrees: Range of the angle in degrees, or d for (-d, d).
        interpolation: "nearest" or "bilinear".
        center: (x, y) in pixels from the top left corner; None is the image's centre.
        fill: Value outside the image in [0, 1], or one per channel.
        p: Probability per image.
    """

    degrees: float | tuple[float, float]
    interpolation: str = "nearest"
    center: tuple[float, float] | None = None
    fill: float | tuple[float, ...] = 0.0
    p: float = 1.0

    uniforms: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_angles(self, "degrees")
        check_interpolation(self, allowed=WARPS)
        check_center(self)
        check_fill(self)
        check_probability(self)

    def draw(self, u: Array) -> OpDraws:
        low, high = cast(tuple[float, float], self.degrees)
        return {"angle": between(u[:, 0], low, high)}

    def resized(self, before: Size, after: Size) -> Op:
        return replace(self, center=resized_center(self.center, before, after))

    def matrices(self, draws: OpDraws, height: int, width: int) -> Array:
        """Inverse maps (B, 6) float64, from output to input coordinates, in pixels from the image's centre."""
        zero = np.zeros(len(draws["angle"]))
        return inverse_affine(-draws["angle"], zero, zero, zero + 1, zero, zero, offset(self.center, height, width))


@dataclass(frozen=True)
class RandomPerspective(Op):
    """Move the four corners inwards by random amounts (torchvision `RandomPerspective`).

    Args:
        distortion_scale: Largest move of a corner as a share of half the height and half the width, in [0, 1].
        p: Probability per image.
        interpolation: "nearest" or "bilinear".
        fill: Value outside the image in [0, 1], or one per channel.
    """

    distortion_scale: float = 0.5
    p: float = 0.5
    interpolation: str = "bilinear"
    fill: float | tuple[float, ...] = 0.0

    uniforms: ClassVar[int] = 8

    def __post_init__(self) -> None:
        check_number(self, "distortion_scale", 0.0, 1.0)
        check_probability(self)
        check_interpolation(self, allowed=WARPS)
        check_fill(self)

    def draw(self, u: Array) -> OpDraws:
        """`corners` (B, 8): moves inwards in [0, 1) of x and y at top left, top right, bottom right, bottom left."""
        return {"corners": u.astype(np.float32)}

    def coefficients(self, draws: OpDraws, height: int, width: int) -> Array:
        """Eight coefficients (B, 8) float64 of x' = (ax + by + c) / (gx + hy + 1), y' = (dx + ey + f) / (gx + hy + 1)."""
        bounds = np.array([int(self.distortion_scale * (n // 2)) for n in (width, height)] * 4)
        # A number just below 1 becomes 1 in float32; without the minimum it would move a corner one pixel too far.
        moves = np.minimum(np.floor(draws["corners"].astype(np.float64) * (bounds + 1)), bounds).reshape(-1, 4, 2)
        right, bottom = width - 1.0, height - 1.0
        start = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]])
        end = np.where(start > 0, start - moves, moves)
        # For every corner, end -> start: one row for x', one for y'.
        system = np.zeros((len(end), 4, 2, 8))
        for axis in (0, 1):
            system[:, :, axis, 3 * axis : 3 * axis + 2] = end
            system[:, :, axis, 3 * axis + 2] = 1
            system[:, :, axis, 6:] = -end * start[:, axis, None]
        # Least squares, since a full distortion may bring corners together.
        return np.stack([np.linalg.lstsq(rows.reshape(8, 8), start.reshape(8), rcond=None)[0] for rows in system])


@dataclass(frozen=True)
class ElasticTransform(Op):
    """Move every pixel by smoothed noise (torchvision `ElasticTransform`; Simard et al. 2003, ICDAR).

    The displacement along each axis is uniform noise in [-1, 1), blurred by a Gaussian and multiplied by `alpha`: in units of
    half a pixel, as in torchvision. The noise is a function of a drawn key (see `gpuaug.philox.uniform_field`), so every
    backend moves the pixels alike.

    Args:
        alpha: Strength, or the strengths (across, down). It may be negative.
        sigma: Standard deviation of the Gaussian in pixels, at least 0, or a pair (across, down) of which both or none are 0; 0
            leaves the noise as it is. The kernel is int(8 sigma + 1) pixels wide, or one more to be odd, and images must be
            larger than half of it; that of the displacement across is as wide as sigma across says along both axes, and that
            of the displacement down as sigma down says.
        interpolation: "nearest" or "bilinear".
        fill: A number in [0, 1], or one per channel, for what comes from outside the image.
        p: Probability per image, in [0, 1].
    """

    alpha: float | tuple[float, float] = 50.0
    sigma: float | tuple[float, float] = 5.0
    interpolation: str = "bilinear"
    fill: float | tuple[float, ...] = 0.0
    p: float = 1.0

    uniforms: ClassVar[int] = 2

    def __post_init__(self) -> None:
        for name in ("alpha", "sigma"):
            value: Any = getattr(self, name)
            pair = (value, value) if is_number(value) else value
            ok = isinstance(pair, (tuple, list)) and len(pair) == 2 and all(is_number(v) for v in pair)
            if ok and name == "sigma":
                ok = min(pair) >= 0 and (pair[0] > 0) == (pair[1] > 0)
            if not ok:
                allowed = (
                    "a number >= 0 or a pair (across, down), both 0 or both above" if name == "sigma" else "a number or a pair"
                )
                raise fail(self, name, allowed, value)
            set_field(self, name, (float(pair[0]), float(pair[1])))
        check_interpolation(self, allowed=WARPS)
        check_fill(self)
        check_probability(self)

    def draw(self, u: Array) -> OpDraws:
        return {"key": words(u)}

    def resized(self, before: Size, after: Size) -> Op:
        """The displacement as large a share of the view. A narrower kernel averages less noise, so alpha shrinks faster."""
        ratio = factor(before, after)
        (across, down), sigma = cast(Pair, self.alpha), cast(Pair, self.sigma)
        noise = ratio if sigma[0] > 0 else 1.0
        alpha = across * noise * after[1] / before[1], down * noise * after[0] / before[0]
        return replace(self, alpha=alpha, sigma=(sigma[0] * ratio, sigma[1] * ratio))

    @property
    def kernels(self) -> tuple[int, int]:
        """Width in pixels of the square kernels that blur the displacements across and down; 1 for a sigma of 0."""
        across, down = (int(8 * s + 1) // 2 * 2 + 1 for s in cast(Pair, self.sigma))
        return across, down

    def output_size(self, size: Size | None) -> Size | None:
        widest = max(self.kernels)
        if size is not None and min(size) <= widest // 2:
            raise ValueError(
                f"ElasticTransform: sigma {self.sigma} makes a kernel of {widest} pixels, and images must be larger than half "
                f"of it, but they are {size[0]}x{size[1]} here; use a smaller sigma"
            )
        return size
