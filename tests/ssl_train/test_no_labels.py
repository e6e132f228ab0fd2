"""Without labels a run ends in the same weights as with them, and leaves the evaluation out."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_train import arguments, rows, same, weights

from ssl_train import Settings, evaluate
from ssl_train.__main__ import main
from ssl_train.data import open_data
from ssl_train.errors import UserError
from ssl_train.loaders import Loaders
from ssl_train.settings import resolve
from ssl_train.train import train


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """40 images in a flat folder; and the same in one class folder, with a test split of two."""
    root = tmp_path_factory.mktemp("unlabelled")
    flat, split = root / "flat", root / "split"
    flat.mkdir()
    rng = np.random.default_rng(0)
    for k in range(40):
        Image.fromarray(rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)).save(flat / f"{k:02}.png")
    shutil.copytree(flat, split / "train" / "one")
    (split / "test" / "one").mkdir(parents=True)
    for name in ("00.png", "01.png"):
        shutil.copy(flat / name, split / "test" / "one" / name)
    return flat, split


def quick(s: Settings, method: str = "simclr", **more: Any) -> Settings:
    s = replace(s, method=method, backbone="vit_nano", batch_size=8, projector_hidden=16, projector_dim=8, eval_every=1)
    return replace(s, prototypes=12 if method in ("dino", "swav") else None, **more)


@pytest.mark.parametrize(
    ("method", "more"),
    [("dino", {"policy": "dino", "size": 32}), ("simclr", {"weights": "score", "score_epochs": 1, "probe": "all"})],
)
def test_labels_change_nothing_but_what_is_measured(
    method: str, more: dict[str, Any], folders: tuple[Path, Path], tiny: Settings, tmp_path: Path
) -> None:
    flat, split = folders
    found = [
        train(quick(tiny, method, data=str(data), out=str(tmp_path / data.name), **more), progress=False)
        for data in (flat, split)
    ]
    assert same(weights(found[0].folder), weights(found[1].folder))
    assert [row for row in rows(found[1].folder) if "knn" not in row] == rows(found[0].folder)
    assert (list(found[0].knn), list(found[1].knn)) == ([], [0, 1, 2])


def test_what_is_left_out_is_said_once_and_recorded(
    folders: tuple[Path, Path], tiny: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    s = quick(tiny, data=str(folders[0]), resume="auto")
    assert main(arguments(s)) == 0
    out = capsys.readouterr().out
    said = "left out (kNN, linear probe): it needs train/ and test/ in --data, each with one folder of images per class"
    assert [line for line in out.splitlines() if "left out" in line] == [f"{s.out}: evaluation is {said}"]
    assert "accuracy" not in out
    about = json.loads((Path(s.out or "") / "settings.json").read_text())
    assert about["evaluation"] == said
    before = weights(s.out)
    assert main(arguments(s)) == 0  # finished
    assert same(weights(s.out), before)


def test_such_a_run_is_measured_on_images_that_have_labels(
    folders: tuple[Path, Path], tiny: Settings, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    s = quick(tiny, data=str(folders[0]), epochs=1)
    train(s, progress=False)
    words = [str(s.out), "--device", "cpu", "--probe-epochs", "1"]
    assert evaluate.main(words) == 2
    error = capsys.readouterr().err
    assert f"--data {s.data}: {s.data}: its images have no labels" in error
    assert "give a data set with labels as --data" in error
    assert evaluate.main([*words, "--data", str(image_folder)]) == 0


@pytest.mark.parametrize("more", [{"method": "supervised"}, {"method": "simclr", "loss": "cross_entropy"}])
def test_learning_from_labels_is_refused_before_anything_begins(
    more: dict[str, Any], folders: tuple[Path, Path], tiny: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    s = replace(tiny, data=str(folders[0]), **more)
    assert main(arguments(s)) == 2
    assert "--loss cross_entropy learns from labels, and the images of --data" in capsys.readouterr().err
    assert not Path(s.out or "").exists()


def test_which_folders_have_labels(folders: tuple[Path, Path], tiny: Settings, tmp_path: Path) -> None:
    flat, split = folders

    def loaders(data: Path) -> Loaders:
        return Loaders(resolve(replace(tiny, data=str(data))), False)

    assert loaders(split).labelled
    assert not loaders(split / "train").labelled  # the folder itself, whatever folders lie in it
    deep = tmp_path / "deep"
    shutil.copytree(flat, deep / "2024" / "may")
    shutil.copy(flat / "00.png", deep / "above.png")
    assert loaders(deep).images == 41
    shutil.copytree(flat, tmp_path / "flat splits" / "train")
    shutil.copytree(flat, tmp_path / "flat splits" / "test")
    assert not loaders(tmp_path / "flat splits").labelled
    assert loaders(tmp_path / "flat splits").images == 40

    shutil.copytree(split / "train", tmp_path / "no test" / "train")
    with pytest.raises(UserError, match=r"there is no test/ \(or val/\) beside it .* give --data .*no test/train"):
        loaders(tmp_path / "no test")
    shutil.copytree(flat, tmp_path / "no test" / "val")
    with pytest.raises(UserError, match=r"val: it needs one folder of images per class"):
        loaders(tmp_path / "no test")
    shutil.rmtree(tmp_path / "no test" / "train")
    with pytest.raises(UserError, match="it has val/ but no train/"):
        open_data(str(tmp_path / "no test"))
