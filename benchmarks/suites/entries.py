"""Loaders over many entries: seconds and memory until they are made, and until their first batch.

    python -m benchmarks.suites.entries [KIND ...] [--entries N] [--place FOLDER]

Each kind of source is measured in a child process of its own, whose kernels are compiled and whose libraries are loaded. What
the user gives, such as a list of paths or an array, is there before the clock starts, and its memory does not count. Then the
loader is made, and from `iter()` on its first batch of 32 small pictures, shuffled, with two workers. Memory is the peak above
what the process held before: until the loader is made, and until the batch is there. On a machine with other work, read the
processor time of all of the process's threads instead of the seconds.

Files are hard links of a few small pictures, which take little room; the folder of 10 million of them needs a file
system that has as many, and minutes to make and to remove. The index of shards is made before the clock starts.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, Subset

import gpuaug

from ..measure import machine
from ..measure.result import Verdict
from ..measure.stats import quartiles
from . import targets
from .common import Progress
from .memory import trim

ENTRIES, GROUPS, EDGE, BATCH = 10_000_000, 1000, 8, 32

MOST = {"seconds to make a loader": 15.0, "MB to make a loader": 500.0, "seconds to the first batch": 1.0}
"""The promises. Each child returns the MB to the first batch too, and the processor time of both stages."""

PATIENCE = 1200
"""Seconds after which a child is killed."""


class Pictures(Dataset[Any]):
    """A Dataset that makes each picture when it is asked for."""

    def __init__(self, entries: int) -> None:
        self.entries = entries

    def __len__(self) -> int:
        return self.entries

    def __getitem__(self, i: int) -> Any:
        return np.full((EDGE, EDGE, 3), i % 256, np.uint8), i % GROUPS


def file(format: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.arange(EDGE * EDGE * 3, dtype=np.uint8).reshape(EDGE, EDGE, 3)).save(out, format)
    return out.getvalue()


def fill_folder(root: Path, entries: int) -> None:
    for k in range(GROUPS):
        folder = root / f"n{k:08}"
        folder.mkdir()
        first = str(folder / f"n{k:08}_{0:08}.JPEG")
        Path(first).write_bytes(file("JPEG"))
        for i in range(1, entries // GROUPS):
            os.link(first, f"{folder}/n{k:08}_{i:08}.JPEG")


def fill_shards(root: Path, entries: int) -> None:
    """Shards that are links of one, and the index of each, a copy of the first one's."""
    import tarfile

    first = root / "s-000000.tar"
    data = file("JPEG")
    with tarfile.open(first, "w") as tar:
        for i in range(entries // GROUPS):
            for name, content in ((f"{i:08}.jpg", data), (f"{i:08}.cls", b"3")):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    gpuaug.data.ShardSource(first)
    for k in range(1, GROUPS):
        os.link(first, root / f"s-{k:06}.tar")
        shutil.copyfile(f"{first}.index.npz", root / f"s-{k:06}.tar.index.npz")


def fill_packed(root: Path, entries: int) -> None:
    """A sparse file of black pictures."""
    np.lib.format.open_memmap(root / "pixels.npy", "w+", np.uint8, (entries, EDGE, EDGE, 3)).flush()
    np.save(root / "targets.npy", np.arange(entries, dtype=np.int64) % GROUPS)
    about = {"format": "raw", "version": 1, "count": entries, "size": EDGE, "classes": [str(k) for k in range(GROUPS)]}
    (root / "packed.json").write_text(json.dumps(about))


def fill_rows(root: Path, entries: int) -> None:
    """A Hugging Face dataset in one file, with the same rows again and again."""
    import pyarrow as pa

    count = entries // GROUPS
    cells = pa.array([{"bytes": file("PNG"), "path": None}] * count, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    rows = pa.record_batch({"image": cells, "label": pa.array(np.arange(count) % 10)})
    features = {"image": {"_type": "Image"}, "label": {"names": list("0123456789"), "_type": "ClassLabel"}}
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    with pa.OSFile(str(root / "rows.arrow"), "wb") as out, pa.ipc.new_stream(out, rows.schema.with_metadata(about)) as stream:
        for _ in range(GROUPS):
            stream.write_batch(rows)


def nothing(root: Path, entries: int) -> None:
    """For sources without files."""


def fill_file(root: Path, entries: int) -> None:
    for k in range(GROUPS):
        (root / f"{k:04}").mkdir()
        (root / f"{k:04}" / "picture.jpg").write_bytes(file("JPEG"))


def paths(root: Path, entries: int) -> list[str]:
    return [f"{root}/{k % GROUPS:04}/" + "picture.jpg" for k in range(entries)]


def arrays(root: Path, entries: int) -> Any:
    return np.zeros((entries, EDGE, EDGE, 3), np.uint8), np.arange(entries, dtype=np.int64) % GROUPS


def rows(root: Path, entries: int) -> Any:
    from datasets import Dataset as Rows

    return Rows.from_file(str(root / "rows.arrow"))


def packed(root: Path) -> Any:
    return gpuaug.data.PackedSource(root)


def half(root: Path, entries: int) -> Any:
    return Subset(packed(root), shuffled(entries)[: entries // 2])


def shuffled(entries: int) -> Any:
    return np.random.default_rng(0).permutation(entries)


KINDS: dict[str, tuple[Callable[[Path, int], None], Callable[[Path, int], Any]]] = {
    "paths": (fill_file, paths),
    "packed": (fill_packed, lambda root, entries: root),
    "arrays": (nothing, arrays),
    "dataset": (nothing, lambda root, entries: Pictures(entries)),
    "hugging face": (fill_rows, rows),
    "subset": (nothing, lambda root, entries: Subset(Pictures(entries), shuffled(entries).tolist())),
    "subset of packed": (fill_packed, lambda root, entries: Subset(packed(root), shuffled(entries))),
    "concatenation": (fill_packed, lambda root, entries: ConcatDataset([half(root, entries), half(root, entries)])),
    "mixture": (fill_packed, lambda root, entries: gpuaug.data.Mixture([root, arrays(root, 1000)], [9, 1], samples=entries)),
    "with replacement": (fill_packed, lambda root, entries: gpuaug.data.Mixture([root], [1], replacement=True)),
    "shards": (fill_shards, lambda root, entries: root),
    "folder": (fill_folder, lambda root, entries: root),
}
"""Kind of source -> what makes its files, and what makes of them what the user gives."""

QUICK_TO_MAKE = tuple(kind for kind in KINDS if kind not in ("folder", "shards"))


def run_child(kind: str, root: Path, entries: int) -> list[float]:
    """Seconds, MB and processor time until the loader is made, then until its first batch."""
    given = KINDS[kind][1](root, entries)
    policy = gpuaug.policy("simclr_cifar", size=EDGE)
    few = root / "few" / "files"
    few.mkdir(parents=True, exist_ok=True)
    for k in range(BATCH):
        (few / f"{k}.jpg").write_bytes(file("JPEG"))
    for warm in (str(few), Pictures(BATCH), arrays(root, BATCH)):  # compiles the kernels
        next(iter(gpuaug.DataLoader(warm, policy, BATCH, num_workers=2)))
    shutil.rmtree(few.parent)
    trim()
    machine.reset_peak()
    before = machine.resident()
    with clocked(before) as making:
        loader = gpuaug.DataLoader(given, policy, BATCH, shuffle=True, num_workers=2)
    assert len(loader.source) >= entries
    with clocked(before) as waiting:
        batches = iter(loader)
        next(batches)
    batches.close()  # type: ignore[attr-defined]
    return [*making, *waiting]


@contextmanager
def clocked(before: int) -> Iterator[list[float]]:
    """A list that gets the block's seconds, its peak of memory above `before` in MB, and its processor time."""
    machine.reset_peak()
    found: list[float] = []
    start, used = time.perf_counter(), time.process_time()
    yield found
    spent = time.process_time() - used
    found += [time.perf_counter() - start, (machine.resident("VmHWM") - before) / 1e6, spent]


@contextmanager
def filled(kind: str, entries: int, place: Path | None = None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="benchmark-entries-", dir=place) as made:
        KINDS[kind][0](Path(made), entries)
        yield Path(made)


def measured(kind: str, entries: int, place: Path | None = None) -> list[float]:
    with filled(kind, entries, place) as root:
        return machine.in_child("benchmarks.suites.entries", [kind, str(root), entries], timeout=PATIENCE)


def verdicts(progress: Progress, kinds: Sequence[str] = QUICK_TO_MAKE, entries: int = ENTRIES) -> list[Verdict]:
    """Each promise, and the kind of source that is farthest from it."""
    found = {}
    for kind in kinds:
        progress(f"entries: {kind}")
        found[kind] = measured(kind, entries)
    judged = []
    for (name, most), k in zip(MOST.items(), (0, 1, 3), strict=True):
        worst = max(found, key=lambda kind: found[kind][k])
        judged.append(targets.judged(f"{name}, {entries:,} entries ({worst})", quartiles([found[worst][k]]), most=most))
    return judged


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.suites.entries", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join(KINDS)} (default: all)")
    parser.add_argument("--entries", type=int, default=ENTRIES, help=f"entries of each source (default: {ENTRIES:,})")
    parser.add_argument("--place", type=Path, help="folder for the files (default: the system's for temporary files)")
    options = parser.parse_args(words)
    if unknown := set(options.kinds) - set(KINDS):
        parser.error(f"no kind {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    for kind in options.kinds or KINDS:
        made = measured(kind, options.entries, options.place)
        making, first = (f"{s:7.2f} s, {mb:5.0f} MB, {cpu:6.2f} s of processor time" for s, mb, cpu in (made[:3], made[3:]))
        print(f"{kind:>18}  made: {making}  first batch: {first}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("["):
        kind, folder, count = json.loads(sys.argv[1])
        print(json.dumps(run_child(kind, Path(folder), count)))
    else:
        main(sys.argv[1:])
