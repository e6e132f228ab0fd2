"""Step 4: decoding alone, then whole loaders, from a folder of JPEGs to two views a picture on the device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torchvision.datasets import ImageFolder

import gpuaug
from gpuaug import Policy
from gpuaug.data.decode import decode

from ..measure.cores import cores
from ..measure.machine import importable
from ..measure.stats import quartiles
from ..measure.timing import synchronize
from .augment import two_views
from .peers_loader import torchvision_loader
from .pixels import jpeg_folder
from .steps import Row, Setting, attempt

SECONDS = 8.0
"""That a loader is measured, at most; decoding takes half of it."""


def rows(setting: Setting) -> Iterator[Row]:
    with folder(setting) as root:
        files = sorted(path for path in root.glob("*/*") if path.is_file())
        yield Row("pictures", text=f"{len(files)} files of {root if setting.data else '500 x 375, made from noise'}")
        batch = 256 if setting.cuda else 8
        datas = [path.read_bytes() for path in islice(cycle(files), batch)]
        for name, make in decoders(setting).items():
            yield from attempt(name, decoding(setting, name, make, datas))
        for name in ("simclr", "cheap"):
            policy = two_views(name)
            for label, loader in loaders(setting, root, policy, batch, len(files)).items():
                yield from attempt(f"{name} / {label}", loading(setting, f"{name} / {label}", loader, batch))


@contextmanager
def folder(setting: Setting) -> Iterator[Path]:
    """The user's pictures, or some that are made."""
    if setting.data:
        yield Path(setting.data)
        return
    with TemporaryDirectory() as place:
        yield jpeg_folder(Path(place), 4096 if setting.cuda else 32)


Decode = Callable[[Sequence[bytes]], object]


def decoders(setting: Setting) -> dict[str, Callable[[], Decode]]:
    """What turns a batch of files into pixels; each is made when its turn comes."""
    found: dict[str, Callable[[], Decode]] = {
        "decode / Pillow, one thread": lambda: lambda datas: [decode(data, "") for data in datas],
        f"decode / Pillow, {cores()} threads": threads,
    }
    if setting.cuda:
        found["decode / nvJPEG through torchvision"] = nvjpeg
        found["decode / nvJPEG through DALI"] = dali
    return found


def threads() -> Decode:
    pool = ThreadPoolExecutor(cores())
    return lambda datas: list(pool.map(lambda data: decode(data, ""), datas))


def nvjpeg() -> Decode:
    from torchvision.io import ImageReadMode, decode_jpeg

    def run(datas: Sequence[bytes]) -> object:
        files = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in datas]
        return decode_jpeg(files, mode=ImageReadMode.RGB, device="cuda")

    return run


def dali() -> Decode:
    if not importable("nvidia.dali"):
        raise ImportError("not installed; install it with: pip install nvidia-dali-cuda130")
    import numpy as np

    lib = import_module("nvidia.dali")
    import_module("nvidia.dali.fn")  # becomes lib.fn
    given: list[Any] = []

    def pipeline() -> Any:
        return lib.fn.decoders.image(lib.fn.external_source(source=lambda: given, batch=True), device="mixed")

    made: dict[int, Any] = {}

    def run(datas: Sequence[bytes]) -> object:
        given[:] = [np.frombuffer(data, np.uint8) for data in datas]
        if len(datas) not in made:
            options = {"exec_async": False, "exec_pipelined": False, "exec_dynamic": False, "prefetch_queue_depth": 1}
            built = lib.pipeline_def(pipeline, **options)(batch_size=len(datas), num_threads=cores(), device_id=0)
            built.build()
            made[len(datas)] = built
        return made[len(datas)].run()

    return run


def decoding(setting: Setting, name: str, make: Callable[[], Decode], datas: Sequence[bytes]) -> Iterator[Row]:
    try:
        run = make()
    except ImportError as error:
        yield Row(name, "skipped", str(error))
        return
    run(datas)
    yield speed(setting, name, (run(datas) for _ in iter(int, 1)), len(datas), SECONDS / 2, "")


Loader = Callable[[], Iterable[Any]]


def loaders(setting: Setting, root: Path, policy: Policy, batch: int, files: int) -> dict[str, Loader]:
    """Endless loaders of two views a picture in bfloat16 on the device, with all cores."""
    order = [k % files for k in range(batch * 1000)]

    def ours() -> Iterable[Any]:
        return gpuaug.DataLoader(
            str(root), policy, batch, sampler=order, num_workers=cores(), device=setting.device, dtype=torch.bfloat16
        )

    def theirs() -> Iterable[Any]:
        return torchvision_loader(ImageFolder(str(root)), policy, batch, order, setting.device)

    return {"gpuaug": ours, "torchvision": theirs}


def loading(setting: Setting, name: str, make: Loader, batch: int) -> Iterator[Row]:
    batches = iter(make())
    try:
        for _ in range(3):  # the workers' start, and any compilation
            next(batches)
        yield speed(setting, name, batches, batch, SECONDS, f"{cores()} workers, two views a picture")
    finally:
        batches.close()  # type: ignore[attr-defined]  # a generator: its workers end now


def speed(setting: Setting, name: str, batches: Iterator[Any], size: int, seconds: float, text: str) -> Row:
    """Images/s of as many batches as there is time for, and the spread of single batches."""
    seconds = min(1.0 if setting.quick else seconds, max(1.0, setting.left / 8))
    times: list[float] = []
    synchronize(setting.device)
    begin = last = time.perf_counter()
    while last - begin < seconds or len(times) < 3:
        next(batches)
        synchronize(setting.device)
        now = time.perf_counter()
        times.append(now - last)
        last = now
    each = quartiles([size / t for t in times])
    more = {"batches": float(len(times))}
    return Row(name, "ok", text, size * len(times) / (last - begin), "images/s", each.low, each.high, more)
