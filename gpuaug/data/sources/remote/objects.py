"""Requests for files by path or URL: on this machine's disks, or elsewhere through fsspec.

Most of fsspec's file systems (S3, Google, Azure, HTTP) run on one thread of fsspec's, in which any number of requests wait for
answers at once. A `Client` sends its requests there. Other file systems are called in the thread that needs the bytes.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from time import monotonic, sleep
from typing import IO, Any, TypeVar, cast

from ....isolation import after_fork
from . import is_remote, retries
from .retries import ONCE, Patience, ShortenedError, Tries, is_too_many

T = TypeVar("T")

IN_FLIGHT = 64
"""Requests that a process sends to a server at a time; a first byte that takes 100 ms then costs 1.6 ms a request."""

LEAST = 2
"""Requests at a time, however slow the server is."""

REGAIN = 4
"""Good answers for which there is one more request at a time again."""

PIECE = 2**21
"""Bytes of a request, where many are read one after another."""

WINDOW = 4
"""Pieces of a file that are requested at a time to read it from front to back."""

LOOK = 0.2
"""Seconds between two looks at whether to stop waiting."""

SCHEME = re.compile(r"([^:/]+)://[^/]*")

CLIENTS: dict[tuple[Any, ...], Client | None] = {}
LOCK = threading.Lock()


def forget_clients() -> None:
    """A child begins without clients, since the thread that they use does not survive a fork."""
    global LOCK
    LOCK = threading.Lock()
    CLIENTS.clear()


after_fork(forget_clients)


class StoppedError(Exception):
    """Nobody waits for the result any more."""


class Client:
    """A file system of fsspec's whose requests run in fsspec's thread, and may be cancelled there.

    Each answer that is late, or says that there are too many requests, lowers the number of requests at a time by one, and
    `REGAIN` good ones raise it again. Else a server or a line that is too slow for all of them at once would answer none in
    time, again and again, since what is asked anew comes on top.
    """

    def __init__(self, fs: Any) -> None:
        self.fs = fs
        self.gate = asyncio.Semaphore(IN_FLIGHT)
        self.withheld = 0
        self.good = 0
        self.answered = 0.0
        self.first = asyncio.Lock()
        self.connected = False

    def submit(self, work: Callable[[], Awaitable[T]], size: int, name: str, patience: Patience) -> Future[T]:
        """Do some work in fsspec's thread, and anew if it fails; `size` bytes are expected."""
        return asyncio.run_coroutine_threadsafe(self.persist(work, size, name, patience), self.fs.loop)

    async def persist(self, work: Callable[[], Awaitable[T]], size: int, name: str, patience: Patience) -> T:
        tries = Tries(patience)
        while True:
            await self.gate.acquire()
            too_many = False
            try:
                limit = tries.limit(size)
                try:
                    async with asyncio.timeout(limit):
                        await self.connect()
                        found = await work()
                except TimeoutError as error:
                    raise TimeoutError(str(error) or f"no answer within {limit:.3g} s") from error
                self.good += 1
                self.answered = monotonic()
                return found
            except Exception as error:
                too_many = is_too_many(error)
                wait = tries.failed(error, name, self.answered)
            finally:
                self.leave(too_many)
            await asyncio.sleep(wait)

    def leave(self, too_many: bool) -> None:
        """Let the next request through the gate, or none, or one more."""
        if too_many and self.withheld < IN_FLIGHT - LEAST:
            self.withheld += 1
            self.good = 0
            return
        self.gate.release()
        if self.withheld and self.good >= REGAIN:
            self.withheld -= 1
            self.good = 0
            self.gate.release()

    async def connect(self) -> None:
        """Connect before other requests do: many that begin at once would each make a connection of their own."""
        if not self.connected:
            async with self.first:
                if not self.connected and hasattr(self.fs, "set_session"):
                    await self.fs.set_session()
                self.connected = True

    async def read(self, inside: str, start: int, size: int) -> bytes:
        data: bytes = await self.fs._cat_file(inside, start=start, end=start + size)
        if len(data) < size:
            self.fs.invalidate_cache()
            whole = (await self.fs._info(inside))["size"]
            check_length(data, start, size, whole)
        return check_length(data, start, size)


def check_length(data: bytes, start: int, size: int, whole: int | None = None) -> bytes:
    """The bytes of a range. whole: size of the file now, if it is known.

    Raises ShortenedError if the file ends within the range, ConnectionError if bytes were lost on the way, and ValueError if
    there are more.
    """
    if whole is not None and whole < start + size:
        raise ShortenedError(f"the file has {whole} bytes now, and should have at least {start + size}")
    if len(data) < size:
        raise ConnectionError(f"{len(data)} of {size} bytes came")
    if len(data) > size:
        raise ValueError("the server sends whole files rather than ranges of them; put the shards on one that knows ranges")
    return data


