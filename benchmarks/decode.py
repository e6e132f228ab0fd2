"""Decoders side by side, one thread each, on a folder of JPEGs: python -m benchmarks.decode FOLDER

Prints images/s of processor time as medians over rounds that take turns, the ratio to Pillow's, and how far the pixels are
from Pillow's in steps of 8 bits. Processor time, since it is less disturbed by others; pin the process to one core. "Crops"
decode only what the views of a policy read.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchvision.io import ImageReadMode, decode_jpeg

import gpuaug
from gpuaug import Images
from gpuaug.data.dali import DaliDecoder
from gpuaug.data.decode import Pixels, decode, decode_batch
from gpuaug.data.regions import Region, read_by

from .measure.machine import cpu, importable, load, version_of

BATCH = 64
NAMES = ("nvidia-dali-cuda130", "pillow", "torchvision", "opencv-python-headless", "simplejpeg")

Decode = Callable[[Sequence[bytes]], Any]
"""Encoded files -> their pictures, in whatever form the decoder gives."""


def decoders() -> Iterator[tuple[str, Decode]]:
    """The decoders that are installed; the first two give a batch in one buffer, the others a list."""
    dali = DaliDecoder()
    yield "Pillow, one buffer", lambda files: Images.from_list(decode_batch(files, [""] * len(files)))
    yield "DALI, one buffer", lambda files: dali.images(files, [""] * len(files))
    yield "Pillow", lambda files: decode_batch(files, [""] * len(files))
    yield "DALI", lambda files: dali.decode_batch(files, [""] * len(files))
    for name, policy in (("one crop", gpuaug.policy("mae")), ("two crops", gpuaug.policy("simclr"))):
        yield f"DALI, {name}", cropped(DaliDecoder(), policy)
    yield "torchvision", lambda files: [torchvision(data) for data in files]
    if importable("cv2"):
        cv2 = import_module("cv2")
        cv2.setNumThreads(0)
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        yield "OpenCV", lambda files: [cv2.imdecode(np.frombuffer(data, np.uint8), flags) for data in files]
    if importable("simplejpeg"):
        simplejpeg = import_module("simplejpeg")
        yield "simplejpeg", lambda files: [simplejpeg.decode_jpeg(data, "RGB") for data in files]


def cropped(dali: DaliDecoder, policy: gpuaug.Policy) -> Decode:
    def decode(files: Sequence[bytes]) -> list[Any]:
        draws = gpuaug.sample(policy, range(len(files)))
        return dali.decode_batch(files, [""] * len(files), lambda where, shapes: read_by(draws.take(where), shapes))

    return decode


def torchvision(data: bytes) -> Any:
    return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)


def error(found: Any, truth: Pixels) -> npt.NDArray[np.int16]:
    """How far what a decoder gave is from a picture, or a region from the same part of it."""
    if isinstance(found, Region):
        (top, left), (height, width) = found.frame[:2], found.pixels.shape[:2]
        return error(found.pixels, truth[top : top + height, left : left + width])
    pixels = np.asarray(found)
    difference: npt.NDArray[np.int16] = (pixels.transpose(1, 2, 0) if pixels.shape[0] == 3 else pixels).astype(np.int16) - truth
    return np.abs(difference)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare decoders of JPEG, one thread each.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    paths = sorted(p for p in arguments.folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    files = [path.read_bytes() for path in paths]
    batches = [files[k : k + BATCH] for k in range(0, len(files), BATCH)]
    found = dict(decoders())
    times: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(arguments.rounds):
        for name, run in found.items():
            start = time.process_time()
            for batch in batches:
                run(batch)
            times[name].append(time.process_time() - start)
    versions = ", ".join(f"{name} {version}" for name in NAMES if (version := version_of(name)))
    print(f"{len(files)} JPEGs on {cpu()}, load {load()}; {versions}\n")
    print("| decoder | images/s | to Pillow | largest difference | mean |\n|---|---:|---:|---:|---:|")
    truth = [decode(data, str(path)) for data, path in zip(files, paths, strict=True)]
    for name, run in found.items():
        base = times["Pillow, one buffer" if "buffer" in name else "Pillow"]
        ratio = statistics.median(b / t for b, t in zip(base, times[name], strict=True))
        made = [image for batch in batches for image in run(batch)]
        errors = [error(image, picture) for image, picture in zip(made, truth, strict=True)]
        mean = sum(int(e.sum()) for e in errors) / sum(e.size for e in errors)
        rate = len(files) / statistics.median(times[name])
        print(f"| {name} | {rate:.0f} | {ratio:.2f} | {max(int(e.max()) for e in errors)} | {mean:.3f} |")


if __name__ == "__main__":
    main()
