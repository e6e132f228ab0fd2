"""Remote shards on a real S3 server that fails: no sample is lost, and errors name their cause."""

import threading
import time
from collections import Counter
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from faulty_proxy import FAULTS, FaultyProxy
from remote_shards import EACH, POLICY, SAMPLES, SHARDS, URL, epoch_of, views_of
from restored import restored

import gpuaug
from benchmarks.object_store import BUCKET, s3_at
from gpuaug.data import DecodeError, RemoteError, ShardSource
from gpuaug.data.sources.remote import retries

pytestmark = pytest.mark.usefixtures("_index_cache", "_impatient")

LIMIT = 60.0
"""Seconds after which a test that waits counts as hanging."""


@pytest.fixture
def truth(store):
    return epoch_of(ShardSource(f"{store[0]}/t-{{0..{SHARDS - 1}}}.tar"))


def read(loaders, batches, truth, seen):
    """Read some batches on all ranks in step, and count the samples, which must be as in `truth`."""
    given = [iter(loader) for loader in loaders]
    for _ in range(batches):
        for loader, batch in zip(loaders, [next(one, None) for one in given], strict=True):
            if batch is not None:
                rows = views_of(loader, batch[0])
                assert {i: (row, int(batch[1][k])) for k, (i, row) in enumerate(rows.items())} == {i: truth[i] for i in rows}
                seen.update(rows.keys())
    for one in given:
        one.close()


@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (1, 2), (2, 2)])
@pytest.mark.parametrize("cached", [False, True])
def test_no_sample_is_lost_whatever_fails(store, tmp_path, truth, ranks, workers, cached):
    options = {"shuffle": True, "seed": 9, "num_workers": workers, "on_error": "skip", "timeout": LIMIT}
    if cached:
        options |= {"cache_dir": tmp_path / "cache", "cache_size": SHARDS * EACH * 60_000}  # two of three shards fit
    seen = Counter()
    with FaultyProxy(store[1], 0.25, seed=ranks + workers, slow=0.05, stalled=LIMIT) as proxy, s3_at(proxy.address):
        first = [gpuaug.DataLoader(URL, POLICY, 6, rank=k, world_size=ranks, **options) for k in range(ranks)]
        read(first, 2, truth, seen)
        assert sum(seen.values()) == 12 * ranks
        rest = restored(first[0].state_dict(), URL, POLICY, 5, rank=0, world_size=1, **options)
        read([rest], SAMPLES, truth, seen)
    assert seen == dict.fromkeys(range(SAMPLES), 1)
    assert not any(loader.bad_files for loader in (*first, rest))
    assert sum(proxy.done.values()) >= 4


@pytest.mark.parametrize("kind", FAULTS)
def test_each_failure_passes(store, kind):
    source = ShardSource(f"{store[0]}/t-0.tar")
    with FaultyProxy(store[1], 0.5, seed=3, faults={kind: 1}, slow=0.05, stalled=LIMIT) as proxy, s3_at(proxy.address):
        remote = ShardSource(f"s3://{BUCKET}/t-0.tar")
        assert [remote.read(i) for i in range(6)] == [source.read(i) for i in range(6)]
        assert proxy.done[kind] >= 2


