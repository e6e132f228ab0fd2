"""Helpers that write tars and read them by a loader."""

import io
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import gpuaug
from gpuaug.data import FolderSource


def tar(path: Path, members, **options) -> Path:
    """A tar of (name, bytes) pairs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as file:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return path


def of_folder(source: FolderSource, root: Path, pieces: int) -> list[Path]:
    """The files of a folder as shards, with their classes."""
    paths = []
    for k, part in enumerate(np.array_split(np.arange(len(source)), pieces)):
        members = []
        for i in part.tolist():
            members += [(f"{i:05}.png", source.read(i)), (f"{i:05}.cls", b"%d" % source.targets[i])]
        paths.append(tar(root / f"t-{k:03}.tar", members))
    return paths


def picture() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, "png")
    return file.getvalue()


def epoch(source, policy, **options):
    batches = list(gpuaug.DataLoader(source, policy, batch_size=9, shuffle=True, seed=3, **options))
    return [torch.cat([views[k] for views, _ in batches]) for k in range(2)], torch.cat([t for _, t in batches])
