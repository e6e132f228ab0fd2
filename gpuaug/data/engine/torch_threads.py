"""How many cores torch's operations take in a thread of ours."""

from __future__ import annotations

import os
import threading

import torch

LOCK = threading.Lock()


def renew() -> None:
    """In a forked process: the thread that held the lock is not there to give it back."""
    global LOCK
    LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=renew)


def limit_torch_threads(count: int) -> None:
    """Let torch's operations in this thread, which has run none yet, use so many cores, on the CPU.

    `torch.set_num_threads` also sets the number of threads yet to come, the user's too; that is put back.
    """
    with LOCK:
        default = torch.get_num_threads()  # to ask is to be given the default, which a later question would do otherwise
        torch.set_num_threads(count)
        other = threading.Thread(target=torch.set_num_threads, args=(default,), name="gpuaug-default", daemon=True)
        other.start()
        other.join()
