"""Replay from a folder that any loader's run has left: the same bits, and clear words for whatever is missing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_draws_writer import changed
from test_plain import Mine

import gpuaug
from gpuaug import Augmenter, DataLoader, DrawsWriter, GaussianBlur, Policy, RandomResizedCrop, View, cli, replay, write_run

POLICY = gpuaug.policy("byol", size=32)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five photographs of different sizes, without classes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for k in range(5):
        pixels = np.kron(rng.integers(0, 256, (9 + k, 14, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
        Image.fromarray(pixels).save(folder / f"{k}.{'png' if k == 3 else 'jpg'}")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("backend", ["auto", "batched", "torchvision"])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_what_a_loader_delivers_is_made_again(photos: Path, run: Path, backend: str, dtype: Any) -> None:
    options: dict[str, Any] = {"backend": backend, "dtype": dtype, "memory_format": torch.channels_last}
    loader = DataLoader(photos, POLICY, 3, shuffle=True, num_workers=2, seed=2**63 + 5, **options)
    write_run(run, loader, photos)
    for epoch in range(2):
        for views, _ in loader:
            for k, i in enumerate(loader.index.tolist()):
                again = replay(run, i, epoch)
                assert same(again.views, [view[k : k + 1] for view in views])
                assert again.name == str(photos / f"{i}.{'png' if i == 3 else 'jpg'}")
                assert tuple(again.image.shape[:2]) == tuple(again.draws.shapes[0])  # type: ignore[index]


def test_changed_draws_that_were_recorded_are_shown(photos: Path, run: Path) -> None:
    policy = Policy(View(24, RandomResizedCrop((24, 24)), GaussianBlur(9, (0.1, 4.0), p=1.0), repeat=2))
    loader = DataLoader(photos, policy, 5)
    write_run(run, loader, photos, epochs=1)
    next(iter(loader))
    draws = changed(loader.draws, [0.1, 4.0, 0.2, 3.0, 1.0])
    with DrawsWriter(run / "draws.jsonl") as writer:
        writer.write(draws.take([0, 1, 2, 3]))
    pictures = [np.array(Image.open(path).convert("RGB")) for path in sorted(photos.iterdir())]
    expected = Augmenter(policy)(pictures, draws)
    for k in range(4):
        again = replay(run, k, 0)
        assert again.recorded
        assert same(again.views, [view[k : k + 1] for view in expected])
        assert np.array_equal(again.image.numpy(), pictures[k])
    assert not replay(run, 4, 0).recorded
    assert not torch.equal(replay(run, 4, 0).views[0], expected[0][4:])  # drawn again, without the change


def test_an_op_of_the_users_own(photos: Path, run: Path) -> None:
    gpuaug.register(Mine, lambda x, op, draws: x / 2)
    loader = DataLoader(photos, Policy(View(8, RandomResizedCrop(), Mine())), 5)
    write_run(run, loader, photos)
    views, _ = next(iter(loader))
    assert same(replay(run, 2, 0, ops={"Mine": Mine}).views, [views[2:3]])
    with pytest.raises(ValueError, match=r"unknown op 'Mine'; if it is your own, give its class: ops="):
        replay(run, 2, 0)


def test_arrays_and_datasets_need_the_data(run: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 20, 30, 3), dtype=np.uint8)
    loader = DataLoader((pixels, np.arange(4)), POLICY, 4, shuffle=True, mix=gpuaug.MixUp(1.0, num_classes=4))
    write_run(run, loader, (pixels, np.arange(4)), 3)
    plain = DataLoader((pixels, np.arange(4)), POLICY, 4, shuffle=True)
    views, _ = next(iter(plain))
    again = replay(run, 2, 0, (pixels, None))
    row = plain.index.tolist().index(2)
    assert same(again.views, [view[row : row + 1] for view in views])
    assert np.array_equal(again.image.numpy(), pixels[2])
    assert again.notes == (f"the run mixed whole batches by {loader.mix}; the views are those before that",)
    assert fails(capsys, run, 2, 0) == (
        "gpuaug: replay: the run read ArraySource(4 images of 20x30), which cannot be opened again; give the same images, in "
        "the same order, with --data (data= in Python)\n"
    )
    assert "have 5 samples, but the run had 4" in fails(capsys, run, 2, 0, "--data", photos)
    items = [(Image.fromarray(one), k) for k, one in enumerate(pixels)]
    assert same(replay(run, 2, 0, items).views, again.views)


def fails(capsys: pytest.CaptureFixture[str], *words: Any) -> str:
    assert cli.main(["replay", *map(str, words)]) == 2
    said: str = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_what_is_missing_or_out_of_range_is_named(
    photos: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"{run}/draws.json: there is no such file; give the folder of a run" in fails(capsys, run, 0, 0)
    monkeypatch.chdir(photos.parent)
    write_run(run, DataLoader("photos", POLICY), "photos", epochs=4)
    monkeypatch.chdir("/")
    sheet = tmp_path / "sheet.png"
    assert f"index must be in 0..4, as the run in {run} has 5, got 5" in fails(capsys, run, 5, 0, "-o", sheet)
    assert f"epoch must be in 0..3, as the run in {run} has 4, got 4" in fails(capsys, run, 0, 4, "-o", sheet)
    assert "must end in .png, .jpg" in fails(capsys, run, 0, 0, "-o", "sheet.txt")
    assert not sheet.exists()
    moved = tmp_path / "moved"
    shutil.move(photos, moved)
    assert f"the data of the run, {photos}, are not there; say where with --data" in fails(capsys, run, 0, 0, "-o", sheet)
    assert cli.main(["replay", str(run), "0", "3", "-o", str(sheet), "--data", str(moved)]) == 0
    assert capsys.readouterr().out == f"{sheet}: 2 views of {moved / '0.jpg'}, drawn again\n"
    (moved / "0.jpg").write_bytes(b"damaged")
    assert "0.jpg" in fails(capsys, run, 0, 3, "-o", sheet, "--data", moved)
    path = run / "draws.json"
    good = json.loads(path.read_text())
    for change, words in (
        ({"version": 7}, "version 7 of the format; this gpuaug reads version 1"),
        ({"format": "?"}, "must be a dict with the format 'gpuaug run'"),
        ({"dtype": "float33"}, "'float33' is no dtype of torch"),
        ({"source": {}}, "the key 'decoder' is missing"),
    ):
        path.write_text(json.dumps(good | change))
        assert words in fails(capsys, run, 0, 0, "--data", moved)
    path.write_text("{")
    assert "draws.json: is no JSON" in fails(capsys, run, 0, 0)


def test_a_run_of_a_device_that_is_not_here_is_made_on_the_cpu(photos: Path, run: Path) -> None:
    write_run(run, DataLoader(photos, POLICY, backend="batched"), photos)
    before = replay(run, 1, 0)
    about = json.loads((run / "draws.json").read_text())
    about["device"] = "xpu"
    (run / "draws.json").write_text(json.dumps(about))
    again = replay(run, 1, 0)
    assert same(again.views, before.views)
    assert again.notes == ("the run was on xpu, which is not here; on cpu the views may differ in their last bits",)


def test_a_policy_with_schedules(photos: Path, run: Path) -> None:
    policy = gpuaug.policy("simclr", size=gpuaug.steps({0: 24, 3: 32}))
    loader = DataLoader(photos, policy, 5)
    write_run(run, loader, photos, 5)
    for epoch in range(5):
        views, _ = next(iter(loader))
        assert views[0].shape[-1] == (24 if epoch < 3 else 32)
        assert same(replay(run, 2, epoch).views, [view[2:3] for view in views])


def test_shared_and_nested_draws_and_views_that_were_chosen(photos: Path, run: Path) -> None:
    nested = View(16, gpuaug.Nested(RandomResizedCrop(scale=(0.1, 0.4))), gpuaug.Shared(GaussianBlur(3), "blur"))
    crop = View(24, RandomResizedCrop(), gpuaug.Shared(GaussianBlur(3), "blur"))
    loader = DataLoader(photos, Policy(crop, crop, nested), 5)
    write_run(run, loader, photos, note="the run chose one of the first two views")
    views, _ = next(iter(loader))
    again = replay(run, 2, 0)
    assert same(again.views, [view[2:3] for view in views])
    assert again.notes == ("the run chose one of the first two views",)
    with DrawsWriter(run / "draws.parquet") as writer:
        writer.write(loader.draws.take(0, [0, 1, 1, 0, 1]))
    for k, choice in enumerate([0, 1, 1, 0, 1]):
        again = replay(run, k, 0)
        assert same(again.views, [views[choice][k : k + 1]])
        assert again.notes == ()
    assert again.draws.drawn_as is not None
    assert again.draws.drawn_as.tolist() == [[1]]


def test_paths_are_written_so_that_they_can_be_opened_from_elsewhere(photos: Path, run: Path) -> None:
    paths = sorted(photos.iterdir())
    write_run(run, DataLoader(list(map(str, paths)), POLICY, 5), paths)
    assert json.loads((run / "draws.json").read_text())["source"]["path"] == list(map(str, paths))
    assert replay(run, 3, 0).name == str(paths[3])


def test_replay_draws_as_the_record_says_even_in_another_epoch_of_the_policy(photos: Path, run: Path) -> None:
    """A record whose policy differs from the run's, as that of a run whose trainer chose among more views."""
    write_run(run, DataLoader(photos, POLICY), photos)
    other = gpuaug.sample(gpuaug.policy("simclr", size=40), [2], seed=9, epoch=1)
    with DrawsWriter(run / "draws.jsonl") as writer:
        writer.write(replace(other))
    again = replay(run, 2, 1)
    assert [tuple(view.shape) for view in again.views] == [(1, 3, 40, 40)] * 2
    picture = np.array(Image.open(photos / "2.jpg"))
    assert same(again.views, Augmenter(other.policy)([picture], other))
