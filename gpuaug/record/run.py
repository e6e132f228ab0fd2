"""draws.json in a run's folder: what a run's views follow from, besides the pixels, so that they can be made again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from ..convert.plain import policy_to_dict
from ..data import DataLoader
from ..data.atomic import atomic
from ..data.sources.remote import is_remote
from ..sampling.plain import check_format

NAME = "draws.json"
FORMAT, VERSION = "gpuaug run", 1


def write_run(folder: str | Path, loader: DataLoader, data: Any = None, epochs: int | None = None, note: str = "") -> None:
    """Write draws.json to the folder of a run, for `gpuaug replay`.

    It holds policy, seed, source, size and dtype of the views, backend, device, decoder and `scaled`.

    Args:
        folder: The run's folder, which exists.
        loader: The loader of the run's views.
        data: What the loader reads, if it can be opened again: the path, URL or list of paths that a DataLoader takes. For
            anything else, such as arrays, the file holds a description, and whoever replays the run must name the data.
        epochs: Number of epochs, so that a later one is refused; None if that is open.
        note: What a replay shall say that has no recorded draws, if the run used others than the loader's.

    Raises:
        TypeError: The policy has an op that is no plain data, or the loader reads a stream, of which no sample can be
            read alone.
        OSError: The file cannot be written.
    """
    if loader.source.workers == "stream":
        raise TypeError(f"write_run: {loader.source!r} is a stream, of which no sample can be read alone to be replayed")
    loader.decoding.settle(loader.source, loader.view_maker(0).regional)  # "auto" chooses by decoding some files
    record = {
        "format": FORMAT,
        "version": VERSION,
        "seed": loader.seed,
        "epochs": epochs,
        "policy": policy_to_dict(loader.policy),
        "source": {
            "path": reopened(data),
            "is": repr(loader.source),
            "samples": len(loader.source),
            "labels": loader.labels,
            "max_pixels": loader.max_pixels,
            "decoder": loader.decoding.chosen,
            "scaled": loader.scaled,
        },
        "device": loader.device.type,
        "backend": loader.backend,
        "dtype": None if loader.dtype is None else str(loader.dtype).removeprefix("torch."),
        "memory_format": str(loader.memory_format).removeprefix("torch."),
        "mix": None if loader.mix is None else str(loader.mix),
        "note": note,
    }
    with atomic(Path(folder) / NAME) as file:
        file.write(json.dumps(record, indent=1).encode())


KEYS = {"seed", "epochs", "policy", "source", "device", "backend", "dtype", "memory_format", "mix", "note"}
SOURCE = {"path", "is", "samples", "labels", "max_pixels", "decoder"}


def reopened(data: Any) -> str | list[str] | None:
    """The absolute path of data, or their URL, or a list of these; None for what can be no argument on a command line."""
    if isinstance(data, (list, tuple)) and data and all(isinstance(one, (str, os.PathLike)) for one in data):
        return [str(reopened(one)) for one in data]
    if not isinstance(data, (str, os.PathLike)):
        return None
    text = os.fspath(data)
    return text if is_remote(text) else str(Path(text).expanduser().absolute())


def read_run(folder: Path) -> dict[str, Any]:
    """What `write_run` has written. Raises OSError if it is not there, ValueError if it is damaged or of another version."""
    path = folder / NAME
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: there is no such file; give the folder of a run, in which gpuaug.write_run has written it"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is no JSON ({error})") from error
    check_format(found, str(path), FORMAT, VERSION)
    missing = KEYS - found.keys()
    source = found.get("source")
    missing |= SOURCE - (source.keys() if isinstance(source, dict) else set())
    if missing:
        raise ValueError(f"{path}: the key {min(missing)!r} is missing")
    return found


def torch_name(name: str | None, kind: type) -> Any:
    """torch's dtype or memory format of that name; None for None. Raises ValueError for another name."""
    found = None if name is None else getattr(torch, str(name), None)
    if name is not None and not isinstance(found, kind):
        raise ValueError(f"{NAME}: {name!r} is no {kind.__name__} of torch")
    return found
