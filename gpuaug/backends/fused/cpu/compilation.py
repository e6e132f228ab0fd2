"""Compiling the kernels: whether it has happened, and telling the user while it does."""

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
        "the compiled CPU kernels can be kept in none of %s, so every process compiles them anew, in about a minute; set "
        "NUMBA_CACHE_DIR to a folder that can be written",
        ", ".join(map(str, cache_folders())),
    )


@contextmanager
def compiling() -> Iterator[None]:
    """Tell the user when the kernels take their time because they are being compiled, which happens once a machine."""
    if COMPILED.is_set():
        yield
        return
    store = cache_of(views.make_views)

    ready = threading.Event()

    def say() -> None:
        while not ready.wait(4.0):
            if store is not None and store.waiting:
                print("gpuaug: waiting for another process, which compiles the fused CPU kernels ...", file=sys.stderr)
                return
            if store is None or store.compiling:  # and not only slow to read them
                print("gpuaug: compiling the fused CPU kernels, once (about a minute) ...", file=sys.stderr)
                return

    if store is None:
        warn_of_no_folder()
    threading.Thread(target=say, name="gpuaug-note", daemon=True).start()
    try:
        yield
        COMPILED.set()
    finally:
        ready.set()
        if store is not None:
            store.release()  # should compiling have failed, another process may try
