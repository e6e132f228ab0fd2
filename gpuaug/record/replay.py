"""Replaying a sample of a run: its views as they were delivered, from the run's folder and its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..convert.plain import policy_from_dict
from ..data import DataLoader, decode
from ..data.engine.view_maker import ViewMaker
from ..data.sources import Index, is_encoded
from ..data.sources.remote import is_remote
from ..ops.base import is_integer
from ..sampling import Draws, sample
from .files import read_draws, records_in
from .run import read_run, torch_name


@dataclass(frozen=True)
class Replay:
    """One sample of a run.

    Attributes:
        views: The views, each (1, C, H, W), as the loader delivered them (before a `mix`, which needs the whole batch).
        draws: Their draws, one row.
        image: The picture, uint8 (H, W, 3).
        name: The sample's name, such as the path of its file.
        recorded: Whether the draws are the run's record; otherwise they were drawn again.
        notes: What may differ from the run, in sentences.
    """

    views: list[torch.Tensor]
    draws: Draws
    image: torch.Tensor
    name: str
    recorded: bool
    notes: tuple[str, ...]


def replay(run: str | Path, index: int, epoch: int, data: Any = None, ops: Mapping[str, type] | None = None) -> Replay:
    """Make the views of one sample again, as the run in a folder saw them.

    The draws are those that the run has recorded; if it has recorded none of this sample in this epoch, they are drawn again.
    With the same versions the views are the same bit by bit, on CUDA on the same kind of GPU.

    Args:
        run: The run's folder, which holds the draws.json of `write_run`.
        index: The sample.
        epoch: The epoch.
        data: The run's data, as a DataLoader takes them, if they have moved or were no files.
        ops: Name -> class of ops of your own.

    Raises:
        ValueError: `index` or `epoch` is outside the run, the data are missing, or not as many as in the run, or a file of the
            folder is damaged.
        OSError: There is no run in the folder, or the sample cannot be read.
        TypeError: An op refuses its arguments.
    """
    folder = Path(run)
    about = read_run(folder)
    samples, epochs = about["source"]["samples"], about["epochs"]
    for name, value, count in (("index", index, samples), ("epoch", epoch, 2**32 if epochs is None else epochs)):
        if not is_integer(value) or not 0 <= value < count:
            raise ValueError(f"replay: {name} must be in 0..{count - 1}, as the run in {folder} has {count}, got {value!r}")
    draws, recorded = draws_of(folder, about, index, epoch, ops)
    device, notes = device_of(about)
    source = about["source"]
    loader = ReplayLoader(
        draws,
        found(source["path"], source["is"]) if data is None else data,
        draws.policy,
        sampler=[int(index)],
        labels=source["labels"],
        max_pixels=source["max_pixels"],
        decoder=source["decoder"] if device == about["device"] else "auto",
        scaled=source.get("scaled", False),  # runs of earlier versions do not say it
        device=device,
        seed=about["seed"],
        backend=about["backend"],
        dtype=torch_name(about["dtype"], torch.dtype),
        memory_format=torch_name(about["memory_format"], torch.memory_format),
    )
    if len(loader.source) != samples:
        raise ValueError(
            f"replay: the data {loader.source!r} have {len(loader.source)} samples, but the run had {samples} "
            f"({source['is']}), so index {index} may be another picture; give the data that it had"
        )
    loader.set_epoch(epoch)
    ((views, _),) = loader
    if about["note"] and not recorded:
        notes.append(about["note"])
    if about["mix"] is not None:
        notes.append(f"the run mixed whole batches by {about['mix']}; the views are those before that")
    made = views if isinstance(views, list) else [views]
    return Replay(made, loader.draws, picture(loader, int(index)), loader.source.name(int(index)), recorded, tuple(notes))


class ReplayLoader(DataLoader):
    """A loader whose draws are given, so that a sample takes the way that it took in the run: decoded regions included."""

    def __init__(self, given: Draws, *arguments: Any, **options: Any) -> None:
        self.given = given
        super().__init__(*arguments, **options)

    def view_maker(self, epoch: int) -> ViewMaker:
        return GivenDraws(self.augment, self.seed, epoch, None, self.given)


@dataclass(frozen=True)
class GivenDraws(ViewMaker):
    """Makes views by draws that are given."""

    given: Draws | None = None

    def draws(self, index: Sequence[int] | Index) -> Draws:
        assert self.given is not None
        return self.given


def draws_of(
    folder: Path, about: Mapping[str, Any], index: int, epoch: int, ops: Mapping[str, type] | None
) -> tuple[Draws, bool]:
    """The draws of a sample, and whether they were recorded."""
    if records_in(folder):
        try:
            return read_draws(folder, index, epoch, ops), True
        except LookupError:
            pass
    return sample(policy_from_dict(about["policy"], ops), index, about["seed"], epoch), False


def device_of(about: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The kind of device that the run had, or the CPU if it is not here, and what may differ then."""
    kind = str(about["device"])
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if there.get(kind):
        return kind, []
    return "cpu", [f"the run was on {kind}, which is not here; on cpu the views may differ in their last bits"]


def found(path: str | list[str] | None, about: str) -> Any:
    """The data of a run, checked. Raises ValueError if they have moved, or cannot be opened again."""
    if path is None:
        raise ValueError(
            f"replay: the run read {about}, which cannot be opened again; give the same images, in the same order, with --data "
            "(data= in Python)"
        )
    for one in [path] if isinstance(path, str) else path:
        if not (is_remote(one) or Path(one).exists() or set("*?[{") & set(one)):
            raise ValueError(f"replay: the data of the run, {one}, are not there; say where with --data (data= in Python)")
    return path


def picture(loader: DataLoader, index: int) -> torch.Tensor:
    """The whole picture of a sample, uint8 (H, W, 3)."""
    source: Any = loader.source
    if is_encoded(source):
        return torch.from_numpy(decode(source.read(index), source.name(index), loader.max_pixels).copy())
    images, _ = source.load(np.array([index], dtype=np.int64))
    whole: torch.Tensor = images[0]
    return whole
