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

LARGE = (3000, 4000)
"""(height, width) of a phone's photograph of 12 million pixels."""

TEXTURE = {4: 2.4, 2: 2.0, 1: 1.6}
"""Size of the details that `large_photo` adds, in pixels -> their strength, as a share of the local contrast."""

NOISE = 4.2
"""Standard deviation of the noise that `large_photo` adds, in steps of 8 bits. With it files of quality 90 have 3 to 4 MB."""

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
def large_folder(count: int) -> Iterator[Path]:
    """A temporary folder with `count` JPEGs of 4000 x 3000 made by `large_photo`, of 3 to 4 MB each.

    Making one takes 3 s; for more files, `repeated` links to them again and again.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-large-") as made:
        for k in range(count):
            path = Path(made, f"class{k % 4}", f"{k:05}.jpg")
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(large_photo(k, *LARGE)).save(path, quality=90)
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


def large_photo(k: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """A photograph as of a phone: part k of a photograph, enlarged by a bicubic filter, with the detail that this lacks.

    Its details of 4, 2 and 1 pixels are the finest ones of three other photographs, tiled, and strong where the photograph
    itself has contrast. Then comes noise as demosaicking leaves it: gray, shared by neighbours, and coarser coloured noise.
    """
    found = part(k, height, width).astype(np.float32)
    near = np.abs(finest(Image.fromarray(part(k, height // 8, width // 8)).convert("L")))
    contrast = resized(resized(near, height // 32, width // 32, Image.Resampling.BOX), height, width)
    rng = np.random.default_rng(k)
    for n, (size, strength) in enumerate(TEXTURE.items(), 1):
        detail = finest(load(PHOTOS[(k + n) % len(PHOTOS)]).convert("L"))
        h, w = -(-height // size), -(-width // size)
        short = [(0, max(0, h - detail.shape[0])), (0, max(0, w - detail.shape[1]))]
        detail = np.pad(detail / detail.std(), short, mode="symmetric")[:h, :w]
        found += (strength * contrast * resized(detail, h * size, w * size)[:height, :width])[..., None]
    noise = rng.standard_normal((height + 1, width + 1), dtype=np.float32)
    noise = np.float32(0.5) * (noise[:-1, :-1] + noise[1:, :-1] + noise[:-1, 1:] + noise[1:, 1:])
    for channel in range(3):
        colour = rng.standard_normal((height // 4, width // 4), dtype=np.float32)
        found[..., channel] += NOISE * (noise + resized(colour, height, width) / 2)
    return np.clip(np.rint(found), 0, 255).astype(np.uint8)


def finest(photo: Image.Image) -> npt.NDArray[np.float32]:
    """What a gray photograph (H, W) loses if it is halved in size and enlarged again."""
    half = photo.resize((photo.width // 2, photo.height // 2), Image.Resampling.BICUBIC)
    again = half.resize(photo.size, Image.Resampling.BICUBIC)
    return np.asarray(photo, np.float32) - np.asarray(again, np.float32)


def resized(
    plane: npt.NDArray[np.float32], height: int, width: int, method: Image.Resampling = Image.Resampling.BICUBIC
) -> npt.NDArray[np.float32]:
    return np.asarray(Image.fromarray(plane).resize((width, height), method))


@cache
def load(name: str) -> Image.Image:
    found = find_spec("skimage")
    if found is None or found.origin is None:
        raise ImportError("the photographs lie in scikit-image's wheel; install it with: pip install scikit-image")
    with Image.open(Path(found.origin).parent / "data" / name) as opened:
        return opened.convert("RGB")
