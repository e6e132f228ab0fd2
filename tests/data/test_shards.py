"""Tar shards: the samples of the files inside them, in order, and errors that name shard and member."""

import contextlib
import io
import json
import os
import pickle
import re
import shutil
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import gpuaug
from gpuaug.data import DatasetSource, DecodeError, FolderSource, ShardSource
from gpuaug.data.sources import shards, tar_index


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def tar(path: Path, members, **options) -> Path:
    """A tar of (name, bytes) pairs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as file:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return path


def of_folder(source: FolderSource, root: Path, pieces: int) -> list[Path]:
    """The files of a folder as shards, with their classes."""
    paths = []
    for k, part in enumerate(np.array_split(np.arange(len(source)), pieces)):
        members = []
        for i in part.tolist():
            members += [(f"{i:05}.png", source.read(i)), (f"{i:05}.cls", b"%d" % source.targets[i])]
        paths.append(tar(root / f"t-{k:03}.tar", members))
    return paths


def picture() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, "png")
    return file.getvalue()


def epoch(source, policy, **options):
    batches = list(gpuaug.DataLoader(source, policy, batch_size=9, shuffle=True, seed=3, **options))
    return [torch.cat([views[k] for views, _ in batches]) for k in range(2)], torch.cat([t for _, t in batches])


@pytest.mark.parametrize("workers", [0, 3])
def test_shards_give_the_views_of_the_folder_of_the_same_files(tmp_path, folder, policy, workers):
    source = FolderSource(folder)
    of_folder(source, tmp_path, 4)
    for given_ in (tmp_path, f"{tmp_path}/t-{{000..003}}.tar", [tmp_path / f"t-{k:03}.tar" for k in range(4)]):
        views, targets = epoch(given_, policy, num_workers=workers)
        expected, numbers = epoch(source, policy)
        assert all(torch.equal(a, b) for a, b in zip(views, expected, strict=True))
        assert torch.equal(targets, numbers)


@settings(deadline=None)
@given(st.data())
def test_every_sample_is_found_in_any_arrangement_of_shards(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("shards")
    sizes = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=5))
    expected, paths = [], []
    for k, count in enumerate(sizes):
        members = []
        for j in range(count):
            content = data.draw(st.binary(max_size=1100))
            label = data.draw(st.sampled_from([None, "cls", "json"]))
            number = data.draw(st.integers(-(2**63), 2**63 - 1))
            order = data.draw(st.permutations(range(3)))
            texts = {None: b"{}", "cls": b"%d\n" % number, "json": json.dumps({"label": number, "caption": "x"}).encode()}
            sample = [
                (f"a.b/s{j}.JPG", content),
                (f"a.b/s{j}.{label or 'json'}", texts[label]),
                (f"a.b/s{j}.seg.png", b"not this one"),
            ]
            members += [sample[i] for i in order]
            expected.append((f"{root}/{k}.tar: a.b/s{j}.JPG", content, -1 if label is None else number))
        paths.append(tar(root / f"{k}.tar", members))
    for source in (ShardSource(paths), pickle.loads(pickle.dumps(ShardSource(paths)))):  # the second from the cached index
        found = [(source.name(i), source.read(i), int(source.targets[i])) for i in range(len(source))]
        assert found == expected
        assert source.targets.dtype == np.int64


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_other_letters_in_every_kind_of_tar(tmp_path, kind):
    name = "/".join(["folder" * 10] * 2) + "/é.jpg"
    source = ShardSource(tar(tmp_path / "a.tar", [(name, b"data"), (name.replace("é", "ü"), b"more")], format=kind))
    assert source.name(0) == f"{tmp_path}/a.tar: {name}"
    assert [source.read(i) for i in range(2)] == [b"data", b"more"]


def test_what_is_no_sample_is_passed_over(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as file:
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        file.addfile(folder)
        for name in ("a/._1.jpg", "a/README", "a/1.jpg"):
            file.addfile(tarfile.TarInfo(name))
    assert [ShardSource(path).name(i) for i in range(1)] == [f"{path}: a/1.jpg"]


def test_a_sample_without_a_class_has_target_minus_one(tmp_path, plain):
    path = tar(tmp_path / "a.tar", [("1.png", picture()), ("2.png", picture()), ("2.cls", b"7"), ("2.json", b'{"label": 8}')])
    _, target = next(iter(gpuaug.DataLoader(path, plain, batch_size=2)))
    assert target.tolist() == [-1, 7]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            [("1.png", b"x"), ("2.txt", b"x"), ("2.cls", b"1")],
            r"sample 2 has no image, a member that ends in \.jpg .*2.txt, 2.cls",
        ),
        ([("1.png", b"x"), ("1.jpg", b"x")], "sample 1 has several images among its members 1.png, 1.jpg"),
        ([("1.png", b"x"), ("1.png", b"x")], "sample 1 has several images"),
        ([("1.png", b"x"), ("1.cls", b"dog")], r"1.cls: the class must be an integer, got b'dog'"),
        ([("1.png", b"x"), ("1.cls", b"%d" % 2**63)], r"1.cls: the class must be an integer"),
        ([("1.png", b"x"), ("1.json", b'{"label": 1.5}')], "1.json: the class must be an integer"),
        ([("1.png", b"x"), ("1.json", b'{"label": tru')], "1.json: the class must be an integer"),
        ([("1.png", b"x"), ("1.json", b"[1]")], "1.json: the class must be an integer"),
    ],
)
def test_samples_that_are_not_as_they_should_be_are_named(tmp_path, members, message):
    path = tar(tmp_path / "bad.tar", members)
    with pytest.raises(ValueError, match=f"{path}: {message}"):
        ShardSource(path)


@pytest.mark.parametrize("label", [("1.cls", b"cat"), ("1.json", b'{"label": "cat"}')])
def test_classes_that_are_words_are_no_matter_without_labels_whoever_has_made_the_index(tmp_path, plain, label):
    path = tar(tmp_path / "a.tar", [("1.png", picture()), label, ("2.png", picture()), ("2.cls", b"3")])
    for _ in range(2):  # the second time from the index
        _, index = next(iter(gpuaug.DataLoader(path, plain, batch_size=2, labels=False)))
        assert index.tolist() == [0, 1]
        assert ShardSource(path, labels=False).targets.tolist() == [-1, -1]
        for source in (path, [path], tmp_path):
            with pytest.raises(ValueError, match=rf"{label[0]}: the class must be an integer.*as integers; labels=False"):
                gpuaug.DataLoader(source, plain)
            assert not gpuaug.DataLoader(source, plain, labels=False).labelled


def test_an_index_made_without_labels_has_them_all_the_same(tmp_path, plain):
    path = tar(tmp_path / "a.tar", [("1.png", picture()), ("1.cls", b"3")])
    assert not gpuaug.DataLoader(path, plain, labels=False).labelled
    assert ShardSource(path).targets.tolist() == [3]


def test_documents_and_what_macos_adds_are_left_out_and_said(tmp_path, caplog):
    members = [("README.md", b"x"), ("./LICENSE.txt", b"x"), ("1.png", b"x"), ("1.cls", b"3"), ("__MACOSX/a.png", b"x")]
    path = tar(tmp_path / "a.tar", members)
    for _ in range(2):  # the second time from the index
        caplog.clear()
        source = ShardSource(path)
        assert [source.name(i) for i in range(len(source))] == [f"{path}: 1.png"]
        assert [record.getMessage() for record in caplog.records] == [
            f"{path}: 3 members that are no samples are left out, such as README.md"
        ]


@pytest.mark.parametrize("name", ["a/README.md", "README.cls", "notes.txt", "1.json"])
def test_what_may_be_a_sample_that_lacks_its_image_is_an_error(tmp_path, name):
    with pytest.raises(ValueError, match=f"has no image.*{name}"):
        ShardSource(tar(tmp_path / "a.tar", [(name, b"1"), ("2.png", b"x")]))


def test_braces_that_do_not_count_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"\{000,001\} is not known; of braces \{000..001\} alone is"):
        ShardSource(tmp_path / "s-{000,001}.tar")


def test_a_link_in_place_of_an_image(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        link = tarfile.TarInfo("1.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "2.jpg"
        file.addfile(link)
    with pytest.raises(ValueError, match=r"a.tar: 1.jpg is a link"):
        ShardSource(tmp_path / "a.tar")


@settings(deadline=None)
@given(cut=st.integers(0, 5119))
def test_a_shard_cut_short_anywhere_is_named(tmp_path_factory, cut):
    path = tar(tmp_path_factory.mktemp("cut") / "a.tar", [("1.png", b"x" * 700), ("1.cls", b"1"), ("2.png", b"y" * 600)])
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512  # the block that the last image ends in; the first one of zeros follows
    path.write_bytes(whole[: min(cut, end + 511)])
    with pytest.raises(
        ValueError, match=re.escape(f"{path}: ") + "(not a plain tar|damaged or cut short after .*[12].(png|cls)|damaged)"
    ):
        ShardSource(path)


def test_a_compressed_shard_is_named(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w:gz") as file:
        file.addfile(tarfile.TarInfo("1.jpg"))
    with pytest.raises(ValueError, match=r"a.tar: is compressed with gzip, .*: gunzip < .*a.tar > .*a-plain.tar"):
        ShardSource(tmp_path / "a.tar")


def test_a_shard_that_is_not_there(tmp_path, plain):
    with pytest.raises(FileNotFoundError, match=r"t-1.tar: no such shard"):
        gpuaug.DataLoader(f"{tmp_path}/t-{{1..3}}.tar", plain)


def test_a_damaged_image_is_named(tmp_path, plain):
    path = tar(tmp_path / "a.tar", [("1.png", picture()), ("2.png", picture()[:90])])
    with pytest.raises(DecodeError, match=f"{path}: 2.png: cannot be decoded"):
        list(gpuaug.DataLoader(path, plain))


def test_a_shard_that_changes_after_it_was_indexed(tmp_path):
    path = tar(tmp_path / "a.tar", [("1.png", b"x" * 600)])
    source = ShardSource(path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DecodeError, match=r"a.tar: 1.png: the shard ends within it"):
        source.read(0)
    path.unlink()
    with pytest.raises(DecodeError, match=r"a.tar: 1.png: cannot be read: .*No such file"):
        source.read(0)


# The cached index.


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

    def refuse(shard, place, stamp):  # the superuser, who may run the tests, is refused nothing
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


# Reading.


def open_files() -> int:
    """Descriptors of this process, where the system tells."""
    place = Path("/proc/self/fd")
    return sum(1 for _ in place.iterdir()) if place.exists() else 0


def test_several_threads_read_at_once_and_no_file_stays_open(tmp_path):
    paths = [tar(tmp_path / f"{k}.tar", [(f"{j}.png", bytes([k, j]) * 5000) for j in range(20)]) for k in range(30)]
    source = ShardSource(paths)
    before = open_files()
    order = np.random.default_rng(0).permutation(600).tolist() * 3
    with ThreadPoolExecutor(8) as pool:
        assert all(data == bytes(divmod(i, 20)) * 5000 for i, data in zip(order, pool.map(source.read, order), strict=True))
        after = open_files()
    assert after <= before + 8


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


# What a path means.


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


def test_shards_say_what_they_are(tmp_path):
    path = tar(tmp_path / "a.tar", [("1.png", b"x")])
    assert repr(ShardSource([path, path])) == "ShardSource(2 samples in 2 shards)"
    assert ShardSource(path).classes == []


# Tars of every kind.


def with_links(path: Path) -> Path:
    """A sample, a hard and a symbolic link to it in other folders, a link to a link, and a link's class."""
    with tarfile.open(path, "w") as file:

        def add(name, data=b"", kind=tarfile.REGTYPE, target=""):
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(data), kind, target
            file.addfile(member, io.BytesIO(data))

        add("./soft/0.png", kind=tarfile.SYMTYPE, target="../a/1.png")  # before what it links to
        add("./a/1.png", b"picture")
        add("./a/1.cls", b"7")
        add("hard/2.png", kind=tarfile.LNKTYPE, target="a/1.png")
        add("hard/2.cls", kind=tarfile.LNKTYPE, target="./a/1.cls")
        add("hard/3.png", kind=tarfile.SYMTYPE, target="2.png")
    return path


