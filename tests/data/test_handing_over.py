"""Batches from worker processes, and iterators in forked processes: an error at once if no batch can come."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import gpuaug

LIMIT = 100.0
"""Seconds after which a program counts as hanging; the loader's own limit is three times as long."""

ROOT = Path(gpuaug.__file__).parent.parent

CROWDED = """
    import numpy as np, gpuaug

    class Photographs:
        def __len__(self):
            return 128

        def __getitem__(self, i):
            return np.full((500, 700, 3), i, np.uint8), i

    policy = gpuaug.policy("simclr_cifar", size=32)
    try:
        for _ in gpuaug.DataLoader(Photographs(), policy, batch_size=32, num_workers=2, prefetch_factor=2):
            pass
    except RuntimeError as error:
        print(error)
    print(sum(len(target) for _, target in gpuaug.DataLoader(Photographs(), policy, batch_size=4, num_workers=2)))
"""


def may_mount() -> bool:
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="to have a small /dev/shm of one's own needs `unshare -m`, hence a superuser")
def test_batches_that_do_not_fit_into_shared_memory_say_so_at_once():
    """A container has 64 MiB by default; four batches of 34 MB are in preparation."""
    script = 'mount -t tmpfs -o size=64M tmpfs /dev/shm && exec "$0" -c "$1"'
    program = ["unshare", "-m", "sh", "-c", script, sys.executable, textwrap.dedent(CROWDED)]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=True)
    error, smaller = done.stdout.splitlines()
    assert error.startswith(
        "DataLoader: a batch of 32, whose pixels are 32.0 MiB, did not fit into /dev/shm, which has 64.0 MiB"
    )
    assert "num_workers x prefetch_factor = 4 of them" in error
    assert "--shm-size" in error
    assert smaller == "128"
    assert "Traceback" not in done.stderr


FORKED = """
    import os, sys, gpuaug

    policy = gpuaug.policy("simclr_cifar", size=32)
    loader = gpuaug.DataLoader(sys.argv[1], policy, batch_size=7, num_workers=2, timeout=500)
    used, unused = iter(loader), iter(loader)
    next(used)
    if not os.fork():
        for _ in range(2):
            try:
                next(used)
            except RuntimeError as error:
                print(error)
            except StopIteration:
                print("end")
        print(len(list(unused)), len(list(loader)), flush=True)
        del used, unused, loader
        print("gone", flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
    print(len(list(used)), len(list(loader)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_an_iterator_carried_through_a_fork_says_so_at_once(folder):
    program = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(FORKED), folder]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=True)
    error, end, others, gone, parent = done.stdout.splitlines()
    assert "begun before the process was forked, and threads do not survive a fork; call iter(loader)" in error
    assert (end, others, gone, parent) == ("end", "10 10", "gone", "9 10")