@pytest.mark.parametrize("kind", ["500", "reset", "stalled", "short"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_server_that_never_answers_is_one_error_and_no_bad_sample(store, monkeypatch, kind, workers):
    with FaultyProxy(store[1], faults={kind: 1}, stalled=LIMIT) as proxy, s3_at(proxy.address):
        loader = gpuaug.DataLoader(URL, POLICY, 8, num_workers=workers, on_error="skip", max_bad=1.0)
        monkeypatch.setattr(retries, "READING", retries.Patience(seconds=0.6, answer=0.1, rate=1e6, first_wait=0.02))
        proxy.rate = 1.0
        message = rf"s3://{BUCKET}/t-0.tar: 0000.png: cannot be read: no answer after \d+ tr(y|ies) in \d+ s; the last: .+"
        with pytest.raises(RemoteError, match=message):
            list(loader)
    assert loader.bad_files == {}


@pytest.mark.parametrize(("kind", "error"), [("404", DecodeError), ("403", RemoteError)])
def test_what_will_not_pass_is_not_tried_again(store, kind, error):
    with FaultyProxy(store[1], faults={kind: 1}) as proxy, s3_at(proxy.address):
        source = ShardSource(f"s3://{BUCKET}/t-0.tar")
        before = proxy.count("GET")
        proxy.rate = 1.0
        with pytest.raises(error, match=rf"^s3://{BUCKET}/t-0.tar: 0003.png: cannot be read: "):
            source.read(3)
        assert proxy.count("GET") == before + 1


def test_samples_of_a_shard_that_is_gone_are_bad_samples(store, plain):
    with FaultyProxy(store[1], faults={"404": 1}, only="t-1") as proxy, s3_at(proxy.address):
        loader = gpuaug.DataLoader(URL, plain, 8, num_workers=2, on_error="skip", max_bad=0.5)
        proxy.rate = 1.0
        found = [i for _ in loader for i in loader.index.tolist()]
    assert found == [i for i in range(SAMPLES) if i // EACH != 1]
    assert list(loader.bad_files) == [f"s3://{BUCKET}/t-1.tar: {i:04}.png" for i in range(EACH, 2 * EACH)]


@pytest.mark.parametrize("url", [f"s3://{BUCKET}/t-9.tar", f"s3://{BUCKET}/none-*.tar", "s3://no-such-bucket/t-0.tar"])
def test_shards_that_are_not_on_the_server(store, url):
    with s3_at(store[1]), pytest.raises(FileNotFoundError, match=r"no such shard|no shard matches"):
        ShardSource(url)


def test_a_server_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(retries, "OPENING", retries.Patience(seconds=0.5))
    with s3_at("http://127.0.0.1:9"), pytest.raises(RemoteError, match=rf"^s3://{BUCKET}/t-0.tar: .*no answer after"):
        ShardSource(f"s3://{BUCKET}/t-0.tar")


@pytest.mark.parametrize("workers", [0, 1])
def test_the_next_batches_are_requested_before_they_are_read(store, workers):
    with FaultyProxy(store[1], 1.0, faults={"slow": 1}, slow=0.3) as proxy, s3_at(proxy.address):
        loader = gpuaug.DataLoader(URL, POLICY, 12, shuffle=True, num_workers=workers)
        proxy.most = 0
        assert sum(len(target) for _, target in loader) == SAMPLES
    assert proxy.most >= 16  # of one thread that reads, and moto is slow


def test_a_server_that_is_too_slow_for_all_requests_at_once_is_asked_for_less(store, monkeypatch):
    """Else all of them would be late, be asked again on top of those that the server still works on, and be late again."""
    local = ShardSource(f"{store[0]}/t-{{0..{SHARDS - 1}}}.tar")
    with FaultyProxy(store[1]) as proxy, s3_at(proxy.address):
        source = ShardSource(URL)
        monkeypatch.setattr(retries, "READING", retries.Patience(seconds=LIMIT, answer=0.5, first_wait=0.02, longest_wait=0.1))
        proxy.serial = 0.08
        reader = source.reader()
        reader.will_read(np.arange(SAMPLES))
        assert [reader.read(i) for i in range(SAMPLES)] == [local.read(i) for i in range(SAMPLES)]
        reader.close()


def test_neighbours_are_requested_as_one(tmp_path, store, monkeypatch):
    monkeypatch.setattr("gpuaug.data.sources.remote.ahead.GAP", 2 * 70_000)
    local = ShardSource(f"{store[0]}/t-{{0..{SHARDS - 1}}}.tar")
    with FaultyProxy(store[1]) as proxy, s3_at(proxy.address):
        source = ShardSource(URL)
        before = proxy.count("GET")
        reader = source.reader()
        reader.will_read(np.arange(SAMPLES))
        assert [reader.read(i) for i in range(SAMPLES)] == [local.read(i) for i in range(SAMPLES)]
        assert proxy.count("GET") == before + SHARDS
        assert not reader.ahead.waiting
        reader.close()


def test_a_neighbour_that_is_gone_does_not_spoil_the_others(store, monkeypatch):
    monkeypatch.setattr("gpuaug.data.sources.remote.ahead.GAP", 2 * 70_000)
    local = ShardSource(f"{store[0]}/t-0.tar")
    with s3_at(store[1]):
        source = ShardSource(f"s3://{BUCKET}/t-0.tar")
        source.shards[0].sizes[EACH - 1] = 10**7  # as if the shard had been cut short
        reader = source.reader()
        reader.will_read(np.arange(EACH))
        assert [reader.read(i) for i in range(EACH - 1)] == [local.read(i) for i in range(EACH - 1)]
        with pytest.raises(DecodeError, match=r"0015.png: the shard ends within it"):
            reader.read(EACH - 1)
        reader.close()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cached", [False, True])
def test_closing_in_the_middle_of_an_epoch_leaves_nothing_behind(store, tmp_path, held, workers, cached):
    """Even while the server is silent."""
    options = {"cache_dir": tmp_path / "cache"} if cached else {}
    with FaultyProxy(store[1], faults={"stalled": 1}, stalled=LIMIT) as proxy, s3_at(proxy.address):
        source = ShardSource(URL, **options)
        if cached:
            for path in (tmp_path / "cache").glob("*.tar"):
                path.unlink()
        before = held()[0]
        made = []
        reader = source.reader
        source.reader = lambda: made.append(reader()) or made[-1]
        given = iter(gpuaug.DataLoader(source, POLICY, 4, num_workers=workers))
        next(given)
        if workers:
            wait_until(lambda: not made[0].ahead.asked)  # so that the next batch is there
        proxy.rate = 1.0
        if workers:
            next(given)
        closing = threading.Thread(target=given.close, daemon=True)
        closing.start()
        closing.join(8.0)  # a request takes 60 s before it is given up
        assert not closing.is_alive()
        assert held()[0] == before
        (ahead,) = [one.ahead for one in made]
        assert not ahead.waiting
        wait_until(lambda: not ahead.asked)
    assert not list(tmp_path.rglob("*.partial"))


def wait_until(true):
    for _ in range(200):
        if true():
            return
        time.sleep(0.05)
    assert true()


def test_subsets_and_concatenations_read_ahead_too(store, plain):
    from torch.utils.data import ConcatDataset, Subset

    class Remote(ShardSource):
        def __getitem__(self, i):
            raise AssertionError("is not used")

    with FaultyProxy(store[1], 1.0, faults={"slow": 1}, slow=0.2) as proxy, s3_at(proxy.address):
        parts = [Remote(f"s3://{BUCKET}/t-{k}.tar") for k in range(2)]
        proxy.most = 0
        loader = gpuaug.DataLoader(ConcatDataset([Subset(parts[0], [3, 1, 5, 7]), parts[1]]), plain, 20, num_workers=1)
        (_, target), *_ = list(loader)
    assert target.tolist() == [i % 7 for i in (3, 1, 5, 7, *range(EACH, 2 * EACH))]
    assert proxy.most >= 8


def test_a_server_that_knows_no_ranges_is_named(store):
    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(store[0]))

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            source = ShardSource(f"http://127.0.0.1:{server.server_port}/t-0.tar")  # of which one request is enough to index
            with pytest.raises(RemoteError, match=r"t-0.tar: 0000.png: .*the server sends whole files rather than ranges"):
                source.read(0)
        finally:
            server.shutdown()
            thread.join(LIMIT)
