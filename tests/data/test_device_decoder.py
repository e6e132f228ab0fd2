"""Decoding on the device, with DALI's CPU operators in the place of nvJPEG: the same code but for the operator's device."""

import copy
import io
import logging
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photographs

import gpuaug
from gpuaug.data import DaliDecoder, DecodeError, decode
from gpuaug.data.decoders.dali import as_tensor
from gpuaug.data.decoders.device import DeviceDecoder, with_margin
from gpuaug.data.decoders.jpeg_header import plain_size
from gpuaug.data.decoders.regions import Region, Waiting
from gpuaug.data.decoders.staging import InFlight, OnDevice, Staging
from gpuaug.memory import Pool

CPU = torch.device("cpu")
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="nvJPEG needs a GPU")
PHOTO = Image.fromarray(np.ascontiguousarray(photographs.astronaut()[:151, :109]))


def encoded(image=PHOTO, kind="jpeg", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


JPEG = encoded()
PNG = encoded(kind="png")
REFUSED = JPEG[:3] + b"\xff" + JPEG[4:]
HOPELESS = JPEG[:21] + b"\xff" + JPEG[22:]
"""Two files that are plain JPEGs by their headers. DALI gives up on a batch that holds one; Pillow reads the first alone."""


def test_the_damaged_files_are_what_they_are_here_for():
    assert plain_size(REFUSED) == plain_size(HOPELESS) == (151, 109)
    assert decode(REFUSED, "x").shape == (151, 109, 3)
    with pytest.raises(DecodeError):
        decode(HOPELESS, "x")


@pytest.fixture
def decoder():
    made = DeviceDecoder(CPU)
    yield made
    made.dali.close()


def assert_pixels(found, data):
    assert isinstance(found, OnDevice)
    size = 3 * found.shape[0] * found.shape[1]
    pixels = found.flat[found.start : found.start + size].view(*found.shape, 3)
    assert np.array_equal(pixels.numpy(), decode(data, "x"))


def test_threads_leave_plain_jpegs_and_decode_the_rest(decoder):
    turned = Image.Exif()
    turned[0x0112] = 6
    files = [JPEG, PNG, encoded(exif=turned), encoded(progressive=True), b"", JPEG[:-2]]
    found = decoder(files, list("abcdef"), None)
    assert [type(one) for one in found] == [Waiting, np.ndarray, np.ndarray, Waiting, DecodeError, DecodeError]
    assert np.array_equal(found[1], decode(PNG, "x"))
    assert found[0] == Waiting(JPEG, "a", (151, 109), None)
    assert decoder.dali.pipe is None  # nothing has been decoded by DALI


def test_a_batch_is_one_buffer_without_a_copy(decoder):
    datas = [JPEG, encoded(PHOTO.convert("L")), encoded(PHOTO.resize((40, 30)), progressive=True)]
    found = decoder.decode(decoder(datas, list("abc"), None))
    for one, data in zip(found, datas, strict=True):
        assert_pixels(one, data)
    assert len({id(one.flat) for one in found}) == 1
    assert decoder.decode([]) == []


def test_regions_have_the_pixels_of_the_whole(decoder):
    boxes = np.array([[3, 20, 50, 31], [0, 0, 151, 109], [150, 108, 1, 1]], np.int32)
    waiting = decoder([JPEG, PNG, JPEG, JPEG], list("abcd"), lambda where, shapes: boxes[: len(where)])
    assert [one.frame for one in waiting if isinstance(one, Waiting)] == [
        (3, 16, 151, 109),
        (0, 0, 151, 109),
        (150, 96, 151, 109),
    ]
    found = decoder.finished(waiting)
    whole = decode(JPEG, "x")
    for region, (top, left, height, width) in zip([found[0], *found[2:]], boxes.tolist(), strict=True):
        assert isinstance(region, Region)
        y, x = top - region.frame[0], left - region.frame[1]
        assert np.array_equal(region.pixels[y : y + height, x : x + width], whole[top : top + height, left : left + width])
    assert np.array_equal(found[1], decode(PNG, "x"))


def test_boxes_for_nvjpeg_hold_a_block_more_on_each_side():
    shapes = np.array([[100, 90]] * 3, np.int32)
    boxes = np.array([[0, 0, 100, 90], [40, 50, 3, 2], [99, 89, 1, 1]], np.int32)
    assert with_margin(boxes, shapes).tolist() == [[0, 0, 100, 90], [16, 32, 48, 48], [80, 64, 20, 26]]
    rng = np.random.default_rng(0)
    shapes = rng.integers(1, 500, (200, 2)).astype(np.int32)
    start = (rng.random((200, 2)) * shapes).astype(np.int32)
    size = np.maximum(1, (rng.random((200, 2)) * (shapes - start)).astype(np.int32))
    wide = with_margin(np.concatenate([start, size], axis=1), shapes)
    low, high = wide[:, :2], wide[:, :2] + wide[:, 2:]
    assert ((low == 0) | ((low % 16 == 0) & (start - low >= 16))).all()
    assert ((high == shapes) | ((high % 16 == 0) & (high - start - size >= 16))).all()


@pytest.mark.parametrize("place", range(7))
def test_a_refused_file_is_found_among_others_which_the_device_still_decodes(decoder, place, caplog):
    datas = [JPEG] * 6
    datas.insert(place, REFUSED)
    names = [str(k) for k in range(7)]
    found = decoder.decode(decoder(datas, names, None))
    for k, one in enumerate(found):
        if k == place:
            assert np.array_equal(one, decode(REFUSED, "x"))
        else:
            assert_pixels(one, JPEG)
    assert decoder.refused == {str(place)}
    assert [record.message for record in caplog.records] == [
        f"{place}: the device's decoder refuses this file, so Pillow decodes it"
    ]
    again = decoder(datas, names, None)  # from now on it goes to Pillow at once
    assert [k for k, one in enumerate(again) if not isinstance(one, Waiting)] == [place]


def test_several_bad_files_leave_the_others_alone(decoder):
    datas = [HOPELESS, JPEG, REFUSED, JPEG, HOPELESS, JPEG, JPEG, HOPELESS]
    found = decoder.decode(decoder(datas, list("abcdefgh"), None))
    for one, data in zip(found, datas, strict=True):
        if data is HOPELESS:
            assert isinstance(one, DecodeError)
        elif data is JPEG:
            assert_pixels(one, JPEG)
    assert decoder.refused == set("aceh")
    assert str(found[4]).startswith("e: cannot be decoded")


def test_a_copy_starts_afresh(decoder):
    decoder.decode(decoder([REFUSED, JPEG], ["a", "b"], None))
    for other in (copy.copy(decoder), pickle.loads(pickle.dumps(decoder))):
        assert other.refused == set()
        assert_pixels(other.decode(other([JPEG], ["x"], None))[0], JPEG)
        other.dali.close()


def test_pictures_apart_in_memory_are_put_together():
    backend = pytest.importorskip("nvidia.dali.backend")
    wanted = [np.full((2, 5, 3), 7, np.uint8), np.full((4, 1, 3), 9, np.uint8)]
    apart = backend.TensorListCPU([backend.TensorCPU(one, "HWC") for one in wanted])
    flat, shapes = as_tensor(apart)
    assert shapes.tolist() == [[2, 5], [4, 1]]
    assert np.array_equal(flat.numpy(), np.concatenate([one.reshape(-1) for one in wanted]))


@pytest.mark.parametrize("regional", [False, True])
def test_the_graph_for_a_gpu_is_described_without_one(regional):
    """DALI refuses to name a device id without a driver, so the graph is described without it; building it needs the GPU."""
    described = DaliDecoder(threads=3, device="mixed", hw_decoder_load=0.25).graph(64, regional, None).serialize()
    assert b"mixed" in described
    assert (b"ImageSlice" in described) == regional
    assert all(option in described for option in (b"hw_decoder_load", b"jpeg_fancy_upsampling", b"adjust_orientation"))
    on_cpu = DaliDecoder().graph(64, regional, None).serialize()
    assert b"mixed" not in on_cpu
    assert b"hw_decoder_load" not in on_cpu


# The whole loader.


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory):
    """30 files: JPEGs of several kinds and sizes, and PNGs among them."""
    root = tmp_path_factory.mktemp("jpegs")
    for k in range(30):
        image = PHOTO.resize((20 + 3 * k, 90 - 2 * k))
        if k % 5 == 4:
            image.save(root / f"{k:02}.png")
        else:
            image.save(root / f"{k:02}.jpg", progressive=k % 2 == 0, subsampling=k % 3)
    return root


