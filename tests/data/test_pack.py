"""Packing: the same samples, made smaller, in the same bytes however often packing was interrupted."""

import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

import gpuaug
from gpuaug import cli
from gpuaug.data import DecodeError, FolderSource, PackedSource, ShardSource, decode
from gpuaug.data.packing import formats
from gpuaug.data.packing.pack import Packing, duration, pack, readable
from gpuaug.data.packing.verify import verify
from gpuaug.data.sources.packed import MANIFEST, PROGRESS
from gpuaug.yuv import from_rgb, to_rgb

FORMATS = ("jpeg", "raw", "yuv")
ROOT = Path(__file__).parents[2]


def quiet(src: Path | str, dst: Path, packing: Packing, workers: int = 1) -> list[str]:
    """Pack, and return what was said."""
    said: list[str] = []
    pack(str(src), dst, packing, workers, said.append)
    return said


def test_advice_is_of_what_pack_can_do(tmp_path, caplog):
    (tmp_path / "in/a").mkdir(parents=True)
    for name in ("a/1.png", "2.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / "in" / name)
    quiet(tmp_path / "in", tmp_path / "p", Packing("raw", 8))
    assert "2.png; --no-labels packs all images, without classes" in caplog.text
    assert "labels=False" not in caplog.text
    assert PackedSource(tmp_path / "p").labelled
    assert cli.main(["pack", str(tmp_path / "in"), str(tmp_path / "q"), "--format", "raw", "--size", "8", "--no-labels"]) == 0
    packed = PackedSource(tmp_path / "q")
    assert len(packed) == 2
    assert not packed.labelled


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.endswith(".npz")}


def pixels_of(source, i: int) -> np.ndarray:
    return decode(source.read(i), source.name(i))


def stored(pixels: np.ndarray, kind: str, size: int) -> np.ndarray:
    """The picture that a packing holds of this one."""
    if kind == "jpeg":
        return decode(formats.encode_jpeg(pixels, size, 90, ""), "")
    small = formats.square(pixels, size)
    return small if kind == "raw" else to_rgb(from_rgb(torch.tensor(small[None])), size, size)[0].numpy()


@pytest.mark.parametrize("workers", [1, 3])
def test_raw_holds_what_the_function_gives(tmp_path, folder, workers):
    source = FolderSource(folder)
    quiet(folder, tmp_path / "p", Packing("raw", 12, shard_size=16), workers)
    packed = PackedSource(tmp_path / "p")
    assert np.array_equal(packed.images, [formats.square(pixels_of(source, i), 12) for i in range(len(source))])
    assert np.array_equal(packed.targets, source.targets)
    assert packed.classes == source.classes


@pytest.mark.parametrize("workers", [1, 3])
def test_shards_hold_what_the_function_gives(tmp_path, folder, workers):
    source = FolderSource(folder)
    quiet(folder, tmp_path / "p", Packing("jpeg", 12, 80, shard_size=16), workers)
    packed = gpuaug.DataLoader(tmp_path / "p", "byol").source
    assert isinstance(packed, ShardSource)
    assert packed.shards[0].name(1) == "00000001.jpg"
    assert [len(shard) for shard in packed.shards] == [16, 16, 16, 16, 6]
    assert [packed.read(i) for i in range(70)] == [formats.encode_jpeg(pixels_of(source, i), 12, 80, "") for i in range(70)]
    assert np.array_equal(packed.targets, source.targets)
    assert packed.classes == source.classes


@settings(deadline=None)
@given(height=st.integers(1, 60), width=st.integers(1, 60), size=st.integers(1, 40))
def test_sizes_and_pixels_are_those_of_torchvision(height, width, size):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    resize = v2.Resize(size, v2.InterpolationMode.BICUBIC)
    assert np.array_equal(formats.square(pixels, size), np.asarray(v2.CenterCrop(size)(resize(picture))))
    expected = resize(picture) if min(height, width) > size else picture
    file = io.BytesIO()
    expected.save(file, "JPEG", quality=77)
    assert formats.encode_jpeg(pixels, size, 77, "") == file.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_the_loader_gives_the_views_of_the_stored_pixels(tmp_path, folder, policy, kind):
    source = FolderSource(folder)
    quiet(folder, tmp_path / "p", Packing(kind, 16, shard_size=30))
    packed = gpuaug.DataLoader(tmp_path / "p", policy, batch_size=16, shuffle=True, num_workers=2)
    pixels = [stored(pixels_of(source, i), kind, 16) for i in range(70)]
    augment = gpuaug.Augmenter(policy)
    for views, target in packed:
        expected = augment([pixels[i] for i in packed.index], packed.draws)
        assert all(torch.equal(a, b) for a, b in zip(views, expected, strict=True))
        assert target.tolist() == source.targets[packed.index].tolist()


