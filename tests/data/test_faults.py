"""Bad data, dead workers and interrupts: each has its documented result, and good samples stay the same."""

import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import time
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from marks import uncovered
from PIL import Image
from small_datasets import Alone
from torch.utils.data import Subset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

import gpuaug
from gpuaug.data import DecodeError, FolderSource
from gpuaug.data.engine.bad_samples import TRIES, OnError

SAMPLES = 40
BAD = {3: b"", 4: b"no picture", 17: "truncated", 39: None}
"""Sample -> its content in the damaged folder; None is a file that vanishes after it was listed."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """torch checks every 5 s whether its workers are alive; these tests need not wait so long."""
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.5,))


def picture(i):
    return np.random.default_rng(i).integers(0, 256, (12, 12, 3), dtype=np.uint8)


def fill(root):
    for i in range(SAMPLES):
        path = root / "ab"[i * 2 // SAMPLES] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(i)).save(path)


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    root = tmp_path_factory.mktemp("intact")
    fill(root)
    return FolderSource(root)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    root = tmp_path_factory.mktemp("damaged")
    fill(root)
    source = FolderSource(root)
    for i, content in BAD.items():
        path = Path(source.name(i))
        if content is None:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:60] if content == "truncated" else content)
    return source


class Pictures(Alone):
    """The same samples from a Dataset that reads files by itself."""

    def __getitem__(self, i):
        with Image.open(self.items.name(i)) as image:
            return image.convert("RGB"), int(self.items.targets[i])


def rows(loader):
    """(sample, target, bytes of its views) of an epoch in order, and the sizes of the batches."""
    out, sizes = [], []
    for views, target in loader:
        views = views if isinstance(views, list) else [views]
        assert len(loader.index) == len(loader.draws) == len(target) == len(views[0])
        assert np.array_equal(loader.draws.index, loader.index)
        sizes.append(len(target))
        for k, i in enumerate(loader.index.tolist()):
            out.append((i, int(target[k]), b"".join(v[k].numpy().tobytes() for v in views)))
    return out, sizes


def lenient(source, policy, mode, **options):
    options = {"batch_size": 8, "max_bad": 0.2, "seed": 5, **options}
    return gpuaug.DataLoader(source, policy, on_error=mode, **options)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", [lambda s: s, Pictures], ids=["folder", "dataset"])
def test_skip_leaves_the_bad_ones_out_and_nothing_else_changes(intact, damaged, policy, kind, workers):
    truth, _ = rows(lenient(kind(intact), policy, "raise"))
    loader = lenient(kind(damaged), policy, "skip", num_workers=workers)
    found, sizes = rows(loader)
    assert found == [row for row in truth if row[0] not in BAD]
    assert sizes == [6, 8, 7, 8, 7]
    names = [loader.source.name(i) for i in BAD]
    assert sorted(loader.bad_files) == sorted(names)
    assert loader.stats().bad == len(BAD)


def test_the_reasons_are_told(damaged, plain):
    loader = lenient(damaged, plain, "skip")
    rows(loader)
    reasons = [loader.bad_files[damaged.name(i)] for i in BAD]
    for reason, expected in zip(
        reasons, ("the file is empty", "not an image", "cannot be decoded", "No such file"), strict=True
    ):
        assert expected in reason


@pytest.mark.parametrize("kind", [lambda s: s, Pictures], ids=["folder", "dataset"])
def test_replace_follows_from_seed_epoch_and_index_alone(intact, damaged, policy, kind):
    truth = {row[0]: row for row in rows(lenient(intact, policy, "raise"))[0]}
    instead = {}
    for batch_size, workers, shuffle in ((1, 0, False), (7, 2, False), (40, 1, True), (16, 0, True)):
        options = {"batch_size": batch_size, "num_workers": workers, "shuffle": shuffle}
        loader = lenient(kind(damaged), policy, "replace", **options)
        wanted = loader.sampler.indices(0).tolist()
        found, sizes = rows(loader)
        assert sum(sizes) == SAMPLES
        for i, row in zip(wanted, found, strict=True):
            assert row == truth[row[0]]
            if i in BAD:
                assert row[0] not in BAD
                assert instead.setdefault(i, row[0]) == row[0]
            else:
                assert row[0] == i


def test_replacements_are_spread_evenly():
    pool = range(10)
    taken = [next(OnError("replace", 1, 0, pool).candidates(i)) for i in range(100, 4100)]
    counts = np.bincount(taken, minlength=10)
    assert np.abs(counts - 400).max() < 5 * np.sqrt(400)
    assert 3 not in list(OnError("replace", 1, 0, pool).candidates(3))
    assert list(OnError("replace", 1, 0, pool).candidates(50)) != list(OnError("replace", 1, 1, pool).candidates(50))


def test_replacements_come_from_the_sampler(damaged, plain):
    sampler = [3, 4, 8, 8, 9]
    loader = lenient(damaged, plain, "replace", sampler=sampler, max_bad=1.0)
    assert {row[0] for row in rows(loader)[0]} == {8, 9}
    both_bad = lenient(damaged, plain, "replace", sampler=[3, 4], max_bad=1.0)
    with pytest.raises(
        DecodeError, match=r"a/03\.png: the file is empty; none of the \d+ samples tried in its place can be read either: "
    ):
        rows(both_bad)
    assert len(list(OnError("replace", 0, 0, range(10**9)).candidates(3))) == TRIES


@pytest.mark.parametrize("mode", ["skip", "replace"])
@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_bad_ones_are_an_error(damaged, plain, mode, workers):
    loader = lenient(damaged, plain, mode, max_bad=0.05, num_workers=workers)  # two of forty may be bad
    batches = iter(loader)
    assert len(loader.bad_files) == 0
    next(batches)
    assert len(loader.bad_files) == 2
    next(batches)
    with pytest.raises(
        DecodeError, match=r"3 of the 40 samples of epoch 0 are bad .*max_bad=0.05 .*a/03\.png \(the file is em"
    ):
        next(batches)
    assert list(batches) == []
    assert len(list(lenient(damaged, plain, mode, max_bad=0.1))) == 5


def test_an_epoch_counts_for_itself(damaged, plain):
    loader = lenient(damaged, plain, "skip", max_bad=0.1)
    for _ in range(3):
        assert len(rows(loader)[0]) == 36


def test_each_file_is_logged_once(damaged, plain, caplog):
    loader = lenient(damaged, plain, "skip")
    with caplog.at_level(logging.WARNING, logger="gpuaug"):
        rows(loader)
        rows(loader)
    assert len(caplog.records) == len(BAD)
    assert caplog.messages[0] == f"{damaged.name(3)}: the file is empty; skipped"
    caplog.clear()
    rows(lenient(damaged, plain, "replace"))
    assert f"{damaged.name(3)}: the file is empty; replaced by " in caplog.messages[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_without_a_good_sample_is_left_out(damaged, plain, workers):
    for source in (damaged, Pictures(damaged)):
        loader = lenient(source, plain, "skip", sampler=[0, 1, 3, 4, 17, 39, 2], batch_size=2, num_workers=workers, max_bad=1.0)
        state = [(loader.index.tolist(), loader.state_dict()["position"]) for _ in loader]
        assert state == [([0, 1], 2), ([2], 7)]


def test_a_restart_among_bad_samples(damaged, policy):
    whole = lenient(damaged, policy, "skip", shuffle=True)
    truth, _ = rows(whole)
    for mode in ("skip", "replace"):
        truth, _ = rows(lenient(damaged, policy, mode, shuffle=True))
        first = lenient(damaged, policy, mode, shuffle=True, batch_size=13, num_workers=1)
        batches = iter(first)
        next(batches)
        seen = len(first.index)
        later = lenient(damaged, policy, mode, shuffle=True, batch_size=5, num_workers=2)
        later.load_state_dict(first.state_dict())
        assert first.state_dict()["position"] == 13
        assert rows(later)[0] == truth[seen:]


def test_raise_names_file_and_reason_at_its_place_in_the_order(damaged, plain):
    for workers in (0, 2):
        batches = iter(gpuaug.DataLoader(damaged, plain, batch_size=3, num_workers=workers))
        next(batches)
        with pytest.raises(DecodeError, match=r"a/03\.png: the file is empty$"):
            next(batches)


def test_a_bomb_is_stopped_by_its_header(tmp_path, plain):
    (tmp_path / "a").mkdir()
    Image.new("1", (30_000, 5_000)).save(tmp_path / "a" / "bomb.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "a" / "small.png")
    message = r"bomb\.png: 30000 x 5000 pixels are more than max_pixels=1000000; raise max_pixels"
    with pytest.warns(Image.DecompressionBombWarning), pytest.raises(DecodeError, match=message):  # Pillow's own, from 89 Mpx
        rows(gpuaug.DataLoader(tmp_path, plain, max_pixels=10**6))
    with pytest.warns(Image.DecompressionBombWarning):
        found, _ = rows(gpuaug.DataLoader(tmp_path, plain, max_pixels=10**6, on_error="skip", max_bad=0.5))
    assert [row[0] for row in found] == [1]
    assert len(rows(gpuaug.DataLoader(tmp_path, plain, max_pixels=81, sampler=[1]))[0]) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_vanishes_in_mid_epoch(tmp_path, plain, workers):
    fill(tmp_path)
    loader = lenient(tmp_path, plain, "skip", num_workers=workers, batch_size=2, prefetch_factor=1)
    seen = []
    for _ in loader:
        seen += loader.index.tolist()
        (tmp_path / "b" / "38.png").unlink(missing_ok=True)
    assert seen == [i for i in range(SAMPLES) if i != 38]
    assert list(loader.bad_files.values()) == ["cannot be read: No such file or directory"]


class Failing(FolderSource):
    """A disk with an I/O error at one sample."""

    def read(self, i):
        if i == 6:
            raise OSError(5, "Input/output error")
        return super().read(i)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_read_error(tmp_path, plain, workers):
    fill(tmp_path)
    loader = lenient(Failing(tmp_path), plain, "skip", num_workers=workers)
    assert len(rows(loader)[0]) == SAMPLES - 1
    assert "Input/output error" in next(iter(loader.bad_files.values()))
    with pytest.raises(OSError, match="Input/output error"):
        rows(gpuaug.DataLoader(Failing(tmp_path), plain, num_workers=workers))


class Buggy(Pictures):
    def __getitem__(self, i):
        if i == 5:
            raise ZeroDivisionError("a bug of the user's own")
        return super().__getitem__(i)


@pytest.mark.parametrize("mode", ["raise", "skip", "replace"])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_bug_in_the_users_code_is_never_swallowed(intact, plain, mode, workers):
    with pytest.raises(ZeroDivisionError, match="a bug of the user's own") as caught:
        rows(lenient(Buggy(intact), plain, mode, num_workers=workers))
    assert "in __getitem__" in "".join(traceback.format_exception(caught.value))


class Deadly(Pictures):
    def __getitem__(self, i):
        if i == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(i)


@uncovered
@pytest.mark.parametrize("mode", ["skip", "replace"])
def test_a_killed_worker_is_an_error_in_every_mode(intact, plain, mode):
    with pytest.raises(RuntimeError, match="worker"):
        rows(lenient(Deadly(intact), plain, mode, num_workers=2))
    assert multiprocessing.active_children() == []


def test_subsets_of_bad_data(damaged, plain):
    for source in (Subset(Pictures(damaged), [2, 3, 5, 17]), Subset(Pictures(damaged), range(2, 6))):
        loader = lenient(source, plain, "skip", max_bad=1.0)
        assert len(rows(loader)[0]) == 2


def test_bad_samples_leave_nothing_behind(held, damaged, plain):
    def epoch():
        for source in (damaged, Pictures(damaged)):
            rows(lenient(source, plain, "skip", num_workers=2))
            rows(lenient(source, plain, "replace", num_workers=2))
            with pytest.raises(OSError, match=r"03\.png"):
                rows(lenient(source, plain, "raise", num_workers=2))
        gc.collect()

    epoch()
    before = held()
    tensors = sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())
    epoch()
    assert held() == before == ([], 0, before[2])
    assert sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects()) <= tensors


@uncovered
@pytest.mark.parametrize("kind", [lambda s: s, Pictures], ids=["folder", "dataset"])
@pytest.mark.parametrize("persistent", [False, True], ids=["", "persistent"])
def test_an_interrupt_at_any_moment(held, intact, plain, kind, persistent):
    """SIGINT after longer and longer times in a loop; after each no thread, process or descriptor is left."""
    struck = []

    def strike(*_):
        struck.append(True)
        signal.raise_signal(signal.SIGINT)

    def loop():
        loader = gpuaug.DataLoader(kind(intact), plain, 4, num_workers=2, persistent_workers=persistent)
        while not struck:  # Python drops an exception inside of a destructor, such as those of torch's iterators
            for _ in loader:
                pass

    rows(gpuaug.DataLoader(kind(intact), plain, 4, num_workers=2))
    gc.collect()
    before = held()
    previous = signal.signal(signal.SIGALRM, strike)
    try:
        for k in range(12):
            struck.clear()
            with contextlib.suppress(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 0.004 * 1.5**k)
                loop()
            deadline = time.monotonic() + 20
            while held() != before and time.monotonic() < deadline:
                gc.collect()
                time.sleep(0.05)
            assert held() == before, f"after interrupt {k}"
    finally:
        signal.signal(signal.SIGALRM, previous)


@pytest.mark.parametrize(
    ("option", "values", "message"),
    [
        ("on_error", ["ignore", None, True], "on_error must be one of 'raise', 'skip', 'replace'"),
        ("max_bad", [-0.1, 1.5, "all", float("nan")], r"max_bad must be a number in 0\.\.1"),
        ("max_pixels", [0, 1.5], "max_pixels must be an integer at least 1"),
    ],
)
def test_the_arguments_are_checked(intact, plain, option, values, message):
    for value in values:
        with pytest.raises(ValueError, match=message):
            gpuaug.DataLoader(intact, plain, **{option: value})


def test_replace_needs_to_know_the_samples(intact, plain):
    with pytest.raises(ValueError, match="on_error='replace' needs a sampler with a length"):
        gpuaug.DataLoader(intact, plain, sampler=iter([1, 2]), on_error="replace")