def test_links_have_the_bytes_of_what_they_link_to(tmp_path):
    source = ShardSource(with_links(tmp_path / "a.tar"))
    assert [source.read(i) for i in range(4)] == [b"picture"] * 4
    assert source.targets.tolist() == [-1, 7, 7, -1]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["2.jpg", "1.jpg", "/etc/hostname"])
def test_a_link_that_leads_nowhere_is_named(tmp_path, kind, target):
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        link = tarfile.TarInfo("1.jpg")
        link.type, link.linkname = kind, target
        file.addfile(link)
    with pytest.raises(ValueError, match=f"a.tar: 1.jpg is a link to {target}, which is not in the shard"):
        ShardSource(tmp_path / "a.tar")


@pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar makes sparse members")
@pytest.mark.parametrize("options", [["gnu"], *(["posix", f"--sparse-version={v}"] for v in ("0.0", "0.1", "1.0"))])
@pytest.mark.parametrize("name", ["1.png", "1.cls"])
def test_a_sparse_member_is_named(tmp_path, options, name):
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**20)
        file.seek(2**19)
        file.write(b"7" * 5000)
    (tmp_path / "2.png").write_bytes(picture())
    with contextlib.suppress(FileExistsError):
        (tmp_path / "1.png").open("xb").close()
    kind, *more = options
    files = sorted({"1.png", name, "2.png"})
    subprocess.run(["tar", "--sparse", f"--format={kind}", *more, "-cf", "a.tar", *files], cwd=tmp_path, check=True)
    with pytest.raises(ValueError, match=f"{tmp_path}/a.tar: {name} is a sparse file, .* without tar's option --sparse"):
        ShardSource(tmp_path / "a.tar")


