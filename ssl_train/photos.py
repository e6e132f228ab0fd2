"""`photos`: a small demonstration set of real photographs, which needs no network.

Eighteen photographs that come with scikit-image (their licences are in its `skimage/data/README.txt`) are cut into JPEG
patches. The class of a patch is its photograph. Each photograph is divided into five vertical stripes. Test patches come from
the second and the fourth stripe and training patches from the others, so they have no pixel in common.
"""

from __future__ import annotations

import shutil
import tempfile
import zlib
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from .errors import UserError

FILES = [
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
]
NAME = "photos-v1"
"""Name of the folder. Change it with any constant below or with the code that cuts, so that an old cache is not used."""
LONGEST = 600  # pixels; larger photographs are shrunk to this, or a patch would often show one smooth spot
PATCH = 64
COUNT = {"train": 120, "test": 40}
STRIPES = (0, 0.22, 0.39, 0.61, 0.78, 1)  # borders of the stripes, as shares of the width; the narrowest stripe has 65 pixels
QUALITY = 90

Box = tuple[int, int, int, int]


def source_folder() -> Path:
    """The folder of scikit-image's photographs. Raises UserError if scikit-image is not installed."""
    found = find_spec("skimage")
    if found is None or found.origin is None:
        raise UserError("the data set photos is cut from scikit-image's photographs; install it with: pip install scikit-image")
    return Path(found.origin).parent / "data"


def boxes(name: str, split: str, width: int, height: int) -> list[Box]:
    """Boxes (left, top, right, bottom) of the patches of a photograph, the same for the same arguments."""
    stripes = list(pairwise(round(width * share) for share in STRIPES))
    parts = stripes[0::2] if split == "train" else stripes[1::2]
    rng = np.random.default_rng(zlib.crc32(f"{name} {split}".encode()))
    found = []
    for k in range(COUNT[split]):
        low, high = parts[k % len(parts)]
        x, y = rng.integers((low, 0), (high - PATCH, height - PATCH), endpoint=True).tolist()
        found.append((x, y, x + PATCH, y + PATCH))
    return found


def cut(file: Path, out: Path) -> None:
    """Write one photograph's patches as out/SPLIT/CLASS/NUMBER.jpg."""
    with Image.open(file) as opened:
        photo = opened.convert("RGB")
    photo.thumbnail((LONGEST, LONGEST))
    for split in COUNT:
        folder = out / split / file.stem
        folder.mkdir(parents=True)
        for k, box in enumerate(boxes(file.stem, split, *photo.size)):
            photo.crop(box).save(folder / f"{k:03d}.jpg", quality=QUALITY)


def make(cache: Path, progress: bool = True) -> Path:
    """The image folder, with train/ and test/ and in each one folder per class. It is made in `cache` the first time.

    It is built under a temporary name and then renamed, so an interrupted build leaves nothing that looks like the data set.
    Raises UserError if photographs are missing or the cache cannot be written.
    """
    target = cache / NAME
    if target.is_dir():
        return target
    sources = [source_folder() / name for name in FILES]
    missing = [path.name for path in sources if not path.is_file()]
    if missing:
        raise UserError(
            f"the installed scikit-image lacks {', '.join(missing)}; install another version: pip install scikit-image==0.26.0"
        )
    try:
        cache.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{NAME}-", dir=cache))
    except OSError as error:
        raise UserError(f"cannot write to the cache {cache} ({error.strerror}); set GPUAUG_DATA to another folder") from None
    try:
        hidden = None if progress else True  # None: shown if stderr is a terminal
        for path in tqdm(sources, desc="cutting photographs", unit="photo", disable=hidden):
            cut(path, building)
        building.chmod(0o755)  # mkdtemp makes private folders
        try:
            building.rename(target)
        except OSError:
            if not target.is_dir():  # otherwise another process was quicker, with the same files
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target
