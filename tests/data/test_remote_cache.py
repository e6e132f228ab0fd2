"""The cache of remote shards: whole copies or none, within its limit, for any number of processes."""

import json
import logging
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from faulty_proxy import FaultyProxy
from remote_shards import EACH, POLICY, SHARDS, URL, epoch_of, fill, views_of
from tars import tar

import gpuaug
from benchmarks.object_store import BUCKET, s3_at
from gpuaug.data import FolderSource, ShardSource
from gpuaug.data.sources.remote import cache as cache_module
from gpuaug.data.sources.remote.cache import ShardCache
from gpuaug.data.sources.remote.stamps import stamp_of

pytestmark = pytest.mark.usefixtures("_index_cache", "_impatient")

LIMIT = 60.0
"""Seconds after which a test that waits counts as hanging."""

ROOT = Path(gpuaug.__file__).parent.parent

OTHER = URL.replace("t-", "other-")


def copies(folder):
    """The contents of the whole copies in a cache."""
    return sorted(path.read_bytes() for path in folder.glob("*.tar"))


def on_disk(root, name="t"):
    return sorted((root / f"{name}-{k}.tar").read_bytes() for k in range(SHARDS))


def age(folder, seconds=10_000.0):
    """Let all copies have been used for the last time some hours ago, in the order of their names."""
    for k, path in enumerate(sorted(folder.glob("*.tar"))):
        os.utime(path, (time.time() - seconds + k,) * 2)


def test_shards_cross_the_network_once(store, tmp_path):
    folder = tmp_path / "cache"
    expected = epoch_of(ShardSource(f"{store[0]}/t-{{0..{SHARDS - 1}}}.tar"))
    with FaultyProxy(store[1]) as proxy, s3_at(proxy.address):
        for k in range(2):
            loader = gpuaug.DataLoader(URL, POLICY, 16, shuffle=True, seed=9, num_workers=1, cache_dir=folder)
            found = {}
            for views, target in loader:
                found |= {i: (row, int(target[j])) for j, (i, row) in enumerate(views_of(loader, views).items())}
            assert found == expected
            assert proxy.count("GET") == SHARDS, k
    assert copies(folder) == on_disk(store[0])
    assert sorted(path.suffix for path in folder.iterdir()) == ["", *[".npz"] * SHARDS, *[".tar"] * SHARDS]
    assert not list(Path(os.environ["XDG_CACHE_HOME"]).rglob("*.npz"))


def test_the_index_in_the_cache_is_enough_while_there_is_no_room(store, tmp_path):
    with FaultyProxy(store[1]) as proxy, s3_at(proxy.address):
        ShardSource(URL, cache_dir=tmp_path, cache_size=1000)
        before = proxy.count("GET")
        source = ShardSource(URL, cache_dir=tmp_path, cache_size=1000)
        assert proxy.count("GET") == before
        assert len(source) == SHARDS * EACH
    assert copies(tmp_path) == []


def test_shards_that_are_missing_are_copied_while_others_are_read(store, tmp_path):
    with s3_at(store[1]):
        source = ShardSource(URL, cache_dir=tmp_path)
        for path in tmp_path.glob("*.tar"):
            path.unlink()
        given = iter(gpuaug.DataLoader(source, POLICY, 8, num_workers=1))
        next(given)
        for _ in range(400):
            if len(copies(tmp_path)):
                break
            time.sleep(0.05)
        given.close()
    assert copies(tmp_path)
    assert set(copies(tmp_path)) <= set(on_disk(store[0]))


def test_a_data_set_that_is_larger_than_the_cache_keeps_what_it_has(store, tmp_path):
    size = len(on_disk(store[0])[0])
    with FaultyProxy(store[1]) as proxy, s3_at(proxy.address):
        loader = gpuaug.DataLoader(URL, POLICY, 8, shuffle=True, num_workers=1, cache_dir=tmp_path, cache_size=2 * size + 5000)
        kept = {path: path.stat().st_ino for path in tmp_path.glob("*.tar")}
        assert len(kept) == 2
        for _ in range(2):
            before = proxy.count("GET")
            assert sum(len(target) for _, target in loader) == SHARDS * EACH
            assert EACH <= proxy.count("GET") - before <= EACH + 2  # the third shard's samples; retries of a slow moto
    assert {path: path.stat().st_ino for path in tmp_path.glob("*.tar")} == kept


