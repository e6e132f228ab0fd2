"""TurboLoader: tar files of JPEGs, or its own files of pixels; one crop, flip and normalization, in C++ threads."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from importlib import import_module
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch

from gpuaug import Policy
from gpuaug import ops as op

from ..images import image_files
from ..measure import cores
from ..sources import RAW_EDGE, Raw, Source
from .contender import Contender, Epoch, Setting

NORMALIZE = op.Normalize()
"""Its constants are ImageNet's, as those of this op."""


def unsupported(policy: Policy) -> str | None:
    """`supports`: one view, by a crop, a flip and ImageNet's normalization, in this order."""
    view, kinds = policy.views[0], [op.RandomResizedCrop, op.RandomHorizontalFlip, op.Normalize]
    if len(policy.views) > 1 or view.repeat > 1:
        return "makes one view an image"
    if [type(o) for o in view.ops] != kinds or view.ops[-1] != NORMALIZE:
        return "makes views by RandomResizedCrop, RandomHorizontalFlip and ImageNet's Normalize only"
    return None


def load(source: Source, policy: Policy, batch: int, setting: Setting) -> Epoch:
    if setting.threads != cores():
        raise ValueError(f"uses all {cores()} cores of the machine, whatever it is told; run with --threads {cores()}")
    lib = import_module("turboloader")
    raw = isinstance(source, Raw)
    folder = source.folder if isinstance(source, Raw) else source
    assert isinstance(folder, Path)
    place = Path(mkdtemp(dir=setting.scratch))
    path = place / "images.tar"
    with tarfile.open(path, "w", dereference=True) as tar:
        for k, file in enumerate(image_files(folder)):
            tar.add(file, f"{k:08}.jpg")
    if raw:
        jpegs, path = path, place / "images.tbl"
        lib.preprocess_to_tbl(str(jpegs), str(path), image_size=RAW_EDGE, num_workers=setting.threads)
        jpegs.unlink()
    crop, flip = policy.views[0].ops[:2]
    assert isinstance(crop, op.RandomResizedCrop)
    assert isinstance(flip, op.RandomHorizontalFlip)
    loader: Any = lib.DataLoader(
        str(path),
        batch_size=batch,
        num_workers=setting.threads,
        shuffle=True,
        seed=setting.seed,
        drop_last=True,
        image_size=crop.size,
        output_format="pytorch",
        transform=lib.ImageNetNormalize(),
        train_aug=True,
        hflip_prob=flip.p,
    )
    number = count()

    def epoch() -> Iterator[list[torch.Tensor]]:
        loader.set_epoch(next(number))  # or every epoch would be the first one
        return ([torch.from_numpy(views)] for views, _ in loader)

    return epoch


FILES = Contender(
    name="turboloader",
    modules=("turboloader",),
    distributions=("turboloader",),
    regime=f"a tar file of JPEGs, or its own file of {RAW_EDGE} x {RAW_EDGE} pixels; C++ threads on all cores",
    note="crops of 8 to 100 % whatever the policy says, enlarged or shrunk by bilinear interpolation without antialiasing",
    supports=unsupported,
    load=load,
    takes=(Path, Raw),
)
