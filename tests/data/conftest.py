"""Small pictures in a class folder, and a cheap policy; torch uses one thread, since other cores run other tests."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

import gpuaug

SAMPLES = 70

Holdings = tuple[list[str], int, int]
"""Names of the loader's threads, number of child processes, and number of descriptors that the test has opened."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def _index_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the test's own for the indices of shards that cannot lie beside them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def held() -> Callable[[], Holdings]:
    """A function that counts what this process holds.

    Descriptors that were open before the test do not count: servers and connections of other tests close theirs at any time.
    """
    others = descriptors()

    def count() -> Holdings:
        for thread in threading.enumerate():
            if thread.name == "QueueFeederThread":  # the thread of a closed queue closes its descriptor a little later
                thread.join(5.0)
        names = sorted(t.name for t in threading.enumerate() if t.name.startswith("gpuaug"))
        lasting = [name for name in names if name != "gpuaug-default"]  # `limit_torch_threads` waits for its end
        return lasting, len(multiprocessing.active_children()), len(descriptors() - others)

    return count


def descriptors() -> set[tuple[str, str]]:
    """Number and target of each open descriptor of this process."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor of this listing, or one that was closed meanwhile
            found.add((path.name, str(path.readlink())))
    return found


@pytest.fixture(scope="session")
def pictures() -> list[npt.NDArray[np.uint8]]:
    """70 pictures of different sizes, some smaller than the crop."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(5, 40, (SAMPLES, 2))
    return [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes.tolist()]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, pictures: list[npt.NDArray[np.uint8]]) -> Path:
    """The pictures as PNG in the class folders ant, bee and cat; sample i is pictures[i]."""
    root = tmp_path_factory.mktemp("folder")
    for i, pixels in enumerate(pictures):
        path = root / ("ant", "bee", "cat")[i * 3 // SAMPLES] / f"{i:03}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
    return root


@pytest.fixture(scope="session")
def policy() -> gpuaug.Policy:
    """Two views of 16 x 16."""
    return gpuaug.Policy(gpuaug.View(16, gpuaug.RandomResizedCrop(), gpuaug.RandomHorizontalFlip(), repeat=2))


@pytest.fixture(scope="session")
def plain() -> gpuaug.Policy:
    """One view that is the top left 8 x 8 pixels or the picture itself, so that pixels can be compared."""
    return gpuaug.Policy(gpuaug.View(8, gpuaug.CenterCrop()))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder of shards that an S3 server holds, and the server's address."""
    from remote_shards import fill

    from benchmarks.object_store import object_store

    root = tmp_path_factory.mktemp("store")
    fill(root)
    fill(root, "other", seed=1)
    with object_store(root) as endpoint:
        yield root, endpoint


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are given up sooner than a user would want, since the tests' server is near."""
    from gpuaug.data.sources.remote import retries

    short = retries.Patience(seconds=60.0, answer=1.0, first_wait=0.02, longest_wait=0.3)
    monkeypatch.setattr(retries, "READING", short)
    monkeypatch.setattr(retries, "OPENING", short)
