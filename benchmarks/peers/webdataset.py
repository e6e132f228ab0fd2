"""WebDataset: a tar shard, read by torch's DataLoader, with torchvision's transforms."""

from __future__ import annotations

import tarfile
from importlib import import_module
from io import BytesIO
from itertools import chain
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch

from gpuaug import Policy

from ..images import image_files
from ..sources import Remote, Source
from .contender import Contender, Epoch, Setting, epochs, has_only
from .torchvision import TABLE, Views


def shards(folder: Path, count: int, batch: int, place: Path) -> list[str]:
    """Write the folder's images into `count` tar files, one for each worker, with whole batches in each of them."""
    files = image_files(folder)
    parts = [files[k : k + batch] for k in range(0, len(files) // batch * batch, batch)]
    paths = [place / f"{k}.tar" for k in range(count)]
    for k, path in enumerate(paths):
        with tarfile.open(path, "w", dereference=True) as tar:
            for file in chain.from_iterable(parts[k::count]):
                tar.add(file, f"{file.parent.name}-{file.stem}.jpg")
                info = tarfile.TarInfo(f"{file.parent.name}-{file.stem}.cls")
                info.size = 1
                tar.addfile(info, BytesIO(b"0"))
    return [str(path) for path in paths]


def load(source: Source, policy: Policy, batch: int, setting: Setting) -> Epoch:
    wds = import_module("webdataset")
    if isinstance(source, Remote):
        urls = [f"{source.endpoint}/{name}" for name in source.names]
    else:
        assert isinstance(source, Path)
        urls = shards(source, setting.threads, batch, Path(mkdtemp(dir=setting.scratch)))
    dataset: Any = wds.WebDataset(urls, shardshuffle=False, empty_check=False).shuffle(1000, seed=setting.seed)
    dataset = dataset.decode("pil").to_tuple("jpg", "cls").map_tuple(Views(policy), int).batched(batch, partial=False)
    loader: Any = torch.utils.data.DataLoader(dataset, None, num_workers=setting.threads, persistent_workers=True)

    return epochs(loader, lambda views: [torch.stack(list(some)) for some in zip(*views, strict=True)])


FILES = Contender(
    name="webdataset",
    modules=("webdataset",),
    distributions=("webdataset", "torchvision", "torch"),
    regime="tar shards and torch's DataLoader, a worker process a thread",
    note="torchvision's transforms",
    supports=has_only(TABLE),
    load=load,
    takes=(Path, Remote),
    processes=True,
)