@pytest.mark.parametrize("padding", [0, 512, 3 * 2**20])
def test_tars_joined_by_cat_are_read_to_the_end(tmp_path, padding):
    parts = [tar(tmp_path / f"{k}.tar", [(f"{k}.png", bytes([k]) * 700), (f"{k}.cls", b"%d" % k)]) for k in range(3)]
    joined = tmp_path / "joined.tar"
    joined.write_bytes(b"".join(part.read_bytes() + bytes(padding) for part in parts))
    source = ShardSource(joined)
    assert [source.read(i) for i in range(len(source))] == [bytes([k]) * 700 for k in range(3)]
    assert source.targets.tolist() == [0, 1, 2]


@pytest.mark.parametrize("rest", [b"x", b"something else" * 100])
def test_what_lies_behind_a_tar_and_is_none_is_named(tmp_path, rest):
    path = tar(tmp_path / "a.tar", [("1.png", b"x")])
    path.write_bytes(path.read_bytes() + rest)
    with pytest.raises(ValueError, match=r"a.tar: damaged or cut short after 1.png"):
        ShardSource(path)


def test_a_name_with_a_dot_is_explained(tmp_path):
    path = tar(tmp_path / "a.tar", [("x/a.v1.png", b"x")])
    with pytest.raises(ValueError, match=r"the first dot ends a sample's name, so that x/a.v1.png is its .v1.png; rename it"):
        ShardSource(path)


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


