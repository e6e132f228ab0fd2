"""What is fuzzed: functions of bytes that raise if something is wrong, which the documented errors of bad files are not."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import gpuaug
from gpuaug.data import DaliDecoder, DecodeError, ShardSource, ZipSource, decode
from gpuaug.data.decoders.jpeg_header import plain_size
from gpuaug.data.decoders.libjpeg import LibjpegDecoder
from gpuaug.data.packing.verify import verify
from gpuaug.data.sources.archives import tar_index
from gpuaug.data.sources.packed import MANIFEST, packed_source
from gpuaug.data.sources.remote.stamps import stamp_of
from gpuaug.record.run import NAME, read_run
from ssl_train import checkpoint
from ssl_train.errors import UserError

MOST_PIXELS = 2**18
"""`max_pixels` of the decoders."""


@dataclass(frozen=True)
class Target:
    """check: raises if an input shows a fault. most: bytes of the longest input."""

    check: Callable[[bytes], None]
    most: int = 4096


@cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz-"))


def file_of(data: bytes, name: str) -> Path:
    path = folder() / name
    path.write_bytes(data)
    return path


def header(data: bytes) -> None:
    """What is said to be safe for DALI is a JPEG of that size to Pillow."""
    size = plain_size(data, MOST_PIXELS)
    if size is None:
        return
    assert size[0] * size[1] <= MOST_PIXELS
    with Image.open(io.BytesIO(data)) as image:
        assert (image.height, image.width) == size, f"{size} for Pillow's {(image.height, image.width)}"


def names(name: str, error: Exception) -> None:
    """Raise unless the error names the file."""
    if name not in str(error):
        raise AssertionError(f"{error!r} does not name {name}")


def pixels(data: bytes) -> np.ndarray | None:
    try:
        found = decode(data, "a file", MOST_PIXELS)
    except DecodeError as error:
        return names("a file: ", error)
    assert found.dtype == np.uint8
    assert found.ndim == 3
    assert 0 < found.shape[0] * found.shape[1] <= MOST_PIXELS
    return found


def pillow(data: bytes) -> None:
    """Any file is decoded, or is a DecodeError with its name."""
    pixels(data)


@cache
def dali_decoder() -> DaliDecoder:
    return DaliDecoder(max_pixels=MOST_PIXELS)


def dali(data: bytes) -> None:
    """DALI gives Pillow's pixels or error, also beside a good file, and for a region."""
    compare(dali_decoder().decode_batch, data)


@cache
def libjpeg_decoder() -> LibjpegDecoder:
    return LibjpegDecoder(MOST_PIXELS)


def libjpeg(data: bytes) -> None:
    """As `dali`, for libjpeg called directly."""
    compare(libjpeg_decoder(), data)


