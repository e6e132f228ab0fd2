"""Raw pixels in a folder: the same as the arrays, opened again by every process; errors name the file."""

import json
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import gpuaug
from gpuaug.data import ArraySource, PackedSource

PIXELS = np.random.default_rng(5).integers(0, 256, (12, 9, 9, 3), dtype=np.uint8)
TARGETS = np.arange(12)[::-1].copy()


def stored(root: Path, **changes) -> Path:
    """A packed folder as its documentation has it, written by hand."""
    np.save(root / "pixels.npy", PIXELS)
    np.save(root / "targets.npy", TARGETS)
    manifest = {"format": "raw", "version": 1, "count": 12, "size": 9, "classes": ["a", "b"], **changes}
    (root / "packed.json").write_text(json.dumps(manifest))
    return root


@pytest.mark.parametrize("workers", [0, 2])
def test_a_packed_folder_gives_the_views_of_its_arrays(tmp_path, policy, workers):
    packed = gpuaug.DataLoader(stored(tmp_path), policy, batch_size=5, shuffle=True, num_workers=workers)
    arrays = gpuaug.DataLoader((PIXELS, TARGETS), policy, batch_size=5, shuffle=True)
    for (views, target), (expected, numbers) in zip(packed, arrays, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(views, expected, strict=True))
        assert torch.equal(target, numbers)
    assert packed.dataset.classes == ["a", "b"]
    assert isinstance(packed.source, PackedSource)


def first_and_last(source: PackedSource, queue) -> None:
    images, targets = source.load(np.array([0, 11]))
    queue.put((images.packed().buffer.numpy().tobytes(), targets.tolist()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_open_it_again(tmp_path, method):
    source = PackedSource(stored(tmp_path))
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=first_and_last, args=(source, queue))
    process.start()
    assert queue.get(timeout=60) == (PIXELS[[0, 11]].tobytes(), TARGETS[[0, 11]].tolist())
    process.join()


def test_a_pickle_holds_the_path_alone(tmp_path):
    source = PackedSource(stored(tmp_path))
    data = pickle.dumps(source)
    assert len(data) < 500
    assert np.array_equal(pickle.loads(data).images, PIXELS)


def test_pixels_stay_on_the_disk(tmp_path):
    assert isinstance(PackedSource(stored(tmp_path)).images, np.memmap)


def test_it_says_what_it_is(tmp_path):
    source = PackedSource(str(stored(tmp_path)))
    assert repr(source) == "PackedSource(12 images of 9x9)"
    assert source.name(3) == f"{tmp_path}/pixels.npy: image 3"
    assert isinstance(source, ArraySource)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, r"packed.json: version 2; this gpuaug reads version 1"),
        (
            {"count": 13},
            r"pixels.npy: holds uint8 of shape \(12, 9, 9, 3\), but packed.json asks for uint8 of shape \(13, 9, 9, 3\)",
        ),
        ({"size": 8}, r"pixels.npy: holds uint8 of shape \(12, 9, 9, 3\), but packed.json asks for"),
        ({"format": "jpeg", "parts": []}, r"packed.json: holds format 'jpeg', not 'raw'"),
    ],
)
def test_a_manifest_that_does_not_fit(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        PackedSource(stored(tmp_path, **changes))


RAW = {"version": 1, "format": "raw", "count": 1, "size": 1, "classes": []}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"version": 1}',
        *(json.dumps(RAW | c) for c in ({"count": "1"}, {"format": "jpeg"}, {"format": "tiff"})),
    ],
)
def test_a_file_that_is_no_manifest(tmp_path, content, plain):
    stored(tmp_path)
    (tmp_path / "packed.json").write_text(content)
    with pytest.raises(ValueError, match=r"packed.json: not a manifest of `gpuaug pack`"):
        gpuaug.DataLoader(tmp_path, plain)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"packed.json: no such file; `gpuaug pack SRC .*` writes it"):
        PackedSource(tmp_path)
    stored(tmp_path)
    (tmp_path / "pixels.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"pixels\.npy"):
        PackedSource(tmp_path)


def test_targets_that_do_not_fit(tmp_path):
    stored(tmp_path)
    for targets in (TARGETS[:5], TARGETS.astype(np.float32)):
        np.save(tmp_path / "targets.npy", targets)
        with pytest.raises(ValueError, match=r"targets.npy: holds .*, but packed.json asks for int64 of shape \(12,\)"):
            PackedSource(tmp_path)
    (tmp_path / "targets.npy").write_bytes(b"?")
    with pytest.raises(ValueError, match=r"targets.npy: damaged, or not a NumPy array"):
        PackedSource(tmp_path)
