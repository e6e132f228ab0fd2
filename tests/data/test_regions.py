"""Pictures of which only a region is decoded: the same pixels, the same views, the same bad files."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sharing import SHARING

import gpuaug
from gpuaug import CenterCrop, Images, Policy, RandomResizedCrop, View, sample
from gpuaug.data import DaliDecoder, DecodeError, decode
from gpuaug.data.decoders.regions import Region, crop_boxes, crops_in_regions, regions_read, starts_with_crop

HEIGHT, WIDTH = 67, 90
PHOTO = np.kron(np.random.default_rng(0).integers(0, 256, (34, 45, 3), dtype=np.uint8), np.ones((2, 2, 1), np.uint8))[:HEIGHT]


def jpeg(pixels=PHOTO, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", **options)
    return file.getvalue()


JPEGS = {
    "colour": jpeg(),
    "full resolution": jpeg(subsampling=0),
    "half resolution": jpeg(subsampling=1),
    "progressive": jpeg(progressive=True),
    "gray": jpeg(PHOTO[..., 0]),
    "restart markers": jpeg(restart_marker_blocks=3),
}


@pytest.fixture(scope="module")
def decoder():
    made = DaliDecoder()
    yield made
    made.close()


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(sorted(JPEGS)))
def test_a_region_has_the_pixels_of_the_whole(decoder, data, kind):
    top, left = data.draw(st.integers(0, HEIGHT - 1)), data.draw(st.integers(0, WIDTH - 1))
    height, width = data.draw(st.integers(1, HEIGHT - top)), data.draw(st.integers(1, WIDTH - left))
    box = np.array([[top, left, height, width]], np.int32)
    (found,) = decoder.decode_batch([JPEGS[kind]], ["x"], lambda where, shapes: box)
    assert isinstance(found, Region)
    y, x, *size = found.frame
    h, w, _ = found.pixels.shape
    assert size == [HEIGHT, WIDTH]
    assert y == top
    assert h == height
    assert left - 16 < x <= left
    assert left + width <= x + w < left + width + 16
    assert np.array_equal(found.pixels, decode(JPEGS[kind], "x")[y : y + h, x : x + w])


def test_what_dali_does_not_decode_comes_whole(decoder):
    png = io.BytesIO()
    Image.fromarray(PHOTO).save(png, "png")
    asked = []

    def regional(where, shapes):
        asked.append((list(where), shapes.tolist()))
        return np.array([[1, 2, 3, 4]] * len(where), np.int32)

    names = ["a.png", "b.jpg", "c.jpg", "d.txt"]
    whole, cut, gray, wrong = decoder.decode_batch([png.getvalue(), JPEGS["colour"], JPEGS["gray"], b"text"], names, regional)
    assert asked == [([1, 2], [[HEIGHT, WIDTH]] * 2)]
    assert np.array_equal(whole, PHOTO)
    assert cut.frame == gray.frame == (1, 0, HEIGHT, WIDTH)
    assert cut.pixels.shape == gray.pixels.shape == (3, 16, 3)
    assert isinstance(wrong, DecodeError)


def test_regions_are_the_least_boxes_around_all_crops():
    policy = gpuaug.policy("dino")
    index, shapes = [3, 7, 2**40], np.array([[50, 60], [300, 20], [1, 1]], np.int32)
    draws = sample(policy, index, 5, 2)
    boxes = regions_read(draws, shapes)
    crops = np.stack([v.steps[0].boxes(t[0], *shapes.T) for v, t in zip(policy.views, draws.tables, strict=True)])
    assert np.array_equal(boxes[:, :2], crops[..., :2].min(axis=0))
    assert np.array_equal(boxes[:, :2] + boxes[:, 2:], (crops[..., :2] + crops[..., 2:]).max(axis=0))
    assert (boxes >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= shapes).all()


@pytest.mark.parametrize("name", ["simclr", "dino", "sharing"])
def test_boxes_are_the_same_whether_the_draws_have_been_read_or_not(name):
    policy = SHARING if name == "sharing" else gpuaug.policy(name)
    rng = np.random.default_rng(2)
    index = rng.integers(0, 2**48, 200)
    shapes = rng.integers(1, 900, (200, 2)).astype(np.int32)
    read, unread = sample(policy, index, 2**40 + 1, 3), sample(policy, index, 2**40 + 1, 3)
    assert all(tables[0] for tables in read.tables)
    boxes = crop_boxes(read, shapes)
    assert np.array_equal(crop_boxes(unread, shapes), boxes)
    assert not any(tables.made for tables in unread.tables)
    frames = np.concatenate([boxes[..., :2].min(axis=0), shapes, np.full((200, 1), 1, np.int32)], axis=1)
    for one, other, own in zip(
        crops_in_regions(read, frames).tables, crops_in_regions(unread, frames).tables, boxes, strict=True
    ):
        assert np.array_equal(one[0]["boxes"], own - np.pad(frames[:, :2], ((0, 0), (0, 2))))
        assert np.array_equal(one[0]["boxes"], other[0]["boxes"])
        for ours, theirs in zip(one[1:], other[1:], strict=True):
            assert all(np.array_equal(ours[key], theirs[key]) for key in ours)


def test_draws_that_were_changed_say_what_is_read():
    draws = sample(gpuaug.policy("mae"), range(5))
    shapes = np.full((5, 2), 100, np.int32)
    draws.tables[0][0]["top"][:] = 0
    assert (crop_boxes(draws, shapes)[0, :, 0] == 0).all()
    assert (regions_read(draws, shapes)[:, 0] == 0).all()


def test_a_view_that_begins_otherwise_needs_the_whole():
    crop = View(8, RandomResizedCrop())
    assert starts_with_crop(Policy(crop, crop))
    assert starts_with_crop(SHARING)
    assert not starts_with_crop(Policy(crop, View(8, CenterCrop())))
    assert not starts_with_crop(Policy(View(8, CenterCrop(), RandomResizedCrop())))


@pytest.mark.parametrize("backend", ["fused", "kornia", "torchvision"])
@pytest.mark.parametrize("name", ["simclr", "dino", "byol", "sharing"])
def test_views_of_regions_are_the_views_of_the_whole(backend, name):
    policy = SHARING if name == "sharing" else gpuaug.policy(name, **({} if name == "dino" else {"size": 32}))
    if name == "dino":
        policy = Policy(policy.views[0], policy.views[-1])
    rng = np.random.default_rng(1)
    shapes = np.array([[40, 60], [90, 30], [33, 33]], np.int32)
    pictures = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in shapes.tolist()]
    draws = sample(policy, range(3), 9, 1)
    boxes = regions_read(draws, shapes)
    cut = [p[t : t + h, x : x + w] for p, (t, x, h, w) in zip(pictures, boxes.tolist(), strict=True)]
    frames = np.concatenate([boxes[:, :2], shapes, np.ones((3, 1), np.int32)], axis=1)
    augment = gpuaug.Augmenter(policy, backend)
    for part, whole in zip(
        augment(Images.from_list(cut), crops_in_regions(draws, frames)), augment(pictures, draws), strict=True
    ):
        assert torch.equal(part, whole)


@pytest.fixture
def jpegs(tmp_path):
    """Twelve JPEGs, of which the sixth is a PNG, and the ninth is broken."""
    for k in range(12):
        path = tmp_path / "a" / f"{k:02}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.roll(PHOTO, 7 * k, axis=1)[: HEIGHT - k]).save(path, "png" if k == 5 else "jpeg")
    path.with_name("08.jpg").write_bytes(b"broken")
    return tmp_path


@pytest.mark.parametrize("on_error", ["skip", "replace"])
@pytest.mark.parametrize(("workers", "shared"), [(0, False), (2, False), (0, True)])
def test_the_loader_gives_the_same_with_every_decoder(jpegs, on_error, workers, shared):
    policy = SHARING if shared else Policy(View(16, RandomResizedCrop(scale=(0.05, 0.3)), repeat=2))

    def epochs(decoder):
        loader = gpuaug.DataLoader(
            jpegs, policy, 5, shuffle=True, num_workers=workers, on_error=on_error, max_bad=1.0, decoder=decoder
        )
        for _ in range(2):
            for views, target in loader:
                yield loader.index.tolist(), torch.cat([view.flatten() for view in views]), target
                assert all("boxes" not in table[0] for table in loader.draws.tables)
                heights = [HEIGHT - k for k in loader.index.tolist()]  # of the whole pictures, though only regions are decoded
                assert loader.draws.shapes.tolist() == [[height, WIDTH] for height in heights]
        assert [name[-6:] for name in loader.bad_files] == ["08.jpg"]

    for (i, views, target), (j, others, likewise) in zip(epochs("dali"), epochs("pillow"), strict=True):
        assert i == j
        assert torch.equal(views, others)
        assert torch.equal(target, likewise)
