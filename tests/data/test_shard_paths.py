"""Where shards lie: patterns, folders and URLs, and errors for what is no shard."""

import fsspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tars import epoch, of_folder, tar

import gpuaug
from gpuaug.data import DatasetSource, DecodeError, FolderSource, ShardSource
from gpuaug.data.sources.archives import shards

pytestmark = pytest.mark.usefixtures("_index_cache")


def test_braces_that_do_not_count_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"\{000,001\} is not understood; braces can only count, as in \{000..001\}"):
        ShardSource(tmp_path / "s-{000,001}.tar")


def test_a_shard_that_is_not_there(tmp_path, plain):
    with pytest.raises(FileNotFoundError, match=r"t-1.tar: no such shard"):
        gpuaug.DataLoader(f"{tmp_path}/t-{{1..3}}.tar", plain)


def test_remote_shards(folder, policy, tmp_path):
    local = FolderSource(folder)
    memory = fsspec.filesystem("memory")
    for path in of_folder(local, tmp_path, 2):
        memory.pipe(f"/bucket/{path.name}", path.read_bytes())
    views, targets = epoch("memory://bucket/t-{000..001}.tar", policy, num_workers=2)
    expected, numbers = epoch(local, policy)
    assert all(torch.equal(a, b) for a, b in zip(views, expected, strict=True))
    assert torch.equal(targets, numbers)
    source = ShardSource("memory://bucket/t-000.tar")
    assert source.name(0) == "memory://bucket/t-000.tar: 00000.png"
    memory.pipe("/bucket/t-000.tar", b"short")
    with pytest.raises(DecodeError, match=r"memory://bucket/t-000.tar: 00000.png: the shard ends within it"):
        source.read(0)
    with pytest.raises(ValueError, match=r"memory://bucket/t-000\.tar: not a plain tar"):
        ShardSource("memory://bucket/t-000.tar")  # its index was of another version
    with pytest.raises(FileNotFoundError, match=r"t-009\.tar"):
        ShardSource("memory://bucket/t-009.tar")


@settings(deadline=None)
@given(first=st.integers(0, 120), count=st.integers(1, 30), digits=st.integers(1, 6))
def test_patterns_count_with_as_many_digits(first, count, digits):
    low, high = f"{first:0{digits}}", f"{first + count - 1:0{digits}}"
    found = shards.expand_pattern(f"a-{{{low}..{high}}}-{{0..1}}.tar")
    assert found == [f"a-{k:0{len(low)}}-{j}.tar" for k in range(first, first + count) for j in range(2)]


def test_a_pattern_that_counts_down(tmp_path):
    with pytest.raises(ValueError, match=r"\{3\.\.1\} counts down"):
        ShardSource(f"{tmp_path}/a-{{3..1}}.tar")


def test_a_tar_beside_class_folders_is_not_the_data(tmp_path, folder, plain):
    (tmp_path / "ant").symlink_to(folder / "ant")
    tar(tmp_path / "devkit.tar", [("1.png", b"x")])
    assert isinstance(gpuaug.DataLoader(tmp_path, plain).source, FolderSource)


class Words(list):
    """A Dataset that is a list of something else."""

    def __getitem__(self, i):
        return Image.new("RGB", (8, 8)), i


def test_a_dataset_that_is_a_list_of_words_is_no_list_of_shards(plain):
    assert isinstance(gpuaug.DataLoader(Words(["a", "b"]), plain).source, DatasetSource)


@pytest.mark.parametrize(
    ("end", "command"),
    [(".tar.gz", "gunzip"), (".tgz", "gunzip"), (".tar.xz", "unxz"), (".tar.zst", "unzstd"), (".TGZ", "gunzip")],
)
def test_compressed_shards_are_refused_with_the_command_that_unpacks(tmp_path, plain, end, command):
    path = tmp_path / f"a{end}"
    path.touch()
    for given_, name in ((str(path), path), ([path], path), (f"memory://bucket/a{end}", f"a{end}")):
        with pytest.raises(
            ValueError, match=rf"a{end}: is compressed, .* needs a plain tar; unpack it first: {command} {name}$"
        ):
            gpuaug.DataLoader(given_, plain)


@pytest.mark.parametrize("place", [["pets.zip"], "memory://bucket/pets.ZIP"])
def test_a_zip_that_is_elsewhere_or_in_a_list_is_refused_with_what_to_do(plain, place):
    with pytest.raises(ValueError, match=r"pets.(zip|ZIP): is a zip, and only a single one on a local disk is read; give"):
        gpuaug.DataLoader(place, plain)


def test_globs_and_folders_local_and_remote(tmp_path, folder, policy):
    local = FolderSource(folder)
    memory = fsspec.filesystem("memory")
    for path in of_folder(local, tmp_path / "shards", 3):
        memory.pipe(f"/globbed/in/{path.name}", path.read_bytes())
    memory.pipe("/globbed/in/README.txt", b"not a shard")
    expected, numbers = epoch(local, policy)
    places = (
        f"{tmp_path}/shards/t-*.tar",
        f"{tmp_path}/sh?rds/t-00[0-2].tar",
        f"file://{tmp_path}/shards",
        "memory://globbed/in",
        "memory://globbed/in/",
        "memory://globbed/in/t-*.tar",
    )
    for place in places:
        views, targets = epoch(place, policy)
        assert all(torch.equal(a, b) for a, b in zip(views, expected, strict=True)), place
        assert torch.equal(targets, numbers)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("{}/s-*.tar", r"/s-\*.tar: no shard matches"),
        ("memory://nowhere/s-*.tar", r"memory://nowhere/s-\*.tar: no shard matches"),
        ("memory://nowhere/a.tar", "memory://nowhere/a.tar: no such shard"),
        ("memory://nowhere/", "memory://nowhere/: no such folder"),
        ("file://{}", "no .tar shards in it; a URL must name a shard"),
    ],
)
def test_shards_that_are_not_there_are_named(tmp_path, plain, place, message):
    with pytest.raises(FileNotFoundError, match=message):
        gpuaug.DataLoader(place.format(tmp_path), plain)


def test_a_scheme_that_nobody_knows_is_named(plain):
    with pytest.raises(ValueError, match=r"^nosuch://a/b.tar: Protocol not known: nosuch"):
        gpuaug.DataLoader("nosuch://a/b.tar", plain)
