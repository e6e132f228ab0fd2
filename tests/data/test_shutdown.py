"""However an epoch ends, no thread, process or file is left, and nothing hangs."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from marks import uncovered
from numbered import Numbered
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

import gpuaug
from gpuaug.data import DatasetSource, DecodeError, FolderSource
from gpuaug.data.decoders import decoder_of
from gpuaug.data.engine.bad_samples import OnError
from gpuaug.data.engine.batch import FetchConfig
from gpuaug.data.engine.process_fetcher import ProcessFetcher
from gpuaug.data.engine.view_maker import ViewMaker

LIMIT = 60.0
"""Seconds after which a test that waits counts as hanging."""


class Faulty(Numbered):
    def __getitem__(self, i):
        if i == 13:
            raise LookupError("thirteen is not in the cupboard")
        return super().__getitem__(i)


class Deadly(Numbered):
    """Its worker kills itself, as the kernel does when memory runs out."""

    def __getitem__(self, i):
        if i == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(i)


@pytest.fixture(params=["folder", "arrays", "dataset"])
def source(request, folder):
    if request.param == "folder":
        return folder
    return Numbered(40) if request.param == "dataset" else (np.zeros((40, 8, 8, 3), np.uint8), range(40))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """torch checks every 5 s whether its workers are alive; these tests need not wait so long."""
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.5,))


def warm(source, policy):
    """Run an epoch beforehand, since torch opens a few descriptors in its first one."""
    for _ in gpuaug.DataLoader(source, policy, batch_size=8, num_workers=2):
        pass
    gc.collect()


def test_nothing_is_left_after_an_epoch(held, source, plain):
    warm(source, plain)
    before = held()
    for _ in range(3):
        warm(source, plain)
    assert held() == before == ([], 0, before[2])


def test_nothing_is_left_after_a_break(held, source, plain):
    warm(source, plain)
    before = held()
    for _ in range(3):
        for _ in gpuaug.DataLoader(source, plain, batch_size=4, num_workers=2):
            assert threading.active_count() > 1
            break
    assert held() == before


def test_nothing_is_left_of_a_forgotten_iterator(held, source, plain):
    warm(source, plain)
    before = held()
    batches = iter(gpuaug.DataLoader(source, plain, batch_size=4, num_workers=2))
    next(batches)
    cycle = [batches]
    cycle.append(cycle)
    del batches, cycle
    gc.collect()
    assert held() == before


def test_nothing_is_left_of_an_iterator_that_was_never_used(held, source, plain):
    warm(source, plain)
    before = held()
    iter(gpuaug.DataLoader(source, plain, num_workers=2))
    assert held() == before


def test_collected_targets_hold_no_descriptors(held, plain):
    warm(Numbered(40), plain)
    before = held()
    targets = [target for _, target in gpuaug.DataLoader(Numbered(40), plain, batch_size=2, num_workers=2)]
    assert held() == before
    assert torch.cat(targets).tolist() == list(range(40))


def test_a_pipeline_closed_before_its_thread_has_begun_ends(held, folder, plain, monkeypatch):
    """As when Ctrl-C strikes on a busy machine while the thread is being started."""
    loader = gpuaug.DataLoader(folder, plain, batch_size=4, num_workers=2)
    producer = loader.pipeline(loader.plan(0, 0))
    begin = producer.thread.start
    monkeypatch.setattr(producer.thread, "start", lambda: (producer.close(), begin()))
    producer.start()
    producer.thread.join(LIMIT)
    assert held()[:2] == ([], 0)


def test_nothing_is_left_after_an_error_in_the_consumer(held, source, plain):
    warm(source, plain)
    before = held()

    def train():
        for _ in gpuaug.DataLoader(source, plain, batch_size=4, num_workers=2):
            raise RuntimeError("loss is nan")

    with pytest.raises(RuntimeError, match="loss is nan") as caught:
        train()
    del caught
    gc.collect()
    assert held() == before


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_the_dataset_comes_with_its_own_traceback(held, plain, workers):
    warm(Numbered(40), plain)
    before = held()
    batches = iter(gpuaug.DataLoader(Faulty(40), plain, batch_size=4, num_workers=workers))
    assert [next(batches)[1].tolist()[0] for _ in range(3)] == [0, 4, 8]
    with pytest.raises(LookupError, match="thirteen is not in the cupboard") as caught:
        next(batches)
    assert "in __getitem__" in "".join(traceback.format_exception(caught.value))
    assert list(batches) == []
    del batches, caught
    gc.collect()
    assert held() == before


def test_an_error_in_a_thread_comes_with_its_own_traceback(held, tmp_path, folder, plain):
    warm(folder, plain)
    before = held()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"no picture")
    with pytest.raises(DecodeError, match=r"a/1\.png: not an image") as caught:
        next(iter(gpuaug.DataLoader(tmp_path, plain, num_workers=2)))
    assert "in decode" in "".join(traceback.format_exception(caught.value))
    del caught
    gc.collect()
    assert held() == before


@uncovered
@pytest.mark.parametrize("in_main_thread", [True, False])
def test_a_killed_worker_is_an_error_not_a_hang(held, plain, in_main_thread):
    """In the main thread torch's signal handler reports it, elsewhere the wait for the batch does."""
    errors = []

    def consume():
        try:
            for _ in gpuaug.DataLoader(Deadly(40), plain, batch_size=4, num_workers=2):
                pass
        except RuntimeError as error:
            errors.append(str(error))

    if in_main_thread:
        consume()
    else:
        thread = threading.Thread(target=consume)
        thread.start()
        thread.join(LIMIT)
        assert not thread.is_alive()
    assert len(errors) == 1
    assert "worker" in errors[0]
    assert held()[:2] == ([], 0)


