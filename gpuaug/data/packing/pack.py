"""Packing: decode and resize a dataset once, into WebDataset shards of JPEGs, or one array of raw pixels or of planes.

Work is done part by part; a part is a shard, or a range of rows of the array. A finished part is on the disk and in the journal
before the next one begins, so an interrupted packing can go on from there, and ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, cast, get_args

import numpy as np
from tqdm import tqdm

from ...ops.base import is_integer
from ..atomic import TEMPORARY, atomic
from ..decoders.pillow import MAX_PIXELS, DecodeError, decode
from ..sources import Encoded, Index, is_encoded
from ..sources.archives.tar_index import SUFFIX
from ..sources.packed import MANIFEST, PROGRESS, ROWS, TARGETS, VERSION, PackedSource
from ..sources.remote.retries import RemoteError
from ..sources.resolve import from_path
from .formats import Part, RowWriter, ShardWriter, Writer, bytes_in_tar, encode_jpeg, npy_bytes, planes, square

T = TypeVar("T")
OPTIONS = ("format", "size", "quality", "shard_size", "count")

Format: TypeAlias = Literal["jpeg", "raw", "yuv"]

ImageErrors: TypeAlias = Literal["raise", "skip"]
"""What an image that cannot be packed does: end the packing, or be left out and listed."""

PackResult: TypeAlias = bytes | OSError | ValueError
"""The packed data of an image, or why it cannot be packed."""

Skipped = dict[str, Any]
"""A sample that was left out, in the manifest: index in the source, name and reason."""

PROBES = 16
"""Images per thread that the estimate is based on."""


@dataclass(frozen=True)
class Packing:
    """How to pack.

    Attributes:
        format: "jpeg", with a shorter edge of at most `size` pixels; or exactly `size` x `size`: "raw" as RGB, "yuv" as planes
            of brightness and, at half resolution, of colours, in half the bytes.
        size: Edge in pixels, 1..32768.
        quality: Quality of JPEG, 1..100.
        shard_size: Images in a part, which is a shard, or a range of rows with its own checksum.
    """

    format: Format = "jpeg"
    size: int = 256
    quality: int = 90
    shard_size: int = 4096

    def __post_init__(self) -> None:
        if self.format not in get_args(Format):
            raise ValueError(f"pack: format must be one of {', '.join(get_args(Format))}, got {self.format!r}")
        for name, high in (("size", 2**15), ("quality", 100), ("shard_size", 2**31)):
            value = getattr(self, name)
            if not is_integer(value) or not 1 <= value <= high:
                raise ValueError(f"pack: {name.replace('_', '-')} must be an integer in 1..{high}, got {value!r}")


def pack(
    src: str,
    dst: Path,
    packing: Packing,
    workers: int = 1,
    say: Callable[[str], None] = print,
    on_error: ImageErrors = "raise",
    max_pixels: int = MAX_PIXELS,
    labels: bool = True,
) -> None:
    """Pack the dataset at a path into a folder, or go on where an earlier run ended.

    Parts hold the same samples for either value of on_error, so a packing that an error has ended can go on with "skip".

    Args:
        src: Path of a folder or of shards (see `sources.resolve.from_path`).
        dst: Folder to write: new, empty, or of an interrupted run with the same arguments.
        packing: Format, size and quality.
        workers: Threads that read, decode and encode.
        say: Called with lines that announce what will be written, and with those that list skipped images.
        on_error: "raise" for an image that cannot be packed, or "skip" to leave it out and list it in the manifest.
        max_pixels: Largest number of pixels in a picture.
        labels: Whether to store the labels that the source has. False packs all images of a folder, inside and outside of
            class folders.

    Raises:
        ValueError: An option is out of its range, or the source is packed as pixels or planes already.
        FileExistsError: `dst` holds something else.
        DecodeError: An image cannot be decoded; the message names it.
        OSError: The disk is too small.
    """
    if not is_integer(workers) or workers < 1:
        raise ValueError(f"pack: workers must be an integer of at least 1, got {workers!r}")
    if on_error not in get_args(ImageErrors):
        raise ValueError(f"pack: on-error must be one of {', '.join(get_args(ImageErrors))}, got {on_error!r}")
    if not is_integer(max_pixels) or max_pixels < 1:
        raise ValueError(f"pack: max-pixels must be an integer of at least 1, got {max_pixels!r}")
    dst = dst.expanduser().absolute()
    if Path(src).expanduser().resolve() in dst.resolve().parents:
        raise ValueError(f"{dst}: lies inside {src}, where it would count as a class; give a folder elsewhere")
    source = packable_source(src, labels)
    targets = np.full(len(source), -1, dtype=np.int64)  # -1 means no class
    if source.labelled:
        targets = source.target(np.arange(len(source))).numpy()
    manifest = manifest_of(source, targets, packing)
    parts = finished_parts(dst, manifest)
    if parts is None:
        say(f"{dst}: is already packed; `gpuaug pack --verify {dst}` checks it")
        return
    in_rows = packing.format in ROWS
    writer: Writer = RowWriter(dst, packing.format, len(targets), packing.size) if in_rows else ShardWriter(dst, targets)
    ranges = [range(k, min(k + packing.shard_size, len(targets))) for k in range(0, len(targets), packing.shard_size)]
    done = next((k for k, part in enumerate(parts) if not writer.usable(k, part)), len(parts))
    parts = parts[:done]
    todo = range(ranges[done].start, len(targets)) if done < len(ranges) else range(0)

    def pack_image(i: int) -> PackResult:
        name = source.name(i)
        try:
            pixels = decode(source.read(i), name, max_pixels)
            if not in_rows:
                return encode_jpeg(pixels, packing.size, packing.quality, name)
            pixels = square(pixels, packing.size)
            return (planes(pixels) if packing.format == "yuv" else pixels).tobytes()
        except RemoteError:
            raise
        except (OSError, ValueError) as error:  # ValueError for a shape that cannot be resized or stored as JPEG
            if on_error == "skip":
                return error
            if isinstance(error, DecodeError):
                raise DecodeError(f"{error}; --on-error skip leaves out such images and goes on from here") from error
            raise

    with ThreadPoolExecutor(workers) as pool:
        if todo:
            announce(pool, pack_image, targets, todo, packing, workers, dst, say)
        dst.mkdir(parents=True, exist_ok=True)
        for left in dst.glob(f".*{TEMPORARY}"):  # left by a run that was killed
            left.unlink()
        write_json(dst / PROGRESS, {**manifest, "parts": parts})
        with tqdm(total=len(targets), initial=len(targets) - len(todo), desc="packing", unit=" images") as bar:
            items = with_progress(map_in_order(pool, pack_image, todo, 4 * workers), bar)
            for k in range(done, len(ranges)):
                skipped: list[Skipped] = []
                first = sum(part["count"] for part in parts)
                part = writer.write(k, first, keep_good(ranges[k], islice(items, len(ranges[k])), source, skipped))
                parts.append({**part, "skipped": skipped} if skipped else part)
                write_json(dst / PROGRESS, {**manifest, "parts": parts})
    left_out = [one for part in parts for one in part.get("skipped", ())]
    kept = np.delete(targets, [one["index"] for one in left_out])
    writer.finish(kept, parts)
    manifest["count"] = len(kept)
    if in_rows:
        manifest["targets_sha256"] = hashlib.sha256(npy_bytes(kept)).hexdigest()
    write_json(dst / MANIFEST, {**manifest, "parts": parts})
    (dst / PROGRESS).unlink()
    if left_out:
        say(f"{len(left_out):,} of {len(targets):,} images were left out:")
    for one in left_out:
        say(f"  {one['name']}: {one['reason']}")


def keep_good(rows: range, items: Iterable[PackResult], source: Encoded, skipped: list[Skipped]) -> Iterator[tuple[int, bytes]]:
    """Numbers and data of the samples that could be packed; the others are added to `skipped`."""
    for i, made in zip(rows, items, strict=True):
        if isinstance(made, bytes):
            yield i, made
        else:
            skipped.append({"index": i, "name": short_name(source, i), "reason": str(made).removeprefix(f"{source.name(i)}: ")})


def packable_source(src: str, labels: bool) -> Encoded:
    """The source at a path. Raises ValueError if it cannot be packed."""
    source = from_path(src, None if labels else False, advice="--no-labels packs all images, without classes")
    if not len(source):
        raise ValueError(f"{src}: there are no images in it")
    if not is_encoded(source):
        kind = source.format if isinstance(source, PackedSource) else "raw"
        raise ValueError(f"{src}: holds {kind} pixels already; pack the files that it was made from")
    return source


def manifest_of(source: Encoded, targets: Index, packing: Packing) -> dict[str, Any]:
    """The manifest without its parts; its `source` is a checksum of the classes and short names of all samples."""
    checksum = hashlib.sha256(targets.tobytes())
    for i in range(len(source)):
        checksum.update(short_name(source, i).encode(errors="surrogateescape") + b"\0")
    about = {"version": VERSION, **asdict(packing), "count": len(source)}
    if packing.format in ROWS:
        del about["quality"]
    return {**about, "classes": list(getattr(source, "classes", ())), "source": checksum.hexdigest()}


def short_name(source: Encoded, i: int) -> str:
    """The last folder and the file of a sample's path, which stay the same if the dataset is moved."""
    return "/".join(source.name(i).split("/")[-2:])


