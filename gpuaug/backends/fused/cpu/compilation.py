"""Tracks whether the CPU kernels are compiled, and tells the user while they are being compiled."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from .cache import LOG, cache_folders, cache_of
from .kernels import views

COMPILED = threading.Event()


@cache
def warn_of_no_folder() -> None:
    LOG.warning(
        "cannot write the compiled CPU kernels to any of %s, so every process will compile them again (about a minute); set "
        "NUMBA_CACHE_DIR to a writable folder",
        ", ".join(map(str, cache_folders())),
    )


@contextmanager
def compiling() -> Iterator[None]:
    """Tell the user if the first call of the kernels takes longer than 4 s because they are being compiled."""
    if COMPILED.is_set():
        yield
        return
    store = cache_of(views.make_views)
    ready = threading.Event()

    def notify() -> None:
        while not ready.wait(4.0):
            if store is not None and store.waiting:
                print("gpuaug: waiting for another process to compile the fused CPU kernels ...", file=sys.stderr)
                return
            if store is None or store.compiling:  # false while a slow disk delays loading
                print("gpuaug: compiling the fused CPU kernels, once (about a minute) ...", file=sys.stderr)
                return

    if store is None:
        warn_of_no_folder()
    threading.Thread(target=notify, name="gpuaug-note", daemon=True).start()
    try:
        yield
        COMPILED.set()
    finally:
        ready.set()
        if store is not None:
            store.release()  # if compiling failed, let another process try
