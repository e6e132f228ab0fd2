"""Pictures made from noise, smooth as photographs are: in memory, and as a folder of JPEGs."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from PIL import Image

DISTINCT = 16
"""Different pictures; the others repeat them."""


def pictures(count: int, height: int, width: int) -> torch.Tensor:
    """(count, 3, height, width) uint8 on the CPU: noise at four scales, the coarser the stronger."""
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(min(count, DISTINCT), 3, height, width)
    for step, strength in ((64, 0.5), (16, 0.25), (4, 0.12), (1, 0.04)):
        size = (max(2, height // step), max(2, width // step))
        noise = torch.randn(len(total), 3, *size, generator=generator)
        total += strength * F.interpolate(noise, (height, width), mode="bicubic", align_corners=False)
    made = (255 * (0.5 + 0.4 * total)).clamp(0, 255).to(torch.uint8)
    return made.repeat(-(-count // len(made)), 1, 1, 1)[:count].contiguous()


def jpeg_folder(root: Path, count: int, height: int = 375, width: int = 500) -> Path:
    """A folder of `count` JPEGs of ImageNet's usual size, in two classes."""
    encoded = []
    for k, picture in enumerate(pictures(min(count, DISTINCT), height, width)):
        path = root / f"{k}.jpg"
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(path, quality=90)
        encoded.append(path.read_bytes())
        path.unlink()
    for k in range(count):
        folder = root / str(k % 2)
        folder.mkdir(exist_ok=True)
        (folder / f"{k}.jpg").write_bytes(encoded[k % len(encoded)])
    return root
