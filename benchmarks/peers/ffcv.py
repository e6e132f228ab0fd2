"""FFCV: a loader with a file format of its own; its ops are crop, flip, cutout, mix-up and normalize."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuaug import Policy
from gpuaug import ops as op
from gpuaug.data import FolderSource, decode
from gpuaug.data.packing.formats import square

from ..sources import RAW_EDGE, Raw, Source
from .contender import Contender, Epoch, Setting, epochs

WIDEST, QUALITY = 500, 90
"""Longest edge in pixels, and quality, of the JPEGs that it writes: those of its own ImageNet recipe."""


class Decoded:
    """The images of a folder and their classes. raw: whether images become RAW_EDGE x RAW_EDGE pixels."""

    def __init__(self, folder: Path, raw: bool) -> None:
        self.source = FolderSource(folder)
        self.raw = raw

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, k: int) -> tuple[npt.NDArray[np.uint8], int]:
        pixels = decode(self.source.read(k), self.source.name(k))
        return square(pixels, RAW_EDGE) if self.raw else pixels, int(self.source.target(np.array([k]))[0])


def unsupported(policy: Policy) -> str | None:
    """`supports`: it crops, flips and normalizes, in this order, and makes one view."""
    view, kinds = policy.views[0], (op.RandomResizedCrop, op.RandomHorizontalFlip, op.Normalize)
    if len(policy.views) > 1:
        return "makes one view an image"
    lacking = [type(o).__name__ for o in view.ops if not isinstance(o, kinds)]
    return f"has no {', '.join(lacking)}" if lacking else None


def load(source: Source, policy: Policy, batch: int, setting: Setting) -> Epoch:
    fields, decoders, transforms, loader, writer = (
        import_module(f"ffcv.{name}") for name in ("fields", "fields.decoders", "transforms", "loader", "writer")
    )
    raw = isinstance(source, Raw)
    folder = source.folder if isinstance(source, Raw) else source
    assert isinstance(folder, Path)
    path = str(Path(mkdtemp(dir=setting.scratch), "images.beton"))
    image = fields.RGBImageField(write_mode="raw" if raw else "jpg", max_resolution=WIDEST, jpeg_quality=QUALITY)
    written = writer.DatasetWriter(path, {"image": image, "label": fields.IntField()}, num_workers=setting.threads)
    written.from_indexed_dataset(Decoded(folder, raw))

    def step(o: op.Op) -> Any:
        if isinstance(o, op.RandomResizedCrop):
            return decoders.RandomResizedCropRGBImageDecoder(o.size, o.scale, o.ratio)
        if isinstance(o, op.RandomHorizontalFlip):
            return transforms.RandomHorizontalFlip(o.p)
        assert isinstance(o, op.Normalize)
        return transforms.NormalizeImage(255 * np.array(o.mean), 255 * np.array(o.std), np.float32)

    made = loader.Loader(
        path,
        batch_size=batch,
        num_workers=setting.threads,
        order=loader.OrderOption.RANDOM,
        os_cache=True,
        seed=setting.seed,
        drop_last=True,
        pipelines={
            "image": [*map(step, policy.views[0].ops), transforms.ToTensor(), transforms.ToTorchImage()],
            "label": [decoders.IntDecoder(), transforms.ToTensor()],
        },
    )

    return epochs(made, lambda views: [views])


FILES = Contender(
    name="ffcv",
    modules=("ffcv",),
    remedy="apt install libturbojpeg0-dev libopencv-dev pkg-config && pip install --no-build-isolation ffcv",
    distributions=("ffcv", "numba"),
    regime=f"its own .beton files: JPEG of quality {QUALITY} and at most {WIDEST} pixels an edge, or {RAW_EDGE} x {RAW_EDGE} raw",  # noqa: E501
    note="resizes by OpenCV's INTER_AREA, on 8 bits",
    supports=unsupported,
    load=load,
    takes=(Path, Raw),
)
