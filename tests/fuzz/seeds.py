"""Good inputs of each target, from which the fuzzer makes others."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import gpuaug
from gpuaug.data import ShardSource
from gpuaug.data.packing.pack import Packing, pack
from gpuaug.data.sources.archives import tar_index
from gpuaug.data.sources.packed import MANIFEST
from gpuaug.record.run import NAME


def picture(height: int, width: int, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(height * 1000 + width)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)


def encoded(kind: str, image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(height: int = 20, width: int = 33, mode: str = "RGB", **options: object) -> bytes:
    return encoded("JPEG", picture(height, width, mode), **{"quality": 60, **options})


def jpegs() -> Iterator[bytes]:
    yield jpeg()
    yield jpeg(subsampling=0)
    yield jpeg(8, 8, progressive=True)
    yield jpeg(mode="L")
    yield jpeg(mode="CMYK")
    yield jpeg(restart_marker_blocks=1)
    yield jpeg(exif=turned())
    yield jpeg(comment=b"a comment", icc_profile=b"profile")


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def pictures() -> Iterator[bytes]:
    yield from jpegs()
    for kind, mode in (
        ("PNG", "P"),
        ("PNG", "RGBA"),
        ("PNG", "I;16"),
        ("BMP", "RGB"),
        ("TIFF", "RGB"),
        ("WEBP", "RGB"),
        ("GIF", "P"),
    ):
        yield encoded(kind, picture(9, 14, "L").convert("I;16") if mode == "I;16" else picture(9, 14, mode))
    yield encoded("TIFF", picture(9, 14), compression="tiff_lzw")
    yield encoded("PPM", picture(9, 14))


def tar_file() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as out:
        for k in range(3):
            for end, data in ((".jpg", jpeg(8 + k, 9)), (".cls", b"%d" % k), (".json", b'{"label": 1}')):
                info = tarfile.TarInfo(f"a/{k}{end}")
                info.size = len(data)
                out.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("a/3.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "a/0.jpg"
        out.addfile(link)
    return file.getvalue()


def zip_files() -> Iterator[bytes]:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as out:
            for k in range(3):
                out.writestr(f"pets/{'ab'[k % 2]}/{k}.jpg", jpeg(8, 8 + k))
        yield file.getvalue()


def packed_folder(place: Path, form: str = "raw") -> Path:
    """A packed folder, made once."""
    if not place.exists():
        with tempfile.TemporaryDirectory() as made:
            for k in range(3):
                path = Path(made, "ab"[k % 2], f"{k}.jpg")
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(jpeg(20, 20 + k))
            pack(made, place, Packing(form, 8), say=lambda line: None)
    return place


def run_settings() -> bytes:
    with tempfile.TemporaryDirectory() as made:
        Path(made, "a.jpg").write_bytes(jpeg())
        loader = gpuaug.DataLoader(made, "simclr_cifar")
        gpuaug.write_run(made, loader, data=made)
        return Path(made, NAME).read_bytes()


def draws_file() -> bytes:
    with tempfile.TemporaryDirectory() as made:
        path = Path(made, "draws.jsonl")
        with gpuaug.DrawsWriter(path) as out:
            out.write(gpuaug.sample(gpuaug.policy("simclr_cifar"), range(2)))
        return path.read_bytes()


def manifests() -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as made:
        for form in ("raw", "yuv", "jpeg"):
            yield (packed_folder(Path(made, form), form) / MANIFEST).read_bytes()


def index_file() -> bytes:
    with tempfile.TemporaryDirectory() as made:
        path = Path(made, "a.tar")
        path.write_bytes(tar_file())
        ShardSource(path)
        return Path(f"{path}{tar_index.SUFFIX}").read_bytes()


def checkpoint_file() -> bytes:
    file = io.BytesIO()
    torch.save({"model": {"w": torch.ones(2, 2, device="cpu")}, "epoch": 1, "rng": b"x"}, file)
    return file.getvalue()


SEEDS = {
    "header": jpegs,
    "pillow": pictures,
    "dali": jpegs,
    "libjpeg": jpegs,
    "tar": lambda: [tar_file()],
    "zip": zip_files,
    "index": lambda: [index_file()],
    "manifest": manifests,
    "settings": lambda: [run_settings()],
    "draws": lambda: [draws_file()],
    "checkpoint": lambda: [checkpoint_file()],
    "state": lambda: [json.dumps({"seed": 0, "epoch": 1, "position": 3, "samples": 7, "shuffle": True}).encode()],
}
"""Target -> makes its good inputs."""


DEEP = b"[" * 3000
"""JSON that is nested too deeply for Python's parser."""


def write_seeds(name: str, corpus: Path) -> None:
    deep = [DEEP] if name in ("manifest", "settings", "draws", "state") else []
    for k, data in enumerate([*SEEDS[name](), *deep]):
        (corpus / f"seed-{k}").write_bytes(data)
