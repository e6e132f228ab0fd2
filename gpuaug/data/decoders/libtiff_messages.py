"""libtiff's messages, caught while one of our threads decodes, since on stderr they would not name the file.

libtiff has one message handler for all threads. Ours keeps the messages of a decoding thread, and passes on all others.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import platform
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ...isolation import after_fork

LOCAL = threading.local()

LOCK = threading.Lock()
"""Two threads that both set handlers would leave libtiff with one that `cache` did not keep and Python has freed."""

after_fork(lambda: globals().update(LOCK=threading.Lock()))  # its owner may not exist in the fork

HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
"""TIFFErrorHandler(module, format, va_list); on the machines below a va_list is passed as a pointer."""

MACHINES = ("x86_64", "aarch64")
LONGEST = 300


@contextlib.contextmanager
def captured() -> Iterator[list[str]]:
    """Collect the lines that libtiff would print in this thread; on other systems it still prints them."""
    with LOCK:
        install_handlers()
    lines: list[str] = []
    LOCAL.lines = lines
    try:
        yield lines
    finally:
        LOCAL.lines = None


@cache
def install_handlers() -> list[Any]:
    """Set a handler in each loaded libtiff, such as Pillow's, until the process ends; returns what must be kept alive."""
    kept: list[Any] = []
    if platform.system() != "Linux" or platform.machine() not in MACHINES:
        return kept
    vsnprintf = ctypes.CDLL(None).vsnprintf
    vsnprintf.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p]
    words = (line.split() for line in Path("/proc/self/maps").read_text().splitlines())
    for path in sorted({word[-1] for word in words if "libtiff" in word[-1].rsplit("/", 1)[-1]}):
        with contextlib.suppress(OSError, AttributeError):
            kept.append(install_handler(ctypes.CDLL(path).TIFFSetErrorHandler, vsnprintf))
    return kept


def install_handler(exchange: Any, vsnprintf: Any) -> Any:
    """Replace libtiff's handler by one that keeps messages of decoding threads; returns what must be kept alive."""
    exchange.argtypes, exchange.restype = [ctypes.c_void_p], ctypes.c_void_p
    before: list[Any] = []

    def handle(module: bytes | None, text: bytes, values: int) -> None:
        lines = getattr(LOCAL, "lines", None)
        if lines is not None:
            message = ctypes.create_string_buffer(LONGEST)
            vsnprintf(message, LONGEST, text, values)
            lines.append(message.value.decode(errors="replace"))
        elif before:
            before[0](module, text, values)

    kept = HANDLER(handle)
    if previous := exchange(ctypes.cast(kept, ctypes.c_void_p)):
        before.append(HANDLER(previous))
    atexit.register(exchange, previous)
    return kept