class Fleeting(Numbered):
    """Its worker dies half a second after the batch with sample 13 is made."""

    def __getitem__(self, i):
        if i == 13:
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return super().__getitem__(i)


@uncovered
@pytest.mark.parametrize("noticed", [True, False])
def test_a_worker_killed_before_its_batch_is_taken_is_an_error_that_says_so(held, plain, noticed, monkeypatch):
    """torch may ask whether the worker is alive too early, before the kernel has ended it."""
    on_error, maker = OnError("raise", 0, 0, range(40)), ViewMaker(gpuaug.Augmenter(plain), seed=0, epoch=0)
    config = FetchConfig(1, 2, 60.0, 0, decoder_of("pillow", 10**6), on_error, maker, decode_regions=False, make_views=False)
    fetcher = ProcessFetcher(DatasetSource(Fleeting(40)), iter([np.array([13])]), config)
    process = fetcher.engine._workers[0]
    with contextlib.suppress(RuntimeError):  # torch's signal handler
        process.join(LIMIT)
    assert process.exitcode == -signal.SIGKILL
    if not noticed:
        monkeypatch.setattr(process, "is_alive", lambda: True)
    with pytest.raises(RuntimeError, match=r"worker.* (died|exited unexpectedly)"):
        next(fetcher)
    fetcher.close()
    assert held()[:2] == ([], 0)


@pytest.mark.parametrize("error", [FileNotFoundError, ConnectionResetError, EOFError])
def test_a_dataset_may_raise_what_a_lost_worker_looks_like(held, plain, error):
    class Lost(Numbered):
        def __getitem__(self, i):
            raise error("of the Dataset's own")

    with pytest.raises(error, match="of the Dataset's own"):
        next(iter(gpuaug.DataLoader(Lost(40), plain, num_workers=2)))
    assert held()[:2] == ([], 0)


class Stuck(FolderSource):
    """A folder whose last file cannot be read until the test allows it."""

    def __init__(self, root):
        super().__init__(root)
        self.release = threading.Event()

    def read(self, i):
        if i == len(self) - 1:
            self.release.wait(LIMIT)
        return super().read(i)


def test_a_file_that_hangs_is_a_timeout(held, folder, plain, monkeypatch):
    monkeypatch.setattr("gpuaug.data.engine.fetching.threads.JOIN_SECONDS", 0.1)
    monkeypatch.setattr("gpuaug.data.engine.pipeline.JOIN_SECONDS", 0.1)
    monkeypatch.setattr("gpuaug.data.engine.pipeline.CLOSE_SECONDS", 0.1)
    source = Stuck(folder)
    batches = iter(gpuaug.DataLoader(source, plain, batch_size=35, num_workers=1, timeout=1.0))
    next(batches)
    with pytest.raises(TimeoutError, match=r"within 1 s"):
        next(batches)
    source.release.set()
    for thread in [t for t in threading.enumerate() if t.name.startswith("gpuaug")]:
        thread.join(LIMIT)
    assert held()[0] == []


class Sleepy(Numbered):
    def __getitem__(self, i):
        if i == 13:
            time.sleep(10 * LIMIT)
        return super().__getitem__(i)


def test_a_dataset_that_hangs_is_a_timeout_and_its_workers_are_ended(held, plain, monkeypatch):
    monkeypatch.setattr("gpuaug.data.engine.pipeline.CLOSE_SECONDS", 0.1)
    with pytest.raises(TimeoutError, match=r"no batch within 1 s"):
        list(gpuaug.DataLoader(Sleepy(40), plain, batch_size=4, num_workers=1, timeout=1.0))
    assert held()[:2] == ([], 0)


def living_tensors() -> int:
    return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())


def test_memory_and_descriptors_stay_flat(held, folder, plain):
    warm(folder, plain)
    before = held()
    tensors = living_tensors()
    for _ in range(4):
        warm(folder, plain)
    assert held() == before
    assert living_tensors() <= tensors


PROGRAM = """
    import signal
    import numpy as np, gpuaug

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background programs with SIGINT ignored

    class Squares(list):
        def __getitem__(self, i):
            return np.zeros((8, 8, 3), np.uint8), i

        def __len__(self):
            return 10**6

    policy = gpuaug.Policy(gpuaug.View(8, gpuaug.CenterCrop()))
    arrays = np.zeros((10**5, 8, 8, 3), np.uint8), np.zeros(10**5)
    alive = [iter(gpuaug.DataLoader(source, policy, batch_size=4, num_workers=2)) for source in (arrays, Squares())]
    for batches in alive:
        next(batches)
    print("running", flush=True)
"""


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_program_ends_at_once_with_iterators_alive(interrupted):
    """Threads and worker processes are running when the program ends, by itself or by Ctrl-C in the loop."""
    program = textwrap.dedent(PROGRAM) + ("for _ in batches: pass" if interrupted else "")
    root = Path(gpuaug.__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        if interrupted:
            process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=LIMIT)
        finally:
            process.kill()  # or leaving the block would wait for it
    if interrupted:
        assert process.returncode in (1, -signal.SIGINT, 130)
        assert errors.count("Traceback") == 1
        assert errors.rstrip().endswith("KeyboardInterrupt")
    else:
        assert (process.returncode, errors) == (0, "")
