"""Decoders of image files, a file or a batch at a time: several forms of gpuaug's, OpenCV, simplejpeg and nvJPEG."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gpuaug
from gpuaug import Images
from gpuaug.data import DecodeError, decode
from gpuaug.data.decoders import cpu_decoder
from gpuaug.data.decoders.regions import regions_read

from .contender import BOTH, Contender, Decode, Setting, anything

PART, NVJPEG_PART = 16, 256
"""Files that a thread, or nvJPEG, decodes in a call."""

Batch = Callable[[Sequence[bytes], Sequence[str]], Sequence[Any]]
"""Encoded files and their names -> their pictures."""

Prepare = Callable[[Sequence[Path], Setting], Decode]


def in_parts(
    make: Callable[[], Batch], part: int = PART, most: int | None = None
) -> Callable[[Sequence[Path], Setting], Decode]:
    """Decode files in parts, in threads. make: makes the decoder of a thread. most: threads, instead of the run's."""

    def prepare(files: Sequence[Path], setting: Setting) -> Decode:
        own = threading.local()

        def work(paths: Sequence[Path]) -> Sequence[Any]:
            if not hasattr(own, "batch"):
                own.batch = make()
            found: Sequence[Any] = own.batch([path.read_bytes() for path in paths], [str(path) for path in paths])
            return found

        pool = ThreadPoolExecutor(most or setting.threads)
        parts = [files[k : k + part] for k in range(0, len(files), part)]
        return lambda: chain.from_iterable(pool.map(work, parts))

    return prepare


def pillow() -> Batch:
    return lambda datas, names: [decode(data, name) for data, name in zip(datas, names, strict=True)]


def dali(device: str = "cpu") -> Any:
    from gpuaug.data import DaliDecoder

    return DaliDecoder(device=device)


def libjpeg() -> Any:
    from gpuaug.data.decoders.libjpeg import LibjpegDecoder

    return LibjpegDecoder()


def whole(decode_batch: Callable[..., Any]) -> Batch:
    """A decoder of gpuaug.DataLoader. It raises the error of the first bad file."""

    def batch(datas: Sequence[bytes], names: Sequence[str]) -> Sequence[Any]:
        found: list[Any] = decode_batch(datas, names)
        for one in found:
            if isinstance(one, DecodeError):
                raise one
        return found

    return batch


def fastest() -> Batch:
    """The decoder that gpuaug.DataLoader takes by itself."""
    name = cpu_decoder("auto")
    return whole(libjpeg()) if name == "libjpeg" else whole(dali().decode_batch) if name == "dali" else pillow()


def all_of_dali() -> Callable[..., Any]:
    decode_batch: Callable[..., Any] = dali().decode_batch
    return decode_batch


def crops(name: str, decoder_of: Callable[[], Callable[..., Any]]) -> Callable[[], Batch]:
    """A decoder of only those regions that the views of a policy read."""
    policy = gpuaug.policy(name)

    def make() -> Batch:
        decode_batch = decoder_of()

        def batch(datas: Sequence[bytes], names: Sequence[str]) -> Sequence[Any]:
            draws = gpuaug.sample(policy, range(len(datas)))

            def regions(where: Sequence[int], shapes: Any) -> Any:
                return regions_read(draws.take(where), shapes)

            found: Sequence[Any] = decode_batch(datas, names, regions)
            return found

        return batch

    return make


def opencv() -> Batch:
    cv2 = import_module("cv2")
    cv2.setNumThreads(0)
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return lambda datas, names: [cv2.imdecode(np.frombuffer(data, np.uint8), flags) for data in datas]


def simplejpeg() -> Batch:
    lib = import_module("simplejpeg")
    return lambda datas, names: [lib.decode_jpeg(data, "RGB") for data in datas]


def nvjpeg() -> Batch:
    from torchvision.io import ImageReadMode, decode_jpeg

    def batch(datas: Sequence[bytes], names: Sequence[str]) -> Sequence[Any]:
        files = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in datas]
        found: list[torch.Tensor] = decode_jpeg(files, mode=ImageReadMode.RGB, device="cuda")
        return found

    return batch


def peer(name: str, regime: str, prepare: Prepare, module: str = "", *packages: str, **more: Any) -> Contender:
    """A decoder. module: what it needs besides gpuaug and Pillow; packages: the distributions that are recorded then."""
    needs = {"modules": (module,), "distributions": packages} if module else {"distributions": ("gpuaug", "pillow")}
    return Contender(name=name, regime=regime, supports=anything, decode=prepare, **needs, **more)


DALI = ("nvidia.dali", "nvidia-dali-cuda130", "gpuaug")
CUDA: dict[str, Any] = {"devices": ("cuda",)}

FILES = (
    peer("gpuaug-pillow", "Pillow, a file at a time", in_parts(pillow), devices=BOTH),
    peer("gpuaug-pillow-buffer", "Pillow, a batch in one buffer", in_parts(lambda: buffered(pillow()))),
    peer("gpuaug-pillow-one", "Pillow, one thread alone", in_parts(pillow, most=1), **CUDA),
    peer("gpuaug-libjpeg-one-crop", "what MAE's view reads", in_parts(crops("mae", libjpeg))),
    peer("gpuaug-libjpeg-two-crops", "what SimCLR's views read", in_parts(crops("simclr", libjpeg))),
    peer("gpuaug-dali", "DALI's decoder, an array a picture", in_parts(lambda: whole(dali().decode_batch)), *DALI),
    peer("gpuaug-dali-buffer", "DALI's decoder, a batch in its own buffer", in_parts(lambda: dali().images), *DALI),
    peer("gpuaug-one-crop", "DALI's decoder, what MAE's view reads", in_parts(crops("mae", all_of_dali)), *DALI),
    peer("gpuaug-two-crops", "DALI's decoder, what SimCLR's views read", in_parts(crops("simclr", all_of_dali)), *DALI),
    peer("opencv", "imdecode, a file at a time", in_parts(opencv), "cv2", "opencv-python-headless"),
    peer("simplejpeg", "a file at a time", in_parts(simplejpeg), "simplejpeg", "simplejpeg"),
    peer(
        "torchvision-nvjpeg",
        "decode_jpeg on the GPU",
        in_parts(nvjpeg, NVJPEG_PART, 1),
        "torchvision",
        "torchvision",
        "torch",
        **CUDA,
    ),
    peer("dali-nvjpeg", "gpuaug's DALI decoder, mixed", in_parts(lambda: dali("mixed").images, NVJPEG_PART, 1), *DALI, **CUDA),
)


def buffered(batch: Batch) -> Batch:
    return lambda datas, names: list(Images.from_list(batch(datas, names)))