@pytest.mark.parametrize("place", ["pets.zip", "memory://bucket/pets.ZIP"])
def test_a_zip_is_refused_with_what_to_do(plain, place):
    with pytest.raises(ValueError, match=rf"^{place}: is a zip, which is not read; unpack it"):
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
        ("{}/s-*.tar", r"/s-\*.tar: no shard fits"),
        ("memory://nowhere/s-*.tar", r"memory://nowhere/s-\*.tar: no shard fits"),
        ("memory://nowhere/a.tar", "memory://nowhere/a.tar: no such shard"),
        ("memory://nowhere/", "memory://nowhere/: no such folder"),
        ("file://{}", "no .tar shards in it; a URL names shards"),
    ],
)
def test_shards_that_are_not_there_are_named(tmp_path, plain, place, message):
    with pytest.raises(FileNotFoundError, match=message):
        gpuaug.DataLoader(place.format(tmp_path), plain)


def test_a_scheme_that_nobody_knows_is_named(plain):
    with pytest.raises(ValueError, match=r"^nosuch://a/b.tar: Protocol not known: nosuch"):
        gpuaug.DataLoader("nosuch://a/b.tar", plain)


def test_without_a_home_there_is_no_cache_and_no_error(tmp_path, monkeypatch):
    path = tar(tmp_path / "a.tar", [("1.png", b"x")])
    fsspec.filesystem("memory").pipe("/homeless/a.tar", path.read_bytes())
    monkeypatch.setenv("XDG_CACHE_HOME", "~a-user-that-is-not-there/cache")  # whose home cannot be found either
    assert ShardSource(path).read(0) == ShardSource("memory://homeless/a.tar").read(0) == b"x"