def finished_parts(dst: Path, manifest: dict[str, Any]) -> list[Part] | None:
    """The parts that an earlier run of the same packing has finished; None if it has finished all of them.

    Raises FileExistsError if the folder holds anything else.
    """
    if dst.exists() and not dst.is_dir():
        raise FileExistsError(f"{dst}: is a file; give a new folder")
    names = {path.name for path in dst.iterdir()} if dst.exists() else set()
    rows = rf"({'|'.join(ROWS.values())})({TEMPORARY})?"
    ours = rf"{re.escape(dst.name)}-\d{{6,}}\.tar({re.escape(SUFFIX)})?|{rows}|{TARGETS}|{MANIFEST}|{PROGRESS}"
    journal = next((dst / name for name in (PROGRESS, MANIFEST) if name in names), None)
    pattern = re.compile(rf"\..*{TEMPORARY}" if journal is None else rf"\..*{TEMPORARY}|{ours}")
    if foreign := sorted(name for name in names if not pattern.fullmatch(name)):
        raise FileExistsError(f"{dst}: holds something else, such as {foreign[0]}; give a new or an empty folder")
    if journal is None:
        return []
    try:
        earlier = json.loads(journal.read_text(encoding="utf-8"))
        parts = cast("list[Part]", earlier.pop("parts"))
        if journal.name == MANIFEST:  # its count leaves out skipped samples
            earlier["count"] += sum(len(part.get("skipped", ())) for part in parts)
        earlier.pop("targets_sha256", None)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileExistsError(f"{journal}: was not written by `gpuaug pack`; give a new or an empty folder") from error
    if differ := [key for key in {**manifest, **earlier} if manifest.get(key) != earlier.get(key)]:
        told = ", ".join(f"{key} {earlier.get(key)}" for key in OPTIONS if key in differ and key in earlier)
        raise FileExistsError(f"{dst}: holds a packing of {told or 'other samples'}; use the same options, or another folder")
    return None if journal.name == MANIFEST else parts


