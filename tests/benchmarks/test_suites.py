"""Every suite but `augment` runs to its end in the small, and its figures are possible."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.__main__ import main
from benchmarks.images import part
from benchmarks.measure.result import FUSED, Result, load
from benchmarks.peers import dali
from benchmarks.peers.contender import Setting
from benchmarks.report.text import WIDTH
from benchmarks.suites import decode, mix, scaling
from gpuaug import policy


def run(suite: str, out: Path, *more: str) -> Result:
    assert main(["run", suite, "--quick", "--repeats", "10", "--json", str(out / "r.json"), *more]) == 0
    (found,) = load(out / "r.json")
    return found


@pytest.fixture
def photos(tmp_path):
    for k in range(20):
        path = tmp_path / "photos" / f"class{k % 2}" / f"{k}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(part(k, 40, 60)).save(path)
    return tmp_path / "photos"


def test_scaling_fits_an_exponent_to_each_axis(contenders, tmp_path, capsys):
    found = run("scaling", tmp_path, "--policy", "simclr_cifar", "--batch", "2", "--contender", FUSED, "torchvision")
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "time ~ x ^ exponent" in text
    assert (found.unit, found.better) == ("ms", "lower")
    exponents = {(f.contender, f.axis): f.exponent for f in found.fits}
    assert {"batch", "image side", "views"} <= {axis for _, axis in exponents}
    assert exponents["torchvision", "batch"].median > 0.5  # it works image by image
    batches = {w.name for w in found.workloads if w.axis == "batch"}
    assert len(batches) == len(scaling.BATCHES[True])
    assert all(cell.processor for cell in found.cells if cell.workload in batches)


def test_scaling_measures_the_bounds_of_threads(contenders, tmp_path, capsys):
    found = run("scaling", tmp_path, "--policy", "simclr_cifar", "--batch", "2")
    threads = {w.name for w in found.workloads if w.axis == "threads"}
    measured = {c.contender: {d.workload for d in found.cells if d.contender == c.contender} for c in found.cells}
    assert measured["copy"] == measured["arithmetic"] == threads < measured[FUSED]
    assert all(cell.status == "ok" and min(cell.values) > 0 for cell in found.cells)
    assert "copy" in capsys.readouterr().out


def test_scaling_takes_one_policy(capsys):
    assert main(["run", "scaling", "--policy", "simclr", "byol"]) == 2
    assert "scaling takes one" in capsys.readouterr().err


def test_a_slope_is_found_again():
    times = scaling.np.array([[1.0, 2.0], [2.0, 2.0], [4.0, 2.0]])
    assert scaling.slopes(scaling.np.array([1, 2, 4]), times) == pytest.approx([1, 0])


def test_memory_holds_the_views_at_least(tmp_path):
    """Image by image, then stacked: the views twice, and little else."""
    found = run("memory", tmp_path, "--policy", "mae", "--batch", "8", "--contender", "torchvision")
    (cell,) = found.cells
    assert len(cell.values) == found.run.repeats == 1
    view = 3 * 224 * 224 * 4 / 2**20
    assert cell.figure is not None
    assert 1.9 * view < cell.figure.median < 4 * view


def test_a_child_that_fails_is_a_cell_with_its_error(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "torch.py").write_text("raise RuntimeError('out of memory')\n")
    found = run("memory", tmp_path, "--policy", "simclr_cifar", "--batch", "2", "--contender", "torchvision")
    assert [c.status for c in found.cells] == ["error"]
    assert "out of memory" in str(found.cells[0].reason)


def test_mixed_views_go_with_their_labels(tmp_path, capsys):
    found = run("mix", tmp_path, "--batch", "4")
    assert {(c.contender, c.workload) for c in found.cells} == set(product(mix.PREPARE, mix.WORKLOADS))
    assert all(c.figure and c.share and not c.deviations for c in found.cells)
    assert "gpuaug-fused / contender" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda views, labels: (views, labels.flip(1)), "off their labels"),
        (lambda views, labels: (views, labels / 2), "off their labels, which sum to 1 within 0.5"),
        (lambda views, labels: (views.roll(1, 0), labels), "off their labels"),
    ],
)
def test_views_that_do_not_go_with_their_labels_are_found(change, message):
    def wrong(kind, batch, setting):
        call = mix.ours(kind, batch, setting)
        return lambda: change(*call())

    (found,) = mix.deviations(wrong, "both", Setting())
    assert message in found
    idle = mix.deviations(lambda kind, batch, setting: lambda: (batch.views, torch.eye(mix.CHECKED)), "both", Setting())
    assert idle == ["mixes nothing"]


@pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities of TorchVision:DeprecationWarning")
def test_decoders_decode_the_same_files_to_pillows_pixels(photos, tmp_path, capsys):
    found = run("decode", tmp_path, "--data", str(photos))
    assert found.workloads[0].batch == 16
    measured = {c.contender: c for c in found.cells if c.figure}
    installed = {"gpuaug-pillow-buffer", "gpuaug-dali", "gpuaug-dali-buffer", "gpuaug-one-crop", "gpuaug-two-crops", "opencv"}
    installed |= {"gpuaug-libjpeg-one-crop", "gpuaug-libjpeg-two-crops"}
    assert set(measured) >= {FUSED, "gpuaug-pillow", "torchvision", "dali", *installed}
    assert all(c.more["processor"] > 0 for c in measured.values())
    assert {c.more["largest"] for name, c in measured.items() if name != "dali"} == {0}
    assert "largest" not in measured["dali"].more  # its reader shuffles the files
    text = capsys.readouterr().out
    assert "images/s of processor time" in text
    assert "largest difference from Pillow's pixels" in text


def test_a_decoder_that_leaves_files_out_or_changes_pixels_is_found():
    pictures = [part(k, 20, 30) for k in range(3)]
    brighter = [picture + np.uint8(k) for k, picture in enumerate(pictures)]
    assert decode.differences(pictures, pictures) == {"largest": 0, "mean": 0}
    wrapped = np.abs(brighter[2].astype(int) - pictures[2]).max()
    assert decode.differences(brighter, pictures)["largest"] == wrapped >= 2
    planes = [torch.from_numpy(picture).permute(2, 0, 1) for picture in pictures]
    assert decode.differences(planes, pictures) == {"largest": 0, "mean": 0}
    with pytest.raises(ValueError, match="longer"):
        decode.differences(pictures[:2], pictures)


def test_a_folder_without_images_is_bad_input(tmp_path, capsys):
    assert main(["run", "decode", "--data", str(tmp_path)]) == 2
    assert "holds no .jpg" in capsys.readouterr().err


def test_a_step_waits_for_its_data_but_not_for_a_replayed_batch(photos, tmp_path, capsys):
    options = ["--data", str(photos), "--batch", "2", "--contender", FUSED, "torchvision", "replayed"]
    found = run("train", tmp_path, *options)
    wait = {c.contender: c.more["data_wait"] for c in found.cells}
    assert set(wait) == {FUSED, "torchvision", "replayed"}
    assert wait["replayed"] < 0.1
    assert {c.contender for c in found.cells if "slowdown" in c.more} == {FUSED, "torchvision"}
    assert all(0 <= share < 1 for share in wait.values())
    assert "data wait" in capsys.readouterr().out


def test_an_epoch_of_dali_that_is_broken_off_leaves_nothing_in_the_making(photos):
    epoch = dali.load(photos, policy("mae", size=32), 4, Setting())
    for _ in range(5):  # more often than it has buffers
        batches = epoch()
        next(batches)
        batches.close()
    assert sum(len(views) for (views,) in epoch()) == 20


def test_loaders_give_every_image_of_every_kind_of_source(photos, tmp_path, capsys):
    found = run(
        "loader",
        tmp_path,
        "--data",
        str(photos),
        "--batch",
        "8",
        "--threads",
        "2",
        "--contender",
        FUSED,
        "dali-decode",
    )
    cells = {(c.contender, c.workload): c for c in found.cells}
    packs = ["raw256-simclr", "raw256-mae", "yuv256-simclr", "yuv256-mae"]
    cold = ["raw256-cold-mae", "yuv256-cold-mae"]
    workloads = ["jpeg-simclr", "jpeg-mae", *packs, "arrays-cifar", "jpeg-dino", *cold, "s3-simclr"]
    assert [w.name for w in found.workloads] == workloads
    for name in workloads:
        cell = cells[FUSED, name]
        assert cell.status == "ok" or (name in cold and "stays in memory" in str(cell.reason)), cell
        assert cells["dali-decode", name].status == ("ok" if name.startswith("jpeg") else "unsupported")
    views = cells[FUSED, "jpeg-dino"]
    assert views.figure is not None
    assert views.more["views"] == pytest.approx(10 * views.figure.median)
    targets = {v.target: v for v in found.targets}
    assert targets["jpeg-simclr: gpuaug-fused / dali-decode"].measured is not None
    assert targets["yuv256-mae: gpuaug-fused / gpuaug-fused on raw256-mae"].measured is not None
    assert targets["raw256-mae: gpuaug-fused / ffcv"].measured is None
    first = targets["seconds from iter() to a batch, 10,000 files"].measured
    assert first is not None
    assert 0 < first.median < 60
    assert "images/s a core" in capsys.readouterr().out


def test_nothing_is_said_of_the_cores_of_worker_processes_nor_of_gpuaug_where_it_is_not_run(photos, tmp_path):
    found = run("loader", tmp_path, "--data", str(photos), "--batch", "8", "--policy", "mae", "--contender", "webdataset")
    (cell,) = found.cells
    assert (cell.workload, cell.status, cell.cores) == ("jpeg-mae", "ok", None)
    assert not any(v.measured for v in found.targets)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--policy", "dino"], "takes a policy of 2 views of one size"),
        (["--batch", "16"], "20 images, train needs 96"),
    ],
)
def test_what_train_cannot_do_is_bad_input(options, message, photos, capsys):
    assert main(["run", "train", "--quick", "--data", str(photos), *options]) == 2
    assert message in capsys.readouterr().err