def test_the_shards_that_were_used_least_recently_are_deleted(store, tmp_path):
    size = len(on_disk(store[0])[0])
    with s3_at(store[1]):
        ShardSource(URL, cache_dir=tmp_path, cache_size=4 * size)
        used = ShardSource(f"s3://{BUCKET}/t-1.tar", cache_dir=tmp_path, cache_size=4 * size)
        age(tmp_path)
        assert used.read(0)  # so this one is used again
        ShardSource(f"s3://{BUCKET}/other-{{0..1}}.tar", cache_dir=tmp_path, cache_size=4 * size)
        expected = [on_disk(store[0], "other")[:2], [(store[0] / "t-1.tar").read_bytes()]]
        found = copies(tmp_path)
        assert len(found) == 4
        assert {*(data for group in expected[1:] for data in group)} <= set(found)
        assert {(store[0] / f"other-{k}.tar").read_bytes() for k in range(2)} <= set(found)


def test_shards_that_another_process_uses_now_are_kept(store, tmp_path):
    size = len(on_disk(store[0])[0])
    with s3_at(store[1]):
        ShardSource(URL, cache_dir=tmp_path, cache_size=3 * size + 5000)
        source = ShardSource(OTHER, cache_dir=tmp_path, cache_size=3 * size + 5000)
        assert len(source.read(0))
    assert copies(tmp_path) == on_disk(store[0])


def test_an_object_that_has_changed_is_fetched_again(tmp_path):
    memory = fsspec.filesystem("memory")
    for k in range(2):
        path = tar(tmp_path / "a.tar", [("1.png", b"x" * (100 + k))])
        memory.pipe("/changing/a.tar", path.read_bytes())
        source = ShardSource("memory://changing/a.tar", cache_dir=tmp_path / "cache")
        assert source.read(0) == b"x" * (100 + k)
        assert copies(tmp_path / "cache") == [path.read_bytes()]  # the old one is outdated, and goes first
        memory.rm("/changing/a.tar")
        assert source.read(0) == b"x" * (100 + k)  # from the copy


def test_an_object_that_changes_while_it_is_copied_is_not_kept(tmp_path, monkeypatch, caplog):
    memory = fsspec.filesystem("memory")
    path = tar(tmp_path / "a.tar", [("1.png", b"x")])
    memory.pipe("/moving/a.tar", path.read_bytes())
    stamp = stamp_of("memory://moving/a.tar")
    whole = cache_module.download

    def changed_meanwhile(*args):
        whole(*args)
        memory.pipe("/moving/a.tar", path.read_bytes()[::-1])

    monkeypatch.setattr(cache_module, "download", changed_meanwhile)
    assert ShardCache(tmp_path / "cache", 10**9).fetch("memory://moving/a.tar", stamp) is None
    assert copies(tmp_path / "cache") == []
    assert "has changed since its index was made" in caplog.text


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: data + b"x"])
def test_a_copy_that_is_not_whole_is_not_used(store, tmp_path, damage):
    local = ShardSource(f"{store[0]}/t-0.tar")
    with s3_at(store[1]):
        source = ShardSource(f"s3://{BUCKET}/t-0.tar", cache_dir=tmp_path)
        (path,) = tmp_path.glob("*.tar")
        path.write_bytes(damage(path.read_bytes()))
        assert source.read(0) == local.read(0)
        assert not path.exists()


def test_an_index_that_was_being_written_when_its_process_was_killed_is_removed_later(tmp_path):
    for name, seconds in ((".old.index.npz.12345678.partial", 10_000), (".new.index.npz.12345678.partial", 0)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - seconds,) * 2)
    ShardCache(tmp_path, 1)
    assert [path.name for path in tmp_path.glob(".*.partial")] == [".new.index.npz.12345678.partial"]