def announce(
    pool: ThreadPoolExecutor,
    pack_image: Callable[[int], PackResult],
    targets: Index,
    todo: range,
    packing: Packing,
    workers: int,
    dst: Path,
    say: Callable[[str], None],
) -> None:
    """Announce the size and the duration of the packing, estimated from a few samples.

    Raises OSError if the disk is too small. If none of these samples can be packed, raises the first one's error, for any
    on_error.
    """
    probes = np.unique(np.linspace(todo.start, todo.stop - 1, min(len(todo), PROBES * workers)).astype(int)).tolist()
    pack_image(probes[0])  # the first image also loads libraries, which shall not count
    start = time.perf_counter()
    made = list(pool.map(pack_image, probes))
    rate = len(made) / (time.perf_counter() - start)
    sizes = [len(data) if isinstance(data, bytes) else 0 for data in made]
    if not any(sizes):
        raise cast(Exception, made[0])
    if packing.format == "jpeg":
        sizes = [size and bytes_in_tar(size, targets[i] != -1) for size, i in zip(sizes, probes, strict=True)]
    total = int(np.mean(sizes) * len(targets))
    shape = f"{packing.size} x {packing.size}"
    if packing.format == "jpeg":
        shape = f"shorter edge at most {packing.size}, quality {packing.quality}"
    say(f"{len(targets):,} images as {packing.format}, {shape}")
    say(f"expected: {readable(total)} in {dst}; {rate:.0f} images/s on {workers} threads, {duration(len(todo) / rate)}")
    if len(todo) < len(targets):
        say(f"going on after {len(targets) - len(todo):,} images")
    free = shutil.disk_usage(next(folder for folder in (dst, *dst.parents) if folder.exists())).free
    if (needed := int(np.mean(sizes) * len(todo))) > free:
        raise OSError(f"{dst}: needs about {readable(needed)} more, but the disk has only {readable(free)} left")


def map_in_order(pool: ThreadPoolExecutor, task: Callable[[int], T], order: Iterable[int], ahead: int) -> Iterator[T]:
    """Yield `task(i)` for each i in order; the pool's threads work on up to `ahead` of them before they are asked for."""
    rest, pending = iter(order), deque[Future[T]]()
    try:
        while True:
            pending.extend(pool.submit(task, i) for i in islice(rest, ahead - len(pending)))
            if not pending:
                return
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def with_progress(items: Iterable[T], bar: tqdm[Any]) -> Iterator[T]:
    for item in items:
        bar.update()
        yield item


def write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic(path) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())


def readable(size: float) -> str:
    """A number of bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
