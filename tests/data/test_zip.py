"""Zip archives: the samples of the folder that was zipped, from where they lie in the archive."""

import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

import gpuaug
from gpuaug.data import FolderSource, ZipSource

PLAIN = gpuaug.Policy(gpuaug.View(8, gpuaug.Resize(8), gpuaug.CenterCrop(8)))


@pytest.fixture
def pets(tmp_path):
    root = tmp_path / "pets"
    for k, name in enumerate(["dog/b/1.png", "cat/2.jpg", "dog/0.PNG", "cat/10.jpg", "bird/x.webp"]):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(path)
    (root / "cat" / "notes.txt").write_text("no image")
    return root


def zipped(root, archive, inside=True, method=zipfile.ZIP_DEFLATED):
    """An archive of a folder, or of what is in it, in another order than that of names."""
    base = root.parent if inside else root
    with zipfile.ZipFile(archive, "w", method) as out:
        for path in sorted(root.rglob("*"), reverse=True):
            out.write(path, path.relative_to(base))
    return archive


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("labels", [None, True, False])
def test_samples_are_those_of_the_folder(pets, tmp_path, inside, method, labels):
    source, folder = ZipSource(zipped(pets, tmp_path / "a.zip", inside, method), labels), FolderSource(pets, labels)
    assert [source.read(i) for i in range(len(source))] == [folder.read(i) for i in range(len(folder))]
    assert source.classes == folder.classes
    assert source.targets.tolist() == folder.targets.tolist()
    start = str(tmp_path / "a.zip") + ("/pets" if inside else "")
    assert [source.name(i) for i in range(len(source))] == [
        folder.name(i).replace(str(pets), start) for i in range(len(folder))
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_views_are_those_of_the_folder(pets, tmp_path, workers):
    options = {"batch_size": 2, "shuffle": True, "num_workers": workers}
    ours = gpuaug.DataLoader(str(zipped(pets, tmp_path / "A.ZIP")), "simclr_cifar", **options)
    theirs = gpuaug.DataLoader(str(pets), "simclr_cifar", **options)
    for ((a, b), target), ((c, d), other) in zip(ours, theirs, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)
        assert torch.equal(target, other)


def test_what_the_zip_program_writes(pets, tmp_path):
    """Info-ZIP and `ditto` write other extra fields in front of the data than in the directory; an old archive may grow."""
    archive = tmp_path / "a.zip"
    shutil.make_archive(str(tmp_path / "a"), "zip", pets.parent, "pets")
    with zipfile.ZipFile(archive, "a") as more:
        info = zipfile.ZipInfo("pets/cat/3.jpg")
        info.extra = b"\xfe\xca\4\0abcd"
        more.writestr(info, (pets / "cat/2.jpg").read_bytes())
        more.writestr("__MACOSX/pets/cat/._3.jpg", b"x")
    source = ZipSource(archive)
    assert [source.name(i).rsplit("/", 1)[1] for i in range(len(source))] == [
        "x.webp",
        "10.jpg",
        "2.jpg",
        "3.jpg",
        "0.PNG",
        "1.png",
    ]
    assert source.read(3) == source.read(2)


def test_an_archive_of_images_has_no_labels(pets, tmp_path):
    archive = tmp_path / "flat.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for k in range(3):
            out.write(pets / "cat/2.jpg", f"photos/{k}.jpg")
    source = ZipSource(archive)
    assert len(source) == 3
    # As a folder that holds one folder of images: a class.
    assert source.classes == ["photos"]
    assert not ZipSource(archive, labels=False).labelled


def test_one_batch_is_read_while_the_archive_is_elsewhere_in_memory(pets, tmp_path):
    """A pickled loader opens the archive again."""
    import pickle

    loader = pickle.loads(pickle.dumps(gpuaug.DataLoader(str(zipped(pets, tmp_path / "a.zip")), PLAIN, batch_size=5)))
    ((_, target),) = loader
    assert target.tolist() == [0, 1, 1, 2, 2]


def test_damage_is_found_by_the_checksum(pets, tmp_path):
    archive = zipped(pets, tmp_path / "a.zip", method=zipfile.ZIP_STORED)
    data = bytearray(archive.read_bytes())
    inside = (pets / "cat/2.jpg").read_bytes()
    data[data.index(inside) + len(inside) // 2] ^= 1
    archive.write_bytes(data)
    loader = gpuaug.DataLoader(str(archive), PLAIN, batch_size=5, on_error="skip", max_bad=1.0)
    assert sum(len(target) for _, target in loader) == 4
    ((name, reason),) = loader.bad_files.items()
    assert name.endswith("a.zip/pets/cat/2.jpg")
    assert "its checksum differs" in reason
    archive.write_bytes(b"x" * len(data))
    with pytest.raises(OSError, match=r"bird/x.webp: damaged, or the archive was changed after it was listed"):
        next(iter(gpuaug.DataLoader(loader.source, PLAIN)))
    archive.unlink()
    with pytest.raises(OSError, match=r"bird/x.webp: cannot be read: No such file or directory"):
        next(iter(gpuaug.DataLoader(loader.source, PLAIN)))


def test_errors_when_the_source_is_made(pets, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.zip: no such file"):
        gpuaug.DataLoader(str(tmp_path / "none.zip"), PLAIN)
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"PK\3\4 and no more")
    with pytest.raises(ValueError, match=r"bad.zip: not a zip archive, or a damaged one: File is not a zip file"):
        gpuaug.DataLoader(str(bad), PLAIN)
    zipped(pets, bad, method=zipfile.ZIP_BZIP2)
    with pytest.raises(ValueError, match=r"1.png: is compressed by method 12, but only stored and deflated files are read"):
        gpuaug.DataLoader(str(bad), PLAIN)
    with zipfile.ZipFile(bad, "w") as out:
        out.writestr("a/1.jpg", b"")
        with pytest.warns(UserWarning, match="Duplicate name"):
            out.writestr("a/1.jpg", b"")
    with pytest.raises(ValueError, match=r"bad.zip/a/1.jpg: is in the archive twice"):
        gpuaug.DataLoader(str(bad), PLAIN)
    with zipfile.ZipFile(bad, "w") as out:
        out.writestr("a/1.txt", b"")
    with pytest.raises(FileNotFoundError, match=r"bad.zip: no images in it"):
        gpuaug.DataLoader(str(bad), PLAIN)


def test_an_encrypted_archive_is_refused(pets, tmp_path):
    archive = zipped(pets, tmp_path / "a.zip")
    data = bytearray(archive.read_bytes())
    at = data.index(b"PK\1\2")
    while at >= 0:  # the flags in the directory
        data[at + 8] |= 1
        at = data.find(b"PK\1\2", at + 1)
    archive.write_bytes(data)
    with pytest.raises(ValueError, match=r"is encrypted; write the archive anew"):
        gpuaug.DataLoader(str(archive), PLAIN)


def test_the_command_line_takes_an_archive(pets, tmp_path):
    zipped(pets, tmp_path / "a.zip")
    subprocess.run(
        [sys.executable, "-m", "gpuaug", "pack", "a.zip", "packed", "--size", "8", "--format", "raw"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert gpuaug.DataLoader(str(tmp_path / "packed"), PLAIN).dataset.classes == ["bird", "cat", "dog"]