def filesystem(url: str) -> tuple[Any, str]:
    """fsspec's file system for a URL, which fsspec caches per process and thread, and the path in it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise ImportError(f"{url}: remote shards need fsspec; pip install fsspec") from error
    try:
        return cast("tuple[Any, str]", url_to_fs(url, **settings(url)))
    except (ImportError, ValueError) as error:  # a missing package, or an unknown scheme
        raise type(error)(f"{url}: {error}") from error


def settings(url: str) -> dict[str, Any]:
    """Settings for a URL: as many connections as there are requests, and one try, since `Client` does the others itself."""
    from fsspec.config import conf

    protocol = url.split("://")[0]
    if protocol not in ("s3", "s3a"):
        return {}
    own = {"max_pool_connections": IN_FLIGHT, "retries": {"max_attempts": 0}}
    return {"config_kwargs": {**own, **conf.get(protocol, {}).get("config_kwargs", {})}}


def client_of(url: str) -> Client | None:
    """The client that all threads share for the server of a URL; None if its file system has no thread of its own."""
    from fsspec.config import conf

    found = SCHEME.match(url)
    if found is None or "::" in url:
        return None
    key = (found[0], repr(conf.get(found[1])))
    with LOCK:
        if key not in CLIENTS:
            fs, _ = filesystem(url)
            own = getattr(fs, "async_impl", False) and not getattr(fs, "asynchronous", False)
            if own and found[1] in ("s3", "s3a"):
                fs.retries = 1
            CLIENTS[key] = Client(fs) if own else None
        return CLIENTS[key]


def path_in(client: Client, url: str) -> str:
    return cast(str, client.fs._strip_protocol(url))


def ask(url: str, method: str, stop: threading.Event | None = None, **options: Any) -> Any:
    """The result of a method of the file system, such as "info", about a URL; asked again after a failure that passes.

    stop: as for `result`.
    """
    if client := client_of(url):
        inside = path_in(client, url)
        return result(client.submit(lambda: getattr(client.fs, f"_{method}")(inside, **options), 0, url, retries.OPENING), stop)
    fs, inside = filesystem(url)
    return repeat(url, lambda: getattr(fs, method)(inside, **options), retries.OPENING)


def forget_listings(url: str) -> None:
    """Let the next question about a URL go to its server, rather than to what was listed before."""
    client = client_of(url)
    (client.fs if client else filesystem(url)[0]).invalidate_cache()


def result(future: Future[T], stop: threading.Event | None = None) -> T:
    """The result of a request; leaving early, as by Ctrl-C, cancels it. Raises StoppedError once `stop` is set."""
    try:
        while True:
            try:
                return future.result(None if stop is None else LOOK)
            except TimeoutError:
                if future.done():
                    raise
                if stop is not None and stop.is_set():
                    raise StoppedError from None
    finally:
        future.cancel()


def repeat(url: str, work: Callable[[], T], patience: Patience) -> T:
    """Do some work in this thread, and anew if it fails. A server that never answers cannot be left from here."""
    if url.split("://")[0] in ONCE:
        return work()
    tries = Tries(patience)
    while True:
        try:
            tries.limit(0)
            return work()
        except Exception as error:
            wait = tries.failed(error, url)
        sleep(wait)


def request(url: str, start: int, size: int) -> Future[bytes] | None:
    """Ask for a range of a file; None if its file system cannot read ahead. The future's `cancel` ends the request."""
    client = client_of(url)
    if client is None:
        return None
    inside = path_in(client, url)
    return client.submit(lambda: client.read(inside, start, size), size, url, retries.READING)


def read_range(path: str, start: int, size: int) -> bytes:
    """`size` bytes from `start`. Threads may call it at once, since nothing is shared.

    Raises ShortenedError if the file ends before, RemoteError if its server does not answer, and what the file system raises.
    """
    if not is_remote(path):
        return read_local(path, start, size)
    if (asked := request(path, start, size)) is not None:
        return result(asked)
    fs, inside = filesystem(path)

    def read() -> bytes:
        data: bytes = fs.cat_file(inside, start=start, end=start + size)
        return check_length(data, start, size, None if len(data) == size else fs.info(inside)["size"])

    return repeat(path, read, retries.READING)


def read_local(path: str | os.PathLike[str], start: int, size: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        data = os.pread(descriptor, size, start)
        if len(data) != size:
            raise ShortenedError(f"the file has {os.fstat(descriptor).st_size} bytes now")
        return data
    finally:
        os.close(descriptor)


class RemoteFile(io.RawIOBase):
    """A remote file of a known size, for reading from front to back.

    It is requested by windows of several pieces at a time. Steps back within the last window cost nothing, which a
    BufferedReader forgets at the end of the file.
    """

    def __init__(self, url: str, size: int) -> None:
        self.url, self.size, self.at = url, size, 0
        self.start, self.window = 0, b""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def read(self, size: int = -1) -> bytes:
        end = self.size if size < 0 else min(self.at + size, self.size)
        found: list[bytes] = []
        while self.at < end:
            if not self.start <= self.at < self.start + len(self.window):
                self.start, self.window = self.at, pieces(self.url, self.at, min(WINDOW * PIECE, self.size - self.at))
            found.append(self.window[self.at - self.start : end - self.start])
            self.at += len(found[-1])
        return b"".join(found)


def pieces(url: str, start: int, size: int) -> bytes:
    """A range of a remote file, in several requests at a time."""
    ranges = [(k, min(PIECE, start + size - k)) for k in range(start, start + size, PIECE)]
    asked = [request(url, *one) for one in ranges]
    try:
        return b"".join(future.result() if future else read_range(url, *one) for one, future in zip(ranges, asked, strict=True))
    finally:
        for future in asked:
            if future is not None:
                future.cancel()


def open_remote(url: str, size: int) -> IO[bytes]:
    return cast("IO[bytes]", RemoteFile(url, size))
