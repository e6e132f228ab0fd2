"""Streams of files: one thread reads them in turn, and the threads that decode share each batch.

stream --Record--> reader thread: batches --RecordBatch--> bounded queue --parts--> threads that decode --> DecodedBatch
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from time import perf_counter
from typing import Any

import numpy as np

from ....sampling import Draws
from ...decoders.pillow import DecodeError
from ...sources import Index, PlainReader
from ...sources.streams import EncodedStream, Record, StreamPass
from ...targets import Collate, collate_by_torch
from ..batch import DecodedBatch, FetchConfig
from ..view_maker import ViewMaker
from .threads import ThreadFetcher, Work

READER_SECONDS = 2.0
"""Seconds to wait for the reader thread to end; one that waits for a server is left behind as a daemon."""


@dataclass
class RecordBatch:
    """Samples of a stream as a source of its own, in which a sample is named by its row.

    resume: from where a later pass goes on after the last of them. seconds: how long reading took.
    """

    workers = "threads"
    stream: EncodedStream
    records: Sequence[Record]
    resume: Any
    seconds: float

    @property
    def labelled(self) -> bool:
        return self.stream.labelled

    def __len__(self) -> int:
        return len(self.records)

    def name(self, i: int) -> str:
        return self.records[i].name

    def read(self, i: int) -> bytes:
        try:
            return self.stream.open(self.records[i].file)
        except Exception as error:  # remote file systems raise what their clients do
            raise DecodeError(f"{self.name(i)}: cannot be read: {error or type(error).__name__}") from error

    def target(self, index: Index, collate: Collate = collate_by_torch) -> Any:
        return self.stream.collate([self.records[i].target for i in index.tolist()], collate)

    def work(self, config: FetchConfig) -> Work:
        """The batch as work for the threads that decode."""
        index = np.array([record.index for record in self.records], np.int64)
        maker = config.maker

        def finish(made: DecodedBatch) -> DecodedBatch:
            return replace(made, index=index[made.index], read=made.read + self.seconds, resume=self.resume)

        rows = RowMaker(maker.augment, maker.seed, maker.epoch, maker.mix, index)
        return Work(self, PlainReader(self), np.arange(len(index)), replace(config, maker=rows), finish)


@dataclass(frozen=True)
class RowMaker(ViewMaker):
    """A maker of the views of one batch, whose samples are named by row. index: row -> sample index, int64 (B,)."""

    index: Index = field(default_factory=lambda: np.empty(0, np.int64))

    def draws(self, index: Sequence[int] | Index) -> Draws:
        return super().draws(self.index[np.asarray(index, np.int64)])


def record_batches(stream: EncodedStream, what: StreamPass) -> Generator[RecordBatch, None, None]:
    """The batches of a pass. An error of the stream is raised with a note that says where it was."""
    given = what.start
    reading = stream.begin(what)
    try:
        while True:
            began = perf_counter()
            records: list[Record] = []
            try:
                records.extend(islice(iter(reading.__next__, None), what.batch_size))
            except Exception as error:
                error.add_note(failed(stream, what, given + len(records)))
                raise
            if not records or (what.drop_last and len(records) < what.batch_size):
                return
            given += len(records)
            yield RecordBatch(stream, records, reading.place(), perf_counter() - began)
    finally:
        reading.close()


def failed(stream: Any, what: StreamPass, given: int) -> str:
    """The note of an error that a stream has raised."""
    rank = f" on rank {what.rank} of {what.world_size}" if what.world_size > 1 else ""
    return f"DataLoader: {stream!r} raised this in epoch {what.epoch}{rank}, after {given} samples"


def stream_inline(stream: EncodedStream, what: StreamPass, config: FetchConfig) -> Generator[DecodedBatch, None, None]:
    """Read and decode in the calling thread."""
    for batch in record_batches(stream, what):
        yield batch.work(config).here()


class ReadAhead:
    """A thread that reads a stream, up to `depth` batches ahead; it starts with the first `take`."""

    def __init__(self, batches: Generator[RecordBatch, None, None], depth: int) -> None:
        self.batches = batches
        self.depth = depth
        self.ready: deque[RecordBatch | BaseException] = deque()
        self.changed = threading.Condition()
        self.closed = self.ended = False
        self.thread = threading.Thread(target=self.run, name="gpuaug-reader", daemon=True)

    def run(self) -> None:
        try:
            for batch in self.batches:
                if not self.put(batch):
                    break
        except BaseException as error:
            self.put(error)
        finally:
            self.batches.close()
            with self.changed:
                self.ended = True
                self.changed.notify_all()

    def put(self, item: RecordBatch | BaseException) -> bool:
        """Wait until fewer than `depth` items are ready, then add one; False if nobody wants it."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or len(self.ready) < self.depth)
            if not self.closed:
                self.ready.append(item)
                self.changed.notify_all()
            return not self.closed

    def take(self, timeout: float) -> RecordBatch | None:
        """The next batch; None at the end. Raises the stream's error, or TimeoutError.

        With `timeout` 0 it is None if no batch is there now, or if an error comes next.
        """
        if self.thread.ident is None:
            self.thread.start()
        with self.changed:
            if not self.changed.wait_for(lambda: self.ready or self.ended or self.closed, timeout) and timeout:
                raise TimeoutError
            if self.closed or not self.ready or (not timeout and isinstance(self.ready[0], BaseException)):
                return None
            item = self.ready.popleft()
            self.changed.notify_all()
        if isinstance(item, BaseException):
            raise item
        return item

    def stop(self) -> None:
        """Tell the thread to end, and whoever waits in `take` to leave."""
        self.closed = True
        with self.changed:
            self.ready.clear()
            self.changed.notify_all()

    def close(self) -> None:
        self.stop()
        if self.thread.ident is not None:
            self.thread.join(READER_SECONDS)
        else:
            self.batches.close()


class StreamFetcher(ThreadFetcher):
    """A reader thread in front of the threads that decode. A batch that is decoded never waits for one that is not read yet."""

    def __init__(self, stream: EncodedStream, what: StreamPass, config: FetchConfig) -> None:
        super().__init__(iter(()), config)
        self.stream = stream
        self.ahead = ReadAhead(record_batches(stream, what), config.ahead)

    def due(self) -> Work | None:
        try:
            batch = self.ahead.take(0 if self.pending else self.config.timeout)
        except TimeoutError as error:
            limit = f"{self.config.timeout:g} s"
            raise TimeoutError(f"DataLoader: {self.stream!r} gave no batch within {limit}") from error
        return None if batch is None else batch.work(self.config)

    def interrupt(self) -> None:
        """Make a thread that waits for the stream leave."""
        self.ahead.stop()

    def close(self) -> None:
        self.ahead.close()
        super().close()
