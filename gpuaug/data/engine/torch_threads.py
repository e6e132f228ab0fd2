"""How many cores torch's operations use in the loader's threads."""

from __future__ import annotations

import threading

import torch

from ...isolation import after_fork

LOCK = threading.Lock()


def renew() -> None:
    """Make a new lock in a forked process, where a thread that held the old one does not exist."""
    global LOCK
    LOCK = threading.Lock()


after_fork(renew)


def limit_torch_threads(count: int) -> None:
    """Limit the CPU cores that torch's operations use in this thread, which has run none yet.

    `torch.set_num_threads` also changes the default for threads that start later, the user's too, so it is restored.
    """
    with LOCK:
        default = torch.get_num_threads()  # the first call in a thread applies the default, so it must come before the limit
        torch.set_num_threads(count)
        other = threading.Thread(target=torch.set_num_threads, args=(default,), name="gpuaug-default", daemon=True)
        other.start()
        other.join()
