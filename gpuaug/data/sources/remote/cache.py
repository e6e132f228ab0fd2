"""Copies of remote shards in a folder that several processes may share and fill at once.

A copy is written to `.NAME.partial`, which its writer holds locked, and takes its name when it is whole. So a process that is
killed leaves nothing that could be taken for a copy, and its lock ends with it, by which others know that they may remove the
file. From the beginning the file has its whole length, which counts as used.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any, NamedTuple

from ...atomic import TEMPORARY, sync, sync_folder
from .objects import IN_FLIGHT, PIECE, StoppedError, forget_listings, read_range, request, result
from .retries import RemoteError
from .stamps import Stamp, stamp_of

LOG = logging.getLogger("gpuaug")

CACHE_SIZE = 100 * 10**9
"""Bytes of shards in a cache, if the user does not say."""

RECENT = 600.0
"""Seconds for which a shard that some process has used is not deleted, or two data sets would push each other out for ever."""

TOUCH = 60.0
"""Seconds after which a use of a shard is noted again."""

WINDOW = 8
"""Pieces of a shard that are requested at a time, an eighth of all requests, so that samples do not wait for copies."""

LOCKED = 0.05
"""Seconds between two looks at a lock that another process holds."""

ENDING, INDEX = ".tar", ".npz"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

assert WINDOW <= IN_FLIGHT


class Copy(NamedTuple):
    """Where the copy of a shard lies, or would lie, and its size in bytes."""

    path: Path
    size: int


class ShardCache:
    """A folder of whole shards, of which those that were used least recently are deleted.

    A source never deletes its own shards for others of its own: read in a random order, or again and again, a data set that is
    larger than the cache would otherwise be copied anew all the time, and found there never.

    Args:
        folder: Made if it is not there. It must be on a file system with locks.
        limit: Most bytes of shards in it.

    Raises:
        OSError: The folder cannot be made, written to, or locked.
    """

    giving_up = threading.Lock()  # of the class, since a cache can be pickled

    def __init__(self, folder: str | os.PathLike[str], limit: int) -> None:
        self.folder = self.resolve(folder)
        self.limit = limit
        self.own: set[str] = set()
        self.touched: dict[str, float] = {}
        self.usable = True
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.locked():
                self.remove_stale()
        except ImportError as error:
            raise OSError(
                f"cache_dir: {self.folder}: this system has no locks of files (fcntl); leave cache_dir out"
            ) from error
        except OSError as error:
            raise OSError(f"cache_dir: {self.folder}: cannot be used: {error}; give a folder on a local disk") from error

    @staticmethod
    def resolve(folder: str | os.PathLike[str]) -> Path:
        return Path(folder).expanduser().absolute()

    def copy_of(self, url: str, stamp: Stamp) -> Copy:
        """Where this version of a shard lies or would lie; from now on it counts as the source's own."""
        version = hashlib.sha256(stamp.text.encode()).hexdigest()[:16]
        name = f"{key_of(url)}-{version}{ENDING}"
        self.own.add(name)
        return Copy(self.folder / name, stamp.size)

    def index_path(self, url: str, suffix: str) -> Path:
        return self.folder / f"{key_of(url)}{suffix}"

    def has(self, copied: Copy) -> bool:
        with contextlib.suppress(OSError):
            return copied.path.stat().st_size == copied.size
        return False

    def read(self, copied: Copy, start: int, size: int) -> bytes | None:
        """A range of a shard from its copy; None if there is none, or it cannot be read, or is not whole any more."""
        try:
            descriptor = os.open(copied.path, os.O_RDONLY)
        except OSError:
            return None
        try:
            if os.fstat(descriptor).st_size == copied.size:
                data = os.pread(descriptor, size, start)
                if len(data) == size:
                    self.touch(copied.path)
                    return data
            copied.path.unlink(missing_ok=True)
        except OSError as error:
            LOG.warning("%s: cannot be read: %s; the shard is read from its server", copied.path, error)
        finally:
            os.close(descriptor)
        return None

    def give_up(self) -> None:
        """Copy nothing any more, since the disk is full, and say so once, however many threads find out."""
        with self.giving_up:
            first, self.usable = self.usable, False
        if first:
            LOG.warning("cache_dir: %s: the disk is full; shards that are not in it are read from their server", self.folder)

    def touch(self, path: Path) -> None:
        """Note that a shard is used, once a minute."""
        now = time.monotonic()
        if now - self.touched.get(path.name, -TOUCH) >= TOUCH:
            self.touched[path.name] = now
            with contextlib.suppress(OSError):
                os.utime(path)

    def fetch(self, url: str, stamp: Stamp, stop: threading.Event | None = None) -> Copy | None:
        """Copy a shard, if there is room; None if there is none, or the shard is not what it was.

        stop: ends the work early when set; then a copy that another process makes is not waited for either.

        Raises RemoteError if the server does not answer, and what its file system raises.
        """
        copied = self.copy_of(url, stamp)
        if self.has(copied) or not self.usable or stamp.size > self.limit:
            return copied if self.has(copied) else None
        try:
            with self.partial(copied, stop is None) as (file, path):
                if file is None or self.has(copied):  # another process has made it meanwhile, or is about to
                    return copied if self.has(copied) else None
                with self.locked():
                    if not self.make_room(copied):
                        return None
                    os.truncate(file.fileno(), copied.size)
                download(url, copied.size, file.fileno(), stop)
                sync(file)
                forget_listings(url)
                if stamp_of(url, stop) != stamp:
                    LOG.warning("%s: has changed since its index was made; no copy of it is kept", url)
                    return None
                path.replace(copied.path)
            sync_folder(self.folder)
        except StoppedError:
            return None
        except RemoteError:
            raise
        except OSError as error:
            if error.errno not in FULL:
                raise
            self.give_up()
            return None
        self.touch(copied.path)
        return copied

    @contextlib.contextmanager
    def partial(self, copied: Copy, wait: bool) -> Iterator[tuple[IO[bytes] | None, Path]]:
        """The temporary file of a copy, locked and empty, or None if another process holds it and `wait` is False."""
        path = copied.path.with_name(f".{copied.path.name}{TEMPORARY}")
        while True:
            with path.open("ab") as file:
                while not (held := lock(file, wait=False)) and wait:
                    time.sleep(LOCKED)
                if held and not is_at(file, path):  # its last owner has renamed or removed it
                    continue
                if not held:
                    yield None, path
                    return
                try:
                    os.truncate(file.fileno(), 0)
                    with path.open("r+b") as writable:
                        yield writable, path
                finally:
                    if is_at(file, path):
                        path.unlink()
                    unlock(file)
                return

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the folder, for as long as it takes to count files."""
        with (self.folder / ".lock").open("ab") as file:
            lock(file, wait=True)
            try:
                yield
            finally:
                unlock(file)

    def remove_stale(self) -> None:
        """Remove the temporary files of processes that were killed."""
        for path in self.folder.glob(f".*{ENDING}{TEMPORARY}"):
            with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
                if lock(file, wait=False) and is_at(file, path):
                    path.unlink()
        for path in self.folder.glob(f".*{INDEX}.*{TEMPORARY}"):  # these are written in no time, and without a lock
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > RECENT:
                    path.unlink()

    def make_room(self, copied: Copy) -> bool:
        """Delete shards that were used least recently until another one fits; without effect if it cannot be made to fit."""
        self.remove_stale()
        now = time.time()
        used = 0
        removable: list[tuple[float, int, Path]] = []
        key = copied.path.name.split("-")[0]
        with os.scandir(self.folder) as entries:
            for entry in entries:
                hidden = entry.name.startswith(".") and entry.name.endswith(ENDING + TEMPORARY)
                if not hidden and not entry.name.endswith(ENDING):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat()
                    used += status.st_size
                    outdated = entry.name.startswith(f"{key}-")
                    if not hidden and entry.name not in self.own and (outdated or now - status.st_mtime > RECENT):
                        removable.append((0.0 if outdated else status.st_mtime, status.st_size, Path(entry.path)))
        if used + copied.size - sum(size for _, size, _ in removable) > self.limit:
            return False
        for at, size, path in sorted(removable):
            if at and used + copied.size <= self.limit:
                break
            path.unlink(missing_ok=True)
            used -= size
        return True

    def __repr__(self) -> str:
        return f"ShardCache({str(self.folder)!r}, {self.limit / 1e9:.3g} GB)"


def key_of(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:32]


def lock(file: IO[Any], wait: bool) -> bool:
    """Lock an open file; False if it is locked already. The lock ends when the file is closed, or its process killed."""
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def unlock(file: IO[Any]) -> None:
    """Give up a lock, also for processes that were forked meanwhile: closing the file would leave it to them."""
    import fcntl

    fcntl.flock(file, fcntl.LOCK_UN)


def is_at(file: IO[Any], path: Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def write(descriptor: int, data: bytes, start: int) -> None:
    """Write all of the bytes at a position; the system may take a part of them at a time, as on a disk that is nearly full."""
    rest = memoryview(data)
    while rest:
        count = os.pwrite(descriptor, rest, start)
        rest, start = rest[count:], start + count


def download(url: str, size: int, descriptor: int, stop: threading.Event | None) -> None:
    """Write a remote file to a local one, several pieces at a time. Raises StoppedError if told to stop."""
    starts = iter(range(0, size, PIECE))
    asked: deque[tuple[int, int, Future[bytes] | None]] = deque()
    try:
        while True:
            while len(asked) < WINDOW and (start := next(starts, None)) is not None:
                count = min(PIECE, size - start)
                asked.append((start, count, request(url, start, count)))
            if stop is not None and stop.is_set():
                raise StoppedError
            if not asked:
                return
            start, count, future = asked[0]
            write(descriptor, read_range(url, start, count) if future is None else result(future, stop), start)
            asked.popleft()
    finally:
        for *_, future in asked:
            if future is not None:
                future.cancel()