def test_shards_are_packed_too_and_samples_without_a_class_stay_so(tmp_path):
    file = io.BytesIO()
    Image.new("RGB", (20, 30), (1, 2, 3)).save(file, "png")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in (("1.png", file.getvalue()), ("2.png", file.getvalue()), ("2.cls", b"5")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    for kind in FORMATS:
        quiet(tmp_path / "a.tar", tmp_path / kind, Packing(kind, 10))
        assert gpuaug.DataLoader(tmp_path / kind, "byol").source.targets.tolist() == [-1, 5]
        assert verify(tmp_path / kind) == []


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_data_give_the_same_bytes(tmp_path, folder, kind):
    for k in range(2):
        quiet(folder, tmp_path / str(k) / "p", Packing(kind, 12, shard_size=16), workers=k + 1)
    assert content(tmp_path / "0" / "p") == content(tmp_path / "1" / "p")


@pytest.mark.parametrize("kind", FORMATS)
def test_packing_goes_on_after_kills_and_ends_in_the_same_bytes(tmp_path, folder, kind):
    packing = Packing(kind, 64, shard_size=5)
    quiet(folder, tmp_path / "whole" / "p", packing)
    dst = tmp_path / "killed" / "p"
    command = [sys.executable, "-m", "gpuaug.cli", "pack", folder, dst, "--format", kind, "--size=64", "--shard-size=5"]
    rng = np.random.default_rng()  # interrupts at another point each time
    for parts in sorted(rng.integers(0, 12, 2).tolist()):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and finished(dst) <= parts:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.01))
        process.kill()
        process.wait()
        if finished(dst) < 14:
            with pytest.raises(ValueError, match="packing has not finished; run the same `gpuaug pack` command again"):
                gpuaug.DataLoader(dst, "byol")
    quiet(folder, dst, packing, workers=2)
    assert content(dst) == content(tmp_path / "whole" / "p")
    assert verify(dst) == []


def finished(dst: Path) -> int:
    """Number of parts in the journal; all 14 if the manifest has replaced it."""
    try:
        return len(json.loads((dst / PROGRESS).read_bytes())["parts"])
    except FileNotFoundError:
        return 14 if (dst / MANIFEST).exists() else 0


@pytest.mark.parametrize("kind", FORMATS)
def test_finished_parts_are_not_made_again(tmp_path, folder, kind):
    packing = Packing(kind, 12, shard_size=16)
    broken = tmp_path / "set"
    for i, path in enumerate(sorted(folder.rglob("*.png"))):
        copy = broken / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(b"" if i == 40 else path.read_bytes())
    with pytest.raises(DecodeError, match=r"040\.png: the file is empty"):
        quiet(broken, tmp_path / "p", packing)
    assert finished(tmp_path / "p") == 2
    (broken / "bee" / "040.png").write_bytes((folder / "bee" / "040.png").read_bytes())
    (broken / "ant" / "000.png").write_bytes(b"")  # is in a finished part
    said = quiet(broken, tmp_path / "p", packing)
    assert said[-1] == "going on after 32 images"
    quiet(folder, tmp_path / "whole" / "p", packing)
    before, after = content(tmp_path / "whole" / "p"), content(tmp_path / "p")
    assert before == after


def test_a_finished_shard_that_is_lost_is_made_again(tmp_path, folder):
    packing = Packing("jpeg", 12, shard_size=16)
    quiet(folder, tmp_path / "p", packing)
    whole = content(tmp_path / "p")
    (tmp_path / "p" / MANIFEST).rename(tmp_path / "p" / PROGRESS)
    (tmp_path / "p" / "p-000003.tar").unlink()
    assert quiet(folder, tmp_path / "p", packing)[-1] == "going on after 48 images"
    assert content(tmp_path / "p") == whole


def test_a_packed_folder_is_left_alone(tmp_path, folder):
    packing = Packing("jpeg", 12, shard_size=50)
    quiet(folder, tmp_path / "p", packing)
    assert "is already packed" in quiet(folder, tmp_path / "p", packing)[0]
    for other, told in ((Packing("jpeg", 13, shard_size=50), "size 12"), (Packing("raw", 12), "format jpeg, .*shard_size 50")):
        with pytest.raises(FileExistsError, match=f"holds a packing of {told}"):
            quiet(folder, tmp_path / "p", other)


@pytest.mark.parametrize("name", ["notes.txt", "p-000000.tar", "pixels.npy", ".git"])
def test_a_folder_that_holds_something_else_is_refused(tmp_path, folder, name):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / name).write_bytes(b"")
    with pytest.raises(
        FileExistsError, match=f"holds something else, such as {re.escape(name)}; give a new or an empty folder"
    ):
        quiet(folder, tmp_path / "p", Packing())
    assert content(tmp_path / "p") == {name: b""}