PROGRAM = """
    import hashlib, sys
    from gpuaug.data import ShardSource
    source = ShardSource(sys.argv[1], cache_dir=sys.argv[2])
    print(hashlib.sha256(b"".join(source.read(i) for i in range(len(source)))).hexdigest())
"""


def start(url, folder, program=PROGRAM):
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program), url, str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_fill_one_cache(store, tmp_path):
    with FaultyProxy(store[1], 1.0, faults={"slow": 1}, slow=0.3, only="t-") as proxy, s3_at(proxy.address):
        running = [start(URL, tmp_path) for _ in range(2)]
        try:
            ended = [process.communicate(timeout=LIMIT * 3) for process in running]
        finally:
            for process in running:
                process.kill()
        assert [errors for _, errors in ended] == ["", ""]
        assert ended[0] == ended[1]
        gets = {path: n for (how, path, _), n in proxy.requests.items() if how == "GET"}
        assert len(gets) == SHARDS
        assert sum(gets.values()) <= SHARDS + 1  # copied once; one more for a try that was slow
    assert copies(tmp_path) == on_disk(store[0])
    assert not list(tmp_path.glob(".*.partial"))


def test_a_process_that_is_killed_while_it_copies_leaves_nothing_that_is_taken_for_a_copy(store, tmp_path):
    with FaultyProxy(store[1], 1.0, faults={"stuck": 1}, stalled=LIMIT, only="t-1") as proxy, s3_at(proxy.address):
        process = start(URL, tmp_path)
        try:
            for _ in range(1200):
                left = list(tmp_path.glob(".*.tar.partial"))
                if len(copies(tmp_path)) == SHARDS - 1 and any(path.stat().st_size for path in left):
                    break
                assert process.poll() is None, process.communicate()
                time.sleep(0.05)
        finally:
            process.kill()
            process.communicate(timeout=LIMIT)
        (partial,) = tmp_path.glob(".*.tar.partial")
        assert partial.stat().st_size == (store[0] / "t-1.tar").stat().st_size  # whole by its size, but not by its content
        assert set(copies(tmp_path)) < set(on_disk(store[0]))
        proxy.rate = 0.0
        ShardSource(f"s3://{BUCKET}/t-0.tar", cache_dir=tmp_path)
        assert not partial.exists()  # any other process cleans up
        source = ShardSource(URL, cache_dir=tmp_path)
    local = ShardSource(f"{store[0]}/t-{{0..{SHARDS - 1}}}.tar")
    assert [source.read(i) for i in range(len(source))] == [local.read(i) for i in range(len(local))]
    assert copies(tmp_path) == on_disk(store[0])


FULL = """
    import json, logging, resource, sys
    import torch
    import gpuaug
    from gpuaug.data import ShardSource
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))  # no file may be larger, as on a disk that is full
    torch.set_num_threads(1)
    source = ShardSource(sys.argv[1], cache_dir=sys.argv[2])
    print(json.dumps([len(source.read(i)) for i in range(len(source))]))
"""


def test_a_full_disk_is_one_warning_and_reading_without_the_cache(store, tmp_path):
    local = ShardSource(f"{store[0]}/t-{{0..{SHARDS - 1}}}.tar")
    with s3_at(store[1]):
        process = start(URL, tmp_path, FULL)
        out, errors = process.communicate(timeout=LIMIT * 3)
    assert errors == ""
    *warnings, sizes = out.splitlines()
    assert warnings == [f"cache_dir: {tmp_path}: the disk is full; shards that are not in it are read from their server"]
    assert json.loads(sizes) == [len(local.read(i)) for i in range(len(local))]
    assert copies(tmp_path) == []
    assert not list(tmp_path.glob(".*.partial"))


