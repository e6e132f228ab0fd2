"""The index of a tar shard: made once, kept in a file, and made anew when the shard changes."""

import os
from pathlib import Path

import fsspec
import pytest
from tars import picture, tar

import gpuaug
from gpuaug.data import DecodeError, ShardSource
from gpuaug.data.sources.archives import tar_index

pytestmark = pytest.mark.usefixtures("_index_cache")


def test_an_index_made_without_labels_has_them_all_the_same(tmp_path, plain):
    path = tar(tmp_path / "a.tar", [("1.png", picture()), ("1.cls", b"3")])
    assert not gpuaug.DataLoader(path, plain, labels=False).labelled
    assert ShardSource(path).targets.tolist() == [3]


def test_a_shard_that_changes_after_it_was_indexed(tmp_path):
    path = tar(tmp_path / "a.tar", [("1.png", b"x" * 600)])
    source = ShardSource(path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DecodeError, match=r"a.tar: 1.png: the shard ends within it"):
        source.read(0)
    path.unlink()
    with pytest.raises(DecodeError, match=r"a.tar: 1.png: cannot be read: .*No such file"):
        source.read(0)


def test_the_index_is_made_anew_when_the_shard_changes(tmp_path):
    path = tar(tmp_path / "a.tar", [("1.png", b"x")])
    assert len(ShardSource(path)) == 1
    status = path.stat()
    tar(path, [("1.png", b"y"), ("2.png", b"z")])
    assert path.stat().st_size == status.st_size
    os.utime(path, ns=(0, status.st_mtime_ns + 1))
    assert [ShardSource(path).read(i) for i in range(2)] == [b"y", b"z"]


def test_the_index_is_used_when_the_shard_is_as_it_was(tmp_path):
    path = tar(tmp_path / "a.tar", [("1.png", b"x")])
    ShardSource(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar", "a.tar.index.npz"]
    status = path.stat()
    path.write_bytes(b"?" * status.st_size)
    os.utime(path, ns=(0, status.st_mtime_ns))
    assert ShardSource(path).name(0) == f"{path}: 1.png"


def test_a_damaged_index_is_made_anew(tmp_path):
    path = tar(tmp_path / "a.tar", [("1.png", b"x")])
    ShardSource(path)
    index = tmp_path / "a.tar.index.npz"
    whole = index.read_bytes()
    for content in (b"", b"?" * 100, whole[:-30], whole[: len(whole) // 2]):
        index.write_bytes(content)
        assert ShardSource(path).read(0) == b"x"
        assert index.read_bytes() == whole


def test_an_index_lies_in_the_cache_where_the_folder_cannot_be_written(tmp_path, monkeypatch):
    path = tar(tmp_path / "shards" / "a.tar", [("1.png", b"x")])
    save = tar_index.save

    def refuse(shard, place, stamp):  # permissions would not stop the superuser, who may run the tests
        if place.parent == path.parent:
            raise PermissionError(13, "Permission denied", str(place))
        save(shard, place, stamp)

    monkeypatch.setattr(tar_index, "save", refuse)
    assert ShardSource(path).read(0) == b"x"
    assert [p.name for p in path.parent.iterdir()] == ["a.tar"]
    (cached,) = Path(os.environ["XDG_CACHE_HOME"], "gpuaug").iterdir()
    monkeypatch.setattr(tar_index, "scan", None)  # is not called
    assert ShardSource(path).read(0) == b"x"
    assert cached.name.endswith(".index.npz")


def test_without_a_home_there_is_no_cache_and_no_error(tmp_path, monkeypatch):
    path = tar(tmp_path / "a.tar", [("1.png", b"x")])
    fsspec.filesystem("memory").pipe("/homeless/a.tar", path.read_bytes())
    monkeypatch.setenv("XDG_CACHE_HOME", "~a-user-that-is-not-there/cache")  # whose home cannot be found either
    assert ShardSource(path).read(0) == ShardSource("memory://homeless/a.tar").read(0) == b"x"
