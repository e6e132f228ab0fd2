"""How far the views of pictures decoded at a smaller scale are from the truth: `python tests/data/scaled_error.py FILE...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gpuaug
from gpuaug import Augmenter, Policy, View, sample
from gpuaug.data import decode
from gpuaug.data.decoders import pillow_decoder
from gpuaug.data.decoders.regions import DrawnRegions, Region, crop_boxes, crops_in_regions
from gpuaug.data.decoders.scaled import ScaledDecoder
from gpuaug.sampling.tables import in_region

POLICIES = ("simclr", "mae", "dino")
MAX_PIXELS = 10**9


def crops_only(policy: Policy) -> Policy:
    """The policy with the first op of each view alone, so that what follows does not change the difference."""
    return Policy(*(View(view.size, view.steps[0]) for view in policy.views))


def scaled_decoder() -> ScaledDecoder:
    return ScaledDecoder(lambda *files: pillow_decoder(MAX_PIXELS, *files), MAX_PIXELS)


def differences(policy: Policy, data: bytes, index: Sequence[int], seed: int = 0) -> list[tuple[int, Any, Any]]:
    """For each sample: its scale, and for all its views |view - truth| in steps of 8 bits, of the box as drawn and as rounded.

    Samples of scale 1 have no differences, and are left out.
    """
    policy = crops_only(policy)
    whole = decode(data, "x", MAX_PIXELS)
    shapes = np.array([whole.shape[:2]], np.int32)
    augment = Augmenter(policy, "batched")
    found = []
    for i in index:
        draws = sample(policy, [i], seed)
        (region,) = scaled_decoder()([data], ["x"], DrawnRegions(lambda draws=draws: draws))  # type: ignore[misc]
        if not isinstance(region, Region):
            continue
        frames = np.array([[*region.frame, region.scale]], np.int32)
        made = augment([region.pixels], crops_in_regions(draws, frames))
        truth = augment([whole], draws)
        boxes = crop_boxes(draws, shapes)
        corner, scale = np.zeros((1, 2), np.int32), np.full((1, 1), region.scale, np.int32)
        rounded = in_region(boxes, corner, scale) * region.scale
        rounded[..., 2:] = np.minimum(rounded[..., 2:], shapes - rounded[..., :2])
        near = augment([whole], draws_with(draws, rounded))
        found.append((region.scale, difference(made, truth), difference(made, near)))
    return found


def draws_with(draws: gpuaug.Draws, boxes: Any) -> gpuaug.Draws:
    """The draws with other boxes (V, B, 4)."""
    return replace(draws, tables=tuple(({"boxes": own}, *table[1:]) for own, table in zip(boxes, draws.tables, strict=True)))


def difference(views: Sequence[torch.Tensor], truth: Sequence[torch.Tensor]) -> list[Any]:
    return [255 * (one - other).abs().flatten().numpy() for one, other in zip(views, truth, strict=True)]


def table(files: Sequence[Path], draws: int = 4) -> str:
    """Mean, 99th percentile and maximum of the differences, by policy and scale, as a table of Markdown."""
    lines = ["| policy | scale | views | mean | p99 | largest | mean of the rounded box | p99 | largest |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for name in POLICIES:
        by_scale: dict[int, tuple[list[Any], list[Any]]] = {}
        for k, file in enumerate(files):
            for scale, drawn, rounded in differences(gpuaug.policy(name), file.read_bytes(), range(draws * k, draws * (k + 1))):
                both = by_scale.setdefault(scale, ([], []))
                both[0].extend(drawn)
                both[1].extend(rounded)
        for scale, both in sorted(by_scale.items()):
            cells = []
            for values in both:
                p99 = np.mean([np.percentile(one, 99) for one in values])
                cells += [f"{np.mean([one.mean() for one in values]):.2f}", f"{p99:.1f}", f"{max(map(np.max, values)):.0f}"]
            lines.append(f"| {name} | 1/{scale} | {len(both[0])} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table([Path(name) for name in sys.argv[1:]]))
