"""Keeps the compiled CPU kernels on disk, in a folder named by a hash of sources, compiler and processor.

Numba's own cache has three faults here. It checks only the file of the cached function, not those of the functions that it
calls. It raises where it finds no writable folder. And processes that start together all compile.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import llvmlite.binding
import numba

try:
    import fcntl
except ImportError:  # Windows, where processes that start together all compile
    fcntl = None  # type: ignore[assignment]

CACHING: Any = import_module("numba.core.caching")
CONFIG: Any = import_module("numba.core.config")

LOG = logging.getLogger("gpuaug")

VERSIONS_KEPT = 8
"""How many versions of the kernels a folder keeps, most recently used first: branches and machines may share a folder."""

LOCK_TIMEOUT = 600.0
"""Seconds that a process waits for another one to compile before it compiles by itself; the other may have been stopped."""


def version() -> str:
    """Hash of everything that determines the machine code: the sources, the compiler, and the processor."""
    processor = CONFIG.CPU_NAME or llvmlite.binding.get_host_cpu_name()
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {processor}".encode())
    for name, content in sources():
        digest.update(name.encode() + content)
    return digest.hexdigest()[:16]


def sources() -> Iterator[tuple[str, bytes]]:
    """Name and content of every file that determines the kernels, in a fixed order: all of this folder, and three others."""
    fused = files(__package__.rpartition(".")[0])
    yield "instructions.py", (fused / "instructions.py").read_bytes()
    package = files(__package__.split(".")[0])
    yield "jpeg.py", (package / "ops" / "jpeg.py").read_bytes()
    yield "jpeg_scan.py", (package / "data" / "decoders" / "jpeg_scan.py").read_bytes()
    folders = [("cpu", fused / "cpu")]
    for path, folder in folders:
        for file in sorted(folder.iterdir(), key=lambda file: file.name):
            if file.is_dir():
                folders.append((f"{path}/{file.name}", file))
            elif file.name.endswith(".py"):
                yield f"{path}/{file.name}", file.read_bytes()


def cache_folders() -> list[Path]:
    """Folders to keep kernels in, best first: NUMBA_CACHE_DIR, the backend's __pycache__, the user's cache folder."""
    configured = [Path(CONFIG.CACHE_DIR)] if CONFIG.CACHE_DIR else []
    user = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))  # noqa: PTH111 - Path.home() may raise
    return [*configured, Path(__file__).parents[1] / "__pycache__", *([user / "gpuaug"] if user.is_absolute() else [])]


def find_folder(name: str, among: list[Path]) -> tuple[Path | None, bool]:
    """Find or make the folder of this name in the first place where that works; also returns whether it is writable."""
    for place in among:
        path = place / name
        with contextlib.suppress(OSError):
            if any(path.glob("*.nbi")) and not os.access(path, os.W_OK):
                return path, False
            path.mkdir(parents=True, exist_ok=True)
            if os.access(path, os.W_OK | os.X_OK):
                return path, True
    return None, False


class KernelCache(CACHING.FunctionCache):  # type: ignore[misc]
    """Numba's cache of one function, in a folder that we choose.

    Attributes:
        waiting: Whether this process is waiting for another one that compiles.
        compiling: Whether this process compiles, because the folder held nothing that it could use.
    """

    def __init__(self, function: Any, stamp: str, path: Path, writable: bool) -> None:
        self._impl_class = lambda function: CacheFiles(function, stamp, path)
        super().__init__(function)
        self.path, self.writable = path, writable
        self.waiting = self.compiling = False
        self.lock: IO[bytes] | None = None
        self.damage: Exception | None = None

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        found = self.read(sig, target_context)
        if found is None and self.writable:
            self.acquire()
            found = self.read(sig, target_context)  # another process may have compiled it in the meantime
            if found is not None:
                self.release()
        if self.damage is not None:
            LOG.warning("%s: cannot be read (%s); compiling the kernels again", self.path, self.damage)
            with contextlib.suppress(OSError):
                self.flush()
        self.compiling = found is None
        return found

    def read(self, sig: Any, target_context: Any) -> Any:
        self.damage = None
        try:
            found = super().load_overload(sig, target_context)
        except Exception as error:  # a damaged file can raise anything; the kernels are then compiled again
            self.damage = error
            return None
        if found is not None:
            with contextlib.suppress(OSError):
                os.utime(self.path)
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            if self.writable:
                super().save_overload(sig, data)
                delete_old(self.path)
        except OSError as error:
            LOG.warning("%s: the compiled kernels cannot be kept (%s); the next process compiles them again", self.path, error)
        finally:
            self.release()

    def acquire(self) -> None:
        """Wait until no other process is compiling. The system releases the lock when the process that holds it ends."""
        if fcntl is None or self.lock is not None:
            return
        with contextlib.suppress(OSError):  # on a file system without locks, every process compiles
            self.lock = (self.path / "lock").open("ab")
            until = time.monotonic() + LOCK_TIMEOUT
            try:
                while not try_lock(self.lock) and time.monotonic() < until:
                    self.waiting = True
                    time.sleep(0.05)
            finally:
                self.waiting = False

    def release(self) -> None:
        """Let other processes go on. Must also be called when compiling fails."""
        if self.lock is not None:
            self.lock.close()
            self.lock = None


def try_lock(file: IO[bytes]) -> bool:
    """Try to lock a file. Raises OSError if its file system has no locks."""
    try:
        # `lockf` locks for this process alone. A lock by `flock` would be inherited by forks, which could outlive it.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True


class CacheFiles(CACHING.CompileResultCacheImpl):  # type: ignore[misc]
    """Tells Numba the file names and the version of a `KernelCache`, and the folder (the part that Numba calls a locator)."""

    def __init__(self, function: Any, stamp: str, path: Path) -> None:
        self.stamp, self.path = stamp, path
        self._py_file, self._lineno = function.__code__.co_filename, function.__code__.co_firstlineno
        self._locator = self
        self._filename_base = self.get_filename_base(function.__qualname__, getattr(sys, "abiflags", ""))

    def get_cache_path(self) -> str:
        return str(self.path)

    def ensure_cache_path(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)

    def get_source_stamp(self) -> str:
        return self.stamp

    def get_disambiguator(self) -> str:
        return "1"


def delete_old(path: Path) -> None:
    """Delete versions of the kernels beside this one, except the most recently used."""

    def age(folder: Path) -> float:
        with contextlib.suppress(OSError):
            return -folder.stat().st_mtime
        return 0.0

    others = sorted((folder for folder in path.parent.glob("fused-*") if folder != path), key=age)
    for folder in others[VERSIONS_KEPT - 1 :]:
        shutil.rmtree(folder, ignore_errors=True)


def cached(dispatcher: Any, among: list[Path] | None = None) -> Any:
    """Keep the machine code of a function in one of `cache_folders()`, or only in memory if none of them is writable."""
    stamp = version()
    path, writable = find_folder(f"fused-{stamp}", cache_folders() if among is None else among)
    if path is not None:
        dispatcher._cache = KernelCache(dispatcher.py_func, stamp, path, writable)
    return dispatcher


def cache_of(dispatcher: Any) -> KernelCache | None:
    """The cache of a function; None if its machine code is only in memory."""
    return dispatcher._cache if isinstance(dispatcher._cache, KernelCache) else None
