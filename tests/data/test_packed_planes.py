"""Packed planes of brightness and colours: the pixels that libjpeg makes of them, whatever reads them and however."""

import json
import pickle
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import ConcatDataset, Subset

import gpuaug
from gpuaug import backends
from gpuaug.data import PackedSource
from gpuaug.data.engine.fetchers import FORETOLD, foretold
from gpuaug.data.packing import formats
from gpuaug.data.packing.pack import Packing, pack
from gpuaug.data.sources.composed import ConcatSource, SubsetSource, will_need
from gpuaug.data.sources.resolve import size_of
from gpuaug.yuv import from_rgb, to_rgb

SIZE = 19
BACKENDS = [name for name in backends.REQUIRES if backends.installed(name, "cpu")]


def through_planes(pixels: np.ndarray) -> np.ndarray:
    """Pictures (N, H, W, 3) as they come back from their planes."""
    return to_rgb(from_rgb(torch.tensor(pixels, device="cpu")), *pixels.shape[1:3]).numpy()


@pytest.fixture(scope="module")
def squares(pictures) -> np.ndarray:
    return np.stack([formats.square(pixels, SIZE) for pixels in pictures])


@pytest.fixture(scope="module")
def packed(tmp_path_factory, folder) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("packed")
    for kind in ("raw", "yuv"):
        pack(str(folder), root / kind, Packing(kind, SIZE), say=lambda _: None)
    return {kind: root / kind for kind in ("raw", "yuv")}


@settings(deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70))
def test_planes_made_in_strips_are_those_of_the_whole_picture(height, width):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    whole = from_rgb(torch.from_numpy(pixels[None]))[0].numpy()
    assert np.array_equal(formats.planes(pixels), whole)


@pytest.mark.parametrize(("height", "width"), [(255, 255), (300, 300), (3, 9000), (9000, 3), (257, 400)])
def test_planes_of_several_strips(height, width):
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert height * width > formats.STRIP
    assert np.array_equal(formats.planes(pixels), from_rgb(torch.from_numpy(pixels[None]))[0].numpy())


