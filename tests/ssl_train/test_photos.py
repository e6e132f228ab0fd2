"""The data set photos: cut from real files in disjoint regions, the same bytes each time, made completely or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from importlib.metadata import files
from itertools import product
from pathlib import Path

import pytest
from PIL import Image

from ssl_train import photos
from ssl_train.data import cache_folder, open_data
from ssl_train.errors import UserError


def shrunk_size(name: str) -> tuple[int, int]:
    with Image.open(photos.source_folder() / name) as photo:
        photo.thumbnail((photos.LONGEST, photos.LONGEST))
        return photo.size


def digests(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*.jpg"))}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos.make(tmp_path_factory.mktemp("cache"), progress=False)


def test_at_least_fifteen_photographs_all_inside_the_wheel() -> None:
    in_wheel = {Path(str(file)).name for file in files("scikit-image") or [] if str(file).startswith("skimage/data/")}
    assert len(photos.FILES) >= 15
    assert set(photos.FILES) <= in_wheel


@pytest.mark.parametrize("name", photos.FILES)
def test_training_and_test_patches_share_no_pixel(name: str) -> None:
    width, height = shrunk_size(name)
    train, test = (photos.boxes(Path(name).stem, split, width, height) for split in ("train", "test"))
    for (left, top, right, bottom), (left2, top2, right2, bottom2) in product(train, test):
        assert min(right, right2) <= max(left, left2) or min(bottom, bottom2) <= max(top, top2)
    for left, top, right, bottom in train + test:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert right - left == bottom - top == photos.PATCH


def test_a_folder_a_photograph_in_each_split(made: Path) -> None:
    for split, count in photos.COUNT.items():
        found = {p.name: len(list(p.glob("*.jpg"))) for p in (made / split).iterdir()}
        assert found == {Path(name).stem: count for name in photos.FILES}
    with Image.open(made / "train" / "chelsea" / "000.jpg") as patch:
        assert (patch.size, patch.mode) == ((photos.PATCH, photos.PATCH), "RGB")


def test_a_patch_shows_its_place_in_the_photograph(made: Path) -> None:
    """Up to JPEG's losses; any other place of the same photograph differs by far more."""
    with Image.open(photos.source_folder() / "chelsea.png") as photo:
        boxes = photos.boxes("chelsea", "test", *photo.size)
        with Image.open(made / "test" / "chelsea" / "003.jpg") as patch:
            difference = [
                sum(abs(a - b) for a, b in zip(photo.crop(box).tobytes(), patch.tobytes(), strict=True)) / len(patch.tobytes())
                for box in boxes
            ]
    assert difference[3] < 4
    assert min(d for box, d in zip(boxes, difference, strict=True) if box != boxes[3]) > 4


def test_made_again_it_has_the_same_bytes_and_made_twice_it_is_not_made_again(made: Path, tmp_path: Path) -> None:
    again = photos.make(tmp_path, progress=False)
    assert digests(again) == digests(made)
    (again / "mark").touch()
    assert photos.make(tmp_path, progress=False) == again
    assert (again / "mark").exists()
    assert [p.name for p in tmp_path.iterdir()] == [photos.NAME]


def test_an_interrupted_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = photos.cut

    def cut(file: Path, out: Path) -> None:
        if file.stem == "coffee":
            raise KeyboardInterrupt
        whole(file, out)

    monkeypatch.setattr(photos, "cut", cut)
    with pytest.raises(KeyboardInterrupt):
        photos.make(tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_another_process_that_is_quicker_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(file: Path, out: Path) -> None:
        (tmp_path / photos.NAME / "theirs").mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(photos, "cut", cut)
    assert [p.name for p in photos.make(tmp_path, progress=False).iterdir()] == ["theirs"]
    assert [p.name for p in tmp_path.iterdir()] == [photos.NAME]


def test_unusable_places_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write to the cache .*file.cache .*GPUAUG_DATA"):
        photos.make(tmp_path / "file" / "cache")
    monkeypatch.setattr(photos, "source_folder", lambda: tmp_path)
    with pytest.raises(UserError, match=r"lacks astronaut.png, .*pip install"):
        photos.make(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(photos, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install scikit-image"):
        photos.make(tmp_path)


def test_a_container_whose_user_has_no_home_has_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GPUAUG_DATA", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)  # which no list of users has
    assert cache_folder() == Path(tempfile.gettempdir()) / f"gpuaug-{2**31 - 7}"


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GPUAUG_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "gpuaug"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "gpuaug"
    monkeypatch.setenv("GPUAUG_DATA", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    data = open_data("photos", progress=False)
    assert data.train == str(tmp_path / "here" / photos.NAME / "train")
