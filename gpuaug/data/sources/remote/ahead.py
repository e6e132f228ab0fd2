"""Reading ahead: the ranges of the next batches are requested before a thread needs them."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future
from typing import NamedTuple

from . import is_remote
from .cache import Copy, ShardCache
from .objects import request, result
from .retries import described, is_missing
from .stamps import Stamp

LOG = logging.getLogger("gpuaug")

GAP = 2**16
"""Most bytes between two ranges of a shard that are requested as one: fewer than arrive while a request is on its way."""

LONGEST = 2**22
"""Most bytes that are requested as one, so that a long run comes over several connections."""

COPIERS = 2
"""Threads that copy shards to the cache."""

JOIN_SECONDS = 10.0
"""Seconds to wait for a thread to end; one that hangs in a dead file system is left behind as a daemon."""

AGAIN = 60.0
"""Seconds after which a shard that could not be copied is tried again."""


class Range(NamedTuple):
    """The bytes of a sample: number of its shard, first byte, and length."""

    shard: int
    start: int
    size: int


class Run(NamedTuple):
    """Neighbouring ranges that are requested as one, from `start` on. shared: whether there are several."""

    start: int
    shared: bool
    future: Future[bytes]


class ReadAhead:
    """The bytes of the next samples of one reader; any thread may call any method.

    read_now: reads a range that was not requested, from a copy if there is one. urls: of all shards; local ones are not
    requested. copies: where copies of remote shards lie or would lie, if there is a cache.
    """

    def __init__(
        self,
        read_now: Callable[[Range], bytes],
        urls: Sequence[str],
        stamps: Sequence[Stamp],
        cache: ShardCache | None,
        copies: Sequence[Copy | None],
    ) -> None:
        self.read_now = read_now
        self.urls, self.stamps, self.cache, self.copies = urls, stamps, cache, copies
        self.waiting: defaultdict[Range, deque[Run]] = defaultdict(deque)
        self.asked: set[Future[bytes]] = set()
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.wanted: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self.tried: dict[int, float] = {}
        self.copiers: list[threading.Thread] = []

    def will_read(self, ranges: Sequence[Range]) -> None:
        """Request ranges that `read` will be called for, each as often as it is named here."""
        missing = {shard for shard in {one.shard for one in ranges} if is_remote(self.urls[shard]) and not self.has(shard)}
        self.want(one.shard for one in ranges if one.shard in missing)
        for run in runs([one for one in ranges if one.shard in missing]):
            start = run[0].start
            future = self.ask(Range(run[0].shard, start, max(one.start + one.size for one in run) - start))
            if future is not None:
                with self.lock:
                    for one in run:
                        self.waiting[one].append(Run(start, len(run) > 1, future))

    def read(self, wanted: Range) -> bytes:
        """The bytes of a range. Raises what `read_range` raises, and CancelledError after `close`."""
        with self.lock:
            queued = self.waiting.get(wanted)
            run = queued.popleft() if queued else None
            if queued is not None and not queued:
                del self.waiting[wanted]
        if run is not None:
            try:
                data = run.future.result()
                begin = wanted.start - run.start
                return data[begin : begin + wanted.size] if run.shared else data
            except Exception as error:  # remote file systems raise what their clients do
                if not (run.shared and is_missing(error)):  # a neighbour may be at fault
                    raise
        future = None if self.has(wanted.shard) else self.ask(wanted)
        return self.read_now(wanted) if future is None else result(future)

    def ask(self, wanted: Range) -> Future[bytes] | None:
        """Request a range; None if its file system cannot read ahead."""
        if self.stop.is_set():
            raise CancelledError
        url = self.urls[wanted.shard]
        future = request(url, wanted.start, wanted.size) if is_remote(url) else None
        if future is not None:
            self.asked.add(future)
            future.add_done_callback(self.asked.discard)
            if self.stop.is_set():  # `close` may have passed since
                future.cancel()
        return future

    def has(self, shard: int) -> bool:
        copied = self.copies[shard]
        return self.cache is not None and copied is not None and self.cache.has(copied)

    def want(self, shards: Iterable[int]) -> None:
        """Let threads copy shards that are not in the cache, each tried once in a while."""
        if self.cache is None:
            return
        now = time.monotonic()
        with self.lock:  # against `close`, which must know every thread, and only those that have started
            if self.stop.is_set():
                return
            for shard in dict.fromkeys(shards):
                if now - self.tried.get(shard, -AGAIN) >= AGAIN:
                    self.tried[shard] = now
                    self.wanted.put(shard)
            while len(self.copiers) < min(COPIERS, len(self.tried)):
                thread = threading.Thread(target=self.copy, name=f"gpuaug-copy-{len(self.copiers)}", daemon=True)
                thread.start()
                self.copiers.append(thread)

    def copy(self) -> None:
        while (shard := self.wanted.get()) is not None and not self.stop.is_set():
            try:
                assert self.cache is not None
                self.cache.fetch(self.urls[shard], self.stamps[shard], self.stop)
            except Exception as error:  # samples are read from the server all the same, and tell what is wrong with it
                LOG.warning("%s: cannot be copied to the cache: %s", self.urls[shard], described(error))

    def close(self) -> None:
        """Cancel what has not come, drop what has, and end the threads. A second close does nothing."""
        with self.lock:
            self.stop.set()
            self.waiting.clear()
            copiers = list(self.copiers)
        for future in list(self.asked):
            future.cancel()
        for _ in copiers:
            self.wanted.put(None)
        for thread in copiers:
            thread.join(JOIN_SECONDS)


def runs(ranges: Sequence[Range]) -> list[list[Range]]:
    """The ranges in groups of neighbours, each to be requested as one. A range that is named twice is in one group twice."""
    found: list[list[Range]] = []
    end = 0
    for one in sorted(ranges):
        last = found[-1][0] if found else None
        near = last is not None and one.shard == last.shard and one.start <= end + GAP
        if near and last is not None and max(end, one.start + one.size) - last.start <= LONGEST:
            found[-1].append(one)
            end = max(end, one.start + one.size)
        else:
            found.append([one])
            end = one.start + one.size
    return found