def test_a_folder_inside_the_source_is_refused(folder):
    with pytest.raises(ValueError, match=r"ant/p: lies inside .*, where it would count as a class"):
        quiet(folder, folder / "ant" / "p", Packing())
    assert len(FolderSource(folder)) == 70


def test_a_file_in_place_of_the_folder(tmp_path, folder):
    (tmp_path / "p").write_bytes(b"")
    with pytest.raises(FileExistsError, match="is a file; give a new folder"):
        quiet(folder, tmp_path / "p", Packing())


@pytest.mark.parametrize("text", ["", "{}", "[]"])
def test_a_journal_of_something_else(tmp_path, folder, text):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "packed.json").write_text(text)
    with pytest.raises(FileExistsError, match=r"packed.json: was not written by `gpuaug pack`"):
        quiet(folder, tmp_path / "p", Packing())


def test_other_samples_are_refused(tmp_path, folder):
    quiet(folder, tmp_path / "p", Packing("raw", 12))
    for name in ("ant", "bee", "dog"):
        (tmp_path / "set" / name).mkdir(parents=True)
    for i, path in enumerate(sorted(folder.rglob("*.png"))):
        (tmp_path / "set" / ("ant", "bee", "dog")[i * 3 // 70] / path.name).write_bytes(path.read_bytes())
    with pytest.raises(FileExistsError, match="holds a packing of other samples"):
        quiet(tmp_path / "set", tmp_path / "p", Packing("raw", 12))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "png"}, "format must be one of jpeg, raw, yuv, got 'png'"),
        ({"size": 0}, r"size must be an integer in 1\.\.32768, got 0"),
        ({"quality": 101}, r"quality must be an integer in 1\.\.100, got 101"),
        ({"shard_size": 0}, r"shard-size must be an integer in 1\.\.\d+, got 0"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        Packing(**options)


def test_sources_that_cannot_be_packed(tmp_path, folder):
    for kind in ("raw", "yuv"):
        quiet(folder, tmp_path / kind, Packing(kind, 8))
        with pytest.raises(ValueError, match=f"holds {kind} pixels already; pack the files that it was made from"):
            quiet(tmp_path / kind, tmp_path / "q", Packing())
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(ValueError, match=r"empty.tar: there are no images in it"):
        quiet(tmp_path / "empty.tar", tmp_path / "q", Packing())
    with pytest.raises(ValueError, match="workers must be an integer of at least 1, got 0"):
        quiet(folder, tmp_path / "q", Packing(), workers=0)
    assert not (tmp_path / "q").exists()


def test_an_image_too_long_for_jpeg_is_named(tmp_path):
    (tmp_path / "set" / "a").mkdir(parents=True)
    Image.new("L", (65600, 1)).save(tmp_path / "set" / "a" / "long.png")
    with pytest.raises(ValueError, match=r"long.png: 65600 x 1 pixels cannot be stored as JPEG .*use the format raw or yuv"):
        quiet(tmp_path / "set", tmp_path / "p", Packing())


def test_a_disk_too_small_is_known_before_it_begins(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100_000))  # no test can fill a disk
    with pytest.raises(OSError, match=r"/p: needs about 215 kB more, but the disk has only 100 kB left"):
        quiet(folder, tmp_path / "p", Packing("raw", 32))
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_said_before_comes_true(tmp_path, folder, kind):
    first, second = quiet(folder, tmp_path / "p", Packing(kind, 24, 85, shard_size=32), workers=2)
    shape = "shorter edge at most 24, quality 85" if kind == "jpeg" else "24 x 24"
    assert first == f"70 images as {kind}, {shape}"
    told = re.fullmatch(r"expected: ([\d.]+) kB in .*/p; \d+ images/s on 2 threads, \d+ s", second)
    assert told
    size = sum(
        len(data) for name, data in content(tmp_path / "p").items() if name.endswith((".tar", "pixels.npy", "planes.npy"))
    )
    assert float(told[1]) == pytest.approx(size / 1000, rel=0.2)  # a tar's end is rounded up to 10 kB


@settings(deadline=None)
@given(st.floats(0, 1e18))
def test_sizes_are_told_in_three_digits(size):
    number, unit = readable(size).split()
    assert float(number) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit] == pytest.approx(size, rel=0.005)


def test_times_are_told_in_the_unit_that_suits():
    assert [duration(seconds) for seconds in (5, 300, 86400)] == ["5 s", "5 min", "24.0 h"]


