"""Ops that keep the size, in a DALI graph: torchvision's formulas in DALI's arithmetic.

Pixels are float32 (H, W, 3) where white is 1. DALI's own colour operators compute something else: its hue rotates in YIQ, its
contrast is relative to mid-gray, and its gray has other weights. Parameters enter the graph as one number per image. A branch
on such a number splits the batch and merges it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from nvidia.dali import fn, math, types

from ... import ops as op
from ...ops.base import Array
from ...ops.color import FLAT, GRAY, ORDERS, PARTS
from .crop import KINDS, Feeds, Node, Source

AXES = [0, 1]


def feed_nothing(o: op.Op, d: op.OpDraws, sizes: Array) -> Feeds:
    return {}


def feed_jitter(o: op.ColorJitter, d: op.OpDraws, sizes: Array) -> Feeds:
    """For each of the four positions, the part of the jitter that comes there (-1 if it is left out) and its factor."""
    order = ORDERS[d["order"]].astype(np.int32)
    factors = np.stack([d.get(name, np.ones(len(order), np.float32)) for name in PARTS], axis=1)
    drawn = np.array([name in d for name in PARTS])
    feeds: Feeds = {}
    for k, part in enumerate(order.T):
        feeds[f"part {k}"] = np.where(drawn[part], part, np.int32(-1)).astype(np.int32)
        feeds[f"factor {k}"] = factors[np.arange(len(part)), part].astype(np.float32)
    return feeds


def jitter(x: Node, o: op.ColorJitter, source: Source) -> Node:
    for k in range(len(PARTS)):
        x = jitter_part(x, source(f"part {k}"), source(f"factor {k}"))
    return x


def jitter_part(x: Node, part: Node, factor: Node) -> Node:
    """Apply one part of a jitter, given by its index in PARTS."""
    if part == 0:
        x = clamp(x * factor)
    elif part == 1:
        mean = fn.reductions.mean(x, axes=AXES)
        x = blend(x, mean[0] * GRAY[0] + mean[1] * GRAY[1] + mean[2] * GRAY[2], factor)
    elif part == 2:
        x = blend(x, fn.coord_transform(x, M=list(GRAY)), factor)
    elif part == 3:
        x = hue(x, factor)
    return x


def blend(x: Node, other: Node, factor: Node) -> Node:
    return clamp(x * factor + other * (1 - factor))


def clamp(x: Node, low: float = 0.0, high: float = 1.0) -> Node:
    """Clip to [low, high]; DALI's own clamp takes twice as long."""
    return math.min(math.max(x, low), high)


def hue(x: Node, shift: Node) -> Node:
    """Shift the hue by `shift` turns: the formula of `batched.color.hue`, where products with 0 and 1 replace `where`."""
    r, g, b = (x[:, :, k : k + 1] for k in range(3))
    value = math.max(math.max(r, g), b)
    chroma = value - math.min(math.min(r, g), b)
    divisor = chroma + (chroma == 0)
    red, green = value == r, (value == g) & (value != r)
    blue = (value != r) & (value != g)
    sector = red * ((g - b) / divisor) + green * (2 + (b - r) / divisor) + blue * (4 + (r - g) / divisor)
    turn = sector / 6 + shift
    sixths = (turn - math.floor(turn)) * 6
    return fn.cat(*(hue_channel(value, chroma, sixths + n) for n in (5.0, 3.0, 1.0)), axis=2)


def hue_channel(value: Node, chroma: Node, k: Node) -> Node:
    k = k - 6 * (k >= 6)
    share = clamp(math.min(k, 4 - k))
    moved = clamp(value - chroma * share)
    return moved * (share > 0) + value * (share <= 0)


def grayscale(x: Node, o: op.RandomGrayscale, source: Source) -> Node:
    return fn.coord_transform(x, M=list(GRAY * 3))


def solarize(x: Node, o: op.RandomSolarize, source: Source) -> Node:
    bright = x >= o.threshold
    return (1 - x) * bright + x * (x < o.threshold)


def posterize(x: Node, o: op.RandomPosterize, source: Source) -> Node:
    if o.bits == 8:
        return x
    levels = float(1 << o.bits)
    return clamp(math.floor(x * levels), 0.0, levels - 1) / levels


def invert(x: Node, o: op.RandomInvert, source: Source) -> Node:
    return 1 - x


def autocontrast(x: Node, o: op.RandomAutocontrast, source: Source) -> Node:
    low, high = (reduce(x, axes=AXES, keep_dims=True) for reduce in (fn.reductions.min, fn.reductions.max))
    flat, wide = high - low < FLAT, high - low >= FLAT
    return clamp((x - low * wide) / ((high - low) * wide + flat))


