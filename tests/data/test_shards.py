"""Tar shards: the samples of the files inside them, in order, and errors that name shard and member."""

import json
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tars import epoch, of_folder, picture, tar

import gpuaug
from gpuaug.data import DecodeError, FolderSource, ShardSource

pytestmark = pytest.mark.usefixtures("_index_cache")


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


def test_a_damaged_image_is_named(tmp_path, plain):
    path = tar(tmp_path / "a.tar", [("1.png", picture()), ("2.png", picture()[:90])])
    with pytest.raises(DecodeError, match=f"{path}: 2.png: cannot be decoded"):
        list(gpuaug.DataLoader(path, plain))


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


def test_shards_say_what_they_are(tmp_path):
    path = tar(tmp_path / "a.tar", [("1.png", b"x")])
    assert repr(ShardSource([path, path])) == "ShardSource(2 samples in 2 shards)"
    assert ShardSource(path).classes == []


def test_a_name_with_a_dot_is_explained(tmp_path):
    path = tar(tmp_path / "a.tar", [("x/a.v1.png", b"x")])
    with pytest.raises(
        ValueError, match=r"a sample's name ends at the first dot, so x/a.v1.png counts as its .v1.png; rename it"
    ):
        ShardSource(path)