@pytest.mark.parametrize("kind", FORMATS)
def test_bad_images_are_left_out_and_named_and_the_others_stored(tmp_path, folder, kind):
    """Also if they stopped the packing at first; the bytes are those of a packing that never stopped."""
    bad = {31: b"no image", 40: b"", 68: b""}  # the estimate uses none of these
    broken = tmp_path / "set"
    for i, path in enumerate(sorted(folder.rglob("*.png"))):
        copy = broken / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(bad.get(i, path.read_bytes()))
    packing = Packing(kind, 12, shard_size=8)
    with pytest.raises(DecodeError, match=r"031\.png: .*; --on-error skip leaves out such images and goes on"):
        quiet(broken, tmp_path / "p", packing)
    assert finished(tmp_path / "p") == 3
    said: list[str] = []
    for name in ("p", "whole/p"):
        said = []
        pack(str(broken), tmp_path / name, packing, 2, said.append, "skip")
    assert said[-4:] == [
        "3 of 70 images were left out:",
        "  bee/031.png: not an image in a format that Pillow reads; it starts with b'no image'",
        "  bee/040.png: the file is empty",
        "  cat/068.png: the file is empty",
    ]
    assert content(tmp_path / "p") == content(tmp_path / "whole" / "p")
    manifest = json.loads((tmp_path / "p" / MANIFEST).read_bytes())
    assert manifest["count"] == 67
    assert [part["count"] for part in manifest["parts"]] == [8, 8, 8, 7, 8, 7, 8, 8, 5]
    assert manifest["parts"][3]["skipped"][0]["index"] == 31
    assert verify(tmp_path / "p") == []
    assert "is already packed" in quiet(broken, tmp_path / "p", packing)[0]
    packed = gpuaug.DataLoader(tmp_path / "p", "byol").source
    source = FolderSource(folder)
    kept = [i for i in range(70) if i not in bad]
    assert packed.targets.tolist() == source.targets[kept].tolist()
    if kind == "jpeg":
        assert [packed.read(k) for k in range(67)] == [formats.encode_jpeg(pixels_of(source, i), 12, 90, "") for i in kept]
    else:
        assert np.array_equal([packed[k][0] for k in range(67)], [stored(pixels_of(source, i), kind, 12) for i in kept])


def test_a_source_without_a_good_image_is_an_error(tmp_path):
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "a" / "1.png").write_bytes(b"")
    with pytest.raises(DecodeError, match=r"1\.png: the file is empty$"):
        pack(str(tmp_path / "set"), tmp_path / "p", Packing(), on_error="skip")
    assert not (tmp_path / "p").exists()


def test_a_picture_may_be_as_large_as_max_pixels(tmp_path, folder, capsys):
    command = ["pack", str(folder), str(tmp_path / "p"), "--size", "40", "--workers", "1", "--max-pixels"]
    assert cli.main([*command, "50"]) == 2
    assert "pixels are more than max_pixels=50" in capsys.readouterr().err
    assert cli.main([*command, "2000"]) == 0
    assert cli.main(["pack", "--verify", str(tmp_path / "p"), "--max-pixels", "50"]) == 1
    assert "pixels are more than max_pixels=50" in capsys.readouterr().out
    assert cli.main(["pack", "--verify", str(tmp_path / "p"), "--max-pixels", "2000"]) == 0
    assert cli.main([*command, "0"]) == 2


def test_a_picture_may_be_larger_than_pillows_own_limit(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # so that monkeypatch restores it
    assert cli.main(["pack", str(folder), str(tmp_path / "p"), "--size", "8", "--max-pixels", "400000001"]) == 0
    assert Image.MAX_IMAGE_PIXELS == 200_000_001


@pytest.mark.parametrize("kind", FORMATS)
def test_the_command(tmp_path, folder, kind, capsys):
    dst = tmp_path / "p"
    assert cli.main(["pack", str(folder), str(dst), "--format", kind, "--size", "12", "--workers", "1"]) == 0
    assert capsys.readouterr().out.startswith(f"70 images as {kind}, ")
    assert cli.main(["pack", "--verify", str(dst)]) == 0
    assert capsys.readouterr().out == f"{dst}: all is as it was written\n"
    (dst / ("p-000000.tar" if kind == "jpeg" else "targets.npy")).unlink()
    assert cli.main(["pack", "--verify", str(dst)]) == 1
    assert str(dst) in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["a"], ["a", "--verify", "b"], ["a", "b", "--verify", "c"]])
def test_the_command_takes_two_folders_or_one(arguments, capsys):
    assert cli.main(["pack", *arguments]) == 2
    assert capsys.readouterr().err == "gpuaug: pack takes SRC and DST, or --verify DST alone\n"
