"""Listing of image folders: torchvision's order, and errors that say what to do."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

import gpuaug
from gpuaug.data import DecodeError, FolderSource


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_order_is_torchvisions(tmp_path):
    touch(
        tmp_path,
        *("b/2.png", "b/10.png", "b/x/1.jpg", "b/x-y/1.jpg", "b/x/z/1.JPEG", "b/notes.txt"),
        *("a b/é.webp", "a b/.hidden.png", "a b/archive.tar.gz", "C/1.TIFF", "C/deep/er/2.ppm", "loose.png"),
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
        (["x.txt"], FileNotFoundError, "neither class folders nor images.*one folder of images a class"),
        (["1.png", "2.jpg"], FileNotFoundError, "2 images but no class folders; move them into one"),
        (["a/1.png", "b/x.txt", "c/y"], FileNotFoundError, "no images in the class folders b, c.*\\.jpg"),
    ],
    ids=["no images", "no classes", "classes without images"],
)
def test_folders_that_are_not_image_folders(tmp_path, files, error, message):
    touch(tmp_path, *files)
    with pytest.raises(error, match=f"{tmp_path}: .*{message}"):
        gpuaug.DataLoader(tmp_path, "byol")


def test_an_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither class folders nor images"):
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

    def refuse(path: str):  # the superuser, who may run the tests, is refused nothing
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
