"""Staging: page-locked memory that threads decode pictures into, and that copies to the device read from.

picture --copied once--> chunk --one asynchronous copy a chunk--> one buffer on the device
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from ...images import Images
from ...memory import POOLS, Pool
from .pillow import Pixels

CHUNK = 15 << 20
"""Bytes of a chunk: one sixteenth below a power of two, to which torch rounds page-locked memory up. A larger picture has a
chunk of its own."""


class Event(Protocol):
    """A CUDA event, which has passed once the device has done all work that was queued before it."""

    def query(self) -> bool: ...


class InFlight:
    """What the device may still read. Each thing is kept until its event has passed, so its memory is not reused before."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept: deque[tuple[Event, Any]] = deque()

    def keep(self, event: Event | None, things: Any) -> None:
        """Keep `things` until `event` has passed; None has passed already."""
        with self.lock:
            if event is not None:
                self.kept.append((event, things))
        self.drop()

    def drop(self) -> None:
        """Drop what is read no more."""
        with self.lock:
            waiting = [one for one in self.kept if not one[0].query()]  # not in order if there are several devices
            self.kept = deque(waiting)


def page_locked(size: int) -> npt.NDArray[np.uint8]:
    """Uninitialised memory that the system keeps at its place, so that a device can copy from it by itself."""
    memory: npt.NDArray[np.uint8] = torch.empty(size, dtype=torch.uint8, device="cpu", pin_memory=True).numpy()
    return memory


PINNED = Pool(recent=1024, most=4096, make=page_locked)
"""One pool of page-locked memory for the process. It remembers more requests than the pool of views, as a batch has many."""

IN_FLIGHT = InFlight()


def release() -> int:
    """Free the chunks that nothing reads any more, and return how many bytes they had."""
    IN_FLIGHT.drop()
    return PINNED.release()


POOLS.append(release)


def record_event(device: torch.device) -> Event | None:
    """An event on the device's current stream; None on a CPU, which does everything at once."""
    return torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None


@dataclass(frozen=True)
class Staging:
    """Memory for the pictures of a loader's batches on their way to a device.

    Attributes:
        device: Where the pictures go.
        pool: Where chunks come from.
        in_flight: Keeps chunks while the device copies from them.
        record: Records an event on the device's current stream.
    """

    device: torch.device
    pool: Pool = PINNED
    in_flight: InFlight = IN_FLIGHT
    record: Callable[[torch.device], Event | None] = record_event

    def __reduce__(self) -> tuple[Any, ...]:
        return Staging, (self.device,)


@dataclass(frozen=True)
class Staged:
    """A picture in a chunk. start: its first byte there. shape: (height, width)."""

    chunk: int
    start: int
    shape: tuple[int, int]


@dataclass(frozen=True)
class OnDevice:
    """A picture that the device has decoded. flat: uint8 tensor of it and others. start: its first byte there."""

    flat: torch.Tensor
    start: int
    shape: tuple[int, int]


Place: TypeAlias = Staged | OnDevice


class StagedBatch:
    """The chunks of one batch. Any thread may place pictures; one thread then sends them to the device, once."""

    def __init__(self, staging: Staging) -> None:
        self.staging = staging
        self.lock = threading.Lock()
        self.chunks: list[npt.NDArray[np.uint8]] = []
        self.used: list[int] = []
        self.open: int | None = None
        self.borrowed: torch.Tensor | None = None
        self.copied = 0
        """Bytes that have been sent to the device."""

    def place(self, pixels: Pixels) -> Staged:
        """Copy a picture, uint8 (H, W, 3), into a chunk."""
        height, width = pixels.shape[:2]
        chunk, start = self.reserve(pixels.nbytes)
        np.copyto(self.chunks[chunk][start : start + pixels.nbytes].reshape(pixels.shape), pixels)
        return Staged(chunk, start, (height, width))

    def reserve(self, size: int) -> tuple[int, int]:
        """A chunk with room for `size` bytes, and the first of these bytes."""
        with self.lock:
            at = self.open
            if at is None or self.used[at] + size > len(self.chunks[at]):
                self.chunks.append(self.staging.pool.allocate(max(size, CHUNK)))
                self.used.append(0)
                at = len(self.chunks) - 1
                if size < CHUNK:
                    self.open = at
            self.used[at] += size
            return at, self.used[at] - size

    def send(self, places: Sequence[Place]) -> Images:
        """The pictures in this order, on the device: those of the chunks are copied there, those of a device buffer stay.

        Pictures on the device are copied only if they lie in several buffers, or beside pictures of chunks. The host waits for
        nothing; the chunks may be reused once the copies are done.
        """
        staging = self.staging
        flats = list({id(place.flat): place.flat for place in places if isinstance(place, OnDevice)}.values())
        number = {id(flat): k for k, flat in enumerate(flats)}
        pieces = [*flats, *(torch.from_numpy(chunk[:used]) for chunk, used in zip(self.chunks, self.used, strict=True))]
        ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64).tolist()
        if len(pieces) == 1 and flats:
            buffer = flats[0]
            self.borrowed = buffer
        else:
            buffer = torch.empty(ends[-1] if pieces else 0, dtype=torch.uint8, device=staging.device)
            for piece, end in zip(pieces, ends, strict=True):
                buffer[end - len(piece) : end].copy_(piece, non_blocking=True)
            self.copied += sum(self.used)
            self.keep(pieces)
        self.clear()
        begins = [0, *ends]
        starts = np.array(
            [
                begins[len(flats) + place.chunk if isinstance(place, Staged) else number[id(place.flat)]] + place.start
                for place in places
            ],
            np.int64,
        )
        shapes = np.array([place.shape for place in places], np.int32).reshape(-1, 2)
        sizes = shapes.astype(np.int64).prod(axis=1) * 3
        gapless = np.array_equal(starts, np.cumsum(sizes) - sizes) and int(sizes.sum()) == buffer.numel()
        return Images(buffer, shapes, None if gapless else starts)

    def clear(self) -> None:
        """Forget the pictures."""
        self.chunks, self.used, self.open = [], [], None

    def finish(self) -> None:
        """Note that the views have been queued: only once they are made may the decoder have its buffer back."""
        if self.borrowed is not None:
            self.keep(self.borrowed)
            self.borrowed = None

    def keep(self, things: Any) -> None:
        """Keep things until the device has done what is queued on its current stream now."""
        self.staging.in_flight.keep(self.staging.record(self.staging.device), things)
