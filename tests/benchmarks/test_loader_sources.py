"""What the loader suite reads: the right number of the right pictures, and packs that are really cold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import peers
from benchmarks.images import part
from benchmarks.measure import cores
from benchmarks.measure.timing import Timing, rounds
from benchmarks.object_store import BUCKET, object_store
from benchmarks.peers.contender import Contender, Setting
from benchmarks.peers.webdataset import shards
from benchmarks.sources import Cold, Large, Raw, Remote, Yuv, evict, in_memory, repeated_pack
from benchmarks.suites.loader import RATIOS
from gpuaug import Policy, RandomResizedCrop, View, policy
from gpuaug.data import PackedSource
from gpuaug.data.packing.pack import Packing, pack

MAE = policy("mae", size=64)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen photographs, each brighter than the one before it."""
    root = tmp_path_factory.mktemp("photos")
    for k in range(16):
        path = root / f"class{k % 2}" / f"{k:02}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(part(8 * k, 90, 120) // 4 + np.uint8(11 * k)).save(path, quality=95)
    return root


def contender(name: str) -> Contender:
    return next(c for c in peers.FILES if c.name == name)


def brightness(name: str, source: object, scratch: Path, epochs: int = 2) -> list[list[float]]:
    """The mean of each image's view, of each epoch, in the order of brightness, in steps of 8 bits."""
    setting = Setting(cores(), 0, torch.float32, scratch)
    load = contender(name).load
    assert load is not None
    epoch = load(source, MAE, 4, setting)  # type: ignore[arg-type]
    mean, std = (torch.tensor(v, device="cpu")[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    found = []
    for _ in range(epochs):
        views = torch.cat([view.clone() for (view,) in epoch()])
        assert views.shape == (16, 3, 64, 64)
        found.append(sorted((255 * (views * std + mean)).mean(dim=(1, 2, 3)).tolist()))
    return found


# FFCV's compiled functions fail in Numba's finalizer, whenever the garbage collector finds them.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <finalize:pytest.PytestUnraisableExceptionWarning")

LOADERS = {
    "gpuaug-fused": ("path", "raw", "yuv", "large", "cold"),
    "gpuaug-scaled": ("large",),
    "torchvision": ("path", "large"),
    "dali": ("path", "large"),
    "webdataset": ("path",),
    "ffcv": ("path", "raw"),
    "turboloader": ("path", "raw"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", [name for name in LOADERS if name != "ffcv" or not contender(name).missing])
def test_every_loader_gives_every_picture(name: str, photos: Path, tmp_path: Path) -> None:
    """Crops move the mean of a picture by less than the pictures differ on the whole."""
    pack(str(photos), tmp_path / "pack", Packing("yuv", 64), say=lambda line: None)
    sources = {"path": photos, "raw": Raw(photos), "yuv": Yuv(photos), "large": Large(photos), "cold": Cold(tmp_path / "pack")}
    expected = np.array(sorted(np.asarray(Image.open(path)).mean() for path in photos.glob("*/*.jpg")))
    for kind in LOADERS[name]:
        for found in brightness(name, sources[kind], tmp_path):
            assert np.abs(np.array(found) - expected).mean() < 9, kind


def test_webdataset_reads_the_shards_of_the_server(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    names = tuple(f"{BUCKET}/{Path(path).name}" for path in shards(photos, 2, 4, folder))
    expected = np.array(sorted(np.asarray(Image.open(path)).mean() for path in photos.glob("*/*.jpg")))
    with object_store(folder) as endpoint:
        for found in brightness("webdataset", Remote(endpoint, names), tmp_path):
            assert np.abs(np.array(found) - expected).mean() < 9


def test_dali_leaves_out_policies_of_which_it_lacks_an_op_of_any_view() -> None:
    assert contender("dali").supports(policy("dino")) == "has no RandomSolarize here"


def test_every_epoch_of_turboloader_is_another(photos: Path, tmp_path: Path) -> None:
    first, second = brightness("turboloader", photos, tmp_path)
    assert first != second


def test_a_loader_that_takes_all_cores_refuses_fewer(photos: Path, tmp_path: Path) -> None:
    load = contender("turboloader").load
    assert load is not None
    with pytest.raises(ValueError, match=r"uses all \d+ cores"):
        load(photos, MAE, 4, Setting(cores() + 1, scratch=tmp_path))
    assert contender("turboloader").supports(policy("simclr")) == "makes one view an image"
    plain = Policy(View(64, RandomResizedCrop()))
    assert "RandomHorizontalFlip" in str(contender("turboloader").supports(plain))
    assert contender("turboloader").supports(MAE) is None


def test_a_repeated_pack_holds_the_images_of_the_first(photos: Path, tmp_path: Path) -> None:
    for kind in ("raw", "yuv"):
        pack(str(photos), tmp_path / kind, Packing(kind, 32), say=lambda line: None)  # type: ignore[arg-type]
        few, many = PackedSource(tmp_path / kind), PackedSource(repeated_pack(tmp_path / kind, tmp_path / f"{kind}-many", 41))
        assert len(many) == 41
        for i in range(41):
            pixels, target = many[i]
            assert np.array_equal(pixels, few[i % 16][0])
            assert target == few[i % 16][1]


def test_what_was_evicted_is_read_from_the_disk(photos: Path, tmp_path: Path) -> None:
    pack(str(photos), tmp_path / "p", Packing("yuv", 64), say=lambda line: None)
    big = repeated_pack(tmp_path / "p", tmp_path / "big", 2000)
    source = PackedSource(big)
    assert int(np.asarray(source.images).max()) > 0  # every page is in memory and mapped
    with pytest.raises(OSError, match=r"planes\.npy: stays in memory; set TMPDIR to a folder on a disk"):
        evict(big)
    del source
    evict(big)
    with (big / "planes.npy").open("rb") as file:
        assert not in_memory(file.fileno(), 5_000_000)
        file.seek(5_000_000)
        file.read(1)
        assert in_memory(file.fileno(), 5_000_000)


def test_what_comes_before_a_call_is_done_each_time_and_not_timed() -> None:
    events: list[str] = []
    timing = Timing(lambda: events.append("call"), before=lambda: events.append("before"))
    rounds([timing], 3, 0.01, lambda text: None)
    assert events == ["call", "call", *["before", "call"] * 3]
    assert timing.calls == 1


def test_verdicts_name_both_sides() -> None:
    texts = [ratio.text for ratio in RATIOS]
    assert len(set(texts)) == len(texts)
    assert "yuv256-cold-mae: gpuaug-fused / gpuaug-fused on raw256-cold-mae" in texts
    assert "jpeg-12mp-simclr: gpuaug-scaled / gpuaug-fused" in texts
