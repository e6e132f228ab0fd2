"""Tracks whether the CPU kernels are compiled, and tells the user while they are being compiled."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from . import pack, resample
from .cache import LOG, cache_folders, cache_of
from .kernels import draw, views


@cache
def warn_of_no_folder() -> None:
    LOG.warning(
        "cannot write the compiled CPU kernels to any of %s, so every process will compile them again (about a minute); set "
        "NUMBA_CACHE_DIR to a writable folder",
        ", ".join(map(str, cache_folders())),
    )


class Compilation:
    """The first call of a kernel, which compiles it or loads it from the cache.

    Attributes:
        kernel: The kernel.
        what: What the user is told is being compiled, and how long that takes.
        done: Whether a call has ended.
    """

    def __init__(self, kernel: Any, what: str) -> None:
        self.kernel = kernel
        self.what = what
        self.done = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Around every call: tell the user if the first one takes longer than 4 s because the kernel is being compiled."""
        if self.done.is_set():
            yield
            return
        store = cache_of(self.kernel)
        ready = threading.Event()

        def notify() -> None:
            while not ready.wait(4.0):
                if store is not None and store.waiting:
                    print(f"gpuaug: waiting for another process to compile {self.what} ...", file=sys.stderr)
                    return
                if store is None or store.compiling:  # false while a slow disk delays loading
                    print(f"gpuaug: compiling {self.what} ...", file=sys.stderr)
                    return

        if store is None:
            warn_of_no_folder()
        threading.Thread(target=notify, name="gpuaug-note", daemon=True).start()
        try:
            yield
            self.done.set()
        finally:
            ready.set()
            if store is not None:
                store.release()  # if compiling failed, let another process try


MAKE_VIEWS = Compilation(views.make_views, "the fused CPU kernels, once (about a minute)")
FILL_TABLES = Compilation(draw.fill_tables, "the kernel that draws parameters, once (some seconds)")
FIND_LEVELS = Compilation(pack.find_levels, "the kernel that finds the launches of a batch, once (a second)")
PACK = Compilation(pack.pack, "the kernel that packs records for CUDA, once (some seconds)")
CROP_PLANES = Compilation(resample.crop, "the kernel that crops floats, once (some seconds)")