def test_a_disk_that_takes_a_part_of_what_is_written(tmp_path, monkeypatch):
    data, pwrite = bytes(range(256)) * 40, os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, rest, start: pwrite(descriptor, rest[: len(rest) // 2 + 1], start))
    with (tmp_path / "file").open("w+b") as file:
        os.truncate(file.fileno(), 7 + len(data))
        cache_module.write(file.fileno(), data, 7)
        assert file.read() == bytes(7) + data


def test_a_process_that_is_forked_while_the_cache_is_locked_keeps_no_lock(tmp_path):
    cache = ShardCache(tmp_path, 10**6)
    held, end = multiprocessing.get_context("fork").Event(), multiprocessing.get_context("fork").Event()
    child = multiprocessing.get_context("fork").Process(target=lambda: (held.set(), end.wait(LIMIT)))
    with cache.locked():
        child.start()
    try:
        assert held.wait(LIMIT)
        with (tmp_path / ".lock").open("ab") as file:
            assert cache_module.lock(file, wait=False)
    finally:
        end.set()
        child.join(LIMIT)


def test_many_threads_that_find_the_disk_full_warn_once(tmp_path, caplog):
    cache, threads = ShardCache(tmp_path, 10**6), 8
    together = threading.Barrier(threads)

    def find_out():
        together.wait()
        cache.give_up()

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda _: find_out(), range(threads)):
            pass
    assert not cache.usable
    assert len(caplog.records) == 1


def test_a_cache_of_what_is_not_remote_is_refused(tmp_path, folder, plain):
    shard = tar(tmp_path / "a.tar", [("1.png", b"x")])
    with pytest.raises(ValueError, match=r"cache_dir keeps copies of remote shards, but .*a.tar is on this machine"):
        ShardSource(shard, cache_dir=tmp_path / "cache")
    for source in (folder, shard, [shard], FolderSource(folder), torch.zeros(4, 3, 8, 8, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"DataLoader: cache_dir is for remote shards that are given by their URL"):
            gpuaug.DataLoader(source, plain, cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("size", [0, -1, 1.5, None, "1 GB", True])
def test_a_size_that_is_none_is_named(tmp_path, plain, size):
    with pytest.raises(ValueError, match=r"DataLoader: cache_size must be an integer at least 1, got"):
        gpuaug.DataLoader("memory://a/b.tar", plain, cache_dir=tmp_path, cache_size=size)
    with pytest.raises(ValueError, match=r"ShardSource: cache_size must be an integer, at least 1"):
        ShardSource("memory://a/b.tar", cache_dir=tmp_path, cache_size=size)


def test_a_folder_that_cannot_be_one_is_named(tmp_path, plain):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cache_dir: .*file/x: cannot be used: .*; give a folder on a local disk"):
        gpuaug.DataLoader("memory://a/b.tar", plain, cache_dir=tmp_path / "file" / "x")


def test_a_loader_of_a_source_with_a_cache(tmp_path, plain, caplog):
    """A program may make a loader of another one's attributes."""
    root = tmp_path / "local"
    fill(root, shards=1)
    fsspec.filesystem("memory").pipe("/again/t-0.tar", (root / "t-0.tar").read_bytes())
    with caplog.at_level(logging.WARNING):
        first = gpuaug.DataLoader("memory://again/t-0.tar", plain, 4, cache_dir=tmp_path / "cache")
        again = gpuaug.DataLoader(first.source, plain, 4, cache_dir=first.cache_dir, cache_size=first.cache_size)
        assert next(iter(again))[1].tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"give it to gpuaug.data.ShardSource"):
        gpuaug.DataLoader(first.source, plain, cache_dir=tmp_path / "another")
    assert caplog.records == []


def test_a_reader_that_is_closed_while_its_threads_start(store, tmp_path, monkeypatch):
    """As when an epoch ends early, while another thread asks for the next batches."""
    with s3_at(store[1]):
        reader = ShardSource(URL, cache_dir=tmp_path / "cache").reader()
        for path in (tmp_path / "cache").glob("*.tar"):
            path.unlink()
        start, starting = threading.Thread.start, threading.Event()

        def slow(thread):
            if thread.name.startswith("gpuaug-copy"):
                starting.set()
                time.sleep(0.3)
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", slow)

        def ask():
            with suppress(CancelledError):  # by the close
                reader.will_read(np.arange(8))

        asking = threading.Thread(target=ask)
        asking.start()
        assert starting.wait(LIMIT)
        reader.close()
        asking.join(LIMIT)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("gpuaug-copy")]