def feed_blur(o: op.GaussianBlur, d: op.OpDraws, sizes: Array) -> Feeds:
    """The kernel is cut at five sigma or earlier; a weight there is four millionths of the largest."""
    marked = d.get("apply", np.ones(len(sizes), bool))
    for size in np.unique(sizes[marked], axis=0).tolist():
        o.output_size((size[0], size[1]))  # raises if the image is too small to reflect
    width, height = o.kernel
    tail = 2 * np.ceil(5 * d["sigma"]).astype(np.int64) + 1
    window = np.stack([np.minimum(height, tail), np.minimum(width, tail)], axis=1).astype(np.int32)
    return {"sigma": d["sigma"].astype(np.float32), "window": window}


def blur(x: Node, o: op.GaussianBlur, source: Source) -> Node:
    return fn.gaussian_blur(x, sigma=source("sigma"), window_size=source("window"))


def feed_warp(o: op.RandomAffine | op.RandomRotation, d: op.OpDraws, sizes: Array) -> Feeds:
    """Inverse maps (B, 2, 3) about the image's corner, converted from the ops' maps about its centre."""
    rows = [o.matrices({name: a[k : k + 1] for name, a in d.items()}, *size) for k, size in enumerate(sizes.tolist())]
    matrix = np.concatenate(rows).reshape(-1, 2, 3)
    centre = sizes[:, ::-1, None] / 2
    matrix[:, :, 2:] += centre - matrix[:, :, :2] @ centre
    return {"matrix": matrix.astype(np.float32)}


def warp(x: Node, o: op.RandomAffine | op.RandomRotation, source: Source) -> Node:
    """Warp a fourth channel of ones too: the share of a pixel that is inside, by which torchvision blends with the fill."""
    x = fn.cat(x, x[:, :, :1] * 0 + 1, axis=2)
    x = fn.warp_affine(x, source("matrix"), inverse_map=True, interp_type=KINDS[o.interpolation], fill_value=0.0)
    fill = cast(tuple[float, ...], o.fill)
    inside, outside = x[:, :, 3:], 1 - x[:, :, 3:]
    return fn.cat(*(x[:, :, k : k + 1] * inside + outside * fill[k] for k in range(3)), axis=2)


def feed_erase(o: op.RandomErasing, d: op.OpDraws, sizes: Array) -> Feeds:
    boxes = o.boxes(d, sizes[:, 0], sizes[:, 1]).astype(np.float32)
    return {"anchor": boxes[:, :2], "shape": boxes[:, 2:]}


def erase(x: Node, o: op.RandomErasing, source: Source) -> Node:
    fill = list(cast(tuple[float, ...], o.value))
    return fn.erase(x, anchor=source("anchor"), shape=source("shape"), axes=AXES, fill_value=fill)


def normalize(x: Node, o: op.Normalize, source: Source) -> Node:
    return finish(x, o.mean, o.std, "HWC")


def finish(x: Node, mean: Sequence[float], std: Sequence[float], layout: str) -> Node:
    return fn.crop_mirror_normalize(x, mean=list(mean), std=list(std), output_layout=layout, dtype=types.FLOAT)


MAPS: dict[type[op.Op], tuple[Callable[..., Feeds], Callable[[Node, Any, Source], Node]]] = {
    op.RandomHorizontalFlip: (feed_nothing, lambda x, o, source: fn.flip(x, horizontal=1)),
    op.RandomVerticalFlip: (feed_nothing, lambda x, o, source: fn.flip(x, horizontal=0, vertical=1)),
    op.RandomAffine: (feed_warp, warp),
    op.RandomRotation: (feed_warp, warp),
    op.ColorJitter: (feed_jitter, jitter),
    op.RandomGrayscale: (feed_nothing, grayscale),
    op.RandomSolarize: (feed_nothing, solarize),
    op.RandomPosterize: (feed_nothing, posterize),
    op.RandomAutocontrast: (feed_nothing, autocontrast),
    op.RandomInvert: (feed_nothing, invert),
    op.GaussianBlur: (feed_blur, blur),
    op.RandomErasing: (feed_erase, erase),
    op.Normalize: (feed_nothing, normalize),
    op.ToDtype: (feed_nothing, lambda x, o, source: x),
}
"""Op -> two functions: its inputs, from the sizes (B, 2); and its part of the graph, for the images that it is applied to."""