@settings(deadline=None, max_examples=25)
@given(size=st.integers(1, 40), count=st.integers(1, 3), shard_size=st.integers(1, 3))
def test_any_size(size, count, shard_size):
    rng = np.random.default_rng(size)
    with tempfile.TemporaryDirectory() as root:
        pictures = [rng.integers(0, 256, (*rng.integers(1, 50, 2), 3), dtype=np.uint8) for _ in range(count)]
        Path(root, "in").mkdir()
        for k, pixels in enumerate(pictures):
            Image.fromarray(pixels).save(Path(root, "in", f"{k}.png"))
        pack(str(Path(root, "in")), Path(root, "out"), Packing("yuv", size, shard_size=shard_size), say=lambda _: None)
        source = PackedSource(Path(root, "out"))
        half = -(-size // 2)
        assert source.images.shape == (count, size * size + 2 * half * half)
        assert source.size == (size, size)
        for k, pixels in enumerate(pictures):
            assert np.array_equal(source[k], through_planes(formats.square(pixels, size)[None])[0])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_reads_the_pixels_of_libjpeg(packed, squares, plain, policy, backend, workers):
    """To the bit where a view is a crop; where it is resized, kernels that read planes may round otherwise."""
    for which, tolerance in ((plain, 0.0), (policy, 1e-4)):
        options = {"batch_size": 16, "shuffle": True, "num_workers": workers, "backend": backend}
        loader = gpuaug.DataLoader(packed["yuv"], which, **options)
        arrays = gpuaug.DataLoader(through_planes(squares), which, **options)
        for (views, _), (expected, _) in zip(loader, arrays, strict=True):
            for one, other in zip(*([v] if torch.is_tensor(v) else v for v in (views, expected)), strict=True):
                assert (one - other).abs().max() <= tolerance


def test_samples_are_rgb(packed, squares, folder):
    dataset = gpuaug.DataLoader(packed["yuv"], "byol").dataset
    pixels, target = dataset[3]
    assert np.array_equal(pixels, through_planes(squares[3:4])[0])
    assert target == 0
    assert dataset.classes == ["ant", "bee", "cat"]
    assert np.array_equal(dataset[-1][0], through_planes(squares[-1:])[0])
    with pytest.raises(IndexError, match=r"index must be in -70\.\.69, got 70"):
        dataset[70]


def test_the_folder_is_opened_again_from_a_pickle(packed, squares):
    source = PackedSource(packed["yuv"])
    data = pickle.dumps(source)
    assert len(data) < 500
    again = pickle.loads(data)
    assert repr(again) == repr(source) == "PackedSource(70 images of 19x19, yuv)"
    assert isinstance(again.images, np.memmap)
    assert np.array_equal(again[5][0], through_planes(squares[5:6])[0])
    assert again.name(5) == f"{packed['yuv']}/planes.npy: image 5"


def test_a_batch_lies_in_the_file_and_is_gathered_for_a_device(packed, squares):
    index = np.array([69, 0, 5, 5])
    images, _ = PackedSource(packed["yuv"]).load(index)
    assert images.layout == "yuv420"
    assert images.buffer.numel() == 70 * (SIZE * SIZE + 2 * 10 * 10)
    gathered = images.gathered()
    assert gathered.starts is None
    for found in (images, gathered, images.packed()):
        assert np.array_equal(np.stack([one.numpy() for one in found]), through_planes(squares[index]))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kinds", [("yuv", "yuv"), ("raw", "yuv"), ("yuv", "raw", "yuv")])
def test_parts_of_both_formats_give_the_right_pixels(packed, squares, plain, workers, kinds):
    whole = {"raw": squares, "yuv": through_planes(squares)}
    chosen = [4, 69, 0, 30, 31]
    parts = [
        Subset(PackedSource(packed[kind]), chosen) if k == 1 else PackedSource(packed[kind]) for k, kind in enumerate(kinds)
    ]
    truth = np.concatenate([whole[kind][chosen] if k == 1 else whole[kind] for k, kind in enumerate(kinds)])
    classes = PackedSource(packed["raw"]).targets
    labels = np.concatenate([classes[chosen] if k == 1 else classes for k in range(len(kinds))])
    loader = gpuaug.DataLoader(ConcatDataset(parts), plain, 16, shuffle=True, num_workers=workers)
    assert loader.source.workers == "none"
    assert size_of(loader.source) == (SIZE, SIZE)
    arrays = gpuaug.DataLoader((truth, labels), plain, 16, shuffle=True)
    for (views, target), (expected, classes) in zip(loader, arrays, strict=True):
        assert torch.equal(views, expected)
        assert torch.equal(target, classes)
    samples = [loader.dataset[i] for i in (0, 71, len(truth) - 1)]
    assert all(np.array_equal(pixels, truth[i]) for (pixels, _), i in zip(samples, (0, 71, len(truth) - 1), strict=True))


@settings(deadline=None)
@given(st.lists(st.integers(0, 209), min_size=1, max_size=12))
def test_any_samples_of_parts(packed, squares, index):
    source = ConcatSource([PackedSource(packed[kind]) for kind in ("raw", "yuv", "raw")])
    truth = np.concatenate([squares, through_planes(squares), squares])
    images, target = source.load(np.array(index))
    assert np.array_equal(np.stack([one.numpy() for one in images]), truth[index])
    assert target.tolist() == np.tile(PackedSource(packed["raw"]).targets, 3)[index].tolist()
    assert source.load(np.array(index), list)[1] == target.tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mixture_of_both_formats_repeats_samples(packed, squares, plain, workers):
    mixture = gpuaug.data.Mixture([packed["raw"], Subset(PackedSource(packed["yuv"]), [5, 6, 7])], [1, 1])
    loader = gpuaug.DataLoader(mixture, plain, 16, shuffle=True, num_workers=workers)
    whole = [squares, through_planes(squares)[5:8]]
    classes = PackedSource(packed["raw"]).targets
    views = gpuaug.Augmenter(plain)
    count = 0
    for found, target in loader:
        parts, own = loader.dataset.locate(loader.index)
        truth = [whole[part][k] for part, k in zip(parts, own, strict=True)]
        assert torch.equal(found, views(truth, loader.draws)[0])
        assert target.tolist() == [classes[k if part == 0 else 5 + k] for part, k in zip(parts, own, strict=True)]
        count += int((parts == 1).sum())
    assert count >= 30  # of three samples


def until(found, seconds=20.0) -> bool:
    """Whether something comes true in time."""
    end = time.monotonic() + seconds
    while not found() and time.monotonic() < end:
        time.sleep(0.001)
    return found()


class Told(PackedSource):
    """Notes what it is told of and what is read."""

    def __init__(self, folder):
        super().__init__(folder)
        self.events = []

    def will_need(self, index):
        self.events.append(("told", index.tolist()))
        super().will_need(index)

    def load(self, index, *rest):
        self.events.append(("read", index.tolist()))
        return super().load(index, *rest)


@settings(deadline=None)
@given(st.lists(st.integers(0, 70), max_size=20))
def test_a_source_is_told_of_later_batches_before_a_batch_is_read(packed, sizes):
    source = Told(packed["yuv"])
    batches = [np.arange(size) for size in sizes]
    seen = []
    for index in foretold(source, iter(batches)):
        seen.append(index)
        expected = min(sum(map(len, seen)) + FORETOLD, sum(sizes))
        assert until(lambda expected=expected: sum(len(what) for _, what in source.events) >= expected)
    assert [index.tolist() for index in seen] == [index.tolist() for index in batches]
    assert [what for _, what in source.events] == [index.tolist() for index in batches]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_tells_of_each_batch_once(packed, plain, workers, held):
    source = Told(packed["yuv"])
    for index in (range(70), np.arange(70) % 5):
        part = SubsetSource(source, index)
        for _ in gpuaug.DataLoader(part, plain, 16, shuffle=True, num_workers=workers):
            pass
        assert until(lambda: held()[0] == [])
        told, read = ([samples for kind, samples in source.events if kind == what] for what in ("told", "read"))
        assert told == read
        assert len(told) == 5
        source.events.clear()


def test_a_loader_that_is_left_early_tells_no_more(packed, plain, held):
    loader = gpuaug.DataLoader(PackedSource(packed["yuv"]), plain, 4, num_workers=2)
    batches = iter(loader)
    next(batches)
    assert "gpuaug-ahead" in held()[0]
    batches.close()
    assert until(lambda: held()[0] == [])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sampler_beyond_the_end_is_named_when_its_batch_is_read(packed, plain, workers):
    for source in (PackedSource(packed["yuv"]), SubsetSource(PackedSource(packed["yuv"]), range(70))):
        loader = gpuaug.DataLoader(source, plain, 4, sampler=[0, 1, 2, 3, 4, 70], num_workers=workers)
        with pytest.raises(IndexError, match=r"70"):
            list(loader)


def test_parts_are_told_of_their_own_samples(packed):
    parts = [Told(packed["yuv"]), Told(packed["raw"])]
    will_need(SubsetSource(ConcatSource(parts), [139, 3, 70, 2]), np.array([0, 1, 2]))
    assert [part.events for part in parts] == [[("told", [3])], [("told", [69, 0])]]


def test_a_manifest_of_a_later_format_or_version_is_refused(packed, tmp_path, plain):
    manifest = json.loads((packed["yuv"] / "packed.json").read_text())
    for change, message in (
        (
            {"format": "yuv444"},
            r"not a manifest .* that this gpuaug reads: format 'yuv444', not one of jpeg, raw, yuv; pack again",
        ),
        ({"format": "yuv444", "version": 2}, r"version 2; this gpuaug reads version 1; pack again, or upgrade"),
    ):
        (tmp_path / "packed.json").write_text(json.dumps(manifest | change))
        with pytest.raises(ValueError, match=f"packed.json: {message}"):
            gpuaug.DataLoader(tmp_path, plain)


def test_planes_of_another_size_are_refused(packed, tmp_path):
    manifest = json.loads((packed["yuv"] / "packed.json").read_text())
    for name in ("planes.npy", "targets.npy"):
        (tmp_path / name).symlink_to(packed["yuv"] / name)
    (tmp_path / "packed.json").write_text(json.dumps(manifest | {"size": 20}))
    with pytest.raises(ValueError, match=r"planes.npy: holds uint8 of shape \(70, 561\), but packed.json asks .* \(70, 600\)"):
        PackedSource(tmp_path)