@pytest.fixture(scope="module")
def crops():
    """Two views that read a part of a picture."""
    return gpuaug.Policy(gpuaug.View(8, gpuaug.RandomResizedCrop(scale=(0.05, 0.3)), repeat=2))


WHOLE = gpuaug.Policy(gpuaug.View(8, gpuaug.CenterCrop()))


def on_device(folder, policy, **options):
    """A loader on the CPU that decodes as it would on a GPU."""
    loader = gpuaug.DataLoader(folder, policy, seed=5, **options)
    loader.decoding.decode = DeviceDecoder(CPU, max_pixels=loader.max_pixels)
    loader.decoding.staging = Staging(CPU, Pool(recent=1024, most=4096), InFlight())
    return loader


def rows(loader):
    return {int(i): [view[k] for view in views] for views, _ in loader for k, i in enumerate(loader.index)}


def assert_rows(found, expected):
    assert sorted(found) == sorted(expected)
    assert all(torch.equal(a, b) for i in expected for a, b in zip(found[i], expected[i], strict=True))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("regional", [False, True])
@pytest.mark.parametrize("batch_size", [1, 7, 30])
def test_views_are_those_of_the_decoder_in_the_threads(jpegs, crops, workers, regional, batch_size):
    policy = crops if regional else gpuaug.Policy(WHOLE.views[0], WHOLE.views[0])
    expected = rows(gpuaug.DataLoader(jpegs, policy, batch_size, seed=5))
    loader = on_device(jpegs, policy, batch_size=batch_size, shuffle=True, num_workers=workers)
    assert_rows(rows(loader), expected)
    pixels = sum(decode(path.read_bytes(), "x").nbytes for path in jpegs.glob("*.png"))
    assert loader.stats().transfer > 0
    assert loader.stats().copied == pixels + sum(path.stat().st_size for path in jpegs.glob("*.jpg"))