def compare(decoder: Callable[..., Any], data: bytes) -> None:
    truth = pixels(data)
    good = good_jpeg()
    for region in (None, lambda where, shapes: np.stack([shapes[:, 0] // 3, shapes[:, 1] // 3, *(shapes.T + 1) // 2], 1)):
        one, other = decoder([data, good], ["a file", "good"], region)
        assert not isinstance(other, DecodeError)
        assert isinstance(one, DecodeError) == (truth is None), f"{one!r} where Pillow gives {truth!r}"
        if truth is not None:
            found, (top, left) = (one.pixels, one.frame[:2]) if hasattr(one, "frame") else (one, (0, 0))
            height, width = found.shape[:2]
            np.testing.assert_array_equal(found, truth[top : top + height, left : left + width])


@cache
def good_jpeg() -> bytes:
    from .seeds import jpeg

    return jpeg(40, 30)


def tar(data: bytes) -> None:
    """A tar is indexed, or a ValueError names it; samples are read, or a DecodeError names them."""
    path = file_of(data, "a.tar")
    path.with_name("a.tar" + tar_index.SUFFIX).unlink(missing_ok=True)
    try:
        source = ShardSource(path)
    except (ValueError, FileNotFoundError) as error:
        names("a.tar", error)
    else:
        read_all(source)


def archive(data: bytes) -> None:
    """As `tar`, for a zip."""
    try:
        source = ZipSource(file_of(data, "a.zip"))
    except (ValueError, FileNotFoundError) as error:
        names("a.zip", error)
    else:
        read_all(source)


def read_all(source: ShardSource | ZipSource) -> None:
    for i in range(min(len(source), 50)):
        try:
            source.read(i)
        except DecodeError as error:
            names(source.name(i), error)
    source.target(np.arange(len(source)))


@cache
def shard() -> Path:
    from .seeds import tar_file

    path = file_of(tar_file(), "b.tar")
    path.with_name("b.tar" + tar_index.SUFFIX).unlink(missing_ok=True)
    ShardSource(path)
    return path


@cache
def samples() -> tuple[list[str], list[bytes], list[int]]:
    source = ShardSource(shard())
    return [source.name(i) for i in range(len(source))], [source.read(i) for i in range(len(source))], source.targets.tolist()


def index(data: bytes) -> None:
    """A cached index that is damaged is not used: the samples are those of the tar, or a DecodeError names one."""
    names, files, targets = samples()
    path = shard().with_name("b.tar" + tar_index.SUFFIX)
    path.write_bytes(restamped(data))
    source = ShardSource(shard())
    assert [source.name(i) for i in range(len(source))] == names
    assert [source.read(i) for i in range(len(source))] == files
    assert source.targets.tolist() == targets


def restamped(data: bytes) -> bytes:
    """An index file with the stamp of the shard and right checksums, so that its arrays are looked at."""
    out = io.BytesIO()
    with suppress(Exception), zipfile.ZipFile(io.BytesIO(data)) as given, zipfile.ZipFile(out, "w") as written:
        for info in given.infolist()[:8]:
            if info.filename == "stamp.npy":
                stamp = io.BytesIO()
                np.save(stamp, np.array(f"{tar_index.VERSION} {stamp_of(str(shard())).text}"))
                written.writestr("stamp.npy", stamp.getvalue())
            else:
                start = info.header_offset + 30 + len(info.filename) + len(info.extra)
                written.writestr(info.filename, data[start : start + info.file_size])
        return out.getvalue()
    return data


def manifest(data: bytes) -> None:
    """A packed folder is read, or refused with the path; `verify` says what is wrong."""
    from .seeds import packed_folder

    place = packed_folder(folder() / "packed")
    (place / MANIFEST).write_bytes(data)
    with suppress(ValueError, FileNotFoundError):
        packed_source(place)
    with suppress(ValueError, FileNotFoundError):
        for line in verify(place):
            assert isinstance(line, str)


def settings(data: bytes) -> None:
    """The settings of a run are read, or refused."""
    place = folder() / "run"
    place.mkdir(exist_ok=True)
    (place / NAME).write_bytes(data)
    with suppress(ValueError, OSError):
        read_run(place)
    with suppress(ValueError, OSError, LookupError):
        gpuaug.replay(place, 0, 0)


def draws(data: bytes) -> None:
    """A record of draws is read, or refused."""
    with suppress(ValueError, OSError, LookupError):
        gpuaug.read_draws(file_of(data, "draws.jsonl"))


def checkpoints(data: bytes) -> None:
    """A checkpoint is read, or a UserError names it; nothing in it is executed."""
    with suppress(UserError):
        checkpoint.load(file_of(data, "checkpoint.pt"))


@cache
def loader() -> gpuaug.DataLoader:
    pictures = np.zeros((7, 8, 8, 3), np.uint8)
    return gpuaug.DataLoader(pictures, gpuaug.Policy(gpuaug.View(8, gpuaug.Resize(8), gpuaug.CenterCrop(8))), shuffle=True)


def state(data: bytes) -> None:
    """A saved state is loaded, or refused."""
    try:
        given = json.loads(data)
    except (ValueError, RecursionError):
        return
    with suppress(ValueError, TypeError):
        loader().load_state_dict(given)


TARGETS = {
    "header": Target(header),
    "pillow": Target(pillow),
    "dali": Target(dali),
    "libjpeg": Target(libjpeg),
    "tar": Target(tar, 2**15),
    "zip": Target(archive),
    "index": Target(index),
    "manifest": Target(manifest),
    "settings": Target(settings),
    "draws": Target(draws),
    "checkpoint": Target(checkpoints),
    "state": Target(state),
}
"""Name -> what is fuzzed."""
