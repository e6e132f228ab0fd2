"""Damaged JPEGs: whether a file is good, and its pixels, depend on that file alone, and are as in Pillow."""

import io
import logging

import numpy as np
import pytest
import torch
from complete import is_complete
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data as photographs

import gpuaug
from gpuaug.data import DaliDecoder, DecodeError, decode
from gpuaug.data.decoders.jpeg_header import header_size, pillow_size, plain_size
from gpuaug.data.decoders.libjpeg import LibjpegDecoder
from gpuaug.data.decoders.pillow import decode_batch
from gpuaug.data.decoders.regions import Region

PHOTO = Image.fromarray(np.ascontiguousarray(photographs.astronaut()[:151, :109]))
SMALL = PHOTO.resize((41, 30))


def jpeg(image: Image.Image = PHOTO, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "jpeg", **options)
    return file.getvalue()


KINDS = {
    "baseline": {},
    "full colour": {"subsampling": 0, "quality": 95},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 5},
    "profile": {"icc_profile": bytes(range(256)) * 8},
}
SOUND = [jpeg(**options) for options in KINDS.values()]


@pytest.fixture(scope="module", params=["dali", "libjpeg"])
def decoder(request):
    if request.param == "libjpeg":
        yield LibjpegDecoder()
        return
    made = DaliDecoder()
    yield made.decode_batch
    made.close()


@st.composite
def damaged(draw, files=SOUND):
    """A file with bytes changed, removed or inserted in its header or a scan, often so that they look like a marker."""
    data = draw(st.sampled_from(files))
    scan = data.index(b"\xff\xda")
    at = draw(st.integers(2, scan + 14) if draw(st.booleans()) else st.integers(scan, len(data) - 3))
    instead = draw(st.binary(max_size=3) | st.builds(lambda kind: bytes([0xFF, kind]), st.integers(0, 255)) | st.just(b"\xff"))
    gap = draw(st.sampled_from([0, 1, 1, 1, 2, 7, 40]))
    return data[:at] + instead + data[at + gap :]


@settings(max_examples=400, deadline=None)
@given(data=damaged())
def test_a_damaged_file_alone_is_what_pillow_says(decoder, data):
    (found,), (expected,) = decoder([data], ["x"]), decode_batch([data], ["x"])
    if isinstance(expected, DecodeError):
        assert str(found) == str(expected)
    else:
        assert np.array_equal(found, expected)


@settings(max_examples=60, deadline=None)
@given(files=st.lists(damaged() | st.sampled_from(SOUND), min_size=2, max_size=8))
def test_a_damaged_file_is_the_same_beside_others(decoder, files):
    names = [str(k) for k in range(len(files))]
    for found, expected in zip(decoder(files, names), decode_batch(files, names), strict=True):
        if isinstance(expected, DecodeError):
            assert str(found) == str(expected)
        else:
            assert np.array_equal(found, expected)


@settings(max_examples=200, deadline=None)
@given(data=damaged(), box=st.tuples(*[st.floats(0, 1)] * 4))
def test_a_region_of_a_damaged_file_is_that_of_the_whole(decoder, data, box):
    """Damage outside of the region counts as it does when the whole picture is read."""

    asked = []

    def regional(where, shapes):
        free = np.concatenate([shapes, np.ones_like(shapes)], axis=1)
        start = (np.array(box[:2]) * (shapes - 1)).astype(np.int32)
        free[:, :2] = start
        free[:, 2:] = np.maximum(1, (np.array(box[2:]) * (shapes - start)).astype(np.int32))
        asked[:] = free[0].tolist()
        return free

    (found,), (expected,) = decoder([data], ["x"], regional), decode_batch([data], ["x"])
    if isinstance(expected, DecodeError):
        assert str(found) == str(expected)
    elif isinstance(found, Region):
        y, x, *shape = found.frame
        top, left, height, width = asked
        assert tuple(shape) == expected.shape[:2]
        inside = found.pixels[top - y : top - y + height, left - x : left - x + width]
        assert np.array_equal(inside, expected[top : top + height, left : left + width])
    else:
        assert np.array_equal(found, expected)


def test_intact_files_go_to_dali_and_those_with_a_wrong_marker_do_not():
    for data in SOUND:
        assert plain_size(data) == (151, 109)
        scan = data.index(b"\xff\xda") + 30
        for kind in (b"\xff\xc8", b"\xff\xda", b"\xff\xd9", b"\xff\xd3"):
            assert not is_complete(data[:scan] + kind + data[scan + 2 :])
    assert not plain_size(SOUND[0][:2] + b"\0" + SOUND[0][2:])


def test_a_profile_that_pillow_cannot_read_is_left_to_it():
    """A part of a colour profile without its number: libjpeg ignores it, Pillow rejects the file."""
    data = SOUND[0][:2] + b"\xff\xe2\x00\x0eICC_PROFILE\0" + SOUND[0][2:]
    assert header_size(data) is None is pillow_size(data)
    (found,) = DaliDecoder().decode_batch([data], ["x"])
    assert isinstance(found, DecodeError)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 photographs, two thirds of them damaged, and the numbers of those that Pillow reads."""
    root = tmp_path_factory.mktemp("damaged")
    (root / "x").mkdir()
    rng = np.random.default_rng(3)
    files = [jpeg(SMALL, **options) for options in KINDS.values()]
    good = []
    for k in range(24):
        data = files[k % len(files)]
        if k % 3:
            at = int(rng.integers(20, len(data) - 3))
            instead = bytes([255]) if k % 2 else rng.bytes(1)
            data = data[:at] + instead + data[at + 1 :]
        (root / "x" / f"{k:02}.jpg").write_bytes(data)
        if not isinstance(decode_batch([data], ["x"])[0], DecodeError):
            good.append(k)
    app0 = files[0][:3] + b"\0" + files[0][4:]  # Pillow reads it, DALI gives up on a batch that holds it
    (root / "x" / "24.jpg").write_bytes(app0)
    decode(app0, "24.jpg")
    assert 8 < len(good) < 22
    return root, [*good, 24]


@pytest.fixture(scope="module")
def crops() -> gpuaug.Policy:
    """Two views that read a part of a picture."""
    return gpuaug.Policy(gpuaug.View(8, gpuaug.RandomResizedCrop(scale=(0.05, 0.3)), repeat=2))


def epoch(folder, policy, **options):
    loader = gpuaug.DataLoader(folder, policy, on_error="skip", max_bad=1.0, seed=5, **options)
    rows = {int(i): [view[k] for view in views] for views, _ in loader for k, i in enumerate(loader.index)}
    return rows, loader.bad_files


def test_the_good_samples_and_their_views_are_the_same_in_any_batch(folder, crops, caplog):
    caplog.set_level(logging.ERROR, "gpuaug")
    root, good = folder
    expected, reasons = epoch(root, crops, batch_size=1, decoder="pillow")
    assert sorted(expected) == good
    for decoder in ("dali", "libjpeg", "pillow"):
        for batch_size in (1, 2, 8):
            for workers in (0, 2, 4):
                for shuffle in (False, True):
                    found, bad = epoch(
                        root, crops, batch_size=batch_size, num_workers=workers, shuffle=shuffle, decoder=decoder
                    )
                    assert sorted(found) == good
                    assert bad == reasons
                    assert all(torch.equal(a, b) for i in good for a, b in zip(found[i], expected[i], strict=True))
