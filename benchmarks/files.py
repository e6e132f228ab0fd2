"""The interface of contenders that start from files or arrays on a disk or in memory, and the images they are given."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from gpuaug import Policy

from .contender import Peer, Setting
from .workloads import RAGGED, part

Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
"""Images (N, H, W, 3) and targets (N,)."""

RAW = 256
"""Edge of the images of a `Raw`, in pixels."""


@dataclass(frozen=True)
class Raw:
    """A folder with one folder of images a class, to be written in the contender's own format: RAW x RAW pixels, not encoded.

    That is done once, before the clock starts.
    """

    folder: Path


Source = Path | Raw | Arrays
"""A folder with one folder of images a class, the same to be prepared, or arrays in memory."""

Epoch = Callable[[], Iterator[Sequence[torch.Tensor]]]
"""Begins an epoch: batches of the policy's views, (B, 3, H, W) each; every image once, a last incomplete batch dropped."""


@dataclass(frozen=True)
class FilePeer(Peer):
    """One way from files to pixels or views.

    decode: given files, a function that decodes each once; None where it is not offered. load: an Epoch of a source; None
    likewise. takes: the types of its sources. on_request: as in `Contender`. processes: whether its work is done in worker
    processes, whose processor time is not known.
    """

    decode: Callable[[Sequence[Path], Setting], Callable[[], object]] | None = None
    load: Callable[[Source, Policy, int, Setting], Epoch] | None = None
    takes: tuple[type, ...] = (Path,)
    on_request: bool = False
    processes: bool = False


def anything(policy: Policy) -> str | None:
    return None


@contextmanager
def folder(given: Path | None, count: int) -> Iterator[Path]:
    """The folder as given, or one with `count` JPEGs cut from scikit-image's photographs, which is removed again."""
    if given is not None:
        if not images(given):
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
    """A folder of `count` images: links to those of another, again and again; it is removed afterwards."""
    found = images(root)
    with tempfile.TemporaryDirectory(prefix="benchmark-links-") as made:
        for k in range(count):
            of = found[k % len(found)]
            link = Path(made, of.parent.name, f"{k:06}.jpg")
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(of.resolve())
        yield Path(made)


def images(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("*/*") if path.suffix.lower() in (".jpg", ".jpeg"))


def small_arrays(count: int, seed: int) -> Arrays:
    """Photographs of CIFAR's size, repeated with noise of one level, so that no two are equal."""
    base = np.stack([part(k, 32, 32) for k in range(64)])
    rng = np.random.default_rng(seed)
    found = base[np.arange(count) % len(base)] ^ rng.integers(0, 2, (count, 32, 32, 3), dtype=np.uint8)
    return found, np.arange(count, dtype=np.int64) % 10
