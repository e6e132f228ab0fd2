"""Measuring what limits a loader: each stage alone, then the whole loader, on the user's data and machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from textwrap import wrap
from time import perf_counter
from typing import Any, TypeVar, cast

import numpy as np
import torch

from ..backends import lacking
from ..images import Images
from ..policy import Policy
from .decoders.device import DeviceDecoder
from .decoders.pillow import Pixels
from .decoders.regions import Boxes, Region, Waiting
from .engine.batch import to_images, try_read
from .engine.fetching.threads import PART_SIZE
from .engine.stats import remedy
from .loader import DataLoader
from .sources import Encoded, Index, Loaded, is_encoded
from .sources.composed import will_need

T = TypeVar("T")

WHOLE = "whole loader"


@dataclass(frozen=True)
class Diagnosis:
    """Samples/s of each stage alone, and of the whole loader with a consumer that does nothing.

    Attributes:
        rates: Stage -> samples/s; the last is the whole loader.
        workers: `num_workers` of the loader.
        device: Where the views are made.
        size: Mean bytes of a file; None if the source holds no files.
        bad: Number of the first batch's samples that cannot be read or decoded.
        slow: Advice on missing packages that would make it faster.
        decoder: The decoder of the files, and why it is that one; empty if the source holds no files.
    """

    rates: dict[str, float]
    workers: int
    device: torch.device
    size: float | None
    bad: int
    slow: tuple[str, ...] = ()
    decoder: str = ""

    @property
    def limit(self) -> str:
        """The stage that is the slowest when it runs alone."""
        return min((stage for stage in self.rates if stage != WHOLE), key=self.rates.__getitem__)

    def __str__(self) -> str:
        threads = f"{max(self.workers, 1)} thread{'s' * (self.workers > 1)}"
        decoded_in = str(self.device) if self.decoder.startswith("nvjpeg") else threads
        runs_in = {"read": threads, "decode": decoded_in, "load": "1 process", "augment": str(self.device)}
        lines = [f"{'stage':<14}{'samples/s':>11}   {'measured in'}"]
        lines += [f"{stage:<14}{rate:>11,.0f}   {runs_in.get(stage, 'all of these')}" for stage, rate in self.rates.items()]
        lines.append("")
        if self.size is not None:
            speed = self.rates["read"] * self.size / 1e6
            lines.append(f"Files have {self.size / 1e3:,.0f} kB on average, so reading alone moves {speed:,.0f} MB/s.")
        if self.decoder:
            lines += wrap(f"Decoder: {self.decoder}.", 80)
        if self.bad:
            lines.append(f"{self.bad} samples of the first batch are bad; see on_error in docs/data.md.")
        lines += [f"slow: {one}" for one in self.slow]
        return "\n".join([*lines, *self.advice()])

    def advice(self) -> list[str]:
        """What limits the loader and what to change, in lines for a terminal."""
        slowest, whole = self.rates[self.limit], self.rates[WHOLE]
        lines = [
            f"Slowest alone: {self.limit}, {slowest:,.0f} samples/s. To change that:",
            *indented(remedy(self.limit, self.workers, "--workers ", "--device cuda") + "."),
        ]
        if self.limit == "read":
            lines += indented("Files that were read before come from memory: the first epoch may be slower.")
        if self.limit == "load":
            lines += indented("This was measured in one process.")
        if whole < 0.7 * slowest:
            lines.append("The whole loader is slower than that, because its stages share this machine's")
            lines.append("cores; making any of them cheaper helps.")
        return [*lines, f"A training step that takes fewer than {whole:,.0f} samples/s never waits for data."]


def indented(text: str) -> list[str]:
    return wrap(text, 80, initial_indent="  ", subsequent_indent="  ")


def diagnose(
    source: Any,
    policy: Policy | str,
    batch_size: int = 64,
    workers: int = 0,
    device: torch.device | str = "cpu",
    seconds: float = 10.0,
    scaled: str | bool = False,
) -> Diagnosis:
    """Measure the stages of `DataLoader(source, policy, batch_size, num_workers=workers, scaled=scaled)` in a shuffled order.

    This takes about `seconds` in all. Raises what DataLoader raises, ValueError if seconds is not above 0, and DecodeError if
    none of the first batch's samples can be decoded.
    """
    if not seconds > 0:
        raise ValueError(f"doctor: seconds must be a number above 0, got {seconds!r}")
    loader = DataLoader(
        source,
        policy,
        batch_size,
        shuffle=True,
        num_workers=workers,
        device=device,
        scaled=scaled,
        on_error="skip",
        max_bad=1.0,
        rank=0,
        world_size=1,
        persistent_workers=True,
    )
    order = np.fromiter(loader.sampler, dtype=np.int64)
    index = order[:batch_size]
    rates: dict[str, float] = {}
    size, bad, frames, decoder = None, 0, None, ""
    if is_encoded(loader.source):
        loader.decoding.settle(loader.source, loader.view_maker(0).regional)
        decoder = str(loader.decoding)
        rates, pictures, index, size = file_rates(loader, order, index, seconds / 4)
        images, frames = to_images(pictures)
        bad = len(order[:batch_size]) - len(index)
    else:
        source = cast(Loaded, loader.source)
        images, _ = source.load(index)

        def load(index: Index) -> None:
            will_need(source, index)
            source.load(index)

        chunks = np.array_split(order, -(-len(order) // batch_size))
        rates["load"] = rate(load, cycle(chunks), 1, seconds / 3) * len(order) / len(chunks)
    rates["augment"] = augmentation_rate(loader, images, index, frames, seconds / 4)
    rates[WHOLE] = loader_rate(loader, seconds / 4)
    return Diagnosis(rates, workers, loader.device, size, bad, tuple(lacking(loader.device.type).values()), decoder)


def file_rates(
    loader: DataLoader, order: Index, index: Index, seconds: float
) -> tuple[dict[str, float], list[Pixels | Region], Index, float]:
    """Rates of reading and decoding; the good samples of `index`, as pictures and indices; and the mean bytes of a file."""
    source = cast(Encoded, loader.source)
    found = [(i, try_read(source.read, i)) for i in index.tolist()]
    files = [(i, data) for i, data in found if not isinstance(data, OSError)]
    pictures = decoded(loader, files)
    good = [(file, one) for file, one in zip(files, pictures, strict=True) if not isinstance(one, OSError)]
    if not good:
        raise next(one for one in [*pictures, *(data for _, data in found)] if isinstance(one, OSError))
    files = [file for file, _ in good]
    rates = {"read": rate(partial(try_read, source.read), cycle(order.tolist()), loader.num_workers, seconds)}
    if isinstance(loader.decoding.decode, DeviceDecoder):  # takes whole batches, in one thread
        rates["decode"] = rate(partial(decoded, loader), cycle([files]), 1, seconds) * len(files)
    else:
        parts = [files[k : k + PART_SIZE] for k in range(0, len(files), PART_SIZE)]
        rates["decode"] = rate(partial(decoded, loader), cycle(parts), loader.num_workers, seconds) * len(files) / len(parts)
    kept = np.array([i for i, _ in files], dtype=np.int64)
    return rates, [one for _, one in good], kept, sum(len(data) for _, data in files) / len(files)


def decoded(loader: DataLoader, files: Sequence[tuple[int, bytes]]) -> list[Pixels | Region | OSError]:
    """The pictures in (sample, file) pairs, or the regions that views read, decoded as in the loader."""
    samples = [i for i, _ in files]
    decode = loader.decoding.decode
    found = decode(
        [data for _, data in files], [loader.source.name(i) for i in samples], loader.view_maker(0).regional(samples)
    )
    if isinstance(decode, DeviceDecoder):
        return [*decode.finished(found)]
    return [one for one in found if not isinstance(one, Waiting)]


def rate(task: Callable[[T], Any], items: Iterator[T], workers: int, seconds: float) -> float:
    """Tasks per second in `workers` threads."""
    count = max(workers, 1)
    began = perf_counter()

    def work() -> int:
        done = 0
        while perf_counter() - began < seconds or not done:
            task(next(items))
            done += 1
        return done

    with ThreadPoolExecutor(count) as threads:
        tasks = [threads.submit(work) for _ in range(count)]
        total = sum(task.result() for task in tasks)
    return total / (perf_counter() - began)


def augmentation_rate(loader: DataLoader, images: Images, index: Index, frames: Boxes | None, seconds: float) -> float:
    """Samples per second through the policy alone, with the pictures on the device already."""
    there = images.to(loader.device)
    maker = loader.view_maker(0)
    draws = maker.draws(index)

    def task(_: int) -> None:
        maker.views(there, draws, frames)
        synchronize(loader.device)

    task(0)  # the first call compiles the kernels
    return rate(task, cycle([0]), 1, seconds) * len(index)


def loader_rate(loader: DataLoader, seconds: float) -> float:
    """Samples per second of the whole loader from its second batch on, over as many epochs as the time allows."""
    began, count, since = perf_counter(), 0, 0.0
    while True:
        for _ in loader:
            synchronize(loader.device)
            if since:
                count += len(loader.index)
                if perf_counter() - began > seconds:
                    return count / (perf_counter() - since)
            since = since or perf_counter()


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
