"""Listing of image folders: torchvision's order, and errors that say what to do."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

import gpuaug
from gpuaug.data import DecodeError, FolderSource
from gpuaug.data.packing.pack import Packing, pack


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_order_is_torchvisions(tmp_path):
    touch(
        tmp_path,
        *("b/2.png", "b/10.png", "b/x/1.jpg", "b/x-y/1.jpg", "b/x/z/1.JPEG", "b/notes.txt"),
        *("a b/é.webp", "a b/archive.tar.gz", "C/1.TIFF", "C/deep/er/2.ppm", "loose.png"),
    )
    touch(tmp_path.parent / f"{tmp_path.name}-elsewhere", "1.png", "2.png")
    (tmp_path / "b" / "linked").symlink_to(tmp_path.parent / f"{tmp_path.name}-elsewhere")
    (tmp_path / "C" / "link.png").symlink_to(tmp_path / "b" / "2.png")
    (tmp_path / "C" / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    theirs, ours = ImageFolder(tmp_path), FolderSource(tmp_path)
    assert [(ours.name(i), t) for i, t in enumerate(ours.targets.tolist())] == theirs.samples
    assert (ours.classes, ours.class_to_idx) == (theirs.classes, theirs.class_to_idx)
    assert ours.targets.dtype == np.int64


def test_samples_of_a_torchvision_folder_keep_their_order(folder):
    theirs = ImageFolder(folder)
    ours = FolderSource.from_samples(theirs.samples[::-1], theirs.classes, theirs.class_to_idx)
    assert [(ours.name(i), t) for i, t in enumerate(ours.targets.tolist())] == theirs.samples[::-1]


def test_a_pipe_is_not_listed(tmp_path):
    touch(tmp_path, "a/1.png")
    os.mkfifo(tmp_path / "a" / "2.png")
    assert len(FolderSource(tmp_path)) == 1


def test_a_link_to_a_folder_above_ends(tmp_path):
    touch(tmp_path, "a/1.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "above").symlink_to(tmp_path)
    assert len(FolderSource(tmp_path)) == 1


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        (
            ["x.txt"],
            FileNotFoundError,
            r"no images in it; it needs files that end in \.jpg .* in one folder per class or, without",
        ),
        (["x/1.txt", "y/2.txt"], FileNotFoundError, "no images in it"),
        (
            ["a/1.png", "b/x.txt", "c/y"],
            FileNotFoundError,
            r"no images in the class folders b, c.*\.jpg.*labels=False takes all",
        ),
    ],
    ids=["no images", "no images in folders", "classes without images"],
)
def test_folders_that_are_not_image_folders(tmp_path, files, error, message):
    touch(tmp_path, *files)
    with pytest.raises(error, match=f"{tmp_path}: .*{message}"):
        gpuaug.DataLoader(tmp_path, "byol")


def test_an_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no images in it"):
        gpuaug.DataLoader(tmp_path, "byol")


def test_a_path_that_is_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        gpuaug.DataLoader(tmp_path / "nowhere", "byol")
    touch(tmp_path, "file")
    with pytest.raises(NotADirectoryError, match="file: not a folder"):
        gpuaug.DataLoader(str(tmp_path / "file"), "byol")


def test_a_folder_without_permission_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "a/1.png", "b/1.png")
    scandir = os.scandir

    def refuse(path: str):  # permissions would not stop the superuser, who may run the tests
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match=str(tmp_path / "b")):
        FolderSource(tmp_path)


def test_a_file_that_vanishes_is_named(tmp_path, plain):
    touch(tmp_path, "a/1.png")
    loader = gpuaug.DataLoader(tmp_path, plain)
    (tmp_path / "a" / "1.png").unlink()
    with pytest.raises(DecodeError, match=r"a/1.png: cannot be read: No such file"):
        next(iter(loader))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_file_is_named_after_the_batches_before_it(tmp_path, plain, workers):
    touch(tmp_path, "a/3.jpg")
    for k in (0, 1, 2, 4):
        Image.new("RGB", (8, 8), (k, k, k)).save(tmp_path / "a" / f"{k}.jpg")
    batches = iter(gpuaug.DataLoader(tmp_path, plain, batch_size=2, num_workers=workers))
    assert len(next(batches)[0]) == 2
    with pytest.raises(DecodeError, match=r"a/3\.jpg: the file is empty"):
        next(batches)


def test_content_decides_not_the_extension(tmp_path, plain):
    (tmp_path / "a").mkdir()
    Image.new("RGB", (8, 8), (0, 128, 255)).save(tmp_path / "a" / "1.jpg", "png")
    views, _ = next(iter(gpuaug.DataLoader(tmp_path, plain)))
    assert (views[0, :, 0, 0] * 255).round().tolist() == [0, 128, 255]


def test_the_home_directory_is_expanded(tmp_path, monkeypatch):
    touch(tmp_path, "set/a/1.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FolderSource("~/set").name(0) == str(tmp_path / "set" / "a" / "1.png")


LOOSE = ["b/2.png", "b/10.png", "b/x/1.jpg", "b-x/1.jpg", "a/1.png", "0.png", "z.jpg", "notes.txt"]


def test_images_beside_class_folders_are_left_out_and_said(tmp_path, caplog):
    touch(tmp_path, *LOOSE)
    theirs, ours = ImageFolder(tmp_path), FolderSource(tmp_path)
    assert [(ours.name(i), t) for i, t in enumerate(ours.targets.tolist())] == theirs.samples
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: 2 images beside the class folders are left out, such as 0.png; labels=False takes all images, without "
        "classes"
    ]


def test_without_labels_all_images_of_a_folder_are_taken(tmp_path, caplog):
    touch(tmp_path, *LOOSE)
    with_labels, without = FolderSource(tmp_path), FolderSource(tmp_path, labels=False)
    caplog.clear()
    names = [without.name(i) for i in range(len(without))]
    assert names[:5] == [with_labels.name(i) for i in range(5)]  # the same indices, so the same draws
    assert names[5:] == [str(tmp_path / "0.png"), str(tmp_path / "z.jpg")]
    assert (without.labelled, without.classes, without.target(np.arange(7))) == (False, [], None)
    assert not caplog.records


def test_a_folder_without_class_folders(tmp_path):
    touch(tmp_path, "2.png", "10.png", "empty/notes.txt")
    source = FolderSource(tmp_path)
    assert [Path(source.name(i)).name for i in range(2)] == ["10.png", "2.png"]
    assert (source.labelled, source.classes, source.targets.tolist()) == (False, [], [-1, -1])
    assert repr(source) == "FolderSource(2 files, no labels)"
    with pytest.raises(FileNotFoundError, match="2 images but no class folders, and labels=True; move them"):
        FolderSource(tmp_path, labels=True)


def test_a_list_of_images_and_shards_is_refused():
    with pytest.raises(ValueError, match=r"only image files or only tar shards, but this one holds a\.png and b\.tar"):
        gpuaug.DataLoader(["a.png", "b.tar"], "byol")
    with pytest.raises(ValueError, match=r"https://here/a\.png: image files are only read from local disks"):
        gpuaug.DataLoader(["https://here/a.png"], "byol")


def test_what_programs_leave_beside_images_is_no_data(tmp_path, caplog):
    touch(tmp_path, "a/1.png", "b/2.png", ".ipynb_checkpoints/1-checkpoint.png", "__MACOSX/a/._1.png", "a/._1.png", "a/.notes")
    touch(tmp_path, "b/.ipynb_checkpoints/2-checkpoint.png", "b/__MACOSX/2.png", "b/.cache/3.png")
    for labels in (None, False):
        caplog.clear()
        source = FolderSource(tmp_path, labels)
        assert [source.name(i) for i in range(len(source))] == [str(tmp_path / "a" / "1.png"), str(tmp_path / "b" / "2.png")]
        assert [record.getMessage() for record in caplog.records] == [
            f"{tmp_path}: 6 hidden files and folders are left out, such as {tmp_path}/.ipynb_checkpoints; "
            "rename them to take them"
        ]
    assert FolderSource(tmp_path).classes == ["a", "b"]


def test_a_folder_may_be_hidden_itself(tmp_path, caplog):
    touch(tmp_path, ".data/a/1.png")
    assert len(FolderSource(tmp_path / ".data")) == 1
    assert not caplog.records


def test_a_folder_of_shards_with_something_hidden_is_one_of_shards(folder, tmp_path):
    pack(str(folder), tmp_path / "p", Packing("jpeg", 8), say=lambda _: None)
    (tmp_path / "p" / "packed.json").unlink()
    touch(tmp_path, "p/.ipynb_checkpoints/notes", "p/._p-000000.tar")
    assert len(gpuaug.DataLoader(tmp_path / "p", "byol").source) == len(FolderSource(folder))


@pytest.mark.parametrize("labels", [None, False])
def test_links_in_a_circle_are_named(tmp_path, labels):
    touch(tmp_path, "a/1.png", "b/x/2.png")
    (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b")
    assert [Path(FolderSource(tmp_path, labels).name(i)).name for i in range(3)] == ["1.png", "2.png", "2.png"]
    (tmp_path / "b" / "x" / "to_a").symlink_to(tmp_path / "a")
    with pytest.raises(ValueError, match=f"links lead in a circle, {tmp_path}/a/to_b, {tmp_path}/a/to_b/x/to_a; remove one"):
        FolderSource(tmp_path, labels)


def test_a_link_to_where_it_lies_is_no_class(tmp_path):
    touch(tmp_path, "a/1.png")
    (tmp_path / "all").symlink_to(tmp_path)
    (tmp_path / "up").symlink_to(tmp_path.parent)
    assert (FolderSource(tmp_path).classes, len(FolderSource(tmp_path))) == (["a"], 1)


def test_a_link_to_itself_is_a_file_that_is_not_there(tmp_path, plain):
    touch(tmp_path, "a/1.png")
    (tmp_path / "a" / "2.png").symlink_to(tmp_path / "a" / "2.png")
    (tmp_path / "a" / "no_image").symlink_to(tmp_path / "a" / "no_image")
    (tmp_path / "no_class").symlink_to(tmp_path / "no_class")
    source = FolderSource(tmp_path)
    assert len(source) == 2
    with pytest.raises(DecodeError, match=r"a/2\.png: cannot be read: Too many levels of symbolic links"):
        source.read(1)