@pytest.mark.parametrize("backend", ["kornia", "torchvision"])
def test_every_backend_takes_the_batch(jpegs, crops, backend):
    expected = rows(gpuaug.DataLoader(jpegs, crops, 10, seed=5, backend=backend))
    assert_rows(rows(on_device(jpegs, crops, batch_size=10, backend=backend)), expected)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """24 files, among them some that DALI gives up on, with Pillow and without."""
    root = tmp_path_factory.mktemp("damaged")
    for k in range(24):
        data = {3: HOPELESS, 4: REFUSED, 11: b"", 12: HOPELESS, 17: JPEG[:-2], 18: PNG}.get(k, JPEG)
        (root / f"{k:02}.jpg").write_bytes(data)
    return root


@pytest.mark.parametrize("mode", ["skip", "replace"])
@pytest.mark.parametrize("workers", [0, 2])
def test_bad_files_are_named_and_treated_as_on_the_cpu(damaged, crops, workers, mode, caplog):
    caplog.set_level(logging.ERROR, "gpuaug")
    options = {"on_error": mode, "max_bad": 1.0, "batch_size": 8, "shuffle": True, "num_workers": workers}
    plain, loader = gpuaug.DataLoader(damaged, crops, seed=5, **options), on_device(damaged, crops, **options)
    for _ in range(2):  # in the second epoch the decoder knows them
        for (views, target), (others, other) in zip(plain, loader, strict=True):
            assert np.array_equal(plain.index, loader.index)
            assert torch.equal(target, other)
            assert all(map(torch.equal, views, others))
        assert loader.bad_files == plain.bad_files
        assert loader.stats().bad == plain.stats().bad == 4
    assert {name[-6:] for name in loader.bad_files} == {"03.jpg", "11.jpg", "12.jpg", "17.jpg"}


@pytest.mark.parametrize("workers", [0, 2])
def test_the_first_bad_file_is_raised_at_its_place(damaged, crops, workers):
    loader = on_device(damaged, crops, batch_size=3, num_workers=workers)
    batches = iter(loader)
    next(batches)
    with pytest.raises(DecodeError, match=r"03\.jpg: cannot be decoded"):
        next(batches)


def test_the_loader_says_what_nvjpeg_needs(jpegs, crops):
    with pytest.raises(ValueError, match=r"decoder='nvjpeg' decodes on a CUDA device, but device is 'cpu'; give device='cuda'"):
        gpuaug.DataLoader(jpegs, crops, decoder="nvjpeg")
    with pytest.raises(ValueError, match=r"nvjpeg_hw_load must be a number in 0\.\.1, got 2"):
        gpuaug.DataLoader(jpegs, crops, nvjpeg_hw_load=2)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"decoder='nvjpeg' needs CUDA.* give device='cpu' and decoder='libjpeg', 'dali'"):
            gpuaug.DataLoader(jpegs, crops, decoder="nvjpeg", device="cuda")


@CUDA
@pytest.mark.parametrize("workers", [0, 2])
def test_nvjpeg_is_near_and_the_same_in_any_batch(jpegs, workers):
    options = {"decoder": "nvjpeg", "device": "cuda", "seed": 5, "num_workers": workers}
    one, other = (rows(gpuaug.DataLoader(jpegs, WHOLE, size, **options)) for size in (1, 7))
    assert_rows(one, other)
    expected = rows(gpuaug.DataLoader(jpegs, WHOLE, 7, seed=5))
    for i, (view,) in expected.items():
        assert (one[i][0].cpu() - view).abs().mean() < 2 / 255


@CUDA
def test_nvjpeg_gives_a_region_the_pixels_of_the_whole():
    decoder = DeviceDecoder(torch.device("cuda", 0))
    box = np.array([[33, 41, 60, 50]], np.int32)
    (whole,) = decoder.finished(decoder([JPEG], ["x"], None))
    (part,) = decoder.finished(decoder([JPEG], ["x"], lambda where, shapes: box))
    y, x = 33 - part.frame[0], 41 - part.frame[1]
    assert np.array_equal(part.pixels[y : y + 60, x : x + 50], whole[33:93, 41:91])


@CUDA
def test_nvjpeg_hands_over_its_buffer_without_a_copy():
    decoder = DeviceDecoder(torch.device("cuda", 0))
    found = decoder.decode(decoder([JPEG] * 5, list("abcde"), None))
    assert len({one.flat.data_ptr() for one in found}) == 1
    assert found[0].flat.is_cuda
