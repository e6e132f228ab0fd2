"""The images that contenders get: parts of photographs in memory, folders of JPEGs, small arrays."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from .sources import Arrays

PHOTOS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
"""Colour photographs in scikit-image's wheel; their licences are in its `skimage/data/README.txt`."""

RAGGED = ((375, 500), (500, 375), (333, 500), (500, 333))
"""(height, width), ImageNet's most common."""

Photos = Sequence[npt.NDArray[np.uint8]]
"""Decoded images (H, W, 3) in memory."""


@contextmanager
def folder(given: Path | None, count: int) -> Iterator[Path]:
    """The given folder, or a temporary one with `count` JPEGs cut from scikit-image's photographs."""
    if given is not None:
        if not image_files(given):
            raise ValueError(f"--data {given}: holds no .jpg or .jpeg; expected one folder of images a class")
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-images-") as made:
        for k in range(count):
            path = Path(made, f"class{k % 4}", f"{k:05}.jpg")
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(part(k, *RAGGED[k % len(RAGGED)])).save(path, quality=90)
        yield Path(made)


@contextmanager
def repeated(root: Path, count: int) -> Iterator[Path]:
    """A temporary folder of `count` links to the images of another folder, which are repeated as often as needed."""
    found = image_files(root)
    with tempfile.TemporaryDirectory(prefix="benchmark-links-") as made:
        for k in range(count):
            of = found[k % len(found)]
            link = Path(made, of.parent.name, f"{k:06}.jpg")
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(of.resolve())
        yield Path(made)


def image_files(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("*/*") if path.suffix.lower() in (".jpg", ".jpeg"))


def small_arrays(count: int, seed: int) -> Arrays:
    """Photographs of CIFAR's size, repeated with noise of one grey level, so that no two are equal."""
    base = np.stack([part(k, 32, 32) for k in range(64)])
    rng = np.random.default_rng(seed)
    found = base[np.arange(count) % len(base)] ^ rng.integers(0, 2, (count, 32, 32, 3), dtype=np.uint8)
    return found, np.arange(count, dtype=np.int64) % 10


def part(k: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """A part of photograph k, resized to height x width: half to all of the largest box of that aspect which fits into it."""
    photo = load(PHOTOS[k % len(PHOTOS)])
    rng = np.random.default_rng(k)
    scale = rng.uniform(0.5, 1.0) * min(photo.width / width, photo.height / height)
    left, top = rng.uniform(0, photo.width - scale * width), rng.uniform(0, photo.height - scale * height)
    box = (left, top, left + scale * width, top + scale * height)
    return np.array(photo.resize((width, height), Image.Resampling.BICUBIC, box=box))


@cache
def load(name: str) -> Image.Image:
    found = find_spec("skimage")
    if found is None or found.origin is None:
        raise ImportError("the photographs lie in scikit-image's wheel; install it with: pip install scikit-image")
    with Image.open(Path(found.origin).parent / "data" / name) as opened:
        return opened.convert("RGB")
