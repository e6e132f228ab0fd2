"""Which decoder a loader uses: the one asked for, or on CUDA the one that turns out to be faster on the user's files."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np
import torch

from ..backends import findable, how_to_install
from ..policy import Policy
from .decoders import auto_on_cpu, cpu_decoder, decoder_of, libjpeg_missing
from .decoders.device import DeviceDecoder
from .decoders.large import header_pixels
from .decoders.pillow import DecodeError, decode
from .decoders.regions import Decoder, Region, Regional, Waiting, scalable
from .decoders.scaled import ScaledDecoder
from .decoders.staging import Staging
from .engine.fetching.threads import PART_SIZE
from .sources import Encoded, Source, has_files, is_encoded
from .sources.remote.retries import RemoteError

LOG = logging.getLogger("gpuaug")

TRIAL = 256
"""Most files that are decoded to choose a decoder."""

TRIAL_PIXELS = 2**28
"""And most pixels of these together, so that large pictures take no longer."""

ROUNDS = 3
"""How often; the first round starts threads and builds pipelines, so it is not counted."""

FASTER = 1.2
"""How many times as fast as the CPU nvJPEG must be, since it takes time of the GPU from the training step."""


NEAR = 2.0
"""Largest mean difference of nvJPEG's pixels to Pillow's, in steps of 8 bits, with which "auto" takes it."""

COMPARED = 16
"""Files whose pixels are compared."""


class Decoding:
    """The decoder of a loader, and the memory through which decoded pictures go to a device.

    Args:
        name: One of `DECODERS`.
        max_pixels: Largest number of pixels in a picture.
        device: Where the views are made.
        threads: Threads that decode.
        hw_load: Share of the files, 0..1, that nvJPEG gives to the GPU's JPEG engine.
        scaled: Whether JPEGs much larger than the views are decoded at a smaller scale, which happens on the CPU.

    Attributes:
        chosen: The decoder in use: "nvjpeg", "libjpeg", "dali" or "pillow"; None before "auto" has chosen.
        why: Why it is that one; empty if the user has named it.
    """

    chosen: str | None
    why: str
    decode: Decoder
    staging: Staging | None

    def __init__(
        self, name: str, max_pixels: int, device: torch.device, threads: int, hw_load: float, scaled: bool = False
    ) -> None:
        self.name = name
        self.max_pixels = max_pixels
        self.device = device
        self.threads = max(1, threads)
        self.hw_load = hw_load
        self.scaled = scaled
        self.staging = Staging(device) if device.type == "cuda" else None
        self.use(name, "")
        if name == "auto":
            self.use(*auto_on_cpu())
            if device.type == "cuda" and findable("nvidia.dali") and not scaled:
                self.chosen, self.why = None, ""

    def use(self, name: str, why: str) -> None:
        self.chosen, self.why = name, why
        self.decode = decoder_of(name, self.max_pixels, self.device, self.threads, self.hw_load)
        if self.scaled:
            self.decode = ScaledDecoder(self.decode, self.max_pixels)

    def __str__(self) -> str:
        if self.chosen is None:
            return "auto, which chooses before the first batch"
        found = f"{self.chosen} ({self.why})" if self.why else self.chosen
        return f"{found}; large JPEGs are scaled by pillow" if self.scaled else found

    def settle(self, source: Source, regional: Callable[[Sequence[int]], Regional | None]) -> None:
        """Let "auto" choose, once, by decoding some of the source's files both ways; nothing of these is delivered.

        regional: makes, for samples, what tells which region of each picture will be read. Raises RemoteError if a server does
        not answer.
        """
        if self.chosen is None and source.workers == "stream":
            self.use(cpu_decoder("auto"), "the files of a stream cannot be tried in advance")
        if self.chosen is not None or not is_encoded(source):
            return
        samples = np.linspace(0, len(source) - 1, min(TRIAL, len(source))).astype(np.int64).tolist()
        try:
            gpu = DeviceDecoder(self.device, self.threads, self.hw_load, self.max_pixels)
            self.use(*choice(source, samples, regional, self.decode, gpu, self.threads))
        except RemoteError:
            raise
        except Exception as error:  # DALI and torch raise several kinds where CUDA or nvJPEG do not work
            self.use(cpu_decoder("auto"), f"nvJPEG could not be tried: {error}".strip().splitlines()[0])
        LOG.info("decoder: %s", self)

    def state(self) -> dict[str, Any]:
        """What a saved state of the loader needs: on CUDA the decoder, as all decoders of the CPU give the same pixels."""
        return ({"decoder": self.chosen} if self.device.type == "cuda" else {}) | ({"scaled": "auto"} if self.scaled else {})

    def restore(self, state: dict[str, Any]) -> None:
        """Take over the choice of a saved state, or warn if the decoder that the user has named gives other pixels."""
        if bool(state.get("scaled", False)) != self.scaled:
            LOG.warning(
                "DataLoader: the state was saved with scaled=%r, but this loader has scaled=%r, so the views of pictures much "
                "larger than they are differ a little",
                *(state.get("scaled", False), "auto" if self.scaled else False),
            )
        saved = state.get("decoder", cpu_decoder("auto"))  # without it, the state is from a loader that decodes on the CPU
        if saved is None:
            return
        if self.name == "auto" and self.device.type == "cuda" and not self.scaled:
            self.use(saved if saved == "nvjpeg" else cpu_decoder("auto"), "as in the state that was loaded")
        elif (saved == "nvjpeg") != (self.chosen == "nvjpeg"):
            LOG.warning(
                "DataLoader: the state was saved with decoder=%r, but this loader has decoder=%r, whose pixels, and so the "
                "views, differ a little",
                *(saved, self.chosen),
            )


def choice(
    source: Encoded,
    samples: Sequence[int],
    regional: Callable[[Sequence[int]], Regional | None],
    cpu: Decoder,
    gpu: DeviceDecoder,
    threads: int,
) -> tuple[str, str]:
    """The faster decoder for these samples, and why."""
    files = trial_files(source, samples)
    parts = [files[k : k + PART_SIZE] for k in range(0, len(files), PART_SIZE)]

    def run(decode: Decoder, part: Sequence[tuple[int, bytes, str]]) -> list[Waiting]:
        index, datas, names = zip(*part, strict=True)
        return [one for one in decode(datas, names, regional(index)) if isinstance(one, Waiting)]

    waiting: list[Waiting] = []
    best = {"cpu": float("inf"), "gpu": float("inf")}
    with ThreadPoolExecutor(threads) as pool:
        for k in range(ROUNDS):
            times = [perf_counter()]
            list(pool.map(lambda part: run(cpu, part), parts))
            times.append(perf_counter())
            waiting = [one for found in pool.map(lambda part: run(gpu, part), parts) for one in found]
            times.append(perf_counter())
            gpu.decode(waiting)
            if gpu.device.type == "cuda":
                torch.cuda.synchronize(gpu.device)
            times.append(perf_counter())
            if k:
                cpu_time, thread_time, gpu_time = np.diff(times).tolist()
                best["cpu"] = min(best["cpu"], cpu_time)
                best["gpu"] = min(best["gpu"], max(thread_time, gpu_time))  # they overlap
    if not waiting:
        return cpu_decoder("auto"), f"none of {len(files)} files is a plain JPEG, which nvJPEG needs"
    apart = difference(gpu, waiting[:: -(-len(waiting) // COMPARED)])
    return faster(cpu_decoder("auto"), len(files) / best["cpu"], len(files) / best["gpu"], threads, apart)


def trial_files(source: Encoded, samples: Sequence[int]) -> list[tuple[int, bytes, str]]:
    """Samples, their files and names, without those that cannot be read; at most `TRIAL_PIXELS` but for the first.

    Raises RemoteError if their server does not answer.
    """
    files: list[tuple[int, bytes, str]] = []
    pixels = 0
    for i in samples:
        try:
            data = source.read(i)
        except RemoteError:  # it has been waited for, and each of the others would be
            raise
        except OSError:  # the loader will say so when it comes to it
            continue
        pixels += header_pixels(data)
        if files and pixels > TRIAL_PIXELS:
            break
        files.append((i, data, source.name(i)))
    return files


def difference(gpu: DeviceDecoder, files: Sequence[Waiting]) -> float:
    """Mean difference of the device's pixels to Pillow's, in steps of 8 bits."""
    apart = []
    for file, found in zip(files, gpu.finished(files), strict=True):
        pixels, (top, left) = (found.pixels, found.frame[:2]) if isinstance(found, Region) else (found, (0, 0))
        with contextlib.suppress(DecodeError):  # neither can read it
            whole = decode(file.data, file.name, gpu.max_pixels)
            if not isinstance(pixels, DecodeError):
                height, width = pixels.shape[:2]
                near = whole[top : top + height, left : left + width]
                apart.append(float(np.abs(pixels.astype(np.int16) - near).mean()))
    return float(np.mean(apart)) if apart else 0.0


def faster(cpu: str, cpu_rate: float, gpu_rate: float, threads: int, apart: float) -> tuple[str, str]:
    """The decoder to use, and why, by the rates measured in files/s and the mean difference of the pixels."""
    if apart > NEAR:
        return cpu, f"nvJPEG's pixels differ from Pillow's by {apart:.2f} of 255 on average, more than {NEAR:g}"
    by = f"{gpu_rate:,.0f} files/s by nvjpeg, {cpu_rate:,.0f} by {cpu} in {threads} thread{'s' * (threads > 1)}"
    if gpu_rate > FASTER * cpu_rate:
        return "nvjpeg", f"measured: {by}; pixels differ by {apart:.2f} of 255 on average"
    return cpu, f"measured: {by}, which is not {FASTER:g} times as fast"


def available() -> dict[str, str]:
    """Decoder -> whether it can be used on this machine, and what is missing if it cannot."""
    dali = (
        "installed"
        if findable("nvidia.dali")
        else f"not installed; {how_to_install('nvidia.dali').removeprefix('install it with: ')}"
    )
    nvjpeg = dali if torch.cuda.is_available() else "does not run on cpu"
    return {"pillow": "installed", "libjpeg": libjpeg_missing() or "installed", "dali": dali, "nvjpeg": nvjpeg}


def check_scaled(scaled: Any, decoder: str) -> str | bool:
    """ "auto" or False. Raises ValueError for anything else, and for a decoder that cannot scale."""
    if scaled is not False and scaled != "auto":
        raise ValueError(f"DataLoader: scaled must be 'auto' or False, got {scaled!r}")
    if scaled and decoder == "nvjpeg":
        raise ValueError(
            "DataLoader: scaled='auto' decodes on the CPU, which decoder='nvjpeg' does not; give decoder='libjpeg', "
            "or scaled=False"
        )
    return scaled if scaled else False


def warn_unscaled(scaled: str | bool, source: Source, policy: Policy) -> None:
    """Warn that `scaled` does nothing if the views of files may read all of a picture, or take single pixels of it."""
    if scaled and has_files(source) and not scalable(policy):
        LOG.warning(
            "DataLoader: scaled='auto' has no effect with this policy: every view must begin with RandomResizedCrop, and not "
            "with interpolation='nearest'; leave scaled=False"
        )


def check_decoder(decoder: str, device: torch.device | str) -> None:
    """Raise if the decoder cannot be used for a loader of that device; called before the device itself is checked."""
    if decoder != "nvjpeg":
        return
    if not str(device).startswith("cuda"):
        raise ValueError(
            f"DataLoader: decoder='nvjpeg' decodes on a CUDA device, but device is {str(device)!r}; give device='cuda', or "
            "decoder='libjpeg', 'dali' or 'pillow', which decode on the CPU"
        )
    if not torch.cuda.is_available():
        raise ValueError(
            "DataLoader: decoder='nvjpeg' needs CUDA, which torch cannot find on this machine; give device='cpu' and "
            "decoder='libjpeg', 'dali' or 'pillow'"
        )
    if not findable("nvidia.dali"):
        raise ImportError(f"DataLoader: decoder='nvjpeg' needs DALI; {how_to_install('nvidia.dali')}")
